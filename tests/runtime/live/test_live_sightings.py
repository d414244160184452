"""Pictures on the grid that windows share."""

import itertools
import math
import threading

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.capture.stream import Picture, Sound
from mosear.runtime.live.hearing import Hearing
from mosear.runtime.live.sightings import STALE_S, Look, Sightings, spread

LENGTH, COUNT = 3.0, 8
STEP = LENGTH / COUNT


def picture(time: float, grey: int) -> Picture:
    return Picture(time, av.VideoFrame.from_ndarray(np.full((16, 16, 3), grey, np.uint8), format="rgb24"))


def look(frame: av.VideoFrame) -> Look:
    return Look(np.asarray(frame.to_ndarray(format="rgb24")))


def grey(sighting: object) -> int:
    return int(sighting.look.pixels[0, 0, 0])  # type: ignore[attr-defined]


@given(
    st.lists(st.floats(0.01, 0.5), min_size=5, max_size=60),
    st.lists(st.floats(0.05, 2.0), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_at_each_time_of_the_grid_the_newest_picture_that_is_not_later(gaps: list[float], ends: list[float]) -> None:
    times = np.cumsum(gaps).tolist()
    sightings = Sightings(LENGTH, COUNT, look)
    asked = np.cumsum(ends).tolist()
    fed = 0
    for end in asked:
        while fed < len(times) and times[fed] <= end:
            sightings.take(picture(times[fed], fed % 256))
            fed += 1
        found = {each.place: grey(each) for each in sightings.until(end)}
        wanted = {}
        for place in range(math.floor(end / STEP) - COUNT + 1, math.floor(end / STEP) + 1):
            before = [index for index in range(fed) if times[index] <= place * STEP]
            if before and place * STEP <= times[before[-1]] + STALE_S:
                wanted[place] = before[-1] % 256
        assert found == wanted


def test_overlapping_windows_share_their_frames_whatever_the_hop() -> None:
    sightings = Sightings(LENGTH, COUNT, look)
    keys: list[set[int]] = []
    end = 3.1
    for index in range(400):
        sightings.take(picture(index * 0.04, index % 256))
        if index * 0.04 > end + 0.1:
            keys.append({each.key for each in sightings.until(end)})
            end += 0.77
    assert len(keys) > 10
    for before, after in itertools.pairwise(keys):
        assert len(before) == len(after) == COUNT
        fresh = len(after - before)
        assert fresh in (math.floor(0.77 / STEP), math.ceil(0.77 / STEP))


def test_each_picture_is_looked_at_once_and_only_when_a_time_of_the_grid_asks_for_it() -> None:
    seen: list[int] = []

    def counting(frame: av.VideoFrame) -> Look:
        seen.append(int(frame.to_ndarray(format="rgb24")[0, 0, 0]))
        return look(frame)

    sightings = Sightings(LENGTH, COUNT, counting)
    for index in range(76):
        sightings.take(picture(index * 0.04, index))
    assert len(seen) == COUNT  # for the times 0, 0.375 … 2.625; 3.0 is settled when it is asked for
    sightings.until(3.0)
    sightings.until(3.0)
    assert len(seen) == len(set(seen)) == COUNT + 1


def test_a_slow_camera_gives_the_same_key_twice() -> None:
    sightings = Sightings(LENGTH, COUNT, look)
    for second in range(4):
        sightings.take(picture(second * 0.75, second))
    found = sightings.until(2.6)
    assert [each.place for each in found] == list(range(7))
    assert [grey(each) for each in found] == [0, 0, 1, 1, 2, 2, 3]
    assert len({each.key for each in found}) == 4


def test_a_camera_that_is_gone_leaves_nothing_to_look_at() -> None:
    sightings = Sightings(LENGTH, COUNT, look)
    sightings.take(picture(0.0, 1))
    assert len(sightings.until(STALE_S)) == math.floor(STALE_S / STEP) + 1
    assert sightings.until(STALE_S + LENGTH + STEP) == []


def test_memory_is_bounded_and_time_that_steps_back_harms_nothing() -> None:
    sightings = Sightings(LENGTH, COUNT, look)
    for index in range(5000):
        sightings.take(picture(index * 0.1, index % 256))
    assert len(sightings._kept) <= COUNT + 6
    before = [each.place for each in sightings.until(499.0)]
    sightings.take(picture(10.0, 7))
    sightings.take(picture(499.95, 8))
    assert [each.place for each in sightings.until(499.0)] == before


def test_many_threads_at_once_lose_nothing() -> None:
    sightings = Sightings(LENGTH, COUNT, look)
    stop = threading.Event()
    wrong: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            newest = sightings.newest()
            places = [each.place for each in sightings.until(newest.time if newest else 0.0)]
            if places != sorted(set(places)):
                wrong.append(str(places))

    thread = threading.Thread(target=ask)
    thread.start()
    for index in range(2000):
        sightings.take(picture(index * 0.02, index % 256))
    stop.set()
    thread.join()
    assert not wrong


@given(st.integers(1, 40), st.integers(1, 40))
def test_spread_is_even_and_in_order(there: int, count: int) -> None:
    kept: list[int] = spread(list(range(there)), count)  # type: ignore[arg-type, assignment]
    assert len(kept) == count
    assert kept == sorted(kept)
    times = np.bincount(kept, minlength=there)
    assert times.max() - times.min() <= 1


RATE = 1000


def test_sound_is_cut_at_the_sample_and_what_is_missing_is_zero() -> None:
    hearing = Hearing(3.0, RATE)
    ramp = np.arange(1, 2001, dtype=np.float32)
    for start in range(0, 2000, 100):
        if start != 1000:
            hearing.take(Sound(start / RATE, ramp[start : start + 100]))
    heard, share = hearing.between(0.95, 1.95)
    wanted = ramp[950:1950].copy()
    wanted[50:150] = 0
    np.testing.assert_array_equal(heard, wanted)
    assert share == pytest.approx(0.9)
    assert hearing.between(5.0, 6.0)[1] == 0.0
    assert hearing.between(1.0, 1.0)[0].size == 0


def test_a_device_clock_that_is_a_little_off_makes_no_clicks() -> None:
    hearing = Hearing(3.0, RATE)
    tone = np.sin(np.arange(6000) * 0.05).astype(np.float32)
    for start in range(0, 6000, 100):
        jitter = 0.004 * math.sin(start)
        hearing.take(Sound(start / RATE + jitter, tone[start : start + 100]))
    heard, share = hearing.between(2.0, 5.0)
    assert share == 1.0
    assert np.abs(np.diff(heard)).max() <= np.abs(np.diff(tone)).max() + 1e-6


def test_sound_of_hours_takes_no_more_memory_than_a_window() -> None:
    hearing = Hearing(3.0, RATE)
    for index in range(3600):
        hearing.take(Sound(float(index), np.ones(RATE, np.float32)))
    assert sum(len(samples) for _, samples in hearing._chunks) <= 7 * RATE
