"""Spans around the work that answers a window, recorded only where somebody asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import NamedTuple

TEXT_PREFILL = "text_prefill"
"""The span of the prompt for a text, up to its first token; those of an answer are the stages of a profile."""


class Stretch(NamedTuple):
    """A stretch of work: its name, and when it began and ended, in seconds of ``time.perf_counter``."""

    name: str
    start: float
    end: float


class _Recorder:
    """What is open now, from the outside in, and the stretches that have ended."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self._open: list[str] = []
        self._since = 0.0

    def begin(self, name: str) -> None:
        if not self._open or self._open[-1] != name:
            self._cut()
        self._open.append(name)

    def end(self) -> None:
        if self._open[-1] not in self._open[-2:-1]:
            self._cut()
        self._open.pop()

    def _cut(self) -> None:
        now = perf_counter()
        if self._open:
            self.stretches.append(Stretch(self._open[-1], self._since, now))
        self._since = now


# Of a thread's own context: what other threads do meanwhile is none of the recorder's business.
_recorder: ContextVar[_Recorder | None] = ContextVar("mosear_spans", default=None)


class _Span:
    """Tells the recorder of its beginning and its end, also when the work fails."""

    __slots__ = ("_name", "_recorder")

    def __init__(self, name: str, recorder: _Recorder) -> None:
        self._name = name
        self._recorder = recorder

    def __enter__(self) -> None:
        self._recorder.begin(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.end()


class _Unrecorded:
    """Nobody records."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


_UNRECORDED = _Unrecorded()


def span(name: str) -> _Span | _Unrecorded:
    """A context around work of one kind; next to nothing when nobody records.

    Work that has a span of its own is not counted in the one around it, so that stretches never overlap and can be
    added up. None may be open where a generator yields: it would take in what its reader does.
    """
    recorder = _recorder.get()
    return _UNRECORDED if recorder is None else _Span(name, recorder)


@contextmanager
def recording() -> Iterator[list[Stretch]]:
    """Record this thread's spans into the list that is given, in their order."""
    recorder = _Recorder()
    token = _recorder.set(recorder)
    try:
        yield recorder.stretches
    finally:
        _recorder.reset(token)
