"""The sensors of power, heat and clocks, opened once and read again and again."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from mosear.runtime.board.clocks import clocks
from mosear.runtime.board.graphics_card import CardStream, find_card, slowing_reasons
from mosear.runtime.board.heat import COLDEST, HOTTEST, zone_folders
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.rails import GPU, Kind, Rail, find_rails
from mosear.runtime.board.records import Reading

_MOST_CORES = 16
"""Clocks of more are read of every second, third, … one: they would cost more than they tell."""

_NOISE_W, _MOST_W = -0.5, 10_000.0
_MOST_MHZ = 20_000.0
_BYTES = 64


class Sensors:
    """Everything that can be read again and again on this machine.

    Args:
        machine: whose sensors they are.
        interval_s: seconds between two readings, for what prints by itself.

    Attributes:
        rails: the sensors of power.
    """

    def __init__(self, machine: Machine, interval_s: float) -> None:
        card = find_card(machine)
        self.rails = find_rails(machine, card is not None and card.state.power_w is not None)
        self._stream = CardStream(machine, card, interval_s) if card and not self.rails.has_chips else None
        self._power = {rail.name: _PowerFile(machine, rail) for rail in self.rails.found}
        self._zones = {name: _File(machine, f"{folder}/temp") for name, folder in zone_folders(machine).items()}
        found = clocks(machine)
        cores = [each for each in found if each.unit.startswith("cpu")]
        cores = cores[:: math.ceil(len(cores) / _MOST_CORES) or 1]
        others = [each for each in found if not each.unit.startswith("cpu")]
        self._clocks = {each.unit: (_File(machine, each.path), each.scale) for each in cores + others}
        self._reads = 0
        self._asked: Counter[tuple[str, str]] = Counter()
        self._missing: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Start what prints by itself."""
        if self._stream is not None:
            self._stream.start()

    def read(self, clock: Callable[[], float], whole: bool) -> Reading:
        """Read power, and with ``whole`` temperatures and clocks too. What can't be read now is missing.

        The reading's time is halfway between those before and after power was read.
        """
        before = clock()
        power = {name: file.watts(clock) for name, file in self._power.items()}
        after = clock()
        temperatures: dict[str, float | None] = {}
        speeds: dict[str, float | None] = {}
        if whole:
            temperatures = {name: _within(file.number(), 1e-3, COLDEST, HOTTEST) for name, file in self._zones.items()}
            speeds = {unit: _within(file.number(), scale, 0, _MOST_MHZ) for unit, (file, scale) in self._clocks.items()}
        if self._stream is not None:
            self._add_card(self._stream, power, temperatures, speeds, whole)
        self._reads += 1
        return Reading(
            (before + after) / 2,
            self._kept("power", power),
            self._kept("temperature", temperatures),
            self._kept("clock", speeds),
        )

    def notes(self) -> list[str]:
        """What was left out, a line each. Parts that are switched off until they first give a value are not missed."""
        lines = list(self.rails.notes)
        rails = [*self._power, *([GPU] if self.rails.has_gpu else [])] if self._reads else []
        lines += [f"power of {name}: could not be read" for name in rails if not self._asked["power", name]]
        for (kind, name), missing in sorted(self._missing.items()):
            asked = self._asked[kind, name]
            lines.append(f"{kind} of {name}: {missing} of {asked} readings could not be used and were left out")
        if self._stream is not None and self._stream.trouble is not None:
            lines.append(self._stream.trouble)
        return lines

    def card_slowed_by(self) -> list[str]:
        """What slowed the card down since ``start``, in words."""
        return slowing_reasons(self._stream.reasons) if self._stream is not None else []

    def end_child(self) -> None:
        """End what prints by itself."""
        if self._stream is not None:
            self._stream.stop()

    def close(self) -> None:
        """Close the files, and end what prints by itself. Nothing can be read any more."""
        self.end_child()
        for rail in self._power.values():
            rail.close()
        for file in (*self._zones.values(), *(each for each, _ in self._clocks.values())):
            file.close()

    def _add_card(
        self,
        stream: CardStream,
        power: dict[str, float | None],
        temperatures: dict[str, float | None],
        speeds: dict[str, float | None],
        whole: bool,
    ) -> None:
        state = stream.latest()
        if self.rails.has_gpu:
            power[GPU] = state.power_w if state else None
        if whole:
            temperatures[GPU] = state.temperature_c if state else None
            speeds[GPU] = state.clock_mhz if state else None

    def _kept(self, kind: str, values: dict[str, float | None]) -> dict[str, float]:
        kept = {name: value for name, value in values.items() if value is not None}
        known = [(kind, name) for name in values if name in kept or (kind, name) in self._asked]
        self._asked.update(known)
        self._missing.update(key for key in known if key[1] not in kept)
        return kept


class _File:
    """A file of one number, held open: the kernel makes its text anew for every read from the beginning."""

    def __init__(self, machine: Machine, path: str) -> None:
        try:
            self._file: int | None = os.open(machine.path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            self._file = None

    def number(self) -> int | None:
        """The number, or None when there is none now."""
        if self._file is None:
            return None
        try:
            return int(os.pread(self._file, _BYTES, 0))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Close it; there are no numbers any more."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


class _PowerFile:
    """A rail's files."""

    def __init__(self, machine: Machine, rail: Rail) -> None:
        self._rail = rail
        self._files = [_File(machine, path) for path in rail.files]
        self._last: tuple[float, int] | None = None

    def watts(self, clock: Callable[[], float]) -> float | None:
        """Watts now, of a counter since it was read last; None when there are none."""
        numbers = [file.number() for file in self._files]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers):
            self._last = None
            return None
        if self._rail.kind is Kind.volts_amps:
            watts: float | None = known[0] * known[1] * 1e-6
        elif self._rail.kind is Kind.microwatts:
            watts = known[0] * 1e-6
        else:
            watts = self._counted(clock(), known[0])
        if watts is None or not _NOISE_W < watts < _MOST_W:
            return None
        # A rail that is switched off is read as a little less than nothing.
        return max(0.0, watts)

    def close(self) -> None:
        """Close them."""
        for file in self._files:
            file.close()

    def _counted(self, now: float, count: int) -> float | None:
        last, self._last = self._last, (now, count) if count >= 0 else None
        if last is None or self._last is None or now <= last[0]:
            return None
        used = count - last[1]
        if used < 0:
            # It began anew, which without a known end says nothing.
            used = used + self._rail.wraps_at if self._rail.wraps_at else -1
        return used * 1e-6 / (now - last[0]) if used >= 0 else None


def _within(number: int | None, scale: float, low: float, high: float) -> float | None:
    value = None if number is None else number * scale
    return value if value is not None and low <= value <= high else None
