"""What makes a figure comparable: the board, its versions, its power mode, clocks and heat, as plain JSON."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mosear.runtime.board import packages
from mosear.runtime.board.allowance import allowed_cores, cpu_quota, meminfo, memory_limit
from mosear.runtime.board.clocks import Clock, are_locked, clocks, governors, gpu_governor
from mosear.runtime.board.graphics_card import find_card, slowing_reasons
from mosear.runtime.board.heat import fans, slowed_by, throttle_counts, zones
from mosear.runtime.board.jetson import jetpack_version, l4t_release, power_mode
from mosear.runtime.board.machine import Machine

_MODELS = ("/proc/device-tree/model", "/sys/class/dmi/id/product_name")


def context(machine: Machine, installed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Facts of the machine now. What can't be found out is missing; nothing tells whose machine it is.

    installed: as ``packages.python_packages`` has it; those of this Python when None.

    Returns:
        Of these keys those that are known: ``board``, ``soc``, ``processor``, ``architecture``, ``jetpack``, ``l4t``,
        ``kernel``, ``cuda``, ``driver``, ``gpu``, ``tensorrt``, ``tensorrt_rtx``, ``versions`` (by package),
        ``git_commit``; and the ``state``.
    """
    installed = packages.python_packages() if installed is None else installed
    system = packages.system_packages(machine)
    release = l4t_release(machine)
    facts: dict[str, Any] = {
        "board": next((model for path in _MODELS if (model := machine.read(path))), None),
        "soc": _soc(machine),
        "processor": _processor(machine),
        "architecture": platform.machine() if machine.is_here else None,
        "jetpack": jetpack_version(machine, release),
        "l4t": release,
        "kernel": machine.read("/proc/sys/kernel/osrelease"),
        "cuda": packages.cuda_version(machine, system, installed),
        "driver": packages.driver_version(machine),
        **packages.tensorrt_versions(system, installed),
        "versions": {"python": platform.python_version(), **packages.library_versions(installed)},
        "git_commit": packages.checkout_commit(Path(__file__).parents[1]) if machine.is_here else None,
    }
    return {**_known(facts), **state(machine)}


def state(machine: Machine) -> dict[str, Any]:
    """The part of the context that may change while something is measured; for after the runs.

    Returns:
        Of these keys those that are known:

        - ``power_mode`` (``name``, ``number``), ``clocks_locked``, ``clock_limits_mhz`` (by unit ``low`` and ``high``),
          ``governor``, ``governor_is_slow``, ``gpu_governor``;
        - ``cores``, ``cpu_quota`` (processors), ``memory_bytes``, ``swap_bytes``, ``memory_limit_bytes``;
        - ``temperatures`` (by zone), ``near_limit`` (zones within 3 °C of where the kernel slows down),
          ``throttle_counts`` (since booting, see ``heat``), ``slowed_by``, ``fan`` (``rpm``, ``pwm``);
        - of an NVIDIA card ``gpu`` and ``driver``.
    """
    mode, found, governed = power_mode(machine), clocks(machine), governors(machine)
    heat, card = zones(machine), find_card(machine)
    temperatures = {zone.name: round(zone.celsius, 1) for zone in heat}
    slowed = slowed_by(machine)
    if card is not None:
        temperatures |= _known({"gpu0": card.state.temperature_c})
        slowed += [f"graphics card: {reason}" for reason in slowing_reasons(card.state.reasons)]
    turning = fans(machine)
    facts: dict[str, Any] = {
        "power_mode": {"name": mode.name, "number": mode.number} if mode is not None else None,
        "clocks_locked": are_locked(found),
        "clock_limits_mhz": _limits(found) or None,
        "governor": ", ".join(governed.names) or None,
        "governor_is_slow": governed.is_slow if governed.names else None,
        "gpu_governor": gpu_governor(machine),
        "cores": allowed_cores(machine),
        "cpu_quota": cpu_quota(machine),
        "memory_bytes": meminfo(machine, "MemTotal"),
        "swap_bytes": meminfo(machine, "SwapTotal"),
        "memory_limit_bytes": memory_limit(machine),
        "temperatures": temperatures or None,
        "near_limit": [zone.name for zone in heat if zone.is_near],
        "throttle_counts": throttle_counts(machine) or None,
        "slowed_by": slowed,
        "fan": _known({"rpm": turning[0].rpm, "pwm": turning[0].pwm}) if turning else None,
        "gpu": card.name if card is not None else None,
        "driver": card.driver if card is not None else None,
    }
    return _known(facts)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``after`` what is not as it was ``before``."""
    return {key: value for key, value in after.items() if key not in before or before[key] != value}


def _soc(machine: Machine) -> str | None:
    """The last of the device tree's names, from the board to its chip: ``tegra234`` of ``nvidia,tegra234``."""
    names = machine.entries("/proc/device-tree/compatible")
    return names[-1].rpartition(",")[2] if names else None


def _processor(machine: Machine) -> str | None:
    found = re.search(r"^model name\s*:\s*(.+)$", machine.read("/proc/cpuinfo") or "", re.MULTILINE)
    return found[1].strip() if found else None


def _limits(found: list[Clock]) -> dict[str, dict[str, float]]:
    """By unit; neighbouring cores with the same limits are one, as ``cpu0 to cpu5``."""
    runs: list[list[Clock]] = []
    for each in found:
        if each.low_mhz is None or each.high_mhz is None:
            continue
        last = runs[-1][-1] if runs else None
        if last is not None and _is_core(last) and _is_core(each) and _range(last) == _range(each):
            runs[-1].append(each)
        else:
            runs.append([each])
    return {run[0].unit if len(run) == 1 else f"{run[0].unit} to {run[-1].unit}": _range(run[0]) for run in runs}


def _is_core(clock: Clock) -> bool:
    return clock.unit.startswith("cpu")


def _range(clock: Clock) -> dict[str, float]:
    return {"low": clock.low_mhz or 0.0, "high": clock.high_mhz or 0.0}


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None}
