"""The trace by the rules of the Trace Event Format."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_examples import full_profile

from mosear.runtime.profiling.forms.trace import to_trace
from mosear.runtime.profiling.record import Profile, Reading, Span


def events(profile: Profile) -> list[dict[str, Any]]:
    """The trace's events, each held to the format: phases, numbers, names of tracks, nesting on a track."""
    content = json.loads(to_trace(profile), parse_constant=pytest.fail)
    found: list[dict[str, Any]] = content["traceEvents"]
    assert content["displayTimeUnit"] in ("ms", "ns")
    for event in found:
        assert event["ph"] in ("X", "M", "C")
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        assert event["name"]
        assert isinstance(event["ts"], (int, float))
        if event["ph"] == "X":
            assert event["dur"] >= 0
        if event["ph"] == "C":
            assert event["args"]
            assert all(isinstance(value, (int, float)) for value in event["args"].values())
    named = {event["tid"] for event in found if event["name"] == "thread_name"}
    slices = [event for event in found if event["ph"] == "X"]
    assert {event["tid"] for event in slices} <= named
    for track in named:
        assert_nested([event for event in slices if event["tid"] == track])
    return found


def nanoseconds(event: dict[str, Any]) -> tuple[int, int]:
    return round(event["ts"] * 1000), round(event["ts"] * 1000) + round(event["dur"] * 1000)


def assert_nested(slices: list[dict[str, Any]]) -> None:
    """Complete events of one track may only lie behind or within each other."""
    open_ends: list[int] = []
    for start, end in sorted((nanoseconds(event) for event in slices), key=lambda each: (each[0], -each[1])):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1]
        open_ends.append(end)


def test_runs_and_stages_have_a_track_each_and_sensors_a_counter() -> None:
    profile = full_profile(5, warmup=2)
    found = events(profile)
    tracks = {event["tid"]: event["args"]["name"] for event in found if event["name"] == "thread_name"}
    assert list(tracks.values()) == ["runs", "stages"]
    by_track = {name: [e for e in found if e["ph"] == "X" and e["tid"] == tid] for tid, name in tracks.items()}
    assert [event["name"] for event in by_track["runs"]] == ["warm-up 2", "warm-up 1", *(f"run {n}" for n in range(5))]
    assert len(by_track["stages"]) == len(profile.spans)
    first = next(event for event in by_track["stages"] if event["args"]["run"] == 0)
    span = next(span for span in profile.spans if span.run == 0)
    assert first["ts"] == pytest.approx(span.start * 1e6, abs=1e-3)
    assert first["dur"] == pytest.approx(span.duration * 1e6, abs=2e-3)
    counters = {event["name"] for event in found if event["ph"] == "C"}
    assert {"power VDD_IN", "temperature cpu", "clock gpu", "clock cpu5"} <= counters
    power = [event for event in found if event["name"] == "power VDD_IN"]
    assert [event["args"] for event in power] == [{"W": each.power_w["VDD_IN"]} for each in profile.timeline]
    assert [event["ts"] for event in power] == pytest.approx([each.time * 1e6 for each in profile.timeline])
    assert {event["cat"] for event in by_track["runs"]} == {"run", "warm-up"}


SPANS = st.builds(
    Span, st.sampled_from(["vision", "prefill", "end_to_end"]), st.integers(-2, 5), st.floats(0, 20), st.floats(0, 5)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SPANS, max_size=25))
def test_any_spans_make_a_valid_trace_and_none_is_lost(spans: list[Span]) -> None:
    found = events(dataclasses.replace(full_profile(1), spans=spans, timeline=[]))
    tracks = {event["tid"]: event["args"]["name"] for event in found if event["name"] == "thread_name"}
    names = [tracks[event["tid"]] for event in found if event["ph"] == "X"]
    assert names.count("stages") == sum(span.name != "end_to_end" for span in spans)
    assert names.count("runs") == len({span.run for span in spans})


def test_stages_side_by_side_go_to_tracks_of_their_own() -> None:
    spans = [Span("vision", 0, 0.0, 2.0), Span("audio", 0, 1.0, 2.0), Span("prefill", 0, 3.0, 1.0)]
    found = events(dataclasses.replace(full_profile(1), spans=spans, timeline=[]))
    tracks = {event["name"]: event["tid"] for event in found if event["ph"] == "X"}
    assert tracks == {"run 0": 1, "vision encoder": 2, "audio encoder": 3, "prefill": 2}


def test_a_child_does_not_outlast_its_parent_by_a_rounding() -> None:
    """0.1 + 0.2 is not 0.3: start and duration rounded apart would end a nanosecond late."""
    spans = [Span("prefill", 0, 0.1000000004, 0.2000000004), Span("vision", 0, 0.2000000003, 0.1000000005)]
    found = events(dataclasses.replace(full_profile(1), spans=spans))
    assert {event["tid"] for event in found if event["ph"] == "X"} == {1, 2}


def test_readings_that_are_not_numbers_are_left_out() -> None:
    readings = [Reading(0.0, {"VDD_IN": math.nan}), Reading(1.0, {"VDD_IN": 5.0})]
    found = events(dataclasses.replace(full_profile(1), timeline=readings))
    assert [event["args"] for event in found if event["ph"] == "C"] == [{"W": 5.0}]


def test_a_profile_without_spans_and_readings_is_a_trace_still() -> None:
    found = events(dataclasses.replace(full_profile(1), spans=[], timeline=[]))
    assert {event["ph"] for event in found} == {"M"}
