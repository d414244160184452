"""What sensors gave: readings over time, and the energy and the peaks of memory that were made of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reading:
    """The sensors at one moment.

    Temperatures and clocks change slowly and are read less often than power, so a reading may lack them. A value that
    could not be read, or was none that the sensor can have, is missing.

    Attributes:
        time: seconds on the profile's clock.
        power_w: watts by rail.
        temperature_c: degrees Celsius by zone.
        clock_mhz: megahertz by unit, as ``cpu0`` and ``gpu``.
    """

    time: float
    power_w: dict[str, float] = field(default_factory=dict)
    temperature_c: dict[str, float] = field(default_factory=dict)
    clock_mhz: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Energy:
    """On-module energy of the measured runs.

    Attributes:
        rail: the rail that stands for the whole module, or the sum of those named.
        method: what was read, and how often, in one line.
        idle_w: mean power before the runs, the model loaded and waiting.
        busy_w: mean power during the runs.
        joules_a_run: busy power times the mean time of a run.
        joules_a_run_above_idle: the same with idle power subtracted.
        rails_w: mean power during the runs, by rail.
    """

    rail: str
    method: str
    idle_w: float
    busy_w: float
    joules_a_run: float
    joules_a_run_above_idle: float
    rails_w: dict[str, float]


@dataclass(frozen=True)
class Memory:
    """A peak of memory, and how it was found.

    Attributes:
        what: ``process`` or ``device``.
        peak_bytes: the largest value seen.
        method: what was read, in one line.
    """

    what: str
    peak_bytes: int
    method: str
