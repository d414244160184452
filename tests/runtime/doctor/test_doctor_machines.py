"""Jetsons and desktops, as trees of files."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import runtime_fakes

from mosear.runtime.board.allowance import available_bytes, cpu_quota
from mosear.runtime.board.jetson import jetpack_version
from mosear.runtime.board.machine import Machine
from mosear.runtime.bundle import Bundle
from mosear.runtime.doctor.finding import Finding, Verdict
from mosear.runtime.doctor.fits import examine_fit, target_here
from mosear.runtime.doctor.jetson import examine_jetson
from mosear.runtime.doctor.question import Gpu, Known, Question
from mosear.runtime.doctor.system import (
    EARLIEST,
    clock_finding,
    examine_heat,
    examine_system,
    is_synchronized,
    unknown_variables,
)

Trees = Callable[..., Machine]
DPKG = """Package: nvidia-jetpack
Status: install ok installed
Version: {jetpack}

Package: libnvinfer10
Status: install ok installed
Version: {tensorrt}

Package: removed-thing
Status: deinstall ok config-files
Version: 9
"""
ORIN = {
    "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "/var/lib/dpkg/status": DPKG.format(jetpack="6.2+b77", tensorrt="10.3.0.30-1+cuda12.5"),
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "729600",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1728000",
    "/sys/class/hwmon/hwmon2/rpm": "1800",
}
THOR = {
    "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 1, BOARD: generic\n",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "2601000",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "2601000",
}


def _jetson(machine: Machine, known: Known) -> dict[str, Finding]:
    return {each.subject: each for each in examine_jetson(machine, Question(), known)}


def test_orin_on_jetpack_6(tree: Trees) -> None:
    known = Known()
    found = _jetson(tree(ORIN, {"nvpmodel": "NV Power Mode: 15W\n0"}), known)
    assert (known.jetpack, "Orin Nano" in (known.model or "")) == ("6.2", True)
    assert found["JetPack"].seen == "6.2 (L4T 36.4.3)"
    assert found["power mode"].verdict is Verdict.note
    assert found["power mode"].fix == "sudo nvpmodel -m 2"  # not 0, which is 15 W on this board
    assert found["clocks"].fix == "sudo jetson_clocks"
    assert found["fan"].details["rpm"] == 1800
    assert target_here(known) == "jetson-orin-nano-jp6"
    assert target_here(known, "10.16.1") == "jetson-orin-nano"


def test_thor_on_jetpack_7(tree: Trees) -> None:
    known = Known()
    found = _jetson(tree(THOR, {"nvpmodel": "NV Power Mode: MAXN\n0"}), known)
    assert known.jetpack == "7.2"
    assert {each.verdict for each in found.values()} == {Verdict.ok}
    assert target_here(known) == "jetson-thor"


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [("36.4.0", "6.1"), ("36.4.3", "6.2"), ("36.4", "6.2"), ("36.40.1", None), ("39.2.0", "7.2"), ("35.4.1", None)],
)
def test_jetpack_by_release(tree: Trees, release: str, jetpack: str | None) -> None:
    assert jetpack_version(tree({}), release) == jetpack


def test_a_desktop_is_no_jetson(tree: Trees) -> None:
    known = Known()
    machine = tree({"/proc/device-tree/model": "Raspberry Pi 5"})
    assert [each.verdict for each in _jetson(machine, known).values()] == [Verdict.absent]
    assert known.model is None


def _known(tmp_path: Path, engines: dict[str, str], gpu: str | None, **changes: Any) -> Known:
    made = runtime_fakes.make_bundle(tmp_path / "engines", **{"backend": "tensorrt", **changes})
    known = Known(bundle=Bundle.open(made), engines=engines, gpu=Gpu("GPU", gpu) if gpu else None)
    known.model = "NVIDIA Jetson Orin NX"
    return known


def _fit(machine: Machine, known: Known) -> dict[str, Finding]:
    return {each.subject: each for each in examine_fit(machine, Question(), known)}


def test_a_bundle_for_jetpack_7_on_jetpack_6(tree: Trees, tmp_path: Path) -> None:
    wants = {"target": "jetson-orin-nx", "tensorrt_version": "10.15", "compute_capability": "8.7"}
    known = _known(tmp_path, {"tensorrt": "10.3.0"}, "8.7", **wants)
    known.jetpack = "6.2"
    found = _fit(tree(ORIN), known)
    assert found["TensorRT"].verdict is Verdict.wrong
    assert "needs TensorRT 10.15; this is 10.3.0 of JetPack 6.2" in found["TensorRT"].seen
    assert found["TensorRT"].fix == "mosear-export build toy -o bundle --target jetson-orin-nx-jp6"
    assert found["GPU"].verdict is Verdict.ok


def test_a_bundle_for_another_gpu(tree: Trees, tmp_path: Path) -> None:
    wants = {"target": "jetson-thor", "tensorrt_version": "10.15", "compute_capability": "11.0"}
    found = _fit(tree(ORIN), _known(tmp_path, {"tensorrt": "10.16.0"}, "8.7", **wants))
    assert found["TensorRT"].verdict is Verdict.ok
    assert found["GPU"].verdict is Verdict.wrong
    assert found["GPU"].fix == "mosear-export build toy -o bundle --target jetson-orin-nx"


def test_tensorrt_that_the_environment_hides(tree: Trees, tmp_path: Path) -> None:
    found = _fit(tree(ORIN), _known(tmp_path, {}, None, compute_capability="8.7"))
    assert "10.3.0.30-1+cuda12.5 is installed, but not seen by this Python" in found["TensorRT"].seen
    assert "--system-site-packages" in (found["TensorRT"].fix or "")
    assert found["GPU"].verdict is Verdict.ok  # by the board's name, where no driver says


def test_a_bundle_for_the_processor_needs_no_engine(tree: Trees, toy_bundle: Path) -> None:
    assert _fit(tree({}), Known(bundle=Bundle.open(toy_bundle))) == {}


MEMINFO = "MemTotal:       8000000 kB\nMemFree:  10 kB\nMemAvailable:    6000000 kB\nSwapTotal: 0 kB\n"


def test_memory_without_limits(tree: Trees) -> None:
    assert available_bytes(tree({"/proc/meminfo": MEMINFO})) == 6_000_000 * 1024
    assert available_bytes(Machine(Path("/nowhere/at/all"), {})) is None


def test_the_tightest_of_nested_groups_counts(tree: Trees) -> None:
    machine = tree(
        {
            "/proc/meminfo": MEMINFO,
            "/proc/self/cgroup": "0::/outer/inner\n",
            "/sys/fs/cgroup/outer/memory.max": "1000000000",
            "/sys/fs/cgroup/outer/memory.current": "700000000",
            "/sys/fs/cgroup/outer/memory.stat": "anon 1\ninactive_file 50000000\n",
            "/sys/fs/cgroup/outer/inner/memory.max": "max",
            "/sys/fs/cgroup/outer/inner/memory.current": "1",
            "/sys/fs/cgroup/outer/cpu.max": "150000 100000",
            "/sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
        }
    )
    assert available_bytes(machine) == 350_000_000
    assert cpu_quota(machine) == 1.5


def test_groups_of_version_one(tree: Trees) -> None:
    machine = tree(
        {
            "/proc/meminfo": MEMINFO,
            "/proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/\n",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": "9",
            "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": "500000000",
            "/sys/fs/cgroup/memory/box/memory.usage_in_bytes": "600000000",
            "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        }
    )
    assert available_bytes(machine) == 0
    assert cpu_quota(machine) is None


def _system(machine: Machine) -> dict[str, Finding]:
    return {each.subject: each for each in examine_system(machine, Question(), Known())}


def test_cores_governor_and_shared_memory(tree: Trees) -> None:
    base = "/sys/devices/system/cpu/cpu0/cpufreq"
    files = {
        "/proc/self/status": "Name: x\nCpus_allowed_list:\t0-1,4\n",
        "/proc/meminfo": MEMINFO,
        f"{base}/scaling_governor": "powersave\n",
        f"{base}/scaling_driver": "acpi-cpufreq\n",
    }
    found = _system(tree(files))
    assert found["processor"].details["cores"] == 3
    assert found["governor"].verdict is Verdict.note
    assert "performance" in (found["governor"].fix or "")
    # The same word is the normal state of drivers that steer themselves.
    assert _system(tree({f"{base}/scaling_driver": "intel_pstate"}))["governor"].verdict is Verdict.ok


def test_the_clock(tree: Trees) -> None:
    assert is_synchronized(tree({}), lambda: None) is None
    assert is_synchronized(tree({}), lambda: False) is False
    assert is_synchronized(tree({}, {"timedatectl": "no"})) is False
    assert is_synchronized(tree({}, {"timedatectl": "yes"})) is True
    assert is_synchronized(tree({"/run/systemd/timesync/synchronized": ""}, {"timedatectl": "no"})) is True
    assert clock_finding(0.0, True).verdict is Verdict.wrong  # a board without a battery begins in 1970
    assert clock_finding(EARLIEST - 1, None).verdict is Verdict.wrong
    assert clock_finding(EARLIEST + 1, False).verdict is Verdict.note
    assert clock_finding(EARLIEST + 1, True).verdict is Verdict.ok


def test_heat(tree: Trees) -> None:
    def heat(**files: str) -> Finding:
        machine = tree({f"/sys/class/thermal/thermal_zone0/{name}": text for name, text in files.items()})
        return next(iter(examine_heat(machine, Question(), Known())))

    assert heat().verdict is Verdict.absent
    zone = {"type": "tj-thermal", "trip_point_0_type": "passive", "trip_point_0_temp": "95000"}
    assert heat(temp="55000", **zone).seen == "55 °C at most (tj-thermal)"
    hot = heat(temp="94000", **zone)
    assert (hot.verdict, "limit 95 °C" in hot.seen) == (Verdict.note, True)
    machine = tree({"/sys/devices/system/cpu/cpu3/thermal_throttle/core_throttle_count": "4"})
    (machine.path("/sys/class/thermal/thermal_zone0/temp")).write_text("50000")
    assert "4 times" in next(iter(examine_heat(machine, Question(), Known()))).seen


def test_variables_that_nobody_reads(tree: Trees) -> None:
    machine = tree({}, MOSEAR_THRAEDS="secret", MOSEAR_HOP="1", OTHER="x", MOSEAR_ZZZZZZZZZZ="1")
    found = list(unknown_variables(machine, frozenset({"MOSEAR_THREADS", "MOSEAR_HOP"})))
    assert [each.subject for each in found] == ["MOSEAR_THRAEDS", "MOSEAR_ZZZZZZZZZZ"]
    assert "is MOSEAR_THREADS meant?" in found[0].seen
    assert "meant" not in found[1].seen
    assert not any("secret" in str(each.to_dict()) for each in found)


def test_a_program_that_hangs_says_nothing(tree: Trees) -> None:
    machine = tree({}, {"slow": ""})
    machine.path("/usr/sbin/slow").write_text("#!/bin/sh\nexec sleep 60\n")
    assert machine.run("slow", seconds=0.2) is None
    assert machine.run("not-there") is None


def test_an_engine_is_built_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the fake GPU: the same session that answers windows runs the proof."""
    import fake_gpu

    from mosear.runtime.doctor import try_inference
    from mosear.runtime.engines import builder, device, library, provide
    from mosear.runtime.engines.profiles import Limits

    trt = fake_gpu.fake_tensorrt(Limits(1, 1, 1, 1), in_place=True)
    monkeypatch.setattr(device, "_load", fake_gpu.FakeDriver)
    monkeypatch.setattr(library.importlib, "import_module", lambda name: trt)
    built = lambda lib, graph, *rest, **more: builder.Built(os.fsencode(graph), b"")  # noqa: E731
    monkeypatch.setattr(provide, "build_engine", built)
    facts: dict[str, Any] = {}
    for line in try_inference.engine({"backend": "tensorrt_rtx"}):
        facts.update(line)
    assert (facts["version"], facts["gpu"], facts["capability"]) == ("10.16.1", "Fake GPU", "8.6")
    assert facts["difference"] < 5e-3
    assert SimpleNamespace(**facts).ms > 0
