"""A bundle that runs window after window, and what each run took."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from mosear.runtime.pipeline import REASON_TASK, Pipeline
from mosear.runtime.profiling.source import Source
from mosear.runtime.spans import Stretch, recording


@dataclass(frozen=True)
class Run:
    """One window read, answered and, where it was asked for, written about. Times are ``time.perf_counter``'s.

    Attributes:
        began: the window was asked for.
        at_hand: the window was read.
        answered: the answer was there.
        ended: the text was, too.
        window_s: seconds of media in the window.
        spans: the work, piece by piece.
    """

    began: float
    at_hand: float
    answered: float
    ended: float
    window_s: float
    spans: tuple[Stretch, ...]


class Contender:
    """A pipeline and the windows that it is given.

    Args:
        pipeline: an opened bundle.
        source: where its windows come from.
        tokens: tokens of text at most behind each answer, for the task ``reason``; 0 leaves text out.
    """

    def __init__(self, pipeline: Pipeline, source: Source, tokens: int) -> None:
        self._pipeline = pipeline
        self._source = source
        self._tokens = tokens

    def run(self) -> Run:
        """Read the next window and answer it.

        Raises:
            BadInput, Failed: as ``Source.next`` and ``Pipeline.analyse``.
        """
        with recording() as spans:
            began = perf_counter()
            window = self._source.next()
            at_hand = perf_counter()
            _, prefill = self._pipeline.examine(window)
            answered = perf_counter()
            if self._tokens and prefill is not None:
                self._pipeline.write(window, prefill, REASON_TASK, self._tokens)
            ended = perf_counter()
        return Run(began, at_hand, answered, ended, window.end - window.start, tuple(spans))
