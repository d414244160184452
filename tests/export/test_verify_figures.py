"""The arithmetic of the checks against scikit-learn, SciPy and values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import cosine_similarity

from mosear.export.checks.figures import (
    BINS,
    ONE_SIDED_95,
    calibration_error,
    calibration_noise,
    cosine,
    kl,
    max_difference,
    paired_loss,
    reliability_bins,
    wilson,
)

RANDOM = np.random.default_rng(5)


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


def test_kl_is_scipys_entropy_and_survives_zeros() -> None:
    p, q = (log_softmax(RANDOM.standard_normal((20, 6)), axis=-1) for _ in range(2))
    np.testing.assert_allclose(kl(p, q), [entropy(np.exp(a), np.exp(b)) for a, b in zip(p, q, strict=True)])
    assert kl(np.array([0.0, -np.inf]), np.log([0.5, 0.5])) == pytest.approx(math.log(2))
    assert kl(p, p).max() == 0


def test_cosine_and_difference() -> None:
    left, right = RANDOM.standard_normal((2, 40)).astype(np.float32)
    assert cosine(left, right) == pytest.approx(cosine_similarity(left[None], right[None])[0, 0], abs=1e-6)
    assert max_difference(left.reshape(4, 10), right) == pytest.approx(np.abs(left.astype(np.float64) - right).max())
    assert (max_difference(None, None), cosine(None, None)) == (0.0, 1.0)
    assert (max_difference(left, None), cosine(None, right)) == (math.inf, 0.0)
    assert (max_difference(left, right[:20]), cosine(left, right[:20])) == (math.inf, 0.0)
    broken = left.copy()
    broken[3] = np.nan
    assert math.isnan(max_difference(broken, right))
    assert cosine(np.zeros(3), np.ones(3)) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_loss_is_the_mean_of_differences_and_its_standard_error(pairs: list[tuple[bool, bool]]) -> None:
    reference, found = (np.array(side) for side in zip(*pairs, strict=True))
    loss, error = paired_loss(reference, found)
    assert loss == pytest.approx(accuracy_score(np.ones(len(pairs)), reference) - found.mean())
    change = np.array([a - b for a, b in np.array(pairs, int)])
    assert error == pytest.approx(change.std() / math.sqrt(len(pairs)), abs=1e-9)
    if (reference == found).all():
        assert error == 0, "answers that did not change carry no noise"


def test_paired_bound_covers_at_its_rate() -> None:
    """Without a true loss the bound is exceeded in about one run of twenty; a loss of 15 % is nearly always seen."""
    random = np.random.default_rng(1)

    def exceeded(lose: float, gain: float) -> float:
        hits = 0
        for _ in range(2000):
            draw = random.random(100)
            reference = draw < 0.7
            found = np.where(draw < lose, False, np.where(draw > 1 - gain, True, reference))
            loss, error = paired_loss(reference, found)
            hits += loss > ONE_SIDED_95 * error + 1e-12
        return hits / 2000

    assert exceeded(0.04, 0.04) < 0.08
    assert exceeded(0.17, 0.02) > 0.9


def test_wilson_interval_by_hand() -> None:
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson(1.0, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    assert wilson(0.0, 0) == (0.0, 1.0)
