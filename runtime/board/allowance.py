"""What this process may take of the machine: its cores, its time, its memory, and what control groups leave of them."""

from __future__ import annotations

import os
import re

from mosear.runtime.board.machine import Machine

_NO_LIMIT = 1 << 62


def available_bytes(machine: Machine) -> int | None:
    """The smaller of MemAvailable and what the limits of the control groups leave; None when nothing says."""
    found = [meminfo(machine, "MemAvailable"), *_group_leaves(machine)]
    return min((each for each in found if each is not None), default=None)


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


def memory_limit(machine: Machine) -> int | None:
    """Bytes that the tightest control group allows; None without a limit."""
    limits = [limit for _, _, limit in _memory_limits(machine)]
    return min(limits) if limits else None


def cpu_quota(machine: Machine) -> float | None:
    """Processors' worth of time that the control groups allow; None without a limit."""
    allowed = []
    for path in group_files(machine, "cpu", "cpu.max"):
        quota, _, period = (machine.read(path) or "").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            allowed.append(int(quota) / int(period))
    for path in group_files(machine, "cpu", "cpu.cfs_quota_us"):
        limit, length = machine.number(path), machine.number(path.replace("quota", "period"))
        if limit and length and limit > 0:
            allowed.append(limit / length)
    return min(allowed) if allowed else None


def allowed_cores(machine: Machine) -> int:
    """Cores that this process may run on."""
    found = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)", machine.read("/proc/self/status") or "", re.MULTILINE)
    count = 0
    for part in found[1].split(",") if found else []:
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1 if first else 0
    return count or os.cpu_count() or 1


def _group_leaves(machine: Machine) -> list[int]:
    leaves = []
    for path, usage_path, limit in _memory_limits(machine):
        usage = machine.number(usage_path)
        if usage is None:
            continue
        # Pages of files that nobody used lately are given back before a process is killed.
        cache = "inactive_file" if path.endswith(".max") else "total_inactive_file"
        stat = machine.read(f"{path.rpartition('/')[0]}/memory.stat") or ""
        spare = re.search(rf"^{cache} (\d+)", stat, re.MULTILINE)
        leaves.append(max(0, limit - usage + (int(spare[1]) if spare else 0)))
    return leaves


def _memory_limits(machine: Machine) -> list[tuple[str, str, int]]:
    """File of the limit, file of the use, and the limit, of each group that has one."""
    total = meminfo(machine, "MemTotal") or _NO_LIMIT
    found = []
    for limit_name, usage_name in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        for path in group_files(machine, "memory", limit_name):
            limit = machine.number(path)
            # No limit is the word "max" in version 2 and a number beyond all memory in version 1.
            if limit is not None and limit <= total:
                found.append((path, path.removesuffix(limit_name) + usage_name, limit))
    return found
