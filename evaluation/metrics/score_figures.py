"""The scores of a run against its truth, as figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.metrics.bootstrap import Figures
from mosear.evaluation.metrics.calibration import (
    BINS,
    Bin,
    bin_places,
    brier_score,
    negative_log_likelihood,
    reliability_bins,
)

ERROR, BRIER, LIKELIHOOD = "calibration_error", "brier_score", "negative_log_likelihood"
_FLOOR = 5e-7
"""Scores are kept with six digits behind the point: what is below half of the last one is written as 0."""

Array = NDArray[np.float64]
Places = NDArray[np.int64]


def error_figures(scores: Array, true: Places, rows: Places) -> Figures:
    """The expected calibration error, to be resampled.

    Resampling adds noise within the bins, which the error can only take for miscalibration; so its interval needs
    correction for bias, and close to zero holds the error of a larger sample seldom.

    Args:
        scores: [n, labels], rows sum to 1.
        true: [n], place of the true label; a truth that no answer can meet has a place beyond them.
        rows: [n], which clips of a run they are.
    """
    confidence = scores.max(axis=-1)
    features = np.zeros((len(scores), BINS + 1))
    features[np.arange(len(scores)), bin_places(confidence)] = (scores.argmax(axis=-1) == true) - confidence
    features[:, BINS] = 1.0

    def of(sums: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.abs(sums[..., :BINS]).sum(axis=-1, keepdims=True) / sums[..., BINS:]

    return Figures((ERROR,), features, of, rows)


def likelihood_figures(scores: Array, true: Places, rows: Places) -> Figures:
    """Brier's score and the negative log-likelihood of those clips whose truth has a score, to be resampled."""
    met = true < scores.shape[-1]
    kept, labels = scores[met], true[met]
    parts = [brier_score(kept, labels), negative_log_likelihood(kept, labels, _FLOOR), np.ones(len(labels))]

    def of(sums: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., :2] / sums[..., 2:]

    return Figures((BRIER, LIKELIHOOD), np.stack(parts, axis=-1), of, rows[met])


def reliability(scores: Array, true: Places, draws: int = 200, seed: int = 0) -> dict[str, object]:
    """Bins of the reliability diagram, and what error to expect from chance.

    Args:
        scores, true: as for ``error_figures``.
        draws, seed: of the answers behind ``error_by_chance``.

    Returns:
        ``bins``, and ``error_by_chance``: the mean calibration error of as many answers with these confidences when
        they are right exactly as often as they say. An error close to it is no sign of miscalibration.
    """
    confidence = scores.max(axis=-1)
    inside = bin_places(confidence)[:, None] == np.arange(BINS)
    right = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    errors = np.abs((right - confidence) @ inside).sum(axis=-1) / len(confidence)
    bins: Sequence[Bin] = reliability_bins(scores, true)
    return {"clips": len(scores), "bins": [dict(vars(each)) for each in bins], "error_by_chance": float(errors.mean())}
