"""Each worker's share of the CPUs, on recorded trees and under a real affinity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mosear.evaluation.distribution.threads import threads_for, usable_cpus


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 16),
        # A unit of systemd, whose slice has the quota.
        (
            {
                "proc/self/cgroup": "0::/user.slice/run.service\n",
                "sys/fs/cgroup/user.slice/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/user.slice/run.service/cpu.max": "max 100000\n",
            },
            4,
        ),
        # Version 1 in a container, whose own group is mounted at the top.
        (
            {
                "proc/self/cgroup": "3:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_quotas_of_control_groups_count(tmp_path: Path, files: dict[str, str], cpus: int) -> None:
    assert usable_cpus(tree(tmp_path, files)) == cpus


def test_a_share_is_never_less_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosear.evaluation.distribution.threads.usable_cpus", lambda: 12)
    assert [threads_for(workers) for workers in (1, 2, 5, 12, 40)] == [12, 6, 2, 1, 1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to a CPU")
def test_a_process_pinned_to_one_cpu_has_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from mosear.evaluation.distribution.threads import usable_cpus; print(usable_cpus())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"
