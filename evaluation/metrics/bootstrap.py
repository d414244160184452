"""Confidence intervals of any figure by resampling clips, alone or in pairs (Efron and Tibshirani, 1993).

Every figure here is a function of sums over clips: of confusion counts, of right answers by subset, of signed errors by
bin. So a resample is a row of weights, and all resamples are one matrix product of weights and features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95
PERCENTILE, BCA = "percentile", "bca"
_AT_ONCE = 1 << 22  # weights that are held at a time: 32 MB

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures that are functions of the same sums over clips.

    Attributes:
        names: one a figure.
        features: [n, k], what is summed.
        of: sums [..., k] → figures [..., len(names)], NaN where one is undefined.
        rows: [n], which clips of a run the features are of, ascending.
        strata: [n], numbers of groups whose sizes every resample keeps; None where all clips are drawn from together.
    """

    names: tuple[str, ...]
    features: Array
    of: Callable[[Array], Array]
    rows: Places
    strata: Places | None = None

    def values(self) -> Array:
        """[len(names)], as measured."""
        return self.of(self.features.sum(axis=0))

    def only(self, rows: Places) -> Figures:
        """The same of the clips that are also in ``rows``."""
        kept = np.isin(self.rows, rows)
        strata = None if self.strata is None else self.strata[kept]
        return Figures(self.names, self.features[kept], self.of, self.rows[kept], strata)


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval, each None where it is undefined.

    Attributes:
        value: as measured.
        low, high: ends of the interval.
        method: what it was made by.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return dict(vars(self))


def intervals(
    figures: Figures, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL, method: str = PERCENTILE
) -> dict[str, Interval]:
    """By name, each figure with its interval.

    Args:
        figures: what is measured.
        resamples: how many.
        seed: of the draws; the same seed gives the same interval.
        level: share of samples whose interval is to hold the truth.
        method: ``percentile``: the quantiles of the resampled figures. ``bca``: those quantiles corrected for bias and
            for skewness (Efron, JASA 1987).
    """
    drawn = [figures.of(weights @ figures.features) for weights in _draws(figures, resamples, seed)]
    # What each figure would be without one clip or the other.
    without = figures.of(figures.features.sum(axis=0) - figures.features) if method == BCA else None
    return _named(figures.names, figures.values(), np.concatenate(drawn), without, level, method)


def differences(
    one: Figures,
    other: Figures,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
    method: str = PERCENTILE,
) -> dict[str, Interval]:
    """By name, ``other`` minus ``one`` on the same clips, which are drawn together.

    Args:
        one, other: the same figures of two runs, whose rows are clips that both have in the same order. Only the clips
            that both figures rest on are counted.
        resamples, seed, level, method: as for ``intervals``.

    Raises:
        ValueError: they are not the same figures.
    """
    if one.names != other.names:
        raise ValueError(f"{one.names} and {other.names} are not the same figures")
    one, other = one.only(other.rows), other.only(one.rows)
    drawn = [
        other.of(weights @ other.features) - one.of(weights @ one.features) for weights in _draws(one, resamples, seed)
    ]
    without = None
    if method == BCA:
        sides = [side.of(side.features.sum(axis=0) - side.features) for side in (one, other)]
        without = sides[1] - sides[0]
    return _named(one.names, other.values() - one.values(), np.concatenate(drawn), without, level, method)


def _draws(figures: Figures, resamples: int, seed: int) -> Iterator[Array]:
    """Weights [r, n]: how often each clip is in each of r resamples, until there are ``resamples`` of them.

    They depend on how many clips there are and on their strata alone: all figures of a run see the same resamples, and
    two runs that are exchanged have exchanged differences.
    """
    count = len(figures.features)
    random = np.random.default_rng(seed)
    strata = np.zeros(count, np.int64) if figures.strata is None else figures.strata
    groups = [np.flatnonzero(strata == number) for number in np.unique(strata)]
    step = max(1, min(resamples, _AT_ONCE // max(count, 1)))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        weights = np.zeros((rows, count))
        for members in groups:
            size = len(members)
            drawn = random.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
            weights[:, members] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield weights


def _named(
    names: tuple[str, ...], values: Array, drawn: Array, without: Array | None, level: float, method: str
) -> dict[str, Interval]:
    found = {}
    for place, name in enumerate(names):
        known = drawn[:, place][np.isfinite(drawn[:, place])]
        value = float(values[place])
        if not math.isfinite(value) or not len(known):
            found[name] = Interval(None, None, None, method)
            continue
        tails = [(1 - level) / 2, (1 + level) / 2]
        if without is not None:
            tails = _corrected(tails, value, known, without[:, place])
        low, high = np.quantile(known, tails)
        found[name] = Interval(value, float(low), float(high), method)
    return found


def _corrected(tails: list[float], value: float, drawn: Array, without: Array) -> list[float]:
    """The quantiles to read the interval at, after Efron (1987), equations 2.3 and 6.6."""
    normal = NormalDist()
    # A figure that takes few values ties with the measured one often; half of those are taken to lie below.
    below = float((drawn < value).mean() + (drawn == value).mean() / 2)
    bias = normal.inv_cdf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    known = without[np.isfinite(without)]
    pull = known.mean() - known if len(known) else known
    spread = float((pull**2).sum()) ** 1.5
    skew = float((pull**3).sum()) / (6 * spread) if spread > 0 else 0.0
    found = []
    for tail in tails:
        at = bias + normal.inv_cdf(tail)
        found.append(normal.cdf(bias + at / (1 - skew * at)))
    return found


def finite(value: float) -> float | None:
    """A figure as JSON has it: None where it is undefined."""
    return float(value) if math.isfinite(value) else None
