"""Power, temperature and clocks over the profile's time, with what ran when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mosear.runtime.profiling.forms.runs import whole_runs
from mosear.runtime.profiling.forms.words import short
from mosear.runtime.profiling.page.axes import Scale, along, curve, padded, thinned, upward
from mosear.runtime.profiling.record import Profile
from mosear.runtime.report.drawing import WIDTH, chart, key, rect, text
from mosear.runtime.report.markup import Markup, figures, joined, table, tag

_LEFT, _RIGHT, _TOP, _BOTTOM = 38.0, WIDTH - 8.0, 6.0, 118.0
_CURVES = 6
_KINDS = (("power_w", "Power", "W"), ("temperature_c", "Temperature", "°C"), ("clock_mhz", "Clocks", "MHz"))


@dataclass(frozen=True)
class Series:
    """One sensor's readings as (seconds, value), or those of several that always read alike."""

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def values(self) -> list[float]:
        """Without their times."""
        return [value for _, value in self.points]


@dataclass(frozen=True)
class Band:
    """A stretch of time in which runs followed each other: ``band`` measured ones, ``band-warm`` the warm-up."""

    kind: str
    start: float
    end: float


def timeline(profile: Profile) -> Markup:
    """A plot for each kind of sensor, and the sensors' figures while idle and busy."""
    kinds = [(title, unit, _series(profile, field)) for field, title, unit in _KINDS]
    kinds = [each for each in kinds if each[2]]
    heading = tag("h2", "Power, temperature and clocks")
    if not kinds:
        return tag("section", heading, tag("p", "Not measured: no sensor could be read."))
    times = [each.time for each in profile.timeline] + [span.start + span.duration for span in profile.spans]
    across = Scale(0.0, max(times) or 1.0, _LEFT, _RIGHT)
    found = bands(profile, (across.high - across.low) / (_RIGHT - _LEFT))
    plots = [_plot(title, unit, series, across, found) for title, unit, series in kinds]
    rows = [row for title, unit, series in kinds for row in _rows(title, unit, series, found)]
    head = ("", "sensor", "idle, mean", "measured runs, mean", "lowest", "highest", "readings")
    return tag(
        "section",
        heading,
        tag("div", plots, class_="charts"),
        figures("the numbers", table(head, rows, "wide")),
    )


def bands(profile: Profile, least: float) -> list[Band]:
    """When runs were going on; runs less than ``least`` seconds apart are one band."""
    found: list[Band] = []
    for run in whole_runs(profile.spans):
        kind, end = "band" if run.run >= 0 else "band-warm", run.start + run.duration
        last = found[-1] if found else None
        if last is not None and last.kind == kind and run.start - last.end < least:
            found[-1] = Band(kind, last.start, max(last.end, end))
        else:
            found.append(Band(kind, run.start, end))
    return found


def _series(profile: Profile, field: str) -> list[Series]:
    """By sensor; sensors whose readings are all alike, as the cores of one cluster, share a line."""
    points: dict[str, list[tuple[float, float]]] = {}
    for reading in profile.timeline:
        for sensor, value in getattr(reading, field).items():
            if math.isfinite(value):
                points.setdefault(sensor, []).append((reading.time, value))
    alike: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for sensor, readings in points.items():
        alike.setdefault(tuple(readings), []).append(sensor)
    return [Series(", ".join(names), readings) for readings, names in alike.items()]


def _plot(title: str, unit: str, series: Sequence[Series], across: Scale, found: Sequence[Band]) -> Markup:
    # Those that move most tell most; the others are among the numbers.
    shown = sorted(series, key=lambda each: min(each.values) - max(each.values))[:_CURVES]
    rise = Scale(*padded([value for each in shown for value in each.values]), _BOTTOM, _TOP)
    parts: list[str] = [
        rect(across(band.start), _TOP, max(across(band.end) - across(band.start), 0.6), _BOTTOM - _TOP, band.kind)
        for band in found
    ]
    parts += [*upward(rise, _LEFT, _RIGHT), *along(across, _BOTTOM, _BOTTOM)]
    for place, each in enumerate(shown):
        points = thinned([(across(time), rise(value)) for time, value in each.points])
        if len(points) == 1:
            points = [(points[0][0] - 2, points[0][1]), (points[0][0] + 2, points[0][1])]
        parts.append(curve(points, f"curve curve-{place}"))
    parts.append(text(_LEFT, _BOTTOM + 28, f"{unit} by seconds since the profile began", "soft"))
    names = {f"curve-{place}": _limited(each.name) for place, each in enumerate(shown)}
    names |= {band.kind: "measured runs" if band.kind == "band" else "warm-up" for band in found}
    more = f" {len(series) - len(shown)} more, which move less, are among the numbers." if len(series) > _CURVES else ""
    caption = joined(f"{title}, {unit}.{more} ", key(**names))
    return chart(caption, _BOTTOM + 34, f"{title} over time", parts)


def _limited(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:35]}…"


def _rows(title: str, unit: str, series: Sequence[Series], found: Sequence[Band]) -> list[tuple[str, ...]]:
    begins = min((band.start for band in found), default=math.inf)
    busy = [(band.start, band.end) for band in found if band.kind == "band"]
    rows: list[tuple[str, ...]] = []
    for each in series:
        before = [value for time, value in each.points if time < begins]
        during = [value for time, value in each.points if any(start <= time <= end for start, end in busy)]
        told = (_mean(before), _mean(during), short(min(each.values)), short(max(each.values)), str(len(each.values)))
        rows.append((f"{title}, {unit}", each.name, *told))
    return rows


def _mean(values: Sequence[float]) -> str:
    return short(sum(values) / len(values)) if values else "-"
