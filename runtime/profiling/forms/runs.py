"""Runs as stretches of the profile's time."""

from __future__ import annotations

from collections.abc import Sequence

from mosear.runtime.profiling.record import Span


def whole_runs(spans: Sequence[Span]) -> list[Span]:
    """One span a run, from its first span's start to its last one's end, in the order of their starts."""
    members: dict[int, list[Span]] = {}
    for span in spans:
        members.setdefault(span.run, []).append(span)
    whole = []
    for run, found in members.items():
        start = min(span.start for span in found)
        whole.append(Span("run", run, start, max(span.start + span.duration for span in found) - start))
    return sorted(whole, key=lambda span: span.start)
