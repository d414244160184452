"""Clocks: what the processor, the GPU and the memory may run at, and whether that is one fixed frequency."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mosear.runtime.board.machine import Machine

_CPU = "/sys/devices/system/cpu"
_EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"
_EMC_OF_THOR = "/sys/class/devfreq/bwmgr"
# Of Orin 17000000.gpu (JetPack 5: 17000000.ga10b), of Thor gpu-gpc-0 and gpu-nvd-0.
_GPU = re.compile(r"(^|\.)(gpu|ga10b|gb10b|gv11b|gp10b)(-|$)")
_SLOW_GOVERNORS = {"powersave", "conservative", "ondemand"}
_SELF_STEERING = ("intel_pstate", "amd-pstate-epp")


@dataclass(frozen=True)
class Clock:
    """One clock.

    Attributes:
        unit: ``cpu0`` (of a cluster its first core), ``gpu``, ``emc`` (the memory of a Jetson).
        low_mhz: what it may fall to; None where that is not shown.
        high_mhz: what it may rise to, likewise.
        is_locked: whether it can't move; None where nothing says.
        path: the file with the frequency of now.
        scale: that file's unit in MHz.
    """

    unit: str
    low_mhz: float | None
    high_mhz: float | None
    is_locked: bool | None
    path: str
    scale: float


@dataclass(frozen=True)
class Governors:
    """What steers the processor's clocks.

    Attributes:
        names: without repeats, sorted.
        is_slow: whether one of them lets clocks rise late. Drivers that steer themselves use the same words for
            something else.
    """

    names: tuple[str, ...]
    is_slow: bool


def clocks(machine: Machine) -> list[Clock]:
    """Those that the kernel shows: a cluster's or core's, the GPU's, the memory's."""
    return [*_cpu_clocks(machine), *_gpu_clocks(machine), *_memory_clock(machine)]


def are_locked(found: list[Clock]) -> bool | None:
    """Whether every clock of which that is known is locked; None when it is known of none."""
    known = [each.is_locked for each in found if each.is_locked is not None]
    return all(known) if known else None


def governors(machine: Machine) -> Governors:
    """Of all cores."""
    names = {machine.read(f"{folder}/scaling_governor") or "" for _, folder in _cpu_folders(machine)} - {""}
    drivers = {machine.read(f"{folder}/scaling_driver") or "" for _, folder in _cpu_folders(machine)}
    steers_itself = any(driver.startswith(_SELF_STEERING) for driver in drivers)
    return Governors(tuple(sorted(names)), bool(names & _SLOW_GOVERNORS) and not steers_itself)


def gpu_governor(machine: Machine) -> str | None:
    """Of an integrated GPU, as ``nvhost_podgov``."""
    return next((name for _, folder in _gpu_folders(machine) if (name := machine.read(f"{folder}/governor"))), None)


def _cpu_clocks(machine: Machine) -> list[Clock]:
    found = []
    for unit, folder in _cpu_folders(machine):
        low, high = machine.number(f"{folder}/scaling_min_freq"), machine.number(f"{folder}/scaling_max_freq")
        found.append(_clock(unit, low, high, f"{folder}/scaling_cur_freq", 1e-3))
    return found


def _cpu_folders(machine: Machine) -> list[tuple[str, str]]:
    """Unit and folder, in the order of the cores."""
    folders = machine.glob(f"{_CPU}/cpufreq/policy[0-9]*") or machine.glob(f"{_CPU}/cpu[0-9]*/cpufreq")
    named = [(int(numbers[-1]), folder) for folder in folders if (numbers := re.findall(r"\d+", folder))]
    return [(f"cpu{number}", folder) for number, folder in sorted(named)]


def _gpu_clocks(machine: Machine) -> list[Clock]:
    return [_devfreq_clock(machine, unit, folder) for unit, folder in _gpu_folders(machine)]


def _gpu_folders(machine: Machine) -> list[tuple[str, str]]:
    folders = [each for each in machine.glob("/sys/class/devfreq/*") if _GPU.search(each.rpartition("/")[2])]
    # The graphics cores are what computes; Thor's video unit keeps its own name.
    return [("gpu" if place == 0 else folder.rpartition("/")[2], folder) for place, folder in enumerate(folders)]


def _memory_clock(machine: Machine) -> list[Clock]:
    """Of Thor as that of a GPU; of Orin behind debugfs, which as a rule only root may read."""
    if machine.number(f"{_EMC_OF_THOR}/max_freq") is not None:
        return [_devfreq_clock(machine, "emc", _EMC_OF_THOR)]
    if (machine.number(f"{_EMC}/rate") or 0) <= 0:
        return []
    locked = machine.number(f"{_EMC}/mrq_rate_locked")
    return [Clock("emc", None, None, None if locked is None else locked == 1, f"{_EMC}/rate", 1e-6)]


def _devfreq_clock(machine: Machine, unit: str, folder: str) -> Clock:
    low, high = machine.number(f"{folder}/min_freq"), machine.number(f"{folder}/max_freq")
    return _clock(unit, low, high, f"{folder}/cur_freq", 1e-6)


def _clock(unit: str, low: int | None, high: int | None, path: str, scale: float) -> Clock:
    if low is None or high is None or not 0 <= low <= high or not high:
        return Clock(unit, None, None, None, path, scale)
    return Clock(unit, round(low * scale, 3), round(high * scale, 3), low == high, path, scale)
