"""The figures of a run: all of ``metrics.json``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.metrics.bootstrap import (
    BCA,
    LEVEL,
    PERCENTILE,
    RESAMPLES,
    SEED,
    Figures,
    Interval,
    finite,
    intervals,
)
from mosear.evaluation.metrics.calibration import wilson
from mosear.evaluation.metrics.classification import NO_ANSWER, Answers, by_class, classification_figures
from mosear.evaluation.metrics.folds import by_group
from mosear.evaluation.metrics.measuring import (
    Labelled,
    answer_figures,
    labelled,
    labelled_alone,
    score_figures,
    text_figures,
)
from mosear.evaluation.metrics.modality_gap import places_by_subset
from mosear.evaluation.metrics.open_vocabulary import Synonyms, default_synonyms
from mosear.evaluation.metrics.score_figures import ERROR, reliability
from mosear.evaluation.record import ClipRecord
from mosear.runtime.results import UNKNOWN

SCHEMA = "mosear.evaluation-metrics/1"
WILSON = "wilson"
_SHARES = ("accuracy", "war")
_PARSE = "parse:"


def summarise(
    records: Sequence[ClipRecord],
    labels: Sequence[str],
    *,
    synonyms: Synonyms | None = None,
    skipped: int = 0,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """All figures of a run, as plain JSON with finite numbers; None where a figure is undefined.

    Clips without an answer count as wrong; figures of scores rest on the clips that have scores. Shares of clips
    (accuracy, WAR) have Wilson's interval, which holds at 0 and 1 too; the calibration error has a bootstrap interval
    corrected for bias, and the others the percentiles of a bootstrap over clips, for the modality gap within its
    subsets.

    Args:
        records: the run.
        labels: the words that answers were given in.
        synonyms: of emotion words; this project's own when None.
        skipped: clips of the benchmark that are not among the records.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: an answer is none of the labels.
    """
    synonyms = synonyms or default_synonyms()
    known = labelled(records, labels)
    families = [*answer_figures(known), *score_figures(known), *text_figures(records, synonyms)]
    beyond = Counter(record.label for record in known.records if record.label not in labels)
    return {
        "schema": SCHEMA,
        "labels": list(labels),
        "counts": _counts(records, skipped),
        "truth_beyond_labels": dict(beyond),
        "intervals": {"level": LEVEL, "resamples": resamples, "seed": seed},
        "figures": _figures(families, len(known.records), resamples, seed),
        "figures_within_labels": _within(known, resamples, seed) if beyond else None,
        "by_class": by_class(known.answers) if known.records else {},
        "confusion": _confusion(known.answers) if known.records else None,
        "by_subset": _by_subset(known),
        "by_fold": _by(known, [record.fold for record in known.records]),
        "by_speaker": _by(known, [record.speaker for record in known.records]),
        "by_modality": {kind: _alone(records, labels, kind, resamples, seed) for kind in ("visual", "audio")},
        "open_vocabulary": _open(records, synonyms),
        "reliability": _reliability(known),
    }


def _counts(records: Sequence[ClipRecord], skipped: int) -> dict[str, Any]:
    failed = Counter(record.failure or "no reason given" for record in records if record.predicted is None)
    unknown = failed.pop(UNKNOWN, 0)
    return {
        "clips": len(records),
        "answered": sum(record.predicted is not None for record in records),
        "unknown": unknown,
        "parse_failures": {why: count for why, count in failed.items() if why.startswith(_PARSE)},
        "other_failures": {why: count for why, count in failed.items() if not why.startswith(_PARSE)},
        "skipped": skipped,
        "with_label": sum(record.label is not None for record in records),
        "with_open_vocabulary": sum(bool(record.labels) for record in records),
        "with_reference": sum(record.reference is not None for record in records),
        "with_reason": sum(record.reason is not None for record in records),
    }


def _figures(families: Sequence[Figures], count: int, resamples: int, seed: int) -> dict[str, Any]:
    found: dict[str, Interval] = {}
    for family in families:
        method = BCA if family.names == (ERROR,) else PERCENTILE
        found |= intervals(family, resamples, seed, method=method)
    return {name: (share(each.value, count) if name in _SHARES else each).to_dict() for name, each in found.items()}


def share(value: float | None, count: int) -> Interval:
    """A share of ``count`` clips with Wilson's interval."""
    if value is None or not math.isfinite(value):
        return Interval(None, None, None, WILSON)
    return Interval(value, *wilson(value, count), WILSON)


def _within(known: Labelled, resamples: int, seed: int) -> dict[str, Any]:
    """The same figures of those clips only whose truth can be met."""
    answers = known.answers
    met = answers.true < len(answers.labels)
    part = Answers(answers.labels, answers.labels, answers.true[met], answers.given[met])
    count = int(met.sum())
    figures = [classification_figures(part, known.rows[met])] if count else []
    return {"clips": count, "figures": _figures(figures, count, resamples, seed)}


def _confusion(answers: Answers) -> dict[str, Any]:
    return {
        "truth": list(answers.classes),
        "answers": [*answers.labels, NO_ANSWER],
        "counts": answers.counts().astype(int).tolist(),
    }


def _by_subset(known: Labelled) -> dict[str, Any]:
    whole = classification_figures(known.answers, np.arange(len(known.records)))
    found = {}
    for name, places in places_by_subset([record.subset for record in known.records]).items():
        values = _values(whole.only(places))
        found[name] = {"clips": len(places), **values, "accuracy": share(values["accuracy"], len(places)).to_dict()}
    return found


def _values(figures: Figures) -> dict[str, float | None]:
    return {name: finite(value) for name, value in zip(figures.names, figures.values(), strict=True)}


def _by(known: Labelled, groups: Sequence[Any]) -> dict[str, Any] | None:
    return by_group(known.answers, groups) if known.records else None


def _alone(
    records: Sequence[ClipRecord], labels: Sequence[str], kind: str, resamples: int, seed: int
) -> dict[str, Any] | None:
    """The same clips answered from one modality; those that lack it are left out, and are not counted as wrong."""
    known = labelled_alone(records, labels, kind)
    if not known.records:
        return None
    count = len(known.records)
    return {
        "clips": count,
        "figures": _figures(answer_figures(known), count, resamples, seed),
        "by_subset": _by_subset(known),
    }


def _open(records: Sequence[ClipRecord], synonyms: Synonyms) -> dict[str, Any] | None:
    """What the open-vocabulary figures rest on."""
    asked = [record for record in records if record.labels]
    if not asked:
        return None
    strange = Counter(word for record in asked for word in record.labels if not synonyms.knows(word))
    return {
        "clips": len(asked),
        "without_words": sum(not record.predicted_labels for record in asked),
        "synonyms": synonyms.sha256,
        "truth_not_in_table": dict(strange.most_common()),
    }


def _reliability(known: Labelled) -> dict[str, Any] | None:
    places, scores = known.scores()
    true: NDArray[np.int64] = known.answers.true[places]
    return dict(reliability(scores, true)) if len(places) else None
