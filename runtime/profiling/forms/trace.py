"""A profile in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open.

The format: "Trace Event Format", Duca and Sinclair, 2016: complete events (X), metadata (M) and counters (C) in a JSON
object, times in microseconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from mosear.runtime.errors import one_line
from mosear.runtime.profiling.forms.rows import facts
from mosear.runtime.profiling.forms.runs import whole_runs
from mosear.runtime.profiling.forms.words import title
from mosear.runtime.profiling.record import END_TO_END, Profile, Span

_PROCESS = 1
_COUNTERS = (("power_w", "power", "W"), ("temperature_c", "temperature", "°C"), ("clock_mhz", "clock", "MHz"))


def to_trace(profile: Profile) -> str:
    """The trace's JSON: a track of runs, one of stages (further ones where they overlap), a counter a sensor."""
    tracks = [
        *(("runs", lane) for lane in _lanes(whole_runs(profile.spans))),
        *(("stages", lane) for lane in _lanes([span for span in profile.spans if span.name != END_TO_END])),
    ]
    events = [_name("process_name", f"mosear profile: {one_line(profile.bundle.get('name', ''))}")]
    for thread, (name, lane) in enumerate(tracks, 1):
        events += _thread(thread, name)
        events += [_complete(span, thread, _run(span) if name == "runs" else title(span.name)) for span in lane]
    events += _counters(profile)
    content = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": facts(profile)}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _name(kind: str, name: str, thread: int = 0) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": _PROCESS, "tid": thread, "ts": 0, "args": {"name": name}}


def _thread(thread: int, name: str) -> list[dict[str, Any]]:
    order = _name("thread_sort_index", name, thread)
    return [_name("thread_name", name, thread), {**order, "args": {"sort_index": thread}}]


def _nanoseconds(span: Span) -> tuple[int, int]:
    """Start and end. Both are rounded, not the duration: so no child outlasts its parent by a rounding."""
    return round(span.start * 1e9), round((span.start + span.duration) * 1e9)


def _complete(span: Span, thread: int, name: str) -> dict[str, Any]:
    start, end = _nanoseconds(span)
    return {
        "ph": "X",
        "name": name,
        "cat": "run" if span.run >= 0 else "warm-up",
        "pid": _PROCESS,
        "tid": thread,
        "ts": start / 1000,
        "dur": max(end - start, 0) / 1000,
        "args": {"run": span.run},
    }


def _run(span: Span) -> str:
    return f"run {span.run}" if span.run >= 0 else f"warm-up {-span.run}"


def _lanes(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans on tracks: on one track they lie within or behind each other, which is all that the format can show."""
    lanes: list[list[Span]] = []
    open_ends: list[list[int]] = []
    for span in sorted(spans, key=lambda each: (_nanoseconds(each)[0], -_nanoseconds(each)[1])):
        start, end = _nanoseconds(span)
        for lane, ends in zip(lanes, open_ends, strict=True):
            while ends and ends[-1] <= start:
                ends.pop()
            if not ends or end <= ends[-1]:
                lane.append(span)
                ends.append(end)
                break
        else:
            lanes.append([span])
            open_ends.append([end])
    return lanes


def _counters(profile: Profile) -> Iterator[dict[str, Any]]:
    """An event a sensor and reading: sensors in one event would be drawn on top of each other, as parts of a sum."""
    for reading in profile.timeline:
        for field, kind, unit in _COUNTERS:
            for sensor, value in getattr(reading, field).items():
                if math.isfinite(value):
                    name = f"{kind} {one_line(sensor)}"
                    at = round(reading.time * 1e9) / 1000
                    yield {"ph": "C", "name": name, "pid": _PROCESS, "tid": 0, "ts": at, "args": {unit: value}}
