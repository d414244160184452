"""Answers that wait for a reader who may be slow."""

import queue

from mosear.runtime.results import Emotion


class Waiting:
    """A bounded queue in which the oldest answer gives way to the newest.

    Args:
        most: how many may wait.

    Attributes:
        dropped: how many gave way.
    """

    def __init__(self, most: int) -> None:
        self._queue: queue.Queue[Emotion] = queue.Queue(most)
        self.dropped = 0

    def put(self, emotion: Emotion) -> None:
        """Add an answer; never waits. For one thread."""
        while True:
            try:
                self._queue.put_nowait(emotion)
                return
            except queue.Full:
                pass
            try:
                self._queue.get_nowait()
                self.dropped += 1
            except queue.Empty:
                continue

    def get(self, timeout: float) -> Emotion | None:
        """The oldest answer; None when there is none for ``timeout`` seconds."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._queue.qsize()
