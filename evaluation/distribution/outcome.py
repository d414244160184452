"""What becomes of one item: done, refused, or lost with its workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Key = str
"""Names an item; each item of a run has its own."""

Work = Callable[[Any], Any]
"""One item → its result."""


class Opener(Protocol):
    """Opens whatever answers items, once a worker.

    It is pickled and called in a fresh process, perhaps on another machine: an instance of a class, or a function, that
    can be imported by its name there. Whatever ties a worker to this run (the hash of a bundle, the folder of the
    clips) is for it to check; it raises a MosearError where that does not fit, which ends the run.
    """

    def __call__(self) -> Work: ...


@dataclass(frozen=True)
class Done:
    """An item and its result."""

    key: Key
    result: Any


@dataclass(frozen=True)
class Refused:
    """An item that is no good (its worker raised a BadInput): it is not tried again."""

    key: Key
    what: str
    remedy: str


@dataclass(frozen=True)
class Lost:
    """An item whose worker ended or gave no answer in time, each time that it was tried; ``reason`` is the last one."""

    key: Key
    reason: str
    attempts: int


Outcome = Done | Refused | Lost
