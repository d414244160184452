"""Bundles and checkpoints against the paper's benchmarks: answers, figures, reasons for errors, studies."""
