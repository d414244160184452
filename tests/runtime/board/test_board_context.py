"""What the boards say of themselves, and what of it speaks against comparing figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import board_trees as trees
import pytest

from mosear.runtime.board.context import changed, context, state
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.warnings import warnings

Trees = Callable[..., Machine]
INSTALLED = {"mosear": "0.1.0", "numpy": "2.2.0", "av": "17.0", "onnxruntime-gpu": "1.23.0", "secret-thing": "1"}


def _context(machine: Machine, installed: dict[str, str] | None = None) -> dict[str, Any]:
    found = context(machine, INSTALLED if installed is None else installed)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_orin_nano_on_jetpack_6(tree: Trees) -> None:
    found = _context(tree(trees.orin_small(), {"nvpmodel": "NV Power Mode: 25W\n1"}))
    assert found["board"] == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (found["soc"], found["jetpack"], found["l4t"]) == ("tegra234", "6.2", "36.4.3")
    assert (found["kernel"], found["cuda"], found["driver"]) == ("5.15.148-tegra", "12.6.68", "540.4.0")
    assert found["tensorrt"] == "10.3.0.30"
    assert found["power_mode"] == {"name": "25W", "number": 1}
    assert found["clocks_locked"] is False
    assert found["clock_limits_mhz"] == {
        "cpu0 to cpu4": {"low": 729.6, "high": 1728.0},
        "gpu": {"low": 306.0, "high": 1020.0},
    }
    assert (found["governor"], found["governor_is_slow"]) == ("schedutil", False)
    assert (found["gpu_governor"], found["cores"]) == ("nvhost_podgov", 6)
    # Zones of parts that are switched off have no temperature.
    assert found["temperatures"] == {
        "cpu-thermal": 47.5,
        "gpu-thermal": 46.1,
        "soc0-thermal": 46.0,
        "tj-thermal": 47.5,
    }
    assert found["throttle_counts"] == {"oc1": 0, "oc2": 0, "oc3": 37}
    assert (found["slowed_by"], found["near_limit"], found["fan"]) == ([], [], {"rpm": 1807})
    assert found["memory_bytes"] == 7_802_000 * 1024
    assert found["versions"].keys() == {"python", "mosear", "numpy", "av", "onnxruntime-gpu"}


@pytest.mark.parametrize("make", [trees.orin_small, trees.raspberry_pi, lambda: trees.desktop()[0]])
def test_nothing_tells_whose_machine_it_is(tree: Trees, make: Callable[[], trees.Files]) -> None:
    told = str(_context(tree(make())))
    for secret in ("secret", "SECRET", "1422424001234", "abcdef0123456789"):
        assert secret not in told


def test_the_mode_without_nvpmodel(tree: Trees) -> None:
    assert _context(tree(trees.orin_small("Orin NX")))["power_mode"] == {"name": "25W", "number": 1}
    unknown = tree({"/var/lib/nvpmodel/status": "pmode:0007\n"})
    assert _context(unknown)["power_mode"] == {"name": "mode 7", "number": 7}


def test_agx_orin_on_jetpack_7(tree: Trees) -> None:
    found = _context(tree(*trees.agx_orin()))
    # Without the package of JetPack the release of L4T tells it; nvidia-smi, which knows nothing, is no card.
    assert (found["jetpack"], found["driver"], found["cuda"]) == ("7.2", "595.78", "13.2.75")
    assert found["clocks_locked"] is True
    assert "gpu" not in found
    assert (found["power_mode"]["name"], found["fan"]) == ("MAXN", {"pwm": 77})
    assert warnings(found, found) == []


def test_memory_that_is_not_locked_is_not_locked(tree: Trees) -> None:
    files, programs = trees.agx_orin()
    files["/sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked"] = "0"
    found = _context(tree(files, programs))
    assert found["clocks_locked"] is False
    assert "clocks are not locked (emc)" in warnings(found, found)[0]


def test_thor_on_jetpack_7(tree: Trees) -> None:
    found = _context(tree(*trees.thor()))
    assert (found["soc"], found["jetpack"], found["cuda"]) == ("tegra264", "7.2", "13.2.0")
    assert found["clock_limits_mhz"]["cpu0 to cpu13"] == {"low": 972.0, "high": 2601.0}
    assert found["clock_limits_mhz"].keys() == {"cpu0 to cpu13", "gpu", "gpu-nvd-0", "emc"}
    assert found["clock_limits_mhz"]["gpu"] == {"low": 315.0, "high": 1575.0}
    assert "gpu-thermal" not in found["temperatures"]


def test_a_desktop_with_a_card(tree: Trees) -> None:
    found = _context(tree(*trees.desktop()), {**INSTALLED, "tensorrt-rtx-cu13": "1.7.1", "tensorrt-cu12": "10.9.0.34"})
    assert found["board"] == "MS-7D25"
    assert found["processor"] == "12th Gen Intel(R) Core(TM) i7-12700K"
    assert (found["gpu"], found["driver"]) == ("NVIDIA GeForce RTX 3060", "525.60.13")
    assert (found["tensorrt"], found["tensorrt_rtx"]) == ("10.9.0.34", "1.7.1")
    assert found["throttle_counts"] == {"cpu": 4}
    assert found["temperatures"] == {"acpitz": 27.8, "acpitz 2": 29.8, "x86_pkg_temp": 44.0, "gpu0": 41.0}
    # A driver that steers itself calls its normal state powersave.
    assert found["governor_is_slow"] is False
    assert "jetpack" not in found
    assert "power_mode" not in found


def test_a_board_of_another_make(tree: Trees) -> None:
    found = _context(tree(trees.raspberry_pi()))
    assert (found["board"], found["soc"]) == ("Raspberry Pi 5 Model B Rev 1.0", "bcm2712")
    assert found["fan"] == {"rpm": 2500}
    told = warnings(found, found)
    assert told[0] == (
        "clocks are not locked (cpu0), and figures differ from run to run: "
        "run sudo cpupower frequency-set --min 2400MHz --max 2400MHz"
    )
    assert any("ondemand lets clocks rise late" in line for line in told)
    assert len(told) == 2


def test_an_empty_container(tree: Trees) -> None:
    found = _context(tree(trees.container()), {})
    assert (found["cpu_quota"], found["memory_limit_bytes"], found["cores"]) == (0.5, 536870912, 8)
    told = warnings(found, found)
    assert any("0.5 processors' worth" in line for line in told)
    assert any("does not show whether clocks are locked" in line for line in told)
    assert _context(tree({}), {}).keys() >= {"versions", "cores"}


@pytest.mark.parametrize("junk", ["", "\0", "not a number\n", "-99999999\n", "99999999999999999999\n", "é ü\n", "0x"])
def test_files_full_of_nonsense_are_no_facts(tree: Trees, junk: str) -> None:
    files, programs = trees.agx_orin()
    machine = tree(
        dict.fromkeys([*trees.orin_small(), *files, *trees.desktop()[0]], junk), dict.fromkeys(programs, junk)
    )
    found = _context(machine)
    assert "jetpack" not in found
    assert "temperatures" not in found
    assert "clocks_locked" not in found or junk.startswith("9")
    assert all(isinstance(line, str) for line in warnings(found, state(machine)))


def test_this_machine() -> None:
    found = context(Machine())
    assert found["kernel"]
    assert found["versions"]["numpy"]
    assert changed(found, context(Machine())).keys() <= {"temperatures", "throttle_counts", "fan", "slowed_by"}


def test_what_changed() -> None:
    before = {"governor": "schedutil", "temperatures": {"a": 1.0}, "cores": 4}
    after = {"governor": "schedutil", "temperatures": {"a": 2.0}, "slowed_by": []}
    assert changed(before, after) == {"temperatures": {"a": 2.0}, "slowed_by": []}


def test_warnings_of_a_jetson_that_could_do_more(tree: Trees) -> None:
    found = _context(tree(trees.orin_small(), {"nvpmodel": "NV Power Mode: 15W\n0"}))
    told = warnings(found, found)
    assert "not locked (cpu0 to cpu4, gpu)" in told[0]
    assert told[0].endswith("run sudo jetson_clocks")
    assert any("the power mode is 15W" in line for line in told)
    # Events of before the runs are none of theirs.
    assert len(told) == 2


def test_warnings_of_what_happened_in_between(tree: Trees) -> None:
    files, programs = trees.agx_orin()
    machine = tree(files, programs)
    before = _context(machine)
    hot: trees.Files = {
        **trees.zones(("cpu-thermal", "58001"), ("gpu-thermal", "54000"), ("tj-thermal", "97000"), limit=99_000),
        f"{trees.HWMON}/hwmon2/oc3_event_cnt": "5",
        f"{trees.THERMAL}/cooling_device3/type": "cpu-throttle-alert",
        f"{trees.THERMAL}/cooling_device3/cur_state": "1",
        f"{trees.CPU}/cpufreq/policy0/scaling_max_freq": "1000000",
    }
    for path, text in hot.items():
        machine.path(path).parent.mkdir(parents=True, exist_ok=True)
        machine.path(path).write_text(text)
    machine.path("/usr/sbin/nvpmodel").write_text("#!/bin/sh\nprintf 'NV Power Mode: MODE_15W\\n1\\n'\n")
    told = "\n".join(warnings(before, state(machine)))
    assert "peaks of current 5 times during the runs" in told
    assert "slowed down at the end of the runs: cpu-throttle-alert" in told
    assert "after the runs: tj-thermal 97 °C" in told
    assert "tj-thermal went from 48 to 97 °C" in told
    assert "the power mode changed during the runs" in told
    assert "the clocks' limits changed during the runs" in told


def test_a_rise_of_exactly_the_bound_is_none() -> None:
    steady = {"clocks_locked": True}
    assert warnings({**steady, "temperatures": {"a": 40.0}}, {**steady, "temperatures": {"a": 50.0}}) == []
    assert len(warnings({**steady, "temperatures": {"a": 40.0}}, {**steady, "temperatures": {"a": 50.1}})) == 1
    # A sensor that came or went says nothing.
    assert warnings({**steady, "temperatures": {"a": 40.0}}, {**steady, "temperatures": {"b": 90.0}}) == []


def test_the_root_is_not_left(tmp_path: Path) -> None:
    assert context(Machine(tmp_path / "nothing", {}), {}).keys() == {
        "versions",
        "cores",
        "near_limit",
        "slowed_by",
    }
