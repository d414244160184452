"""Preference rates and their intervals, when a rater judges many clips and a clip is judged by many raters.

Judgements of one clip resemble one another, and so do those of one rater: counted one by one they would give intervals
that are too narrow. So clips are resampled whole; and for statements about other raters than these, raters are too,
both at once (the pigeonhole bootstrap: Owen, Annals of Applied Statistics, 2007; it errs on the wide side).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mosear.runtime.errors import Failed

LEVEL = 0.95
_NORMAL = 1.959963984540054
Array = NDArray[np.float64]


def shares(choices: Array, resamples: int, seed: int, strata: NDArray[np.int64]) -> list[dict[str, Any]]:
    """For each kind of choice its share of all judgements, with 95 % intervals.

    Args:
        choices: [clips, raters, kinds], 0 or 1.
        resamples: of each bootstrap.
        seed: of their draws.
        strata: [clips], numbers of the groups whose sizes resamples of clips keep.

    Returns:
        For each kind ``count``, ``judgements``, ``share``; ``over_clips``: interval for these raters and other clips;
        ``over_clips_and_raters``: for other raters too, None with a single rater; ``wilson``: as if all judgements were
        independent (Wilson, JASA, 1927), for reference. Shares and intervals are None where nothing was judged.
    """
    judged = choices.any(axis=2)
    choices = choices[:, judged.any(axis=0)]
    total = int(judged.sum())
    counts = choices.sum(axis=(0, 1))
    over_clips = _bootstrap(choices, resamples, seed, strata, raters_too=False)
    over_both = _bootstrap(choices, resamples, seed, strata, raters_too=True) if choices.shape[1] > 1 else None
    return [
        {
            "count": int(count),
            "judgements": total,
            "share": float(count / total) if total else None,
            "over_clips": over_clips[kind],
            "over_clips_and_raters": over_both[kind] if over_both else None,
            "wilson": wilson(int(count), total),
        }
        for kind, count in enumerate(counts)
    ]


def wilson(count: int, total: int) -> list[float] | None:
    """Wilson's score interval of a share, 95 %; None when there is nothing to share."""
    if not total:
        return None
    share, z2 = count / total, _NORMAL**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _NORMAL / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return [max(0.0, middle - half), min(1.0, middle + half)]


def sign_test(runs: Array) -> dict[str, Any]:
    """Whether clips favour one run: the two-sided sign test, each clip counted once.

    A clip goes to the run that more of its raters chose; clips on which they are even, by ties or one against one, are
    left out. Counting judgements in place of clips would take raters who agree for so many independent clips.

    Args:
        runs: [clips, raters, 3] for A, B, tie.

    Returns:
        ``for_a``, ``for_b``, ``even`` and ``p_value``, which is None when no clip favours either run.

    Raises:
        Failed: SciPy is not installed.
    """
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise Failed(f"the sign test needs SciPy ({error})", "pip install 'mosear[eval]'") from error
    votes = runs[runs.any(axis=(1, 2))].sum(axis=1)
    for_a, for_b = int((votes[:, 0] > votes[:, 1]).sum()), int((votes[:, 0] < votes[:, 1]).sum())
    decided = for_a + for_b
    p_value = float(binomtest(for_a, decided).pvalue) if decided else None
    return {"for_a": for_a, "for_b": for_b, "even": len(votes) - decided, "p_value": p_value}


def clip_weights(random: np.random.Generator, resamples: int, strata: NDArray[np.int64]) -> Array:
    """[resamples, clips]: how often each clip is drawn when every stratum is resampled within itself."""
    weights = np.zeros((resamples, len(strata)))
    for number in np.unique(strata):
        members = np.flatnonzero(strata == number)
        size = len(members)
        weights[:, members] = random.multinomial(size, np.full(size, 1 / size), resamples)
    return weights


def quantiles(drawn: Array) -> list[float] | None:
    """The ends of the middle 95 %, of draws that are defined; None without any."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def _bootstrap(
    choices: Array, resamples: int, seed: int, strata: NDArray[np.int64], raters_too: bool
) -> list[list[float] | None]:
    """For each kind of choice the interval of its share."""
    clips, raters, kinds = choices.shape
    random = np.random.default_rng(seed)
    sums = (clip_weights(random, resamples, strata) @ choices.reshape(clips, raters * kinds)).reshape(
        resamples, raters, kinds
    )
    if raters_too:
        sums *= random.multinomial(raters, np.full(raters, 1 / raters), resamples)[:, :, None]
    drawn = sums.sum(axis=1)
    with np.errstate(invalid="ignore"):
        drawn = drawn / drawn.sum(axis=1, keepdims=True)
    return [quantiles(drawn[:, kind]) for kind in range(kinds)]
