"""Scores against truth, by scikit-learn, loops over single answers and numbers worked out by hand."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from mosear.evaluation.metrics.calibration import (
    BINS,
    brier_score,
    calibration_error,
    calibration_noise,
    negative_log_likelihood,
    reliability_bins,
    wilson,
)


def scores_of(count: int, labels: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Label scores, and true labels that the likeliest one often is."""
    random = np.random.default_rng(seed)
    scores = np.exp(log_softmax(2 * random.standard_normal((count, labels)), axis=-1))
    true = np.where(random.random(count) < 0.6, scores.argmax(axis=-1), random.integers(0, labels, count))
    return scores, true


@pytest.mark.parametrize("seed", range(5))
def test_bins_are_those_of_scikit_learn(seed: int) -> None:
    scores, true = scores_of(400, seed=seed)
    right, confidence = calibration_curve(scores.argmax(-1) == true, scores.max(-1), n_bins=BINS, strategy="uniform")
    bins = [row for row in reliability_bins(scores, true) if row.count]
    np.testing.assert_allclose([row.accuracy for row in bins], right)
    np.testing.assert_allclose([row.confidence for row in bins], confidence)
    assert sum(row.count for row in bins) == 400


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_against_a_loop_over_answers(seed: int) -> None:
    """Guo et al.'s sum over single answers: within a bin the signed errors add up before the absolute value."""
    scores, true = scores_of(300, seed=seed)
    signed = [0.0] * BINS
    for row, label in zip(scores.tolist(), true.tolist(), strict=True):
        top = max(row)
        index = next(k for k in range(BINS) if top <= (k + 1) / BINS)
        signed[index] += (row.index(top) == label) - top
    expected = sum(abs(value) for value in signed) / 300
    assert calibration_error(reliability_bins(scores, true)) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand() -> None:
    """Four answers: 0.9 and 0.92 of which one is right, 0.6 right, 0.55 wrong; bins of a fifteenth."""
    scores = np.array([[0.9, 0.1], [0.92, 0.08], [0.6, 0.4], [0.45, 0.55]])
    true = np.array([0, 1, 0, 0])
    # 0.9 and 0.92 share bin (13/15, 14/15]; 0.6 lies in (8/15, 9/15] by its edge, and so does 0.55.
    expected = 2 / 4 * abs(0.91 - 0.5) + 2 / 4 * abs(0.575 - 0.5)
    assert calibration_error(reliability_bins(scores, true)) == pytest.approx(expected)
    perfect = np.array([[1.0, 0.0]] * 3)
    assert calibration_error(reliability_bins(perfect, np.zeros(3, int))) == 0
    assert calibration_error(reliability_bins(perfect, np.ones(3, int))) == 1


def test_calibration_noise_is_the_spread_over_fresh_clips() -> None:
    """The bootstrap's standard error against the spread of the same difference on newly drawn sets of clips."""

    def pair(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores, true = scores_of(250, seed=seed)
        noise = 0.2 * np.random.default_rng(seed + 10_000).standard_normal(scores.shape)
        moved = log_softmax(np.log(scores) + noise, axis=-1)
        return np.exp(moved), scores, true

    def difference(found: np.ndarray, reference: np.ndarray, true: np.ndarray) -> float:
        ours, theirs = (calibration_error(reliability_bins(each, true)) for each in (found, reference))
        return ours - theirs

    drawn = [pair(seed) for seed in range(150)]
    spread = np.std([difference(*each) for each in drawn])
    estimated = np.mean([calibration_noise(*each) for each in drawn[:20]])
    assert 0.7 * spread < estimated < 1.5 * spread
    scores, true = scores_of(50)
    assert calibration_noise(scores, scores, true) == 0


def test_wilson_interval_by_hand() -> None:
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson(1.0, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_brier_score_and_likelihood_are_those_of_scikit_learn(seed: int) -> None:
    scores, true = scores_of(300, seed=seed)
    names = list(range(scores.shape[1]))
    assert negative_log_likelihood(scores, true, 1e-15).mean() == pytest.approx(log_loss(true, scores, labels=names))
    expected = brier_score_loss(true, scores, labels=names, scale_by_half=False)
    assert brier_score(scores, true).mean() == pytest.approx(expected)


def test_brier_score_and_likelihood_by_hand() -> None:
    scores = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
    true = np.array([0, 1, 1])
    assert brier_score(scores, true).tolist() == [0.0, 2.0, 0.25 + 0.75**2 + 0.25**2]
    found = negative_log_likelihood(scores, true, floor=1e-6)
    assert found.tolist() == pytest.approx([0.0, 6 * math.log(10), math.log(4)]), "a score of 0 counts as the floor"
