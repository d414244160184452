"""How the latency is distributed, and whether it drifts from run to run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mosear.runtime.profiling.forms.statistics import Statistics, finite, statistics
from mosear.runtime.profiling.forms.words import short, title
from mosear.runtime.profiling.page.axes import Scale, along, curve, padded, thinned, upward
from mosear.runtime.profiling.record import END_TO_END, Profile
from mosear.runtime.report.drawing import WIDTH, chart, key, line, rect, text
from mosear.runtime.report.markup import Markup, joined, tag

_SHOWN = (END_TO_END, "latency", "inter_token_latency")
_MARKS = ("p50", "p90", "p99")
_LEFT, _RIGHT = 38.0, WIDTH - 8.0
_MOST_BINS = 40
_DOTS = 300


def distribution(profile: Profile) -> Markup:
    """Histogram with the share of runs below, and all runs in their order, of the whole and of what a token takes."""
    parts: list[Markup] = []
    for metric in _SHOWN:
        values, unit = finite(profile.samples.get(metric, ())), profile.units.get(metric, "ms")
        figures = statistics(values, unit)
        if figures is None:
            continue
        name, what = title(metric, unit).capitalize(), "tokens" if metric == "inter_token_latency" else "runs"
        parts.append(tag("h3", f"{name}, {unit}"))
        if len(values) == 1:
            parts.append(
                tag("p", f"One of the {what} only, {short(values[0])} {unit}: no distribution.", class_="soft")
            )
            continue
        note = _tail(values, figures, what)
        parts.append(tag("div", _histogram(values, figures, what), _order(values, figures, what), class_="charts"))
        parts.append(tag("p", note, class_="soft") if note else Markup())
    return tag("section", tag("h2", "Latency"), parts) if parts else Markup()


def _limit(values: Sequence[float], figures: Statistics) -> float:
    """Where the axis ends: the few that took more than twice as long as most must not squeeze these into one bar."""
    return max(value for value in values if value <= 2 * (figures.p90 or 0.0) or value == figures.min)


def _tail(values: Sequence[float], figures: Statistics, what: str) -> str:
    limit = _limit(values, figures)
    beyond = [value for value in values if value > limit]
    if not beyond:
        return ""
    return f"{len(beyond)} of {len(values)} {what} took longer than the axis shows, up to {short(max(beyond))}."


def _histogram(values: Sequence[float], figures: Statistics, what: str) -> Markup:
    limit = _limit(values, figures)
    shown = np.sort([value for value in values if value <= limit])
    counts, edges = np.histogram(shown, bins=min(max(math.ceil(len(shown) ** 0.5), 5), _MOST_BINS))
    top, bottom = 16.0, 132.0
    across = Scale(*padded([figures.min or 0.0, limit]), _LEFT, _RIGHT)
    most = int(counts.max())
    rise = Scale(0.0, float(most), bottom, top)
    parts: list[str] = [*upward(rise, _LEFT, _RIGHT, whole=True), *along(across, bottom, bottom, 4)]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            spot = across(float(start)), rise(float(count))
            parts.append(rect(*spot, max(across(float(end)) - spot[0] - 0.6, 1.0), bottom - spot[1], "a"))
    # The share of runs that took no longer, from none at the bottom to all at the top.
    share = Scale(0.0, float(len(values)), bottom, top)
    steps = [(across(float(value)), share(place + 1.0)) for place, value in enumerate(shown)]
    parts.append(curve(thinned([(_LEFT, bottom), *steps], 2.0), "curve curve-1"))
    parts += _marks(figures, across, top, bottom)
    parts.append(text(_LEFT, bottom + 28, f"{what} by {figures.unit}, {len(values)} in all", "soft"))
    caption = joined("How many took how long.", " ", key(a=what, **{"curve-1": "share that took no longer"}))
    return chart(caption, bottom + 34, f"distribution over {what}", parts)


def _marks(figures: Statistics, across: Scale, top: float, bottom: float) -> list[str]:
    parts: list[str] = []
    taken = -99.0
    for name in _MARKS:
        x = across(getattr(figures, name))
        parts.append(line(x, top, x, bottom, "mark"))
        # Names that would be printed over each other are left out; the table has all figures.
        if x - taken >= 24:
            parts.append(text(min(x, _RIGHT - 8), top - 5, name, "soft mid"))
            taken = x
    return parts


def _order(values: Sequence[float], figures: Statistics, what: str) -> Markup:
    low, high = padded([figures.min or 0.0, _limit(values, figures)])
    top, bottom = 16.0, 132.0
    across, rise = Scale(0.0, len(values) - 1.0, _LEFT + 4, _RIGHT - 4), Scale(low, high, bottom, top)
    parts: list[str] = [*upward(rise, _LEFT, _RIGHT), *along(across, bottom, bottom, whole=True)]
    points = [(across(float(place)), rise(value)) for place, value in enumerate(values)]
    if len(points) <= _DOTS:
        parts += [tag("circle", cx=round(x, 1), cy=round(y, 1), r=2, class_="a") for x, y in points]
        told = f"All {what} in their order."
    else:
        parts.append(curve(thinned(points), "curve curve-0"))
        told = f"All {what} in their order; where many fall on one spot, the shortest and the longest."
    parts.append(line(_LEFT, rise(figures.p50 or 0.0), _RIGHT, rise(figures.p50 or 0.0), "mark"))
    parts.append(text(_LEFT, bottom + 28, f"{figures.unit} by number; the line is the median", "soft"))
    return chart(told, bottom + 34, f"{what} in their order", parts)
