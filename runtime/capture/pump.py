"""Devices whose library may block at any time: each is opened, read and released by a thread of its own.

No library here can break off a read from another thread. So the one who iterates waits for that thread and not for the
library: closing is at once, while the thread ends, and releases the device, when the library returns (network reads
after a few seconds, a camera that hangs in its driver when it is unplugged). `OneAtATime` sees to it that a device that
was not released is not opened a second time.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, Protocol, TypeVar

from mosear.runtime.capture.stream import Device, Item, Lost
from mosear.runtime.errors import one_line

T = TypeVar("T")

_GRACE = 0.5


class Pump(Generic[T]):
    """What a blocking source produces, for one who must not block.

    Args:
        name: of the thread.
        produce: opens the device, yields what it gives, and releases it when it is closed. It is given an event that is
            set when nothing more is wanted, and raises ``Lost`` when the device breaks.
        trim: shortens what waits to be taken, after each addition; it must bound it.
        patience: seconds without anything after which the device counts as lost.
        opening_patience: the same before the first thing came.
    """

    def __init__(
        self,
        name: str,
        produce: Callable[[threading.Event], Generator[T, None, None]],
        trim: Callable[[deque[T]], None],
        patience: float = 5.0,
        opening_patience: float = 15.0,
    ) -> None:
        self._produce = produce
        self._trim = trim
        self._patience, self._opening_patience = patience, opening_patience
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._finished = False
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def released(self) -> bool:
        """Whether the device is no longer held."""
        return not self._thread.is_alive()

    def __iter__(self) -> Iterator[T]:
        """What was produced and not trimmed. Ends when the source ends or ``close`` was called; raises ``Lost``."""
        patience = self._opening_patience
        while True:
            with self._changed:
                deadline = time.monotonic() + patience
                while not (self._waiting or self._finished or self._closing.is_set()):
                    if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                        raise Lost(f"nothing came for {patience:g} s")
                if self._closing.is_set():
                    return
                if not self._waiting:
                    if self._error is not None:
                        raise Lost(self._error)
                    return
                entry = self._waiting.popleft()
            patience = self._patience
            yield entry

    def close(self) -> None:
        """End the iteration at once; give the thread half a second to release the device."""
        with self._changed:
            self._closing.set()
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(_GRACE)

    def _run(self) -> None:
        error: str | None = None
        try:
            produce = self._produce
            del self._produce  # it mostly belongs to the device that holds this pump
            with contextlib.closing(produce(self._closing)) as entries:
                for entry in entries:
                    with self._changed:
                        if self._closing.is_set():
                            break
                        self._waiting.append(entry)
                        self._trim(self._waiting)
                        self._changed.notify_all()
        except Lost as lost:
            error = str(lost)
        except Exception as unknown:
            error = one_line(f"{type(unknown).__name__}: {unknown}")
        with self._changed:
            self._error, self._finished = error, True
            self._changed.notify_all()


class Pumped(Device, Protocol):
    """A device that says when it is released."""

    @property
    def released(self) -> bool:
        """Whether the device is no longer held, which may be some time after ``close``."""
        ...

    def __iter__(self) -> Iterator[Item]: ...


class OneAtATime:
    """An ``Opener`` that refuses while the device that it opened last is not released."""

    def __init__(self, make: Callable[[], Pumped]) -> None:
        self._make = make
        self._last: Pumped | None = None

    def __call__(self) -> Device:
        """Open it. Raises ``Lost``."""
        if self._last is not None and not self._last.released:
            raise Lost("it is still held since it was lost")
        self._last = self._make()
        return self._last


def newest(waiting: deque[T]) -> None:
    """A ``trim`` for pictures that stand alone: only the newest two stay."""
    while len(waiting) > 2:
        waiting.popleft()
