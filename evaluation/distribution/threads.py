"""How many CPU threads each of several workers may have."""

from __future__ import annotations

import os
from pathlib import Path


def threads_for(workers: int) -> int:
    """An equal share of the CPUs that this process may use, and at least one."""
    return max(1, usable_cpus() // workers)


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use, at least one: its affinity, or less where its control groups set a quota.

    Args:
        root: where ``proc`` and ``sys`` are; tests give recorded trees.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _control_groups(root) if (quota := _quota(folder)) is not None]
    return max(1, int(min([count, *quotas])))


def _control_groups(root: Path) -> list[Path]:
    """The folders of this process's control groups that may hold a quota for CPUs, from the inmost one out."""
    folders: list[Path] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if controllers == "":
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup/cpu"
        else:
            continue
        inmost = base / place.lstrip("/")
        folders += [inmost, *(folder for folder in inmost.parents if folder.is_relative_to(base))]
    return folders


def _quota(folder: Path) -> float | None:
    """CPUs' worth of time that a control group has, or None where it has no bound (version 2, then version 1)."""
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
