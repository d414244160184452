"""A thread and a bounded queue around one sink, so that whoever publishes never waits for it."""

import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from mosear.runtime.capture.stream import Condition, LinkStatus
from mosear.runtime.errors import MosearError, one_line
from mosear.runtime.results import Emotion
from mosear.runtime.sinks import Sink, SinkLost

BOUND = 256
"""So many answers wait for a sink; then the oldest gives way."""

SinkOpener = Callable[[], Sink]
"""Opens a sink, or raises ``SinkLost``. It may block for some seconds."""

_CHECK_S = 1.0
_LAST_TRIES_S = 0.2
_GROWTH = 2.0

_log = logging.getLogger("mosear")


class Outbox:
    """Delivers answers to a sink in their order, opening it again whenever it is lost.

    The thread starts at once and opens the sink before there is an answer. An answer whose delivery ended on
    ``SinkLost``, or on an error that a user can mend, is tried again (so a sink may see it twice); one that ended on
    anything else is dropped, as it may be the cause.

    Args:
        name: what the user called the sink, without secrets.
        opener: opens it.
        bound: answers that may wait.
        first, most: seconds to wait before opening again, from the first to the longest; each is shortened by chance to
            between half and all of it. Delivering an answer starts over with the first.
    """

    def __init__(
        self, name: str, opener: SinkOpener, bound: int = BOUND, first: float = 0.5, most: float = 30.0
    ) -> None:
        self.name = name
        self._opener = opener
        self._bound = bound
        self._first, self._most = first, most
        self._pause = first
        self._changed = threading.Condition()
        self._waiting: deque[Emotion] = deque()
        self._ending = self._abandoned = False
        self._condition = Condition.opening
        self._error: str | None = None
        self._opened = 0
        self._told_lost = False
        self._delivered = self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def put(self, emotion: Emotion) -> None:
        """Queue an answer. Never blocks and never raises; when the queue is full the oldest answer is dropped."""
        with self._changed:
            if self._ending:
                self._dropped += 1
                return
            if len(self._waiting) >= self._bound:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(emotion)
            self._changed.notify_all()

    def status(self) -> LinkStatus:
        """How it stands with the sink."""
        with self._changed:
            reconnects = max(0, self._opened - 1)
            counts = {"delivered": self._delivered, "dropped": self._dropped}
            return LinkStatus("sink", self.name, self._condition, reconnects, self._error, **counts)

    def end(self) -> None:
        """Take no more answers; what is queued is still delivered."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Deliver what is queued within ``timeout`` seconds, then give up and drop the rest. May be called twice."""
        self.end()
        self._thread.join(max(0.0, timeout))
        with self._changed:
            self._abandoned = True
            if self._waiting:
                _log.warning("sink %s: %d answers were not delivered", self.name, len(self._waiting))
            self._dropped += len(self._waiting)
            self._waiting.clear()
            self._condition = Condition.ended
            self._changed.notify_all()

    def _run(self) -> None:
        while self._wanted():
            sink = None
            try:
                sink = self._opener()
                self._found()
                self._feed(sink)
            except Exception as error:
                self._lost(error)
            finally:
                if sink is not None:
                    with contextlib.suppress(Exception):
                        sink.close()
            self._rest()
        self._stand(Condition.ended)

    def _wanted(self) -> bool:
        with self._changed:
            return not self._abandoned and (not self._ending or bool(self._waiting))

    def _feed(self, sink: Sink) -> None:
        while self._wanted():
            emotion = self._next()
            if emotion is None:
                sink.check()
                continue
            try:
                sink.write(emotion)
            except (SinkLost, MosearError):
                self._put_back(emotion)
                raise
            except Exception:
                with self._changed:
                    self._dropped += 1
                raise
            with self._changed:
                self._delivered += 1
                self._pause = self._first
                dropped = self._dropped
            if self._told_lost:
                self._told_lost = False
                _log.info("sink %s is back; %d answers dropped since the start", self.name, dropped)

    def _next(self) -> Emotion | None:
        """The oldest answer; None when a while has gone by without one, or at the end."""
        with self._changed:
            if not self._waiting and not self._ending:
                self._changed.wait(_CHECK_S)
            return self._waiting.popleft() if self._waiting else None

    def _put_back(self, emotion: Emotion) -> None:
        with self._changed:
            if self._abandoned or len(self._waiting) >= self._bound:
                self._dropped += 1
            else:
                self._waiting.appendleft(emotion)

    def _found(self) -> None:
        with self._changed:
            self._opened += 1
        self._stand(Condition.live)

    def _lost(self, error: Exception) -> None:
        why = _words(error)
        self._stand(Condition.lost, why)
        # A full disk can be opened again and again: it is news once, until an answer went through.
        if not self._told_lost:
            self._told_lost = True
            _log.warning("sink %s is lost: %s; trying again", self.name, why)

    def _stand(self, condition: Condition, error: str | None = None) -> None:
        with self._changed:
            # After the last answer, and once given up, nothing changes any more.
            if self._condition is not Condition.ended:
                self._condition, self._error = condition, error

    def _rest(self) -> None:
        """Wait before opening again; at the end, while answers wait, only shortly."""
        with self._changed:
            until = time.monotonic() + self._pause * random.uniform(0.5, 1.0)
            self._pause = min(self._pause * _GROWTH, self._most)
            while not self._ending and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._ending and self._waiting and not self._abandoned:
                self._changed.wait(_LAST_TRIES_S)


def _words(error: Exception) -> str:
    """One line on an error; of one that nobody foresaw only the kind, as its text may hold anything."""
    if isinstance(error, MosearError):
        return one_line(error.what)
    return one_line(error) if isinstance(error, SinkLost) else type(error).__name__
