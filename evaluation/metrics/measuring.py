"""Records of a run → everything that can be measured on them, as figures to be resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.judging.overlap import overlap_figures
from mosear.evaluation.metrics.bootstrap import Figures
from mosear.evaluation.metrics.classification import Answers, classification_figures, encode
from mosear.evaluation.metrics.modality_gap import gap_figures
from mosear.evaluation.metrics.open_vocabulary import Synonyms, open_vocabulary_figures
from mosear.evaluation.metrics.score_figures import error_figures, likelihood_figures
from mosear.evaluation.record import ClipRecord

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """The clips that have a single true label.

    Attributes:
        records: m of them.
        rows: [m], their places in the run.
        answers: theirs.
    """

    records: list[ClipRecord]
    rows: Places
    answers: Answers

    def scores(self) -> tuple[Places, NDArray[np.float64]]:
        """Places among ``records`` of those whose labels were scored, and their scores [s, labels]."""
        places = [place for place, record in enumerate(self.records) if record.scores]
        table = [[self.records[place].scores[label] for label in self.answers.labels] for place in places]
        return np.array(places, np.int64), np.array(table).reshape(len(places), len(self.answers.labels))


def labelled(records: Sequence[ClipRecord], labels: Sequence[str]) -> Labelled:
    """The clips that have a single true label, with their answers.

    Raises:
        ValueError: an answer is none of the labels.
    """
    given = {place: record.predicted for place, record in enumerate(records)}
    return _labelled(records, given, labels)


def labelled_alone(records: Sequence[ClipRecord], labels: Sequence[str], kind: str) -> Labelled:
    """Those that also have an answer from one modality alone (``visual`` or ``audio``): its likeliest label."""
    given: dict[int, str | None] = {}
    for place, record in enumerate(records):
        if scores := record.by_modality.get(kind):
            given[place] = max(scores, key=scores.__getitem__)
    return _labelled(records, given, labels)


def _labelled(records: Sequence[ClipRecord], given: Mapping[int, str | None], labels: Sequence[str]) -> Labelled:
    true: dict[int, str] = {}
    for place in given:
        label = records[place].label
        if label is not None:
            true[place] = label
    answers = encode([*true.values()], [given[place] for place in true], labels)
    return Labelled([records[place] for place in true], np.array(list(true), np.int64), answers)


def answer_figures(known: Labelled) -> list[Figures]:
    """Accuracy and its kin, and the modality gap; those that the clips allow."""
    if not known.records:
        return []
    found = [classification_figures(known.answers, known.rows)]
    gap = gap_figures([record.subset for record in known.records], known.answers.right, known.rows)
    return found if gap is None else [*found, gap]


def score_figures(known: Labelled) -> list[Figures]:
    """What the scores are worth, on the clips that have scores."""
    places, scores = known.scores()
    true = known.answers.true[places]
    found = [error_figures(scores, true, known.rows[places])] if len(places) else []
    # Without a clip whose truth has a score, there is no likelihood of one.
    if (true < len(known.answers.labels)).any():
        found.append(likelihood_figures(scores, true, known.rows[places]))
    return found


def text_figures(records: Sequence[ClipRecord], synonyms: Synonyms) -> list[Figures]:
    """Sets of emotion words, and reasons against references; those that the clips allow."""
    found: list[Figures] = []
    named = {place: record for place, record in enumerate(records) if record.labels}
    if named:
        words = [record.predicted_labels for record in named.values()]
        truth = [record.labels for record in named.values()]
        found.append(open_vocabulary_figures(words, truth, synonyms, np.array(list(named))))
    told = {place: record.reference for place, record in enumerate(records) if record.reference is not None}
    # Where no clip has a reason, none was asked for.
    if any(records[place].reason for place in told):
        reasons = [records[place].reason for place in told]
        found.append(overlap_figures(reasons, list(told.values()), synonyms, np.array(list(told))))
    return found
