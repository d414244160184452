"""Ctrl-C is not lost on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mosear.runtime.commands.interrupts import Interrupts


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_is_raised_at_once() -> None:
    def run() -> None:
        with Interrupts():
            _interrupt()
            pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_cleared_is_raised_by_the_next_check() -> None:
    def run() -> None:
        with Interrupts() as interrupts:
            interrupts.check()
            with suppress(KeyboardInterrupt):
                _interrupt()
            interrupts.check()
            pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        run()


def test_what_was_cleared_or_turned_into_another_error_is_raised_at_the_end() -> None:
    def run(error: Exception | None) -> None:
        with Interrupts():
            with suppress(KeyboardInterrupt):
                _interrupt()
            if error is not None:
                raise error

    for error in (None, ImportError("initialization failed")):
        with pytest.raises(KeyboardInterrupt):
            run(error)


def test_without_an_interrupt_errors_stay_what_they_are() -> None:
    with pytest.raises(ImportError), Interrupts():
        raise ImportError("absent")


def test_an_ignored_interrupt_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts() as interrupts:
        _interrupt()
        interrupts.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
