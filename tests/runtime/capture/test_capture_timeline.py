"""Stamps of a device against its true times, which only the test knows."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.capture.timeline import Timeline

JITTER = st.lists(st.floats(0, 0.3), min_size=20, max_size=120)
OFFSET = st.floats(-1e6, 1e6)


def _arrivals(jitter: list[float], period: float, start: float = 10.0) -> list[tuple[float, float]]:
    """True time and arrival of each, arrivals ascending as they are for one reader."""
    pairs, arrival = [], -math.inf
    for index, late in enumerate(jitter):
        true = start + index * period
        arrival = max(arrival, true + late)
        pairs.append((true, arrival))
    return pairs


@given(JITTER, OFFSET, st.floats(0.01, 0.2))
@settings(deadline=None)
def test_jitter_of_arrival_does_not_show(jitter: list[float], offset: float, period: float) -> None:
    """After the least delayed arrival every mapped time is off by that delay and nothing else."""
    timeline = Timeline()
    pairs = _arrivals(jitter, period)
    least = math.inf
    for true, arrival in pairs:
        least = min(least, arrival - true)
        mapped = timeline.map(true - offset, arrival)
        assert mapped <= arrival + 1e-6
        assert mapped >= true - 1e-6
        if arrival <= pairs[0][1] + 29:
            last_clamped = mapped - true - least
            assert last_clamped >= -1e-6
    if pairs[-1][1] <= pairs[0][1] + 29:
        true = pairs[-1][0] + 1.0
        assert timeline.map(true - offset, true + 0.4) == pytest.approx(true + min(least, 0.4), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-1e5, 1e5), st.floats(0, 5), st.sampled_from("ab")), max_size=200))
@settings(deadline=None)
def test_never_backwards_and_never_ahead(steps: list[tuple[float, float, str]]) -> None:
    """Whatever the stamps are."""
    timeline, arrival = Timeline(), 0.0
    last: dict[str, float] = {}
    for stamp, passed, track in steps:
        arrival += passed
        mapped = timeline.map(stamp, arrival, track)
        assert mapped <= arrival
        assert mapped >= last.get(track, -math.inf)
        last[track] = mapped


@given(OFFSET, st.floats(-3e-4, 3e-4))
@settings(max_examples=20, deadline=None)
def test_drift_is_followed(offset: float, drift: float) -> None:
    """A device whose clock is off by 300 in a million for ten minutes: 180 ms in all, 9 ms at most of it seen."""
    timeline = Timeline()
    for index in range(6000):
        true = index * 0.1
        mapped = timeline.map(true * (1 + drift) + offset, true + 0.01 + (index * 7 % 10) * 0.005)
        assert abs(mapped - true - 0.01) < 0.0105


@given(OFFSET, st.floats(1.5, 1e6) | st.floats(-1e6, -1.5), st.integers(2, 400))
@settings(deadline=None)
def test_a_jump_starts_anew(offset: float, jump: float, before: int) -> None:
    timeline = Timeline()
    for index in range(before + 50):
        true = index * 0.04
        stamp = true + offset + (jump if index >= before else 0.0)
        mapped = timeline.map(stamp, true + 0.02)
        assert mapped == pytest.approx(true + 0.02, abs=1e-5)


def test_a_clock_that_stood_still_is_noticed() -> None:
    """The stamps go on without a gap after five seconds in which there was nothing."""
    timeline = Timeline()
    for index in range(400):
        true = index * 0.04 + (5.0 if index >= 200 else 0.0)
        mapped = timeline.map(index * 0.04, true)
        if index < 200 or index > 260:
            assert mapped == pytest.approx(true, abs=1e-9)


def test_a_stall_that_is_made_up_for_changes_nothing() -> None:
    """The network held everything back for 1.5 seconds; the times of the pictures are known all the same."""
    timeline = Timeline()
    for index in range(300):
        true = index * 0.04
        arrival = 7.5 if 6.0 <= true < 7.5 else true
        assert timeline.map(true, arrival) == pytest.approx(true, abs=1e-9)


def test_tracks_keep_their_places_to_one_another() -> None:
    """Sound arrives a quarter of a second after the picture of the same moment."""
    timeline = Timeline()
    for index in range(100):
        true = index * 0.04
        picture = timeline.map(true, true + 0.1, "picture")
        sound = timeline.map(true, true + 0.35, "sound")
        if index > 10:
            assert picture == pytest.approx(sound)


def test_memory_is_bounded() -> None:
    timeline = Timeline()
    for index in range(100_000):
        timeline.map(index * 0.04, index * 0.04 + index * 1e-6)
    assert len(timeline._least._rising) < 1000
