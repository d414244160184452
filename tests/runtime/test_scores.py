"""Scores, conflict and reliance against SciPy and against probabilities that are reallocated one by one."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import jensenshannon

from mosear.runtime.scores import jensen_shannon, label_scores, log_softmax, reliance

logits = arrays.arrays(np.float64, 6, elements=st.floats(-50, 50))


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt")
@settings(deadline=None)
@given(logits, logits)
def test_conflict_is_scipys_distance_squared(one: np.ndarray, other: np.ndarray) -> None:
    p, q = scipy.special.softmax(one), scipy.special.softmax(other)
    assert jensen_shannon(p, q) == pytest.approx(np.nan_to_num(jensenshannon(p, q, base=2)) ** 2, abs=1e-9)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))
    assert 0 <= jensen_shannon(p, q) <= 1


def test_conflict_at_its_ends() -> None:
    assert jensen_shannon(np.array([1.0, 0, 0]), np.array([0, 0.5, 0.5])) == 1
    assert jensen_shannon(np.array([0.2, 0.8]), np.array([0.2, 0.8])) == 0


@settings(deadline=None)
@given(arrays.arrays(np.float32, (3, 7), elements=st.floats(-1e4, 1e4, width=32)), st.floats(0.1, 10))
def test_scores_are_scipys_softmax(values: np.ndarray, temperature: float) -> None:
    assert np.allclose(log_softmax(values), scipy.special.log_softmax(values.astype(np.float64), axis=-1))
    expected = scipy.special.softmax(values.astype(np.float64) / temperature, axis=-1)
    assert np.allclose(label_scores(values, temperature), expected)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_reliance_is_the_mass_of_reallocated_probabilities(rate: float) -> None:
    random = np.random.default_rng(3)
    modality = np.array([0, 0, 1, 1, 1, 2, 2, 0])
    probabilities = random.dirichlet(np.ones(8), size=(2, 3))
    probabilities[0, 1, modality == 2] = 0
    probabilities[1, 0, modality == 1] = 0
    mass = np.stack([probabilities[..., modality == kind].sum(-1) for kind in range(3)], axis=-1)
    selected = np.array([[1, 1, 0], [1, 0, 1]])
    after = probabilities.copy()
    for layer in range(2):
        for head in range(3):
            row, (_, seen, heard) = after[layer, head], mass[layer, head]
            if selected[layer, head] and seen > 0 and heard > 0:
                row[modality == 1] *= 1 + rate * heard / seen
                row[modality == 2] *= 1 - rate
    expected = {
        name: after[..., modality == kind].sum(-1).mean() for kind, name in enumerate(("text", "visual", "audio"))
    }
    assert reliance(mass, selected, rate) == pytest.approx(expected)
