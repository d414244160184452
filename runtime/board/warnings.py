"""What makes figures hard to compare, from the context before and after the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

RISE_C = 10.0
"""Degrees by which a zone may rise while something is measured."""

_COUNTED = {
    "cpu": "the processor slowed down for heat",
    "oc1": "the module slowed down for low voltage",
    "oc2": "the module slowed down for its mean current",
    "oc3": "the module slowed down for peaks of current",
}
_FIXED = {
    "power_mode": "the power mode",
    "clock_limits_mhz": "the clocks' limits",
    "clocks_locked": "whether clocks are locked",
    "governor": "the governor",
    "gpu_governor": "the GPU's governor",
    "cores": "the number of cores",
    "cpu_quota": "the limit of processor time",
    "memory_limit_bytes": "the limit of memory",
}


def warnings(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line each; none when nothing speaks against comparing the figures.

    Args:
        before: ``context`` before the runs.
        after: ``state`` or ``context`` after them.
    """
    return [*_as_it_was(before), *_while_it_ran(before, after)]


def _as_it_was(before: Mapping[str, Any]) -> Iterator[str]:
    if before.get("clocks_locked") is False:
        yield _unlocked(before)
    elif before.get("clocks_locked") is None:
        yield "the kernel does not show whether clocks are locked"
    mode = before.get("power_mode")
    if isinstance(mode, Mapping) and not str(mode.get("name")).startswith("MAXN"):
        yield f"the power mode is {mode.get('name')}, and the module could do more: see sudo nvpmodel -p --verbose"
    if before.get("governor_is_slow"):
        yield f"the governor {before.get('governor')} lets clocks rise late"
    quota, cores = before.get("cpu_quota"), before.get("cores")
    if quota is not None and (cores is None or quota < cores):
        yield f"a control group limits this process to {quota:g} processors' worth of time"
    yield from _near(before, "before the runs")
    if before.get("slowed_by"):
        yield f"slowed down before the runs began: {', '.join(before['slowed_by'])}"


def _unlocked(before: Mapping[str, Any]) -> str:
    limits = before.get("clock_limits_mhz") or {}
    moving = [unit for unit, limit in limits.items() if limit["low"] != limit["high"]]
    fix = "run sudo jetson_clocks"
    if moving and before.get("l4t") is None and "Jetson" not in str(before.get("board")):
        high = f"{limits[moving[0]]['high']:.0f}MHz"
        fix = f"run sudo cpupower frequency-set --min {high} --max {high}"
    # What has no limits to show and is not locked is the memory of a Jetson.
    return f"clocks are not locked ({', '.join(moving) or 'emc'}), and figures differ from run to run: {fix}"


def _while_it_ran(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    counts, earlier = after.get("throttle_counts") or {}, before.get("throttle_counts") or {}
    for name, count in counts.items():
        more = count - earlier.get(name, 0)
        if more > 0:
            what = _COUNTED.get(name, f"the module slowed down ({name})")
            yield f"{what} {more} times during the runs"
    new = [each for each in after.get("slowed_by") or [] if each not in (before.get("slowed_by") or [])]
    if new:
        yield f"slowed down at the end of the runs: {', '.join(new)}"
    yield from _near({**after, "near_limit": _new_near(before, after)}, "after the runs")
    rise = _rise(before.get("temperatures") or {}, after.get("temperatures") or {})
    if rise is not None and rise[1] - rise[0] > RISE_C:
        yield f"{rise[2]} went from {rise[0]:.0f} to {rise[1]:.0f} °C during the runs: warm up longer, or cool better"
    for key, what in _FIXED.items():
        if before.get(key) != after.get(key):
            yield f"{what} changed during the runs"


def _near(context: Mapping[str, Any], when: str) -> Iterator[str]:
    zones, temperatures = context.get("near_limit") or [], context.get("temperatures") or {}
    if zones:
        told = ", ".join(f"{zone} {temperatures[zone]:.0f} °C" if zone in temperatures else zone for zone in zones)
        yield f"near the point where the kernel slows down for heat {when}: {told}"


def _new_near(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [zone for zone in after.get("near_limit") or [] if zone not in (before.get("near_limit") or [])]


def _rise(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[float, float, str] | None:
    """Before, after and name of the zone that rose most."""
    shared = [(before[zone], after[zone], zone) for zone in before if zone in after]
    return max(shared, key=lambda each: each[1] - each[0], default=None)
