"""A place at the model, and the windows that wait there."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum

from mosear.runtime.results import Emotion
from mosear.runtime.windows import Window


class Priority(IntEnum):
    """Whose windows go first."""

    live = 0
    upload = 1


class Waiting:
    """A window that waits for its turn."""

    __slots__ = ("future", "since", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.future: Future[Emotion] = Future()
        self.since = time.monotonic()


class Job:
    """One clip's, or one live source's, place at the model. Made by ``ModelWorker.open``; any thread may use it."""

    def __init__(
        self,
        clip: str,
        reason: bool,
        priority: Priority,
        feed: "Callable[[Job, Window], Future[Emotion]]",
        close: "Callable[[Job], None]",
    ) -> None:
        self.clip = clip
        self.reason = reason
        self.priority = priority
        self.waiting: deque[Waiting] = deque()
        self.open = True
        self._feed = feed
        self._close = close

    def feed(self, window: Window) -> "Future[Emotion]":
        """Queue a window. Its future may be cancelled as long as its turn has not come.

        Raises:
            Stopping: the worker has ended.
            RuntimeError: the job is closed.
        """
        return self._feed(self, window)

    def close(self) -> None:
        """Give the place back, and drop what still waits. May be called again."""
        self._close(self)
