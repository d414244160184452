"""One label a clip: accuracy, WAR, UAR, F1, all from a matrix of confusions.

Figures are functions of counts [..., C, A + 1]: C true classes down, A answers across in the same order, and a last
column for clips without an answer. Those count as wrong and are no class. Counts may be weighted, so that thousands of
resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.metrics.bootstrap import Figures

NO_ANSWER = "none"
"""Title of the last column; a label of this name would be told apart by its place."""
NAMES = ("accuracy", "war", "uar", "weighted_f1", "macro_f1")

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """Truth and answers as numbers.

    Attributes:
        classes: what may be true: the answers in their order, then truths that no answer can meet.
        labels: what may be answered.
        true: [n], place of each clip's truth among the classes.
        given: [n], place of each clip's answer among the labels; ``len(labels)`` for none.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    true: Places
    given: Places

    @property
    def right(self) -> NDArray[np.bool_]:
        """[n], whether each answer meets the truth."""
        # No answer has the number that the first truth beyond the labels has.
        return (self.true == self.given) & (self.given < len(self.labels))

    def cells(self) -> Array:
        """[n, C · (A + 1)], each clip's one in the flattened matrix: the features of ``classification_figures``."""
        width = len(self.labels) + 1
        marks = np.zeros((len(self.true), len(self.classes) * width))
        marks[np.arange(len(self.true)), self.true * width + self.given] = 1.0
        return marks

    def counts(self) -> Array:
        """[C, A + 1]."""
        return self.cells().sum(axis=0).reshape(len(self.classes), len(self.labels) + 1)


def encode(true: Sequence[str], given: Sequence[str | None], labels: Sequence[str]) -> Answers:
    """Truth and answers as numbers.

    Args:
        true: one a clip; may hold labels that no answer can meet.
        given: one a clip; None for a clip without an answer.
        labels: what may be answered.

    Raises:
        ValueError: an answer is none of the labels, or there are not as many answers as truths.
    """
    if len(true) != len(given):
        raise ValueError(f"{len(given)} answers to {len(true)} truths")
    classes = tuple(dict.fromkeys([*labels, *true]))
    places = {label: place for place, label in enumerate(classes)}
    answers = {label: place for place, label in enumerate(labels)}
    if strange := sorted({answer for answer in given if answer is not None and answer not in answers}):
        raise ValueError(f"{strange[0]} is none of the labels {', '.join(labels)}")
    return Answers(
        classes,
        tuple(labels),
        np.array([places[label] for label in true], np.int64),
        np.array([len(labels) if answer is None else answers[answer] for answer in given], np.int64),
    )


def accuracy(counts: Array) -> Array:
    """Share of right answers among all clips. WAR, recall weighted by the classes' sizes, is the same figure."""
    return _over(_right(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def uar(counts: Array) -> Array:
    """Unweighted average recall: the mean over the classes that occur, those that no answer can meet included."""
    support = counts.sum(axis=-1)
    return _over(recall(counts).sum(axis=-1), (support > 0).sum(axis=-1))


def weighted_f1(counts: Array) -> Array:
    """F1 averaged over classes by their support, as scikit-learn's ``average="weighted"``."""
    support = counts.sum(axis=-1)
    return _over((f1(counts) * support).sum(axis=-1), support.sum(axis=-1))


def macro_f1(counts: Array) -> Array:
    """Mean F1 of the classes that occur in the truth or among the answers, as scikit-learn's ``average="macro"``."""
    there = counts.sum(axis=-1) + _answered(counts) > 0
    return _over(f1(counts).sum(axis=-1), there.sum(axis=-1))


def precision(counts: Array) -> Array:
    """[..., C], by class; 0 where it is never answered."""
    return _over(_right(counts), _answered(counts), 0.0)


def recall(counts: Array) -> Array:
    """[..., C], by class; 0 where it never occurs."""
    return _over(_right(counts), counts.sum(axis=-1), 0.0)


def f1(counts: Array) -> Array:
    """[..., C], by class: 2 TP / (support + answered); 0 where it neither occurs nor is answered."""
    return _over(2 * _right(counts), counts.sum(axis=-1) + _answered(counts), 0.0)


def classification_figures(answers: Answers, rows: Places) -> Figures:
    """The figures ``NAMES``, to be resampled.

    Args:
        answers: of the clips.
        rows: [n], which clips of a run they are.
    """
    shape = (len(answers.classes), len(answers.labels) + 1)

    def of(sums: Array) -> Array:
        counts = sums.reshape(*sums.shape[:-1], *shape)
        right = accuracy(counts)
        return np.stack([right, right, uar(counts), weighted_f1(counts), macro_f1(counts)], axis=-1)

    return Figures(NAMES, answers.cells(), of, rows)


def by_class(answers: Answers) -> dict[str, dict[str, Any]]:
    """By class: precision, recall and F1, how often it is true (support) and how often it is answered."""
    counts = answers.counts()
    table = zip(precision(counts), recall(counts), f1(counts), counts.sum(axis=-1), _answered(counts), strict=True)
    return {
        name: {
            "precision": float(row[0]),
            "recall": float(row[1]),
            "f1": float(row[2]),
            "support": int(row[3]),
            "answered": int(row[4]),
        }
        for name, row in zip(answers.classes, table, strict=True)
    }


def _right(counts: Array) -> Array:
    """[..., C], the diagonal; 0 for classes that no answer can meet."""
    labels = counts.shape[-1] - 1
    return _padded(np.diagonal(counts[..., :labels, :labels], axis1=-2, axis2=-1), counts.shape[-2])


def _answered(counts: Array) -> Array:
    """[..., C], how often each class is answered."""
    return _padded(counts[..., :-1].sum(axis=-2), counts.shape[-2])


def _padded(values: Array, classes: int) -> Array:
    return np.concatenate([values, np.zeros((*values.shape[:-1], classes - values.shape[-1]))], axis=-1)


def _over(parts: Array, whole: Array, otherwise: float = np.nan) -> Array:
    return np.divide(parts, whole, out=np.full(np.shape(whole), otherwise), where=whole > 0)
