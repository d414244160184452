"""A child process with a pipe to it, that is started safely and that nothing is left of."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from typing import Any

from mosear.evaluation.distribution.crew import Gone
from mosear.runtime.errors import Failed

_REAP_S = 5.0


class Child:
    """A process that is spawned and not forked: the threads and devices of this one would break in a fork.

    Args:
        main: a function of a module; its first argument is the process's end of the pipe. It calls ``be_apart`` first.
        arguments: the others.

    Raises:
        Failed: the system starts no further process.
    """

    def __init__(self, main: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=main, args=(there, *arguments), name="mosear", daemon=True)
        try:
            self._process.start()
        except OSError as error:
            self._pipe.close()
            what = f"a worker process can't be started ({error.strerror or error})"
            raise Failed(what, "run fewer workers at once") from error
        finally:
            there.close()

    @property
    def signs(self) -> list[Any]:
        """What to wait on: something that it says, and its end."""
        return [self._pipe, self._process.sentinel]

    def give(self, parcel: bytes) -> None:
        """Send it something that it waits for. Whether it has ended is for ``said`` to tell."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(parcel)

    def said(self) -> bytes | Gone | None:
        """What it said, how it ended, or None when there is neither."""
        try:
            if self._pipe.poll():
                return self._pipe.recv_bytes()
        except (EOFError, OSError):
            return self._gone()
        return None if self._process.is_alive() else self._gone()

    def hang_up(self) -> None:
        """Tell it that nothing more comes."""
        self._pipe.close()

    def interrupt(self) -> None:
        """Ask it to end, whatever it does; for one that said that it can be."""
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGINT)

    def end(self, seconds: float = 0.0) -> None:
        """Kill it and what it has started, unless it ends by itself within ``seconds``."""
        self._process.join(seconds)
        if self._process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._pipe.close()
        # No longer: what hangs in a driver is ended by no signal before the driver returns.
        self._process.join(_REAP_S)

    def _gone(self) -> Gone:
        self._process.join(_REAP_S)
        return Gone(_how(self._process.exitcode))


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back while a child is started and noted down.

    It must meet neither a child that can't ignore it yet, nor one that nobody knows of yet.
    """
    # A process too, and starting it would let the signal through.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def be_apart(can_be_interrupted: bool = False) -> None:
    """For a child to begin with: it lives as long as its parent, which alone meets Ctrl-C and has standard output.

    Args:
        can_be_interrupted: ``Child.interrupt`` raises KeyboardInterrupt in it, whenever it comes.
    """
    os.setsid()
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else 2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler if can_be_interrupted else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="mosear-parent", daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed ends nobody, and a child may be busy for minutes."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def _how(code: int | None) -> str:
    if code is None:
        return "hung up"
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", as by the system when memory runs out" if name == "SIGKILL" else "")
