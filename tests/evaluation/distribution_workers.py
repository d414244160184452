"""Openers for the tests of distribution: importable in a fresh process, and each item says what is to happen to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mosear.runtime.errors import BadInput, CheckFailed, Failed


class Peculiar(Failed):
    """An error that is not made of ``what`` and ``remedy`` alone."""

    exit_code = 1

    def __init__(self, number: int) -> None:
        super().__init__(f"peculiar {number}", "be less so")
        self.number = number


@dataclass(frozen=True)
class Opening:
    """Opens a worker that writes down, in ``notes``, its process and every item that it begins."""

    notes: Path

    def __call__(self) -> Callable[[Any], Any]:
        note(self.notes, "opened")
        return lambda item: act(self.notes, item)


@dataclass(frozen=True)
class Fails:
    """Does not open: raises, or ends its process."""

    notes: Path
    how: str

    def __call__(self) -> Callable[[Any], Any]:
        note(self.notes, "opened")
        if self.how == "bad input":
            raise BadInput("no such bundle: b", "build it")
        if self.how == "peculiar":
            raise Peculiar(7)
        if self.how == "unexpected":
            raise KeyError("weights")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def note(notes: Path, what: str) -> None:
    """A line for what happened, whichever process writes it."""
    with notes.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {what}\n")


def pids(notes: Path) -> list[int]:
    """The processes that opened a worker, and those that they began."""
    return [pid for pid, what in noted(notes) if what == "opened"] + [
        int(what.split()[1]) for _, what in noted(notes) if what.startswith("child ")
    ]


def noted(notes: Path) -> list[tuple[int, str]]:
    """(process, what) of every line so far."""
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return [(int(pid), what) for pid, _, what in (line.partition(" ") for line in lines)]


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def alive(processes: list[int]) -> list[int]:
    """Those that run, and are not only waiting to be counted out by their parent."""
    return [pid for pid in processes if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def act(notes: Path, item: Any) -> Any:
    """Do what an item says: a number is squared, a tuple is one of ``DEEDS`` with its arguments."""
    if not isinstance(item, tuple):
        return item * item
    deed, *arguments = item
    note(notes, f"{deed} {arguments[0]}" if arguments and isinstance(arguments[0], int) else deed)
    return DEEDS[deed](notes, *arguments)


def _die(notes: Path, times: int, how: int) -> str:
    """End the process the first ``times`` times that this item is tried."""
    if sum(what == f"die {times}" for _, what in noted(notes)) <= times:
        if how:
            os.kill(os.getpid(), how)
        os._exit(7)
    return "survived"


def _raise(notes: Path, error: str) -> Any:
    if error == "bad input":
        raise BadInput("no picture in it", "leave it out")
    if error == "check":
        raise CheckFailed("the answer is wrong", "see why")
    if error == "memory":
        raise MemoryError
    if error == "exit":
        raise SystemExit(9)
    raise ZeroDivisionError("a\nnumber")


def _hang(notes: Path, times: int) -> str:
    if sum(what == f"hang {times}" for _, what in noted(notes)) <= times:
        time.sleep(600)
    return "woke"


def _spin(notes: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def _print(notes: Path, text: str) -> str:
    print(text, flush=True)
    subprocess.run([sys.executable, "-c", f"print({text!r})"], check=True)
    return text


def _beget(notes: Path) -> None:
    """Die while a child lives on that has this process's files open."""
    if child := os.fork():
        note(notes, f"child {child}")
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


DEEDS: dict[str, Callable[..., Any]] = {
    "die": _die,
    "raise": _raise,
    "hang": _hang,
    "spin": _spin,
    "print": _print,
    "beget": _beget,
    "sleep": lambda notes, seconds: time.sleep(seconds),
    "big": lambda notes, size: bytes(size),
    "size": lambda notes, data: len(data),
    "lock": lambda notes: threading.Lock(),
}
