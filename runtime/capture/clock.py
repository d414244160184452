"""The one clock of live work: it never jumps, and may run faster than real time where files stand in for devices."""

import threading
import time
from datetime import datetime, timezone


class Clock:
    """Seconds that only go forward.

    Wall time is not used for anything but ``wall``: an adjusted system clock must move no window.

    Args:
        speed: seconds of this clock in a second; above 1 for rehearsals with files only.

    Raises:
        ValueError: ``speed`` is not above 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0:
            raise ValueError("the clock's speed must be above 0")
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> float:
        """Seconds since this clock was made."""
        return (time.monotonic() - self._began) * self.speed

    def at(self, monotonic: float) -> float:
        """The time of this clock at ``monotonic``, a value of ``time.monotonic()``."""
        return (monotonic - self._began) * self.speed

    def wait(self, until: float, stop: threading.Event) -> bool:
        """Sleep up to the time ``until``, or to when ``stop`` is set; whether it was set."""
        while not stop.is_set():
            left = (until - self.now()) / self.speed
            if left <= 0:
                return False
            stop.wait(left)
        return True

    def wall(self, at: float) -> str:
        """RFC 3339, UTC, milliseconds: the system clock's reading for the time ``at`` of this clock."""
        stamp = time.time() - (self.now() - at) / self.speed
        return datetime.fromtimestamp(stamp, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
