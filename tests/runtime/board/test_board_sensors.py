"""Readings against the numbers that the files hold, and files that change, vanish and lie."""

from __future__ import annotations

import os
from collections.abc import Callable

import board_trees as trees
import pytest

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.sensors import Sensors

Trees = Callable[..., Machine]


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


def _sensors(machine: Machine) -> Sensors:
    return Sensors(machine, 0.05)


def _write(machine: Machine, path: str, text: str) -> None:
    machine.path(path).write_text(text)


def test_orin_nano(tree: Trees, clock: Hand) -> None:
    sensors = _sensors(tree(trees.orin_small()))
    reading = sensors.read(clock, whole=True)
    sensors.close()
    # 5.016 V × 1.2 A and so on.
    assert reading.power_w == pytest.approx({"VDD_IN": 6.0192, "VDD_CPU_GPU_CV": 1.2, "VDD_SOC": 1.59744})
    assert reading.temperature_c == pytest.approx(
        {"cpu-thermal": 47.5, "gpu-thermal": 46.125, "soc0-thermal": 46.0, "tj-thermal": 47.5}
    )
    assert reading.clock_mhz == pytest.approx({"cpu0": 1113.6, "cpu4": 729.6, "gpu": 306.0})
    # Sensors of switched-off parts never spoke, and are not missed.
    assert sensors.notes() == []


def test_thor(tree: Trees, clock: Hand) -> None:
    sensors = _sensors(tree(*trees.thor()))
    reading = sensors.read(clock, whole=True)
    sensors.close()
    # The rail of the switched-off GPU reads a little below nothing; the carrier's chip multiplies by itself.
    assert reading.power_w == pytest.approx({"VIN": 23.104, "VDD_GPU": 0.0, "VDD_CPU_SOC_MSS": 6.0, "VIN_SYS_5V0": 6.5})
    assert reading.clock_mhz["gpu"] == 0
    assert reading.clock_mhz["emc"] == 4266.0
    assert "gpu-thermal" not in reading.temperature_c


def test_a_part_that_wakes_up_is_seen(tree: Trees, clock: Hand) -> None:
    files, programs = trees.thor()
    machine = tree({**files, f"{trees.THERMAL}/thermal_zone1/temp": ""}, programs)
    sensors = _sensors(machine)
    assert "gpu-thermal" not in sensors.read(clock, whole=True).temperature_c
    _write(machine, f"{trees.THERMAL}/thermal_zone1/temp", "61250\n")
    assert sensors.read(clock, whole=True).temperature_c["gpu-thermal"] == 61.25
    sensors.close()
    assert sensors.notes() == []
    # What falls asleep again is told, lest a mean is taken for that of the whole run.
    sensors = _sensors(machine)
    sensors.read(clock, whole=True)
    _write(machine, f"{trees.THERMAL}/thermal_zone1/temp", "-256000\n")
    sensors.read(clock, whole=True)
    sensors.close()
    assert sensors.notes() == ["temperature of gpu-thermal: 1 of 2 readings could not be used and were left out"]


def test_power_alone(tree: Trees, clock: Hand) -> None:
    sensors = _sensors(tree(trees.orin_small()))
    reading = sensors.read(clock, whole=False)
    sensors.close()
    assert len(reading.power_w) == 3
    assert (reading.temperature_c, reading.clock_mhz) == ({}, {})


def test_counters(tree: Trees, clock: Hand) -> None:
    path = f"{trees.RAPL}/intel-rapl:0/energy_uj"
    files = {f"{trees.RAPL}/intel-rapl:0/name": "package-0", path: "900000"}
    machine = tree({**files, f"{trees.RAPL}/intel-rapl:0/max_energy_range_uj": "1000000"})
    sensors = _sensors(machine)
    assert sensors.read(clock, whole=True).power_w == {}  # one count tells no power
    for seconds, count, watts in ((0.01, 950_000, 5.0), (0.02, 50_000, 5.0), (0.05, 50_000, 0.0)):
        clock.now += seconds
        _write(machine, path, f"{count}\n")
        assert sensors.read(clock, whole=True).power_w == pytest.approx({"package-0": watts})
    for junk in ("", "junk", "-5"):
        clock.now += 0.01
        _write(machine, path, junk)
        assert sensors.read(clock, whole=True).power_w == {}
    clock.now += 0.01
    _write(machine, path, "60000")
    assert sensors.read(clock, whole=True).power_w == {}  # what passed while it could not be read is not known
    clock.now += 0.5
    _write(machine, path, "560000")
    assert sensors.read(clock, whole=True).power_w == pytest.approx({"package-0": 1.0})
    # A clock that stands still gives no power, and not an endless one.
    _write(machine, path, "570000")
    assert sensors.read(clock, whole=True).power_w == {}
    sensors.close()


def test_a_counter_that_begins_anew_at_no_known_end(tree: Trees, clock: Hand) -> None:
    path = f"{trees.RAPL}/intel-rapl:0/energy_uj"
    machine = tree({f"{trees.RAPL}/intel-rapl:0/name": "package-0", path: "900000"})
    sensors = _sensors(machine)
    sensors.read(clock, whole=True)
    clock.now = 1.0
    _write(machine, path, "100")
    assert sensors.read(clock, whole=True).power_w == {}
    sensors.close()


@pytest.mark.parametrize("junk", ["", "  \n", "nan", "12 mA", "-5000", "99999999999", "\x00\x00", "1e3"])
def test_nonsense_is_left_out_and_said(tree: Trees, clock: Hand, junk: str) -> None:
    machine = tree(trees.orin_small())
    sensors = _sensors(machine)
    sensors.read(clock, whole=True)
    _write(machine, f"{trees.I2C}/ina3221/1-0040/hwmon/hwmon1/curr1_input", junk)
    reading = sensors.read(clock, whole=True)
    sensors.close()
    assert set(reading.power_w) == {"VDD_CPU_GPU_CV", "VDD_SOC"}
    assert sensors.notes() == ["power of VDD_IN: 1 of 2 readings could not be used and were left out"]


def test_a_chip_that_goes_away(tree: Trees, clock: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    sensors = _sensors(tree(trees.orin_small()))
    sensors.read(clock, whole=True)

    def gone(*arguments: object) -> bytes:
        raise OSError(19, "No such device")

    monkeypatch.setattr(os, "pread", gone)
    for _ in range(3):
        assert sensors.read(clock, whole=True).power_w == {}
    assert "power of VDD_SOC: 3 of 4 readings could not be used and were left out" in sensors.notes()
    sensors.close()


def test_files_are_opened_once_and_closed(tree: Trees, clock: Hand) -> None:
    machine = tree(trees.orin_small())
    before = len(os.listdir("/proc/self/fd"))
    sensors = _sensors(machine)
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        sensors.read(clock, whole=True)
    assert len(os.listdir("/proc/self/fd")) == opened > before
    sensors.close()
    sensors.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert sensors.read(clock, whole=True).power_w == {}


def test_many_cores_are_not_all_asked(tree: Trees, clock: Hand) -> None:
    files: trees.Files = {}
    for core in range(128):
        files |= trees.policy(core, 1_500_000, 3_500_000, 2_000_000 + core * 1000)
    sensors = _sensors(tree(files))
    clocks = sensors.read(clock, whole=True).clock_mhz
    sensors.close()
    assert clocks == pytest.approx({f"cpu{core}": 2000 + core for core in range(0, 128, 8)})
