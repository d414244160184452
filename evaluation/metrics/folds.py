"""Figures by fold or by speaker, their mean and their standard deviation, as DFEW, MAFW and RAVDESS are reported."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.metrics.classification import NAMES, Answers, classification_figures


def by_group(answers: Answers, groups: Sequence[Hashable | None]) -> dict[str, Any] | None:
    """Each group's figures, and their mean and standard deviation over the groups.

    Args:
        answers: of n clips.
        groups: [n], fold or speaker of each; clips with None are in no group.

    Returns:
        None when no clip is in a group. Else ``groups`` (by name: clips and ``NAMES``), ``mean``, in which every group
        counts the same however many clips it has, and ``std``, with n − 1 in the denominator and None for one group.
    """
    names = sorted({group for group in groups if group is not None}, key=_order)
    if not names:
        return None
    whole = classification_figures(answers, np.arange(len(groups)))
    table = []
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        inside = np.flatnonzero([group == name for group in groups])
        values = whole.only(inside).values()
        table.append(values)
        rows[str(name)] = {"clips": len(inside), **_named(values)}
    figures = np.array(table)
    std = _named(figures.std(axis=0, ddof=1)) if len(names) > 1 else dict.fromkeys(NAMES)
    return {"groups": rows, "mean": _named(figures.mean(axis=0)), "std": std}


def _named(values: NDArray[np.float64]) -> dict[str, float | None]:
    return dict(zip(NAMES, values.tolist(), strict=True))


def _order(name: Hashable) -> tuple[bool, int, str]:
    """Numbers by their size, then words."""
    text = str(name)
    return (not text.isdecimal(), int(text) if text.isdecimal() else 0, text)
