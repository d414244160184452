"""A library that blocks, and one who must not."""

import threading
import time

import capture_fakes
import pytest
from capture_fakes import until

from mosear.runtime.capture.pump import OneAtATime, Pump, newest
from mosear.runtime.capture.stream import Lost


def test_a_library_that_never_returns_blocks_nobody_and_is_not_entered_twice() -> None:
    stuck, entered = threading.Event(), []

    def produce(closing: threading.Event):
        entered.append(1)
        yield 1
        stuck.wait()

    class Device(Pump):
        pass

    opener = OneAtATime(lambda: Device("mosear-test", produce, newest, patience=0.1))
    device = opener()
    items = []
    with pytest.raises(Lost, match="nothing came"):
        items.extend(device)
    assert items == [1]
    began = time.monotonic()
    device.close()
    assert time.monotonic() - began < 5
    assert not device.released
    for _ in range(5):
        with pytest.raises(Lost, match="still held"):
            opener()
    assert len(entered) == 1
    stuck.set()
    until(lambda: device.released)
    opener().close()
    assert len(entered) == 2
    until(lambda: not capture_fakes.threads())


def test_everything_is_given_before_the_loss() -> None:
    def produce(closing: threading.Event):
        yield from range(100)
        raise Lost("unplugged")

    pump = Pump("mosear-test", produce, lambda waiting: None)
    until(lambda: pump.released)
    items = []
    with pytest.raises(Lost, match="unplugged"):
        items.extend(pump)
    assert items == list(range(100))


def test_unknown_errors_are_losses_of_one_line() -> None:
    def produce(closing: threading.Event):
        yield 1
        raise RuntimeError("driver\nerror")

    pump = Pump("mosear-test", produce, newest)
    with pytest.raises(Lost, match="RuntimeError: driver error"):
        list(pump)


def test_the_source_is_closed_by_its_own_thread() -> None:
    closed_by = []

    def produce(closing: threading.Event):
        try:
            while True:
                yield 1
        finally:
            closed_by.append(threading.current_thread().name)

    pump = Pump("mosear-test", produce, newest)
    assert next(iter(pump)) == 1
    pump.close()
    until(lambda: pump.released)
    assert closed_by == ["mosear-test"]
    assert list(pump) == []


def test_only_the_newest_wait() -> None:
    ready = threading.Event()

    def produce(closing: threading.Event):
        yield from range(1000)
        ready.set()

    pump = Pump("mosear-test", produce, newest)
    until(ready.is_set)
    assert list(pump) == [998, 999]
