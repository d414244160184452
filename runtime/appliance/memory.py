"""Free memory goes back to the system, so that a program that runs for months does not seem to grow.

What the allocator holds for later is scattered over its arenas, a little more each time that a thread or a connection
comes and goes; what is in use does not grow. glibc gives it back when it is asked to.
"""

import ctypes
import time
from collections.abc import Callable

_EVERY_S = 60.0


class FreeMemory:
    """Asks glibc once a minute to give back what is free; does nothing with another C library.

    Args:
        now: monotonic time in seconds.
        trim: what gives it back; glibc's ``malloc_trim`` when left out.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, trim: Callable[[], object] | None = None) -> None:
        self._now = now
        self._trim = trim or _malloc_trim()
        self._last = now()

    def tick(self) -> None:
        """To be called now and then, by a loop. Takes a few milliseconds, once a minute."""
        if self._now() - self._last >= _EVERY_S:
            self._last = self._now()
            self._trim()


def _malloc_trim() -> Callable[[], object]:
    try:
        call = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return lambda: None
    call.argtypes = [ctypes.c_size_t]
    return lambda: call(0)
