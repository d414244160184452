"""Readers of the benchmarks' layouts."""
