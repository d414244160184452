"""Figures over answers."""
