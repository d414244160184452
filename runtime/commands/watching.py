"""A live run at work: its loop and its writing have threads of their own, and the main one hears signals."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mosear.runtime.appliance import notify
from mosear.runtime.appliance.reload import Reload
from mosear.runtime.errors import Failed
from mosear.runtime.live.opening import LiveRun
from mosear.runtime.live.waiting import Waiting
from mosear.runtime.results import Emotion

_PATIENCE_S = 0.2
_LOOP_ENDING_S = 10.0
_WRITER_ENDING_S = 2.0


class Watching:
    """Answers live windows and writes them, until it is told to stop.

    A reader who is slow, or asleep, holds up neither the loop nor the end.

    Args:
        run: from ``open_live``.
        answers: where the run puts its answers.
        write: puts one on standard output.
        stop: ends it.
        reload: is called off when a signal wants the end.
    """

    def __init__(
        self,
        run: LiveRun,
        answers: Waiting,
        write: Callable[[Emotion], None],
        stop: threading.Event,
        reload: Reload,
    ) -> None:
        self._run = run
        self._answers = answers
        self._write = write
        self._stop = stop
        self._reload = reload
        self._failed: list[BaseException] = []
        self._loop = threading.Thread(target=self._guarded, args=(self._answer,), name="mosear-loop", daemon=True)
        self._writer = threading.Thread(target=self._guarded, args=(self._deliver,), name="mosear-writer", daemon=True)

    def until_ended(self) -> None:
        """Run to the end.

        Raises:
            MosearError: the loop ended on it, or the model did not come back.
            BrokenPipeError, Unwritable: standard output takes nothing more.
            KeyboardInterrupt: Ctrl-C.
        """
        with self._signals():
            self._loop.start()
            self._writer.start()
            notify.ready()
            try:
                while self._loop.is_alive() and not self._stop.is_set():
                    self._loop.join(_PATIENCE_S)
            finally:
                self._stop.set()
                self._loop.join(_LOOP_ENDING_S)
                self._writer.join(_WRITER_ENDING_S)
        if self._failed:
            raise self._failed[0]
        unwritten = self._answers.dropped + self._answers.waiting
        if unwritten:
            print(f"{unwritten} answers were not written: their reader was too slow", file=sys.stderr)
        if self._loop.is_alive():
            what = f"the model did not come back within {_LOOP_ENDING_S:g} s of the end, and was left"
            raise Failed(what, "look with mosear doctor whether it answers at all")

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failed.append(error)
            self._stop.set()

    def _answer(self) -> None:
        self._run.loop.run(self._stop)

    def _deliver(self) -> None:
        while self._loop.is_alive() or self._answers.waiting:
            emotion = self._answers.get(_PATIENCE_S)
            if emotion is not None:
                self._write(emotion)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM ends the loop in good order; SIGUSR1 asks for the model's reason with the next window."""

        def end(number: int, frame: FrameType | None) -> None:
            notify.stopping()
            # Also when it is about to begin anew: somebody wants the end.
            self._reload.requested.clear()
            self._stop.set()

        def ask(number: int, frame: FrameType | None) -> None:
            self._run.loop.ask_reason()

        wanted = {"SIGTERM": end, "SIGUSR1": ask}
        there = {getattr(signal, name): handler for name, handler in wanted.items() if hasattr(signal, name)}
        before = {number: signal.signal(number, handler) for number, handler in there.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
