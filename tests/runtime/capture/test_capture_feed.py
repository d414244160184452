"""A device that is lost and comes back, and one that will not end."""

import gc
import itertools
import logging
import threading
import time
import weakref

import capture_fakes
import pytest
from capture_fakes import FakeCamera, picture, until

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.feed import Backoff, Feed
from mosear.runtime.capture.stream import Condition, Lost

NAME = "camera 0"


def _feed(opener, take=lambda item: None, clock: Clock | None = None, backoff: Backoff | None = None) -> Feed:
    return Feed("camera", NAME, opener, take, clock or Clock(speed=2000), backoff)


def test_fifty_losses_leave_nothing_behind() -> None:
    gc.collect()
    before = capture_fakes.descriptors(), threading.active_count()
    camera, frames, items = FakeCamera(items=4), [], []

    def take(item) -> None:
        frames.append(weakref.ref(item))
        items.append(item.time)

    feed = _feed(camera, take)
    feed.start()
    until(lambda: camera.opens > 50)
    assert feed.status().kind == "camera"
    assert feed.status().name == NAME
    assert feed.stop(5)
    status = feed.status()
    assert status.condition is Condition.ended
    assert status.error is None
    assert status.reconnects >= 50 - 1
    assert status.delivered == len(items) >= 200
    assert camera.most_open == 1
    assert camera.open_now == 0
    gc.collect()
    assert (capture_fakes.descriptors(), threading.active_count()) == before
    assert not any(frame() for frame in frames)


def test_the_status_tells_why_and_since_when() -> None:
    gate = threading.Event()

    def opener():
        if not gate.is_set():
            raise Lost("no such\ndevice: rtsp://me:secret@host/x")
        return FakeCamera(2, hang=True)()

    feed = _feed(opener)
    assert feed.status().condition is Condition.opening
    feed.start()
    until(lambda: feed.status().condition is Condition.lost)
    assert feed.status().error == "no such device: rtsp://host/x"
    assert feed.status().delivered == 0
    gate.set()
    until(lambda: feed.status().condition is Condition.live)
    assert feed.status().error is None
    assert feed.status().reconnects == 0  # it came for the first time
    assert feed.stop(5)


def test_a_device_that_ends_is_not_opened_again() -> None:
    opens = []

    class Ending:
        def __iter__(self):
            yield picture(0.0)

        def close(self) -> None:
            opens.append("closed")

    def opener():
        opens.append("opened")
        return Ending()

    feed = _feed(opener)
    feed.start()
    until(lambda: feed.status().condition is Condition.ended)
    assert feed.stop(5)
    assert opens == ["opened", "closed"]
    assert feed.status().reconnects == 0


@pytest.mark.parametrize("error", [RuntimeError("a driver\nfell over"), MemoryError(), KeyError("x")])
def test_unknown_errors_are_losses(error: Exception) -> None:
    opens = []

    def opener():
        opens.append(1)
        raise error

    feed = _feed(opener)
    feed.start()
    until(lambda: len(opens) > 3)
    assert type(error).__name__ in feed.status().error
    assert "\n" not in feed.status().error
    assert feed.stop(5)


def test_what_the_taker_raises_is_logged_once_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    taken = []

    def take(item) -> None:
        taken.append(item)
        raise (ValueError if len(taken) % 2 else KeyError)("a secret transcript")

    feed = _feed(FakeCamera(items=30, hang=True), take)
    with caplog.at_level(logging.INFO, "mosear"):
        feed.start()
        until(lambda: len(taken) == 30)
        assert feed.status().condition is Condition.live
        assert feed.stop(5)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 2
    assert "secret" not in caplog.text


def test_one_line_a_change_and_not_one_a_try(caplog: pytest.LogCaptureFixture) -> None:
    opens = []

    def opener():
        opens.append(1)
        raise Lost("no such device")

    feed = _feed(opener)
    with caplog.at_level(logging.INFO, "mosear"):
        feed.start()
        until(lambda: len(opens) > 5)
        assert feed.stop(5)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "camera camera 0: lost (no such device)"
    ]


def test_stop_during_opening() -> None:
    """The opener is stuck in its library: stop returns, and what is opened in the end is released."""
    gate, camera = threading.Event(), FakeCamera(items=0, hang=True)

    def opener():
        gate.wait()
        return camera()

    feed = _feed(opener)
    feed.start()
    began = time.monotonic()
    assert not feed.stop(0.2)
    assert time.monotonic() - began < 2
    gate.set()
    assert feed.stop(5)
    assert camera.open_now == 0


def test_stop_during_backoff() -> None:
    def opener():
        raise Lost("gone")

    feed = _feed(opener, clock=Clock(), backoff=Backoff(first=60, most=60))
    feed.start()
    until(lambda: feed.status().condition is Condition.lost)
    assert feed.stop(5)


def test_stop_during_iteration() -> None:
    camera = FakeCamera(items=3, hang=True)
    feed = _feed(camera, clock=Clock())
    feed.start()
    until(lambda: feed.status().delivered == 3)
    assert feed.stop(5)
    assert feed.stop(5)
    assert camera.open_now == 0
    assert camera.opens == 1


def test_stop_before_start_and_a_second_start() -> None:
    feed = _feed(FakeCamera(hang=True))
    assert feed.stop(1)
    feed.start()
    until(lambda: feed.status().condition is Condition.ended)
    with pytest.raises(RuntimeError):
        feed.start()


def test_a_close_that_raises_does_not_hide_the_loss() -> None:
    class Bad:
        def __iter__(self):
            raise Lost("unplugged")
            yield

        def close(self) -> None:
            raise OSError("close failed")

    feed = _feed(Bad)
    feed.start()
    until(lambda: feed.status().condition is Condition.lost)
    assert feed.status().error == "unplugged"
    assert feed.stop(5)


def test_backoff_grows_to_its_most() -> None:
    backoff = Backoff()
    for losses in [*range(1, 100), 10_000]:
        straight = min(30.0, 0.5 * 2 ** min(losses - 1, 60))
        delays = [backoff.delay(losses) for _ in range(50)]
        assert all(straight * 0.75 <= delay <= straight * 1.25 for delay in delays)
        assert len(set(delays)) > 10


class _Asked(Backoff):
    asked: list[int]

    def delay(self, losses: int) -> float:
        self.asked.append(losses)
        return 0.001


@pytest.mark.parametrize(("lived", "expected"), [(0.0, [1, 2, 3, 4]), (11.0, [1, 1, 1, 1])])
def test_a_flapping_device_is_left_alone_for_longer(lived: float, expected: list[int]) -> None:
    """Only one that delivered for a while counts as sound again."""

    class Hand(Clock):
        time = 0.0

        def now(self) -> float:
            return self.time

        def wait(self, until: float, stop: threading.Event) -> bool:
            return stop.is_set()

    clock, backoff = Hand(), _Asked()
    object.__setattr__(backoff, "asked", [])

    class Flapping:
        def __iter__(self):
            yield picture(0)
            clock.time += lived
            yield picture(1)
            if len(backoff.asked) < 4:
                raise Lost("again")

        def close(self) -> None:
            pass

    feed = _feed(Flapping, clock=clock, backoff=backoff)
    feed.start()
    until(lambda: feed.status().condition is Condition.ended)
    assert backoff.asked == expected


def test_the_system_clock_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back and a year ahead: no loss, no wait, no item with another time."""
    clock, times, go = Clock(speed=50), [], threading.Event()

    class Steady:
        def __iter__(self):
            while not go.wait(0.001):
                yield picture(clock.now())

        def close(self) -> None:
            go.set()

    feed = _feed(Steady, lambda item: times.append(item.time), clock)
    feed.start()
    until(lambda: len(times) > 20)
    real = time.time
    for jump in (-3600.0, 365 * 86400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        seen = len(times)
        until(lambda seen=seen: len(times) > seen + 20)
    assert feed.status().condition is Condition.live
    assert feed.stop(5)
    assert times == sorted(times)
    assert max(b - a for a, b in itertools.pairwise(times)) < 50 * 5
