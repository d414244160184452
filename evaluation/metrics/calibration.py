"""Scores against truth: how far a confidence can be taken for a share of right answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Bins of a reliability diagram (Guo et al., ICML 2017)."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram, (low, high] of the top-1 confidence.

    Attributes:
        low: lower edge.
        high: upper edge.
        count: answers in it.
        confidence: their mean confidence; 0 where there are none.
        accuracy: share of them that is right; 0 where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


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
    place = bin_places(confidence, bins)
    rows = []
    for index in range(bins):
        inside = place == index
        count = int(inside.sum())
        mean, share = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (0.0, 0.0)
        rows.append(Bin(index / bins, (index + 1) / bins, count, mean, share))
    return tuple(rows)


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: |confidence - accuracy|, weighted by the answers in each bin (Guo et al., 2017)."""
    total = sum(row.count for row in bins)
    return sum(row.count * abs(row.confidence - row.accuracy) for row in bins) / total if total else 0.0


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
        inside = bin_places(confidence)[:, None] == np.arange(BINS)
        sides.append(np.abs(weights @ (inside * (confidence - right)[:, None])).sum(axis=-1) / len(true))
    return float((sides[0] - sides[1]).std())


def brier_score(scores: Array, true: Array) -> Array:
    """Brier's score of each clip: the squared distance of its scores from the truth, summed over the labels, 0 to 2
    (Brier, Monthly Weather Review, 1950).

    Args:
        scores: [n, labels], rows sum to 1.
        true: [n], index of the true label.

    Returns:
        [n], of which the mean is reported.
    """
    return ((scores - np.eye(scores.shape[-1])[true]) ** 2).sum(axis=-1)


def negative_log_likelihood(scores: Array, true: Array, floor: float) -> Array:
    """Negative logarithm of the true label's score, nats.

    Args:
        scores: [n, labels], rows sum to 1.
        true: [n], index of the true label.
        floor: a smaller score counts as this: scores that were rounded may be 0, whose logarithm is infinite.

    Returns:
        [n], of which the mean is reported.
    """
    return -np.log(np.maximum(scores[np.arange(len(true)), true], floor))


def bin_places(confidence: Array, bins: int = BINS) -> Array:
    """[n], the bin of each confidence; see ``reliability_bins``."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
