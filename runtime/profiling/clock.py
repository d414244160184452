"""The profile's clock."""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    """Seconds since it was made, on the clock that spans are taken with; tests put one of their own in its place."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._began

    def at(self, moment: float) -> float:
        """The time of this clock at ``moment``, a value of ``time.perf_counter``."""
        return moment - self._began

    def sleep_until(self, until: float) -> None:
        """Wait up to the time ``until``; at once when it has passed."""
        left = until - self.now()
        if left > 0:
            time.sleep(left)


def today() -> str:
    """Date and time by the system's clock, RFC 3339, UTC, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
