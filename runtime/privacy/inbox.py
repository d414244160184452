"""What waits to be kept: short, bounded in memory, and never in anybody's way."""

import threading
from collections import deque
from dataclasses import dataclass

from mosear.runtime.capture.stream import Item, Picture
from mosear.runtime.privacy.shelf import steady

_ITEMS = 400
_BYTES = 64 << 20
_PLANAR_BYTES = 2
"""Bytes that a pixel is reckoned with; cameras give 1.5 to 3."""


@dataclass(frozen=True, eq=False)
class Arrival:
    """A picture or a sound, and when it came on the steady clock."""

    item: Item
    taken: float


class Inbox:
    """A queue from several threads to one. What does not fit is left out and counted.

    Attributes:
        refused: how many pictures and sounds did not fit.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._waiting: deque[Arrival] = deque()
        self._bytes = 0
        self._closed = False
        self._change = threading.Condition()

    def put(self, item: Item) -> None:
        """Add a picture or a sound; after ``close`` it goes nowhere."""
        size = _size(item)
        with self._change:
            if self._closed:
                return
            if len(self._waiting) >= _ITEMS or (self._waiting and self._bytes + size > _BYTES):
                self.refused += 1
                return
            self._waiting.append(Arrival(item, steady()))
            self._bytes += size
            self._change.notify()

    def get(self, timeout: float) -> Arrival | None:
        """The oldest that waits, or None when nothing came within ``timeout`` seconds or all is closed and empty."""
        with self._change:
            if not self._waiting and not self._closed:
                self._change.wait(timeout)
            if not self._waiting:
                return None
            arrival = self._waiting.popleft()
            self._bytes -= _size(arrival.item)
            return arrival

    def close(self) -> None:
        """Take nothing more; what waits can still be had."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    @property
    def is_done(self) -> bool:
        """Whether it is closed and empty."""
        with self._change:
            return self._closed and not self._waiting


def _size(item: Item) -> int:
    if isinstance(item, Picture):
        return _PLANAR_BYTES * item.frame.width * item.frame.height
    return int(item.samples.nbytes)
