"""Figures of single labels, by scikit-learn and by hand."""

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from mosear.evaluation.metrics.classification import (
    NAMES,
    accuracy,
    by_class,
    classification_figures,
    encode,
    macro_f1,
    uar,
    weighted_f1,
)

LABELS = ("neutral", "angry", "happy", "sad")
BEYOND = ("disgust", "calm")
NOTHING = "(no answer)"

pairs = st.lists(st.tuples(st.sampled_from(LABELS + BEYOND), st.sampled_from((*LABELS, None))), min_size=1, max_size=40)


def sides(drawn: Sequence[tuple[str, str | None]]) -> tuple[list[str], list[str]]:
    """What scikit-learn gets: an answer that is none is a word that is never true."""
    return [true for true, _ in drawn], [NOTHING if answer is None else answer for _, answer in drawn]


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_figures_are_those_of_scikit_learn(drawn: list[tuple[str, str | None]]) -> None:
    true, given_ = sides(drawn)
    counts = encode(true, [answer for _, answer in drawn], LABELS).counts()
    assert accuracy(counts) == pytest.approx(accuracy_score(true, given_))
    assert weighted_f1(counts) == pytest.approx(f1_score(true, given_, average="weighted", zero_division=0))
    occurring = sorted(set(true))
    assert uar(counts) == pytest.approx(recall_score(true, given_, labels=occurring, average="macro", zero_division=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about answers that are never true
        assert uar(counts) == pytest.approx(balanced_accuracy_score(true, given_))
    seen = sorted({*true, *given_} - {NOTHING})
    assert macro_f1(counts) == pytest.approx(f1_score(true, given_, labels=seen, average="macro", zero_division=0))


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_classes_and_confusions_are_those_of_scikit_learn(drawn: list[tuple[str, str | None]]) -> None:
    true, given_ = sides(drawn)
    answers = encode(true, [answer for _, answer in drawn], LABELS)
    classes = list(answers.classes)
    whole = confusion_matrix(true, given_, labels=[*classes, NOTHING])
    wanted = np.column_stack([whole[: len(classes), : len(LABELS)], whole[: len(classes), -1]])
    np.testing.assert_array_equal(answers.counts(), wanted)
    rows = precision_recall_fscore_support(true, given_, labels=classes, zero_division=0)
    for name, *figures in zip(classes, *rows, strict=True):
        row = by_class(answers)[name]
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(figures)
        assert row["answered"] == given_.count(name)
    np.testing.assert_array_equal(answers.right, np.array(true) == np.array(given_))


@settings(max_examples=40, deadline=None)
@given(pairs, st.lists(st.integers(0, 4), min_size=40, max_size=40))
def test_weights_are_repetitions(drawn: list[tuple[str, str | None]], often: list[int]) -> None:
    """A clip of weight three counts as three clips; a weight of nought leaves it out."""
    weights = often[: len(drawn)]
    repeated = [pair for pair, times in zip(drawn, weights, strict=True) for _ in range(times)]
    if not repeated:
        return
    true, given_ = sides(repeated)
    answers = encode([true for true, _ in drawn], [answer for _, answer in drawn], LABELS)
    figures = classification_figures(answers, np.arange(len(drawn)))
    found = dict(zip(NAMES, figures.of(np.array([weights], float) @ figures.features)[0], strict=True))
    assert found["war"] == found["accuracy"] == pytest.approx(accuracy_score(true, given_))
    assert found["weighted_f1"] == pytest.approx(f1_score(true, given_, average="weighted", zero_division=0))
    assert found["uar"] == pytest.approx(
        recall_score(true, given_, labels=sorted(set(true)), average="macro", zero_division=0)
    )


def test_by_hand() -> None:
    """Four sad clips, of which two are met, one is called happy and one has no answer; two happy ones, both met."""
    answers = encode(["sad"] * 4 + ["happy"] * 2, ["sad", "sad", "happy", None, "happy", "happy"], ["happy", "sad"])
    assert answers.counts().tolist() == [[2, 0, 0], [1, 2, 1]]
    assert accuracy(answers.counts()) == pytest.approx(4 / 6)
    assert uar(answers.counts()) == pytest.approx((2 / 4 + 2 / 2) / 2)
    happy, sad = 2 * 2 / (2 + 3), 2 * 2 / (4 + 2)
    assert weighted_f1(answers.counts()) == pytest.approx((2 * happy + 4 * sad) / 6)
    assert macro_f1(answers.counts()) == pytest.approx((happy + sad) / 2)


def test_what_has_no_answer_is_no_class_and_is_never_right() -> None:
    """The first truth beyond the labels has the number that the column of no answer has."""
    answers = encode(["disgust", "sad"], [None, "sad"], ["sad"])
    assert answers.right.tolist() == [False, True]
    assert accuracy(answers.counts()) == 0.5
    assert list(by_class(answers)) == ["sad", "disgust"]
    assert by_class(answers)["disgust"]["answered"] == 0


def test_a_label_called_none_is_a_label() -> None:
    answers = encode(["none", "none"], ["none", None], ["none", "sad"])
    assert answers.counts().tolist() == [[1, 0, 1], [0, 0, 0]]


def test_an_answer_that_is_no_label_is_refused() -> None:
    with pytest.raises(ValueError, match="furious is none of the labels"):
        encode(["sad"], ["furious"], LABELS)
    with pytest.raises(ValueError, match="1 answers to 2 truths"):
        encode(["sad", "sad"], ["sad"], LABELS)
