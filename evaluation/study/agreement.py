"""How far raters agree: Krippendorff's alpha for nominal data (Krippendorff, Content Analysis, 2018)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.study.rates import Array, clip_weights, quantiles
from mosear.runtime.errors import Failed


def agreement(runs: Array, resamples: int, seed: int, strata: NDArray[np.int64]) -> dict[str, Any]:
    """Alpha over the three choices A, B, tie, with an interval from resampled clips.

    Args:
        runs: [clips, raters, 3], 0 or 1.
        resamples, seed, strata: as for ``shares``.

    Returns:
        ``alpha`` (1: raters agree, 0: as by chance), ``interval``, ``clips`` with two raters or more, and ``reason``:
        why there is no alpha, or None.

    Raises:
        Failed: the package krippendorff is not installed.
    """
    counts = runs.sum(axis=1)
    shared = counts.sum(axis=1) >= 2
    counts, strata = counts[shared], strata[shared]
    reason = _why_none(runs, counts)
    if reason is not None:
        return {"alpha": None, "interval": None, "clips": len(counts), "reason": reason}
    weights = clip_weights(np.random.default_rng(seed), resamples, strata)
    drawn = np.array([_alpha(np.repeat(counts, row.astype(np.int64), axis=0)) for row in weights])
    return {"alpha": _alpha(counts), "interval": quantiles(drawn), "clips": len(counts), "reason": None}


def _why_none(runs: Array, counts: Array) -> str | None:
    if runs.any(axis=(0, 2)).sum() < 2:
        return "there is one rater"
    if not len(counts):
        return "no clip was judged by two raters"
    if (counts.sum(axis=0) > 0).sum() < 2:
        return "all raters made the same choice everywhere"
    return None


def _alpha(counts: Array) -> float:
    """Alpha of choices counted by clip, [clips, 3]; NaN where only one kind of choice was made."""
    try:
        import krippendorff
    except ImportError as error:
        raise Failed(f"alpha needs the package krippendorff ({error})", "pip install 'mosear[eval]'") from error
    if (counts.sum(axis=0) > 0).sum() < 2:
        return float("nan")
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
