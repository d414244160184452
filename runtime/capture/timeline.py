"""A device's own time stamps, mapped to the one clock of live work."""

import math
from collections import deque

_SPAN = 30.0
_RECENT = 2.0
_JUMP = 1.0


class Timeline:
    """Maps time stamps to the ``Clock`` by the least delay with which any of them arrived lately.

    Most of what lies between a stamp and its arrival is jitter (network, decoding, other work); the arrival with the
    least of it tells best how the two clocks stand. What came in the last 30 seconds counts, so that a device's clock
    that runs fast or slow is followed. Several tracks of one device (its pictures, its sound) share a timeline and
    keep their places to one another.

    It starts anew when the stamps jump back by more than a second, or when for two seconds every arrival is later by
    more than a second than the least delay allows: the device's clock stood still or runs far too slow. A jump
    forward needs no rule, because what comes after it is the least delayed.
    """

    def __init__(self) -> None:
        self._least = _SlidingLeast(_SPAN)
        self._recent = _SlidingLeast(_RECENT)
        self._stamps: dict[str, float] = {}
        self._places: dict[str, float] = {}
        self._arrival = -math.inf

    def observe(self, stamp: float, arrival: float, track: str = "") -> None:
        """Learn that something stamped ``stamp`` (device seconds) arrived at ``arrival`` (clock seconds, ascending)."""
        delay = arrival - stamp
        if stamp < self._stamps.get(track, stamp) - _JUMP:
            self._restart()
        self._stamps[track] = stamp
        self._arrival = max(self._arrival, arrival)
        self._recent.add(arrival, delay)
        self._least.add(arrival, delay)
        if self._recent.is_full and self._recent.value > self._least.value + _JUMP:
            self._least.clear()
            self._least.add(arrival, self._recent.value)

    def place(self, stamp: float, track: str = "") -> float:
        """The time on the clock of what the device stamped ``stamp``, once something was observed.

        It is never earlier than what this track was given last and never later than the last arrival.
        """
        time = min(stamp + self._least.value, self._arrival)
        self._places[track] = time = max(time, self._places.get(track, time))
        return time

    def unstamped(self, arrival: float, track: str = "") -> float:
        """The time of what has no stamp: its arrival."""
        self._places[track] = time = max(arrival, self._places.get(track, arrival))
        return time

    def map(self, stamp: float, arrival: float, track: str = "") -> float:
        """``observe``, then ``place``."""
        self.observe(stamp, arrival, track)
        return self.place(stamp, track)

    def _restart(self) -> None:
        self._least.clear()
        self._recent.clear()
        # A jump hits all tracks; each of them must not start it anew once more.
        self._stamps.clear()


class _SlidingLeast:
    """The least of the values that were added within the last ``span`` seconds."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._first = math.inf
        self._rising: deque[tuple[float, float]] = deque()

    @property
    def value(self) -> float:
        return self._rising[0][1]

    @property
    def is_full(self) -> bool:
        """Whether values were added for the whole span."""
        return bool(self._rising) and self._rising[-1][0] - self._first >= self._span

    def add(self, time: float, value: float) -> None:
        self._first = min(self._first, time)
        while self._rising and self._rising[-1][1] >= value:
            self._rising.pop()
        self._rising.append((time, value))
        while self._rising[0][0] < time - self._span:
            self._rising.popleft()

    def clear(self) -> None:
        self._first = math.inf
        self._rising.clear()
