"""The arithmetic of the checks, in float64 NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.export.checks.rows import Bin

BINS = 15
"""Bins of a reliability diagram (Guo et al., ICML 2017)."""
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


def wilson(right: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share ``right`` seen on ``count`` clips; 0 to 1 without clips."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    centre = (right + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(right * (1 - right) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def reliability_bins(scores: Array, true: Array, bins: int = BINS) -> tuple[Bin, ...]:
    """Equal-width bins of the top-1 confidence.

    Args:
        scores: [n, labels], rows sum to 1.
        true: [n], index of the true label.
        bins: how many.

    Returns:
        All bins, the empty ones too; bin k holds confidences in (k / bins, (k + 1) / bins].
    """
    confidence, right = scores.max(axis=-1), scores.argmax(axis=-1) == true
    place = _places(confidence, bins)
    rows = []
    for index in range(bins):
        inside = place == index
        count = int(inside.sum())
        mean, share = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (0.0, 0.0)
        rows.append(Bin(index / bins, (index + 1) / bins, count, mean, share))
    return tuple(rows)


def calibration_noise(found: Array, reference: Array, true: Array, resamples: int = 200) -> float:
    """Standard error of the difference of two expected calibration errors on the same clips.

    A paired bootstrap: both errors are taken on the same resampled clips. The error has hard edges between bins, so
    with few clips it jumps when an answer crosses one, however little its score moved; that is part of this noise.

    Args:
        found: [n, labels], rows sum to 1.
        reference: [n, labels] of the other.
        true: [n], index of the true label.
        resamples: how many.
    """
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(true), (resamples, len(true)))
    weights = np.stack([np.bincount(rows, minlength=len(true)) for rows in drawn]).astype(np.float64)
    sides = []
    for scores in (found, reference):
        confidence, right = scores.max(axis=-1), scores.argmax(axis=-1) == true
        inside = _places(confidence, BINS)[:, None] == np.arange(BINS)
        sides.append(np.abs(weights @ (inside * (confidence - right)[:, None])).sum(axis=-1) / len(true))
    return float((sides[0] - sides[1]).std())


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: |confidence - accuracy|, weighted by the answers in each bin (Guo et al., 2017)."""
    total = sum(row.count for row in bins)
    return sum(row.count * abs(row.confidence - row.accuracy) for row in bins) / total if total else 0.0


def _places(confidence: Array, bins: int) -> Array:
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
