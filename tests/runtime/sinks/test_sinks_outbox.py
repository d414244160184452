"""A slow, lost or failing sink never stops who publishes, and loses no more than it must."""

import gc
import logging
import threading
import tracemalloc

import pytest
from sinks_fakes import Recorder, answer, until

from mosear.runtime.capture.stream import Condition
from mosear.runtime.errors import BadInput
from mosear.runtime.sinks import SinkLost
from mosear.runtime.sinks.fanout import Fanout
from mosear.runtime.sinks.outbox import Outbox

QUICK = {"first": 0.01, "most": 0.05}


class Stuck:
    """A sink whose first write, or opening, never returns until it is let go."""

    name = "stuck"

    def __init__(self, opening: bool = False) -> None:
        self.opening = opening
        self.reached, self.let_go, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.got: list[int] = []

    def _block(self) -> None:
        self.reached.set()
        self.let_go.wait()

    def open(self) -> "Stuck":
        if self.opening:
            self._block()
        return self

    def write(self, emotion) -> None:
        if not self.opening:
            self._block()
        self.got.append(emotion.live.sequence)

    def check(self) -> None: ...

    def close(self) -> None:
        self.closed.set()


def test_answers_come_in_order_and_all_of_them() -> None:
    sink = Recorder()
    box = Outbox("recorder", sink.open, bound=2000)
    for number in range(1000):
        box.put(answer(number))
    box.close(10)
    assert sink.got == list(range(1000))
    status = box.status()
    assert (status.kind, status.name, status.condition) == ("sink", "recorder", Condition.ended)
    assert (status.delivered, status.dropped, status.reconnects, status.error) == (1000, 0, 0, None)
    assert sink.opens == sink.closes == 1


@pytest.mark.parametrize("opening", [False, True])
def test_a_sink_that_blocks_for_ever_stops_neither_the_others_nor_the_end(opening: bool) -> None:
    stuck, sink = Stuck(opening), Recorder()

    def fails():
        raise SinkLost("never there")

    fanout = Fanout(
        [
            Outbox("stuck", stuck.open, bound=10),
            Outbox("failing", fails, bound=10, **QUICK),
            Outbox("recorder", sink.open, bound=2000),
        ]
    )
    fanout.publish(answer(0))
    assert stuck.reached.wait(10)
    for number in range(1, 1000):
        fanout.publish(answer(number))
    assert not stuck.let_go.is_set()  # so every publish came back while the sink was held
    until(lambda: len(sink.got) == 1000)
    blocked, failing, working = fanout.status()
    in_flight = 0 if opening else 1
    assert (blocked.delivered, blocked.dropped) == (0, 990 - in_flight)
    until(lambda: fanout.status()[1].condition is Condition.lost)
    assert fanout.status()[1].error == "never there"
    assert failing.delivered == 0
    assert failing.dropped == 990
    assert (working.delivered, working.dropped) == (1000, 0)
    fanout.close(0.5)
    assert not stuck.let_go.is_set()  # so close came back, too
    assert [each.condition for each in fanout.status()] == [Condition.ended] * 3
    assert fanout.status()[1].dropped == 1000
    stuck.let_go.set()
    until(stuck.closed.is_set, "closing the sink that was stuck")
    assert stuck.got == ([] if opening else [0])


def test_the_newest_answers_are_kept_and_memory_is_bounded() -> None:
    stuck = Stuck()
    box = Outbox("stuck", stuck.open, bound=5)
    box.put(answer(0))
    assert stuck.reached.wait(10)
    tracemalloc.start()
    for number in range(1, 200):
        box.put(answer(number, reason="x" * 10_000 + str(number)))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 50 * 10_000  # 199 of them would hold four times as much
    stuck.let_go.set()
    box.close(10)
    assert stuck.got == [0, 195, 196, 197, 198, 199]
    assert (box.status().delivered, box.status().dropped) == (6, 194)


def test_a_lost_sink_comes_back_and_gets_what_waited() -> None:
    sink = Recorder()
    box = Outbox("recorder", sink.open, **QUICK)
    box.put(answer(1))
    until(lambda: sink.got == [1])
    sink.broken = True
    for number in (2, 3):
        box.put(answer(number))
    until(lambda: box.status().condition is Condition.lost)
    assert box.status().error in ("gone", "nobody there", "gone while idle")
    assert sink.got == [1]
    sink.broken = False
    until(lambda: sink.got == [1, 2, 3])
    until(lambda: box.status().condition is Condition.live)
    assert box.status().error is None
    assert box.status().reconnects >= 1
    box.close(5)
    assert sink.open_now == 0
    assert (box.status().delivered, box.status().dropped) == (3, 0)


def test_fifty_losses_leave_nothing_open_and_no_thread() -> None:
    sink = Recorder()
    threads = threading.active_count()
    box = Outbox("recorder", sink.open, **QUICK)
    until(lambda: sink.opens == 1)
    for number in range(50):
        sink.broken = True
        box.put(answer(number))
        until(lambda: box.status().condition is Condition.lost)
        sink.broken = False
        until(lambda number=number: len(sink.got) == number + 1)
    box.close(5)
    assert sink.got == list(range(50))
    assert sink.opens == sink.closes >= 51
    assert threading.active_count() == threads


def test_an_idle_sink_that_is_lost_is_noticed_without_an_answer() -> None:
    sink = Recorder()
    box = Outbox("recorder", sink.open, **QUICK)
    until(lambda: box.status().condition is Condition.live)
    sink.broken = True
    until(lambda: box.status().condition is Condition.lost)
    assert box.status().delivered == 0
    box.close(1)


def test_the_waits_grow_up_to_the_longest(monkeypatch) -> None:
    shares: set[tuple[float, float]] = set()
    monkeypatch.setattr("mosear.runtime.sinks.outbox.random.uniform", lambda low, high: shares.add((low, high)) or 1e-4)
    pauses: list[float] = []

    class Watched(Outbox):
        def _rest(self) -> None:
            pauses.append(self._pause)
            super()._rest()

    def opener():
        raise SinkLost("no")

    box = Watched("never", opener, first=0.5, most=30.0)
    until(lambda: len(pauses) >= 9)
    box.close(1)
    assert pauses[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert shares == {(0.5, 1.0)}


def test_an_answer_that_breaks_the_sink_is_dropped_and_not_tried_for_ever(caplog) -> None:
    got: list[int] = []

    class Choosy(Recorder):
        def write(self, emotion) -> None:
            if emotion.live.sequence == 2:
                raise ValueError("words of a person")
            got.append(emotion.live.sequence)

    sink = Choosy()
    with caplog.at_level(logging.DEBUG, "mosear"):
        box = Outbox("choosy", sink.open, **QUICK)
        for number in (1, 2, 3):
            box.put(answer(number))
        box.close(5)
    assert got == [1, 3]
    assert (box.status().delivered, box.status().dropped) == (2, 1)
    assert "ValueError" in caplog.text
    assert "words of a person" not in caplog.text


def test_closing_delivers_what_waits_even_to_a_sink_that_is_lost_just_then() -> None:
    sink = Recorder()
    sink.broken = True
    box = Outbox("recorder", sink.open, first=60.0, most=60.0)  # left alone it would try again in half a minute or more
    until(lambda: box.status().condition is Condition.lost)
    box.put(answer(7))
    sink.broken = False
    box.close(10)
    assert sink.got == [7]


def test_after_the_end_answers_are_counted_as_dropped_and_close_may_come_twice() -> None:
    sink = Recorder()
    box = Outbox("recorder", sink.open)
    box.close(5)
    box.put(answer(1))
    box.close(5)
    assert sink.got == []
    assert box.status().dropped == 1


def test_losing_a_sink_is_told_once_and_not_at_every_try(caplog) -> None:
    tries = threading.Semaphore(0)

    def opener():
        tries.release()
        raise BadInput("two\nlines", "no matter")

    with caplog.at_level(logging.INFO, "mosear"):
        box = Outbox("named", opener, **QUICK)
        for _ in range(5):
            assert tries.acquire(timeout=10)
        box.close(0.2)
    assert [record.getMessage() for record in caplog.records] == ["sink named is lost: two lines; trying again"]
