"""Pictures of the last seconds, on a grid of times that all windows share.

A window of L seconds wants F frames. They are taken at the multiples of L / F of the clock and not at places counted
from the window's own start: so any two windows that overlap share the frames of their overlap, whatever the hop, and
the vision encoder sees each of them once. Against the middles of equal parts, which a clip's windows use, a frame is at
most half a step off.
"""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np

from mosear.runtime.capture.stream import Picture

STALE_S = 1.0
"""A picture stands for what is seen no longer than so many seconds; then the camera counts as gone."""

_SPARE_S = 2.0


@dataclass(frozen=True, eq=False)
class Look:
    """What was made of a picture.

    Attributes:
        pixels: uint8 [size, size, 3] RGB for the model, or None where there is nothing to read.
        states: what is out of the ordinary in it.
    """

    pixels: np.ndarray | None
    states: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Sighting:
    """The picture that stands for one time of the grid; ``key`` is equal exactly for the same picture."""

    place: int
    key: int
    look: Look


class Sightings:
    """Pictures at the times of the grid, fed by the camera's thread and read by the loop's.

    Args:
        length: seconds of a window.
        count: frames of a window.
        look: makes a frame into what the model sees; called once a picture, by the thread that brings the next one.
    """

    def __init__(self, length: float, count: int, look: Callable[[av.VideoFrame], Look]) -> None:
        self._count = count
        self._step = length / count
        self._look = look
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._kept: deque[Sighting] = deque(maxlen=count + math.ceil(_SPARE_S / self._step))
        self._held: Picture | None = None
        self._seen = 0
        self._latest: tuple[int, Look] | None = None
        self._settled = -math.inf

    def take(self, picture: Picture) -> None:
        """A new picture: it settles what stands for the times of the grid before it."""
        with self._settling:
            held = self._held
            if held is not None and picture.time > held.time:
                self._settle(held, math.ceil(picture.time / self._step) - 1)
            with self._lock:
                self._held, self._seen = picture, self._seen + 1

    def newest(self) -> Picture | None:
        """The last picture that came."""
        with self._lock:
            return self._held

    def until(self, end: float) -> list[Sighting]:
        """The sightings of the grid's times in (end - L, end], in order; those that nothing stands for are missing."""
        last = math.floor(end / self._step)
        with self._settling:
            if self._held is not None and self._held.time <= last * self._step:
                self._settle(self._held, last)
        with self._lock:
            return [each for each in self._kept if last - self._count < each.place <= last]

    def _settle(self, picture: Picture, last: int) -> None:
        """Let ``picture`` stand for the times from its own up to place ``last``, while it is not stale."""
        first = max(math.ceil(picture.time / self._step), self._settled + 1)
        last = min(last, math.floor((picture.time + STALE_S) / self._step))
        if first > last:
            return
        if self._latest is None or self._latest[0] != self._seen:
            self._latest = self._seen, self._look(picture.frame)
        key, look = self._latest
        with self._lock:
            self._kept.extend(Sighting(place, key, look) for place in range(int(first), last + 1))
        self._settled = last


def spread(sightings: list[Sighting], count: int) -> list[Sighting]:
    """``count`` of the sightings, evenly spaced in order: all of as many, some twice when there are fewer."""
    return [sightings[int((place + 0.5) * len(sightings) / count)] for place in range(count)]
