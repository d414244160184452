"""The arithmetic of the checks against scikit-learn, SciPy and values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import cosine_similarity

from mosear.export.checks.figures import (
    ONE_SIDED_95,
    cosine,
    kl,
    max_difference,
    paired_loss,
)

RANDOM = np.random.default_rng(5)


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
