"""Two contenders compared: the ratio of their times with a confidence interval, lest noise is taken for a gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SCHEMA = "mosear.comparison/1"

FASTER, SLOWER, UNSEEN = "faster", "slower", "no difference seen"
"""Verdicts on B, compared with A."""

LEVEL = 0.95
RESAMPLES = 2000
FEWEST = 6
"""With fewer values a bootstrap interval is far too narrow, and no verdict is given but ``UNSEEN``."""

_SEED = 0
_DRAWN_AT_ONCE = 1_000_000
_MORE_IS_BETTER = frozenset({"tokens/s"})


@dataclass(frozen=True)
class Contrast:
    """One metric of both contenders.

    Attributes:
        name: the metric, as in ``Profile.samples``.
        unit: of ``a`` and ``b``.
        a: median of A.
        b: median of B.
        ratio: B over A: of pairs the median of their ratios, else the ratio of the medians.
        low: lower end of the ratio's interval; None with fewer than ``FEWEST`` values a side.
        high: upper end, likewise.
        pairs: how many pairs there were; None when the two were measured apart.
        verdict: ``FASTER``, ``SLOWER`` or ``UNSEEN``, of B compared with A: a difference is seen when the interval
            leaves out 1.
    """

    name: str
    unit: str
    a: float
    b: float
    ratio: float
    low: float | None
    high: float | None
    pairs: int | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What two bundles, or two saved profiles, have for and against each other.

    Attributes:
        kind: ``bundles``, interleaved in one run, or ``profiles``, measured apart.
        a: name, path, sha256, target, precision, backend of A; of a saved profile also ``profile``, its file.
        b: of B.
        clip: what both were measured on; of saved profiles A's clip, and B's too where it is another.
        settings: of the runs; of saved profiles those of A.
        metrics: in the order of a profile's.
        method: how ratio and interval were found, in one line.
        context: facts of the machine, as in a profile; of saved profiles those of A.
        warnings: what makes the two hard to compare, a line each.
        created: RFC 3339, UTC.
    """

    kind: str
    a: dict[str, Any]
    b: dict[str, Any]
    clip: str
    settings: dict[str, Any]
    metrics: list[Contrast]
    method: str
    context: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    created: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}


def contrast_pairs(name: str, unit: str, pairs: Sequence[tuple[float, float]], seed: int = _SEED) -> Contrast | None:
    """A metric measured in pairs: the median of B / A pair by pair, and the percentile bootstrap of that median.

    Whatever slows down both runs of a pair (heat, another program) falls out of their ratio.

    Args:
        name: the metric.
        unit: of the values.
        pairs: A's and B's value; pairs with a value that is no positive finite number are left out.
        seed: of the bootstrap.

    Returns:
        None when no pair is left.

    The percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    values = np.array(pairs, np.float64).reshape(-1, 2)
    values = values[(np.isfinite(values) & (values > 0)).all(axis=1)]
    if not len(values):
        return None
    ratios = values[:, 1] / values[:, 0]
    medians = _resampled_medians(ratios, np.random.default_rng(seed))
    a, b = (float(each) for each in np.median(values, axis=0))
    low, high = _interval(medians) if len(ratios) >= FEWEST else (None, None)
    return Contrast(name, unit, a, b, float(np.median(ratios)), low, high, len(ratios), _verdict(unit, low, high))


def contrast_apart(name: str, unit: str, a: Sequence[float], b: Sequence[float], seed: int = _SEED) -> Contrast | None:
    """A metric measured apart: the ratio of the medians, and its percentile bootstrap with each side drawn alone.

    Args:
        name: the metric.
        unit: of the values.
        a: values of A; those that are no positive finite numbers are left out.
        b: values of B, likewise.
        seed: of the bootstrap.

    Returns:
        None when a side has no value left.
    """
    first, second = _usable(a), _usable(b)
    if not len(first) or not len(second):
        return None
    random = np.random.default_rng(seed)
    ratios = _resampled_medians(second, random) / _resampled_medians(first, random)
    middle_a, middle_b = float(np.median(first)), float(np.median(second))
    low, high = _interval(ratios) if min(len(first), len(second)) >= FEWEST else (None, None)
    return Contrast(name, unit, middle_a, middle_b, middle_b / middle_a, low, high, None, _verdict(unit, low, high))


def contrasts_of_pairs(
    a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], units: Mapping[str, str]
) -> list[Contrast]:
    """A contrast a metric that both have, from samples whose places are the pairs; those of unequal length left out."""
    shared = [name for name in a if len(a[name]) == len(b.get(name, ()))]
    found = (contrast_pairs(name, units[name], list(zip(a[name], b[name], strict=True))) for name in shared)
    return [each for each in found if each is not None]


def _usable(values: Sequence[float]) -> np.ndarray:
    array = np.array(values, np.float64)
    return array[np.isfinite(array) & (array > 0)]


def _resampled_medians(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[RESAMPLES], the medians of as many draws of n from ``values`` [n] with replacement."""
    size = len(values)
    # A long run would take gigabytes if all were drawn at once.
    rows = max(1, min(RESAMPLES, _DRAWN_AT_ONCE // size))
    counts = [min(rows, RESAMPLES - done) for done in range(0, RESAMPLES, rows)]
    return np.concatenate([np.median(values[random.integers(0, size, (count, size))], axis=1) for count in counts])


def _interval(statistics: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(statistics, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _verdict(unit: str, low: float | None, high: float | None) -> str:
    if low is None or high is None or low <= 1 <= high:
        return UNSEEN
    return FASTER if (low > 1) == (unit in _MORE_IS_BETTER) else SLOWER
