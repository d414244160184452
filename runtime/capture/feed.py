"""A device kept alive for months: opened, listened to, and opened again whenever it is lost."""

import contextlib
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.names import without_credentials
from mosear.runtime.capture.stream import Condition, Device, Item, LinkStatus, Lost, Opener
from mosear.runtime.errors import one_line

_log = logging.getLogger("mosear")


@dataclass(frozen=True)
class Backoff:
    """How long a lost device is left alone before the next try, in seconds of the clock.

    Attributes:
        first: after the first loss; each further one in a row doubles it.
        most: the longest.
        jitter: share by which it varies at random, so that many devices do not come back in step.
        settle: how long a device must have delivered for its next loss to be a first one again.
    """

    first: float = 0.5
    most: float = 30.0
    jitter: float = 0.25
    settle: float = 10.0

    def delay(self, losses: int) -> float:
        """The wait after ``losses`` losses in a row, at least one."""
        straight = min(self.most, self.first * 2 ** min(losses - 1, 60))
        return straight * random.uniform(1 - self.jitter, 1 + self.jitter)


class Feed:
    """One device, one thread, never two opens at once.

    Args:
        kind: what it is, for the status.
        name: what the user called it, without secrets.
        opener: opens the device; called only after the last one was closed.
        take: is given every item, in the feed's thread, and should not block. What it raises is logged, once a kind.
        clock: times the waits.
        backoff: how long they are.
    """

    def __init__(
        self,
        kind: Literal["camera", "microphone"],
        name: str,
        opener: Opener,
        take: Callable[[Item], None],
        clock: Clock,
        backoff: Backoff | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self._opener = opener
        self._take = take
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._condition = Condition.opening
        self._error: str | None = None
        self._reconnects = self._delivered = 0
        self._steady = 0.0
        self._logged: set[type[Exception]] = set()
        self._thread = threading.Thread(target=self._run, name=f"mosear-{kind}", daemon=True)

    def start(self) -> None:
        """Begin. Raises RuntimeError when it was started before."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Release the device and end the thread; whether it ended within ``timeout`` seconds."""
        self._stopping.set()
        with self._lock:
            device = self._device
        if device is not None:
            self._close(device)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def status(self) -> LinkStatus:
        """How it stands now; callable from any thread."""
        with self._lock:
            return LinkStatus(
                self.kind, self.name, self._condition, self._reconnects, self._error, delivered=self._delivered
            )

    def _run(self) -> None:
        losses = 0
        while not self._stopping.is_set():
            self._steady = 0.0
            try:
                self._use()
                break
            except Lost as lost:
                reason = one_line(without_credentials(str(lost)))
            except Exception as unknown:
                reason = one_line(without_credentials(f"{type(unknown).__name__}: {unknown}"))
            losses = 1 if self._steady >= self._backoff.settle else losses + 1
            delay = self._backoff.delay(losses)
            self._note_lost(reason, delay)
            self._clock.wait(self._clock.now() + delay, self._stopping)
        with self._lock:
            self._condition, self._error = Condition.ended, None

    def _use(self) -> None:
        """Open the device and hand on what it gives until it ends or is lost."""
        device = self._opener()
        with self._lock:
            self._device = device
        began: float | None = None
        try:
            if self._stopping.is_set():
                return
            for item in device:
                if self._stopping.is_set():
                    return
                now = self._clock.now()
                began = now if began is None else began
                self._steady = now - began
                self._note_delivered()
                self._hand_on(item)
        finally:
            with self._lock:
                self._device = None
            self._close(device)

    def _hand_on(self, item: Item) -> None:
        try:
            self._take(item)
        except Exception as error:
            if type(error) not in self._logged:
                self._logged.add(type(error))
                _log.error("%s %s: what came was not taken (%s)", self.kind, self.name, type(error).__name__)
                _log.debug("what was raised", exc_info=True)

    def _note_delivered(self) -> None:
        with self._lock:
            was, self._condition, self._error = self._condition, Condition.live, None
            is_back = was is Condition.lost and self._delivered > 0
            self._reconnects += is_back
            self._delivered += 1
        if was is not Condition.live:
            _log.info("%s %s: %s", self.kind, self.name, "back" if is_back else "live")

    def _note_lost(self, reason: str, delay: float) -> None:
        with self._lock:
            known = self._condition is Condition.lost and self._error == reason
            self._condition, self._error = Condition.lost, reason
        # A camera that is away for a week is one line and not one every half minute.
        if not known and not self._stopping.is_set():
            _log.warning("%s %s: lost (%s); trying again in %.1f s", self.kind, self.name, reason, delay)

    def _close(self, device: Device) -> None:
        with contextlib.suppress(Exception):
            device.close()
