"""The arithmetic of the checks, in float64 NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE_SIDED_95 = 1.6448536269514722
"""Quantile of the normal distribution: a figure is held to be beyond its tolerance with 95 % confidence."""

Array = NDArray[Any]


def max_difference(found: Array | None, wanted: Array | None) -> float:
    """Largest absolute difference; infinite when only one of them is there, or when they differ in size."""
    if found is None or wanted is None or found.size != wanted.size:
        return 0.0 if found is None and wanted is None else math.inf
    return float(np.abs(found.reshape(wanted.shape).astype(np.float64) - wanted).max(initial=0.0))


def cosine(found: Array | None, wanted: Array | None) -> float:
    """Cosine of the angle between two arrays taken as vectors; 1 when both are zero or missing, else 0 when one is."""
    if found is None or wanted is None or found.size != wanted.size:
        return 1.0 if found is None and wanted is None else 0.0
    left, right = found.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if norms == 0.0:
        return 1.0 if not left.any() and not right.any() else 0.0
    return float(left @ right) / norms


def kl(log_p: Array, log_q: Array) -> Array:
    """KL(p ‖ q) in nats over the last axis of normalized log-probabilities; zero terms of p count nothing."""
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0, p * (log_p - log_q), 0.0)
    return np.maximum(terms.sum(axis=-1), 0.0)


def paired_loss(reference: Array, found: Array) -> tuple[float, float]:
    """What accuracy was lost, and the standard error of that figure.

    Both answer the same clips, so only the answers that changed carry noise. With b clips that only the reference gets
    right and c that only the other does, of n, the loss is (b - c) / n and its variance (b + c - (b - c)² / n) / n²
    (the Wald interval for a difference of paired proportions, as behind McNemar's test).

    Args:
        reference: [n] booleans, whether the reference is right.
        found: [n] booleans of the other.

    Returns:
        The loss (negative for a gain) and its standard error; 0, 0 without clips.
    """
    count = len(reference)
    if count == 0:
        return 0.0, 0.0
    change = reference.astype(np.int64) - found.astype(np.int64)
    loss = float(change.sum()) / count
    return loss, math.sqrt(max(float((change**2).sum()) / count - loss**2, 0.0) / count)
