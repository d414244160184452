"""A thread that reads the sensors while something else is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from mosear.runtime.board.energy import Span, energy
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.memory import DeviceMemory
from mosear.runtime.board.rails import Total
from mosear.runtime.board.records import Energy, Reading
from mosear.runtime.board.sensors import Sensors

INTERVAL_S = 0.05
"""Seconds between two readings. An INA3221 is read over a bus that takes about half a millisecond a value."""

_WHOLE_S = 0.25
_SHARE = 5
"""A pause is at least so many times as long as the reading before it."""

_MOST = 20_000
_END_SECONDS = 2.0
_HANGS = "a sensor does not answer any more: readings end before the runs do"


class Sampler:
    """Reads power every interval, and temperatures and clocks four times a second, until it is stopped.

    What goes wrong with a sensor never reaches the thread that is measured: it is a line of ``notes``. Where reading
    takes long, the pauses grow, so that it takes a third of the time at most; a long run is thinned, so that its
    readings never take more than some megabytes of the memory that is measured.

    Args:
        machine: whose sensors they are.
        interval_s: seconds between two readings.
        clock: the clock of the readings' times.
        device: a GPU whose memory is watched.

    Attributes:
        sensors: what is read.
        readings: so far, in order.
        device_peak_bytes: the most that the GPU had in use at once; None when that was never known.
    """

    def __init__(
        self,
        machine: Machine,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.perf_counter,
        device: DeviceMemory | None = None,
    ) -> None:
        if not interval_s > 0:
            raise ValueError(f"an interval of {interval_s} s")
        self.sensors = Sensors(machine, interval_s)
        self.readings: list[Reading] = []
        self.device_peak_bytes: int | None = None
        self._interval_s, self._clock, self._device = interval_s, clock, device
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: list[str] = []

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to read."""
        self.sensors.start()
        self._thread = threading.Thread(target=self._run, name="board-sampler", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._thread = None
            self._trouble.append(f"the sensors were not read ({error})")

    def stop(self) -> None:
        """End the thread and close everything; may be called again. A sensor that hangs is left to the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
            if self._thread.is_alive():
                if _HANGS not in self._trouble:
                    self._trouble.append(_HANGS)
                self.sensors.end_child()
                return
            self._thread = None
        self.sensors.close()

    @property
    def total(self) -> Total | None:
        """What stands for the module's power."""
        return self.sensors.rails.total()

    @property
    def interval_s(self) -> float | None:
        """Seconds between two readings as they were, in the mean; None with fewer than two."""
        readings = self.readings
        return (readings[-1].time - readings[0].time) / (len(readings) - 1) if len(readings) > 1 else None

    def method(self) -> str:
        """How power was read, in one line."""
        total, interval = self.total, self.interval_s
        if total is None:
            return self.sensors.rails.why_no_total()
        sources = {rail.source for rail in self.sensors.rails.found if rail.name in total.rails}
        if self.sensors.rails.has_gpu:
            sources.add("nvidia-smi")
        often = f", every {interval * 1000:.0f} ms" if interval is not None else ""
        return f"{total.covers}; {' and '.join(sorted(sources))}{often}, trapezoidal mean"

    def energy(self, idle: Span, busy: Span, seconds_a_run: float) -> tuple[Energy | None, str]:
        """Energy of a run, or None and why there is none; see ``mosear.runtime.board.energy``."""
        if self.total is None:
            return None, self.sensors.rails.why_no_total()
        return energy(self.readings, self.total, idle, busy, seconds_a_run, self.method())

    def notes(self) -> list[str]:
        """What was left out, and what slowed the card down, a line each. To be asked after ``stop``."""
        slowed = self.sensors.card_slowed_by()
        lines = [f"the graphics card was slowed down ({', '.join(slowed)})"] if slowed else []
        return [*self._trouble, *lines, *self.sensors.notes()]

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # nothing that a sensor does may end what is measured
            self._trouble.append(f"reading the sensors ended early ({type(error).__name__}: {error})")

    def _loop(self) -> None:
        pause, next_whole = self._interval_s, time.monotonic()
        while not self._stop.is_set():
            began = time.monotonic()
            whole = began >= next_whole
            reading = self.sensors.read(self._clock, whole)
            if reading.power_w or reading.temperature_c or reading.clock_mhz:
                self.readings.append(reading)
            self._watch_device()
            took = time.monotonic() - began
            if whole:
                next_whole = began + max(_WHOLE_S, _SHARE * took)
            if len(self.readings) >= _MOST:
                self.readings = self.readings[::2]
                pause *= 2
            self._stop.wait(max(pause - took, 0.0 if whole else _SHARE * took))

    def _watch_device(self) -> None:
        used = self._device.used() if self._device is not None else None
        if used is not None:
            self.device_peak_bytes = max(used, self.device_peak_bytes or 0)
