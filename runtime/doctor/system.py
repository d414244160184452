"""The system around: processor, clock, disk, memory, heat, and settings that nobody reads."""

import ctypes
import difflib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mosear.runtime.board.allowance import allowed_cores, available_bytes, cpu_quota, meminfo
from mosear.runtime.board.clocks import governors
from mosear.runtime.board.heat import throttle_counts, zones
from mosear.runtime.board.machine import Machine
from mosear.runtime.doctor.finding import Finding, Verdict, megabytes
from mosear.runtime.doctor.question import Known, Question
from mosear.runtime.engines.cache import default_folder
from mosear.runtime.engines.library import PACKAGES

CHECK = "system"
EARLIEST = 1_767_225_600
"""2026-01-01 in seconds: this program is not older, so a clock that stands before it is wrong."""

OWN_VARIABLES = frozenset(
    {
        "MOSEAR_ENGINE_CACHE",
        "MOSEAR_ENGINE_CACHE_GB",
        "MOSEAR_HEARTBEAT",
        "MOSEAR_MQTT_PASSWORD",
        "MOSEAR_MQTT_PASSWORD_FILE",
        "MOSEAR_TOKEN",
        "MOSEAR_WS_TOKEN",
    }
)
"""Environment variables that belong to no option of the command."""

_NTP = "sudo timedatectl set-ntp true"
_TIMEX_BYTES = 256
_UNSYNCHRONIZED = 5
_LITTLE, _TOO_LITTLE = 1_000_000_000, 100_000_000
_SMALL_SHM = 64_000_000


def examine_system(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Processor, clock, memory, disk and variables."""
    yield _cores(machine)
    yield _governor(machine)
    yield clock_finding(time.time(), is_synchronized(machine))
    yield _memory(machine)
    yield from _disks(machine, known)
    yield from unknown_variables(machine, question.variables | OWN_VARIABLES)


def is_synchronized(machine: Machine, kernel: Callable[[], bool | None] | None = None) -> bool | None:
    """Whether the clock follows another, or None when nothing says."""
    if machine.path("/run/systemd/timesync/synchronized").exists():
        return True
    said = machine.run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if said in ("yes", "no"):
        return said == "yes"
    if kernel is None:
        kernel = _kernel_says if machine.is_here else lambda: None
    return kernel()


def clock_finding(now: float, synchronized: bool | None) -> Finding:
    """The wall clock, in seconds since 1970."""
    shown, details = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)), {"synchronized": synchronized}
    if now < EARLIEST:
        return Finding(CHECK, "clock", Verdict.wrong, f"{shown} is before this program was made", _NTP, details)
    if synchronized is None:
        return Finding(CHECK, "clock", Verdict.note, f"{shown}; nothing says whether it is kept right", details=details)
    if not synchronized:
        return Finding(CHECK, "clock", Verdict.note, f"{shown}; it follows no other clock", _NTP, details)
    return Finding(CHECK, "clock", Verdict.ok, f"{shown}, kept right", details=details)


def unknown_variables(machine: Machine, known: frozenset[str]) -> Iterator[Finding]:
    """Variables that look like mosear's and are read by nobody; their values are not shown."""
    for name in sorted(machine.environment):
        if not name.startswith("MOSEAR_") or name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1)
        seen = "is set, and nothing reads it" + (f"; is {close[0]} meant?" if close else "")
        fix = f"unset {shlex.quote(name)}"
        yield Finding(CHECK, name, Verdict.note, seen, fix, {"close": close})


def examine_heat(machine: Machine, question: Question, known: Known) -> Iterator[Finding]:
    """Temperatures against the points at which the kernel slows down, and whether it did."""
    found = zones(machine)
    hottest = max(found, key=lambda each: each.celsius, default=None)
    near = [f"{each.name} {each.celsius:.0f} °C, limit {each.limit:.0f} °C" for each in found if each.is_near]
    throttled = throttle_counts(machine).get("cpu", 0)
    details = {"throttled": throttled, "near": near, "hottest": hottest and [hottest.celsius, hottest.name]}
    fix = "watch -n 1 'cat /sys/class/thermal/thermal_zone*/temp'"
    if near:
        yield Finding(CHECK, "heat", Verdict.note, f"slows down for heat: {'; '.join(near)}", fix, details)
    elif throttled:
        seen = f"the processor slowed down for heat {throttled} times since it was started"
        yield Finding(CHECK, "heat", Verdict.note, seen, fix, details)
    elif hottest is None:
        yield Finding(CHECK, "heat", Verdict.absent, "the kernel shows no temperature")
    else:
        yield Finding(CHECK, "heat", Verdict.ok, f"{hottest.celsius:.0f} °C at most ({hottest.name})", details=details)


def _cores(machine: Machine) -> Finding:
    count, quota = allowed_cores(machine), cpu_quota(machine)
    details = {"cores": count, "quota": quota}
    seen = f"{count} cores" + (f", limited to {quota:g} processors' worth of time" if quota is not None else "")
    if quota is not None and quota < min(count, 2):
        return Finding(CHECK, "processor", Verdict.note, seen, "docker update --cpus 2 CONTAINER", details)
    return Finding(CHECK, "processor", Verdict.ok, seen, details=details)


def _governor(machine: Machine) -> Finding:
    found = governors(machine)
    if not found.names:
        return Finding(CHECK, "governor", Verdict.absent, "the kernel shows none")
    seen, details = ", ".join(found.names), {"governors": list(found.names)}
    if found.is_slow:
        fix = "sudo cpupower frequency-set --governor performance"
        return Finding(CHECK, "governor", Verdict.note, f"{seen}: clocks rise late", fix, details)
    return Finding(CHECK, "governor", Verdict.ok, seen, details=details)


def _memory(machine: Machine) -> Finding:
    total, available, swap = meminfo(machine, "MemTotal"), available_bytes(machine), meminfo(machine, "SwapTotal")
    if total is None or available is None:
        return Finding(CHECK, "memory", Verdict.note, "the system does not say how much there is")
    details = {"total_bytes": total, "available_bytes": available, "swap_bytes": swap}
    seen = f"{megabytes(available)} available of {megabytes(total)}, swap {megabytes(swap) if swap else 'none'}"
    return Finding(CHECK, "memory", Verdict.ok, seen, details=details)


def _disks(machine: Machine, known: Known) -> Iterator[Finding]:
    yield _room("temporary files", Path(tempfile.gettempdir()), 0, "TMPDIR=/var/tmp mosear doctor")
    if known.bundle is not None and known.backend in PACKAGES:
        folder = default_folder(machine.environment)
        needed = sum(entry.size for entry in known.bundle.manifest.files.values())
        yield _room("engine cache", folder, needed, "du -sh ~/.cache/* | sort -h")
    shared = machine.path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        verdict = Verdict.note if size <= _SMALL_SHM else Verdict.ok
        fix = "docker run --shm-size 1g IMAGE" if verdict is Verdict.note else None
        yield Finding(CHECK, "/dev/shm", verdict, megabytes(size), fix, {"bytes": size})


def _room(subject: str, folder: Path, needed: int, fix: str) -> Finding:
    there = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    details = {"needed_bytes": needed}
    if not os.access(there, os.W_OK):
        return Finding(CHECK, subject, Verdict.wrong, f"{there} can't be written", f"ls -ld {there}", details)
    free = shutil.disk_usage(there).free
    seen, details = f"{megabytes(free)} free", {**details, "free_bytes": free}
    if free < needed + _TOO_LITTLE:
        more = f", and the engines need about {megabytes(needed)}" if needed else ""
        return Finding(CHECK, subject, Verdict.wrong, seen + more, fix, details)
    return Finding(CHECK, subject, Verdict.note if free < needed + _LITTLE else Verdict.ok, seen, details=details)


def _kernel_says() -> bool | None:
    """What adjtimex returns: 5 is a clock that nobody keeps right; -1, that the kernel does not tell."""
    try:
        # The structure's first field is what to change: with zeros it only reads.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _UNSYNCHRONIZED
