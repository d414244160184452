"""Sound of the last seconds, by time."""

import threading
from collections import deque

import numpy as np

from mosear.runtime.capture.stream import Sound

# Two clocks never agree: a chunk that is this close to where it was expected goes on from the one before, since a hole
# or an overlap of a few samples would be heard as a click.
_SLACK_S = 0.02

_SPARE_S = 2.0


class Hearing:
    """Samples of the last seconds, fed by the microphone's thread and read by the loop's.

    Args:
        length: seconds of a window.
        rate: samples a second.
    """

    def __init__(self, length: float, rate: int) -> None:
        self._rate = rate
        self._span = round((length + _SPARE_S) * rate)
        self._lock = threading.Lock()
        self._chunks: deque[tuple[int, np.ndarray]] = deque()
        self._expected: int | None = None

    def take(self, sound: Sound) -> None:
        """More samples. What lies further back than a window and a little is forgotten."""
        place = round(sound.time * self._rate)
        with self._lock:
            if self._expected is not None and abs(place - self._expected) <= _SLACK_S * self._rate:
                place = self._expected
            self._expected = place + len(sound.samples)
            self._chunks.append((place, sound.samples))
            while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) < self._expected - self._span:
                self._chunks.popleft()

    def between(self, start: float, end: float) -> tuple[np.ndarray, float]:
        """Samples float32 [n] from ``start`` to ``end``, zero where there are none, and the share that there is."""
        first, last = round(start * self._rate), round(end * self._rate)
        heard = np.zeros(max(0, last - first), np.float32)
        there = np.zeros(len(heard), bool)
        with self._lock:
            chunks = list(self._chunks)
        for place, samples in chunks:
            begin, stop = max(place, first), min(place + len(samples), last)
            if begin < stop:
                heard[begin - first : stop - first] = samples[begin - place : stop - place]
                there[begin - first : stop - first] = True
        return heard, float(there.mean()) if len(there) else 0.0
