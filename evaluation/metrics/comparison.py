"""Two runs on the same clips: figures side by side, differences with intervals, McNemar's test, clips that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mosear.evaluation.metrics.bootstrap import BCA, LEVEL, PERCENTILE, RESAMPLES, SEED, Figures, differences, finite
from mosear.evaluation.metrics.classification import classification_figures
from mosear.evaluation.metrics.mcnemar import mcnemar
from mosear.evaluation.metrics.measuring import Labelled, answer_figures, labelled, score_figures, text_figures
from mosear.evaluation.metrics.modality_gap import places_by_subset
from mosear.evaluation.metrics.open_vocabulary import Synonyms, default_synonyms
from mosear.evaluation.metrics.score_figures import ERROR
from mosear.evaluation.record import ClipRecord

SCHEMA = "mosear.evaluation-comparison/1"
GAINED, LOST, CHANGED = "gained", "lost", "changed"


def compare(
    a: Sequence[ClipRecord],
    b: Sequence[ClipRecord],
    labels: Sequence[str],
    labels_b: Sequence[str] | None = None,
    *,
    synonyms: Synonyms | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Two runs on the clips that are in both, as plain JSON.

    Every difference is b − a, with the percentile interval of a bootstrap that draws both answers to a clip together
    (that of the calibration error is corrected for bias). A clip without an answer counts as wrong, as it does alone.

    Args:
        a, b: the runs; clips are matched by name.
        labels: the words that a's answers were given in.
        labels_b: b's, where they are others. Each answer is held against the truth in its own run's words.
        synonyms, resamples, seed: as for ``summarise``.

    Raises:
        ValueError: an answer is none of its run's labels.
        Failed: SciPy is not installed.
    """
    in_b = {record.name: record for record in b}
    pairs = [(one, in_b[one.name]) for one in a if one.name in in_b]
    table = synonyms or default_synonyms()
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    known = [labelled(side, words) for side, words in zip(sides, (labels, labels_b or labels), strict=True)]
    families = [
        {each.names: each for each in (*answer_figures(one), *score_figures(one), *text_figures(side, table))}
        for one, side in zip(known, sides, strict=True)
    ]
    figures: dict[str, Any] = {}
    for names, family in families[0].items():
        if names in families[1]:
            figures |= _side_by_side(family, families[1][names], resamples, seed)
    return {
        "schema": SCHEMA,
        "clips": {
            "both": len(pairs),
            "only_a": len(a) - len(pairs),
            "only_b": len(b) - len(pairs),
            "other_truth": sum(one.label != other.label for one, other in pairs),
        },
        "intervals": {"level": LEVEL, "resamples": resamples, "seed": seed},
        "figures": figures,
        **_tests(known[0], known[1], resamples, seed),
        "changed": [change for pair in pairs if (change := _change(*pair)) is not None],
    }


def _side_by_side(one: Figures, other: Figures, resamples: int, seed: int) -> dict[str, Any]:
    one, other = one.only(other.rows), other.only(one.rows)
    method = BCA if one.names == (ERROR,) else PERCENTILE
    return {
        name: {"a": finite(left), "b": finite(right), "clips": len(one.rows), "difference": interval.to_dict()}
        for (name, interval), left, right in zip(
            differences(one, other, resamples, seed, method=method).items(), one.values(), other.values(), strict=True
        )
    }


def _tests(one: Labelled, other: Labelled, resamples: int, seed: int) -> dict[str, Any]:
    """McNemar's test over all clips that have a truth in both runs, and accuracy by subset."""
    kept = [np.isin(side.rows, across.rows) for side, across in ((one, other), (other, one))]
    right = [side.answers.right[inside] for side, inside in zip((one, other), kept, strict=True)]
    if not kept[0].any():
        return {"mcnemar": None, "by_subset": {}}
    subsets = [record.subset for record, inside in zip(one.records, kept[0], strict=True) if inside]
    figures = [
        classification_figures(side.answers, side.rows).only(across.rows)
        for side, across in ((one, other), (other, one))
    ]
    by_subset = {}
    for name, places in places_by_subset(subsets).items():
        rows = figures[0].rows[places]
        accuracy = _side_by_side(figures[0].only(rows), figures[1].only(rows), resamples, seed)["accuracy"]
        by_subset[name] = {**accuracy, "mcnemar": mcnemar(right[0][places], right[1][places]).to_dict()}
    return {"mcnemar": mcnemar(*right).to_dict(), "by_subset": by_subset}


def _change(one: ClipRecord, other: ClipRecord) -> dict[str, Any] | None:
    """A clip whose answer changed."""
    if (one.predicted, one.failure) == (other.predicted, other.failure):
        return None
    was, now = (record.label is not None and record.predicted == record.label for record in (one, other))
    return {
        "name": one.name,
        "subset": one.subset,
        "label": one.label,
        "a": one.predicted or one.failure,
        "b": other.predicted or other.failure,
        "kind": CHANGED if was == now else GAINED if now else LOST,
    }
