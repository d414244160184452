"""Folds, speakers, the modality gap and McNemar's test, worked out by hand or by another formula."""

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosear.evaluation.metrics.classification import encode
from mosear.evaluation.metrics.folds import by_group
from mosear.evaluation.metrics.mcnemar import mcnemar
from mosear.evaluation.metrics.modality_gap import gap_figures, places_by_subset

LABELS = ("happy", "sad")


def test_mean_and_deviation_over_folds() -> None:
    """Fold 1: two of three right; fold 2: one of one; fold 10: none of two, both of one class."""
    true = ["happy", "happy", "sad", "sad", "happy", "happy"]
    given_ = ["happy", "sad", "sad", "sad", None, "sad"]
    found = by_group(encode(true, given_, LABELS), [1, 1, 1, 2, 10, 10])
    assert found is not None
    assert list(found["groups"]) == ["1", "2", "10"], "by number, not by letter"
    assert [row["clips"] for row in found["groups"].values()] == [3, 1, 2]
    war, uar = [2 / 3, 1.0, 0.0], [(1 / 2 + 1) / 2, 1.0, 0.0]
    assert [row["war"] for row in found["groups"].values()] == pytest.approx(war)
    assert [row["uar"] for row in found["groups"].values()] == pytest.approx(uar)
    assert found["mean"]["war"] == pytest.approx(statistics.mean(war))
    assert found["std"]["war"] == pytest.approx(statistics.stdev(war))
    assert found["mean"]["uar"] == pytest.approx(statistics.mean(uar))
    assert found["std"]["uar"] == pytest.approx(statistics.stdev(uar))


def test_one_group_has_no_deviation_and_no_group_no_figures() -> None:
    answers = encode(["happy", "sad"], ["happy", "happy"], LABELS)
    found = by_group(answers, ["Ross", None])
    assert found is not None
    assert found["groups"]["Ross"]["clips"] == 1
    assert found["mean"]["accuracy"] == 1.0
    assert set(found["std"].values()) == {None}
    assert by_group(answers, [None, None]) is None


def test_the_gap_by_hand() -> None:
    subsets = ["video_aligned", "audio_aligned", "video_aligned", None, "audio_aligned", "consistent"]
    right = np.array([True, True, False, False, True, False])
    figures = gap_figures(subsets, right, np.arange(6))
    assert figures is not None
    assert figures.values() == pytest.approx([1.0 - 0.5]), "answers lean on the sound: above zero"
    assert figures.rows.tolist() == [0, 1, 2, 4]
    assert gap_figures(["video_aligned", "consistent"], np.array([True, True]), np.arange(2)) is None


def test_subsets_in_order_of_appearance() -> None:
    found = places_by_subset(["b", None, "a", "b"])
    assert {name: places.tolist() for name, places in found.items()} == {"b": [0, 3], "a": [2]}


def right_or_wrong(b: int, c: int, both: int = 3, neither: int = 2) -> tuple[np.ndarray, np.ndarray]:
    one = [True] * b + [False] * c + [True] * both + [False] * neither
    other = [False] * b + [True] * c + [True] * both + [False] * neither
    return np.array(one), np.array(other)


@pytest.mark.parametrize(
    ("b", "c", "exact", "mid_p"),
    [
        # 2 · (1 + 6) / 64, and 2 · (1 / 64 + 6 / 128)
        (1, 5, 14 / 64, 8 / 64),
        (5, 1, 14 / 64, 8 / 64),
        (0, 6, 2 / 64, 1 / 64),
        # Nothing is more extreme than half and half.
        (2, 2, 1.0, 1 - 6 / 16 / 2),
        (0, 0, 1.0, 1.0),
        # Fagerland, Lydersen and Laake (2013), airway hyper-responsiveness: 1 against 7, p 0.070, mid-p 0.039.
        (1, 7, 18 / 256, 10 / 256),
    ],
)
def test_mcnemar_by_hand(b: int, c: int, exact: float, mid_p: float) -> None:
    found = mcnemar(*right_or_wrong(b, c))
    assert (found.b, found.c) == (b, c)
    assert (found.exact, found.mid_p) == pytest.approx((exact, mid_p))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_in_fractions(b: int, c: int) -> None:
    """Twice the smaller tail of the binomial distribution, in exact arithmetic; one where both tails meet."""
    total, few = b + c, min(b, c)
    ways = [Fraction(math.comb(total, k), 2**total) for k in range(few + 1)]
    exact = min(Fraction(1), 2 * sum(ways))
    mid_p = 2 * (sum(ways[:-1]) + ways[-1] / 2) if b != c else 1 - ways[-1] / 2
    found = mcnemar(*right_or_wrong(b, c))
    assert found.exact == pytest.approx(float(exact))
    assert found.mid_p == pytest.approx(float(mid_p) if total else 1.0)


def test_mcnemar_wants_the_same_clips() -> None:
    with pytest.raises(ValueError, match="3 answers against 2"):
        mcnemar(np.ones(3, bool), np.ones(2, bool))
