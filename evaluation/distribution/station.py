"""What a worker does, wherever it runs: it opens the model, takes items, and answers in bytes.

A worker's answers are pickled here and not by whatever carries them, so that a result that can't be pickled is found
out where its item is known, and so that processes and Ray answer alike.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass, replace
from typing import Any

from mosear.evaluation.distribution.outcome import Opener, Work
from mosear.runtime import errors
from mosear.runtime.errors import BadInput, Failed, MosearError, one_line

REPORT = "run again with --debug, and report what it prints"


@dataclass(frozen=True)
class Opened:
    """The model is open; items can come."""


@dataclass(frozen=True)
class Result:
    """An item's."""

    value: Any


@dataclass(frozen=True)
class Refusal:
    """An item that is no good."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Exhausted:
    """The worker ran out of memory on an item, and should be replaced by a fresh one."""


class WorkerTrace(Exception):
    """Where a worker's error arose: the cause of the error that the run ends with, for ``--debug``."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Trouble:
    """An error that ends the run.

    Attributes:
        kind: class of a MosearError; None for an exception that nobody expected, which ``what`` then names.
        what, remedy: of the error.
        trace: where it arose.
    """

    kind: type[MosearError] | None
    what: str
    remedy: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> Trouble:
        """Made of an exception, in the place where it is caught."""
        trace = "".join(traceback.format_exception(error))
        if isinstance(error, MosearError):
            return cls(_portable(type(error)), error.what, error.remedy, trace)
        return cls(None, one_line(f"{type(error).__name__}: {error}"), REPORT, trace)

    def error(self, doing: str) -> MosearError:
        """The error to raise; ``doing`` tells what was being done when an unexpected one came."""
        if self.kind is None:
            error: MosearError = Failed(f"{doing}: {self.what}", self.remedy)
        else:
            # Subclasses may be made of other arguments; what is reported of an error is these two.
            error = self.kind.__new__(self.kind)
            MosearError.__init__(error, self.what, self.remedy)
        error.__cause__ = WorkerTrace(self.trace)
        return error


Answer = Opened | Result | Refusal | Exhausted | Trouble


def pack(value: Any) -> bytes:
    """``value`` in bytes.

    Raises:
        Exception: of any class: it can't be pickled.
    """
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpack(parcel: bytes) -> Any:
    """Back from ``pack``.

    Raises:
        Exception: of any class: it can't be made here, as when its class can't be imported.
    """
    return pickle.loads(parcel)


class Station:
    """One worker's model.

    Args:
        opener: a packed ``Opener``.
    """

    def __init__(self, opener: bytes) -> None:
        self._opener = opener
        self._work: Work | None = None

    def open(self) -> bytes:
        """Open the model: ``Opened`` or ``Trouble``, packed."""
        try:
            opener: Opener = unpack(self._opener)
            self._work = opener()
        except Exception as error:
            return pack(Trouble.of(error))
        return pack(Opened())

    def answer(self, item: bytes) -> bytes:
        """Work on a packed item: ``Result``, ``Refusal``, ``Exhausted`` or ``Trouble``, packed."""
        if self._work is None:
            raise RuntimeError("an item came before the model was open")
        try:
            value = self._work(unpack(item))
        except BadInput as error:
            return pack(Refusal(error.what, error.remedy))
        except MemoryError:
            return pack(Exhausted())
        except Exception as error:
            return pack(Trouble.of(error))
        return _result(value)


def _result(value: Any) -> bytes:
    try:
        return pack(Result(value))
    except MemoryError:
        return pack(Exhausted())
    except Exception as error:
        trouble = Trouble.of(error)
        return pack(replace(trouble, kind=None, what=f"the result can't be pickled ({trouble.what})"))


def _portable(kind: type[MosearError]) -> type[MosearError]:
    """The class, or the nearest one above it that every process can import."""
    for each in kind.__mro__:
        if getattr(errors, each.__name__, None) is each:
            return each
        try:
            pack(each)
        except Exception:
            continue
        return each
    return Failed
