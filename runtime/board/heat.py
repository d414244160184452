"""Heat: temperatures against the points at which the kernel slows down, whether it did, and the fan."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mosear.runtime.board.machine import Machine

COLDEST, HOTTEST = -40.0, 200.0
"""Degrees Celsius; what is outside of them is no temperature, as zones that are switched off show it."""

_NEAR = 3.0
_SLOWING = ("passive", "hot", "critical")
_SLOWED = re.compile(r"throttle-alert|^(thermal-)?(cpufreq|devfreq)|^Processor$")


@dataclass(frozen=True)
class Zone:
    """One sensor of temperature.

    Attributes:
        name: as the kernel has it, as ``tj-thermal``; with a number behind where several have the same.
        celsius: of now.
        limit: the lowest point at which something slows down or the machine is switched off; None without one.
    """

    name: str
    celsius: float
    limit: float | None

    @property
    def is_near(self) -> bool:
        """Whether it is within 3 °C of its limit, or beyond."""
        return self.limit is not None and self.celsius >= self.limit - _NEAR


@dataclass(frozen=True)
class Fan:
    """A fan: revolutions a minute, and its drive out of 255; None for what it does not show."""

    rpm: int | None
    pwm: int | None


def zones(machine: Machine) -> list[Zone]:
    """Those that can be read now, in the order of their numbers."""
    found = []
    for name, folder in zone_folders(machine).items():
        thousandths = machine.number(f"{folder}/temp")
        if thousandths is not None and COLDEST < thousandths / 1000 < HOTTEST:
            found.append(Zone(name, thousandths / 1000, _limit(machine, folder)))
    return found


def zone_folders(machine: Machine) -> dict[str, str]:
    """Every zone's folder by its name, those included that are switched off now, as a GPU's that has nothing to do."""
    folders = machine.glob("/sys/class/thermal/thermal_zone[0-9]*")
    found: dict[str, str] = {}
    for folder in sorted(folders, key=lambda each: int(re.sub(r"\D", "", each))):
        kind = machine.read(f"{folder}/type") or folder.rpartition("/")[2]
        same = sum(name == kind or name.startswith(f"{kind} ") for name in found)
        found[f"{kind} {same + 1}" if same else kind] = folder
    return found


def throttle_counts(machine: Machine) -> dict[str, int]:
    """How often something slowed down since the machine was started.

    ``cpu``: the processor, for heat, all cores together. ``oc1`` to ``oc3`` of a Jetson: low voltage, mean current and
    peak current beyond the limit. What is not counted is missing.
    """
    counts = machine.glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    known = [value for path in counts if (value := machine.number(path)) is not None]
    found = {"cpu": sum(known)} if known else {}
    for path in machine.glob("/sys/class/hwmon/hwmon*/oc*_event_cnt"):
        value = machine.number(path)
        if value is not None:
            name = path.rpartition("/")[2].partition("_")[0]
            found[name] = found.get(name, 0) + value
    return found


def slowed_by(machine: Machine) -> list[str]:
    """What the kernel slows down for heat at this moment, by its own names."""
    found = []
    for folder in machine.glob("/sys/class/thermal/cooling_device[0-9]*"):
        kind = machine.read(f"{folder}/type") or ""
        if _SLOWED.search(kind) and (machine.number(f"{folder}/cur_state") or 0) > 0:
            found.append(kind)
    return sorted(set(found))


def fans(machine: Machine) -> list[Fan]:
    """Those that say something of themselves."""
    found = []
    for folder in machine.glob("/sys/class/hwmon/hwmon*"):
        rpm, pwm = machine.number(f"{folder}/rpm"), machine.number(f"{folder}/pwm1")
        fan = Fan(machine.number(f"{folder}/fan1_input") if rpm is None else rpm, pwm)
        if fan != Fan(None, None):
            found.append(fan)
    return found


def _limit(machine: Machine, folder: str) -> float | None:
    limits = [
        limit / 1000
        for trip in machine.glob(f"{folder}/trip_point_*_type")
        if machine.read(trip) in _SLOWING and (limit := machine.number(trip.removesuffix("type") + "temp"))
    ]
    return min((each for each in limits if each > 0), default=None)
