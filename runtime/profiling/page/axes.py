"""Scales and axes of plots: round numbers on them, and lines that stay small however long the run was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mosear.runtime.profiling.forms.words import inline
from mosear.runtime.report.drawing import line, text
from mosear.runtime.report.markup import Markup, tag


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``; what lies outside is put on the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of ``value``."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """About ``count`` round values from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten.

    With ``whole`` no step is smaller than 1: for what is counted.
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [step * place for place in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float]) -> tuple[float, float]:
    """Limits a little beyond the values, never of no width."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def upward(scale: Scale, left: float, right: float, count: int = 4, whole: bool = False) -> list[Markup]:
    """Rules across the plot with their values left of it."""
    parts = []
    for value in ticks(scale.low, scale.high, count, whole):
        parts.append(line(left, scale(value), right, scale(value), "rule"))
        parts.append(text(left - 4, scale(value) + 4, _number(value), "soft end"))
    return parts


def along(scale: Scale, top: float, bottom: float, count: int = 5, whole: bool = False) -> list[Markup]:
    """Short strokes below the plot with their values."""
    parts = []
    for value in ticks(scale.low, scale.high, count, whole):
        parts.append(line(scale(value), top, scale(value), bottom + 3, "rule"))
        parts.append(text(scale(value), bottom + 14, _number(value), "soft mid"))
    return parts


def curve(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=path, class_=class_)


def thinned(points: Sequence[tuple[float, float]], width: float = 1.0) -> list[tuple[float, float]]:
    """At most the lowest and the highest point of each ``width`` of x: peaks stay, the line stays short."""
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        columns.setdefault(math.floor(point[0] / width), []).append(point)
    kept: list[tuple[float, float]] = []
    for column in columns.values():
        heights = [y for _, y in column]
        kept += [column[at] for at in sorted({heights.index(min(heights)), heights.index(max(heights))})]
    return kept


def _number(value: float) -> str:
    return inline(float(value))
