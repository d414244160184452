"""What a metric's samples come to, in the shape that AIPerf's exports have."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)


@dataclass(frozen=True)
class Statistics:
    """Figures of one metric, all in its unit.

    Attributes:
        unit: ``ms``, ``tokens/s``, ``ratio``, ``bytes``, ``J``, ``W`` or ``windows``.
        avg: the mean, or the value itself of what has no distribution (a peak of memory, a count).
        min, max, p1 to p99: None without a distribution. Percentiles are interpolated linearly between the two
            samples next to their rank (NumPy's default, type 7 of Hyndman and Fan 1996).
        std: the sample's standard deviation, with n - 1; None of a single sample, of which nothing is known to vary.
        count: samples; None without a distribution.
    """

    unit: str
    avg: float
    min: float | None = None
    max: float | None = None
    p1: float | None = None
    p5: float | None = None
    p10: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    std: float | None = None
    count: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As AIPerf writes it: what does not apply is left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


COLUMNS = tuple(each.name for each in dataclasses.fields(Statistics))
"""The names of the figures, ``unit`` first, ``count`` last."""


def finite(samples: Iterable[float | None]) -> list[float]:
    """The samples that are numbers, in their order; a metric's other samples stand for what could not be measured."""
    return [float(value) for value in samples if value is not None and math.isfinite(value)]


def statistics(samples: Iterable[float | None], unit: str) -> Statistics | None:
    """Figures of the samples that are finite numbers, which ``count`` counts; None when there are none."""
    values = np.array(finite(samples), dtype=np.float64)
    if not values.size:
        return None
    points = np.percentile(values, PERCENTILES)
    return Statistics(
        unit=unit,
        avg=float(values.mean()),
        min=float(values.min()),
        max=float(values.max()),
        **{f"p{at}": float(point) for at, point in zip(PERCENTILES, points, strict=True)},
        std=float(values.std(ddof=1)) if values.size > 1 else None,
        count=int(values.size),
    )
