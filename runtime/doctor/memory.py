"""How much memory a process may still take: what the machine has, and what its control group leaves."""

import re

from mosear.runtime.doctor.machine import Machine

MB = 1_000_000


def available_bytes(machine: Machine) -> int | None:
    """The smaller of MemAvailable and what the limits of the control groups leave; None when nothing says."""
    found = [meminfo(machine, "MemAvailable"), *_group_leaves(machine)]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def meminfo(machine: Machine, name: str) -> int | None:
    """A line of /proc/meminfo, in bytes."""
    matched = re.search(rf"^{name}:\s+(\d+) kB", machine.read("/proc/meminfo") or "", re.MULTILINE)
    return int(matched[1]) * 1024 if matched else None


def group_files(machine: Machine, controller: str, name: str) -> list[str]:
    """Where a file of this process's control group and of those above it lies, whether version 1 or 2."""
    paths = []
    for line in (machine.read("/proc/self/cgroup") or "").splitlines():
        number, controllers, group = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            base = "/sys/fs/cgroup"
        elif controller in controllers.split(","):
            base = f"/sys/fs/cgroup/{controller}"
        else:
            continue
        parts = [part for part in group.split("/") if part]
        for length in range(len(parts), -1, -1):
            path = "/".join([base, *parts[:length], name])
            if machine.path(path).is_file():
                paths.append(path)
    return paths


def megabytes(size: float) -> str:
    """``1.2 GB`` or ``340 MB``."""
    return f"{size / MB / 1000:.1f} GB" if size >= 1000 * MB else f"{size / MB:.0f} MB"


def _group_leaves(machine: Machine) -> list[int | None]:
    total = meminfo(machine, "MemTotal") or 1 << 62
    leaves: list[int | None] = []
    for limit_name, usage_name, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for path in group_files(machine, "memory", limit_name):
            limit = machine.number(path)
            folder = path.removesuffix(limit_name)
            usage = machine.number(folder + usage_name)
            # No limit is the word "max" in version 2 and a number beyond all memory in version 1.
            if limit is None or usage is None or limit > total:
                continue
            # Pages of files that nobody used lately are given back before a process is killed.
            spare = re.search(rf"^{cache} (\d+)", machine.read(folder + "memory.stat") or "", re.MULTILINE)
            leaves.append(max(0, limit - usage + (int(spare[1]) if spare else 0)))
    return leaves
