"""Peaks of memory: of this very process, and of a driver that counts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mosear.runtime.board import memory as memories
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.memory import DeviceMemory, peak_bytes, process_memory, reset_peak
from mosear.runtime.board.sampler import Sampler

Trees = Callable[..., Machine]

MB = 1_000_000
PROBE = """
import sys, numpy
from mosear.runtime.board.machine import Machine
from mosear.runtime.board.memory import peak_bytes, reset_peak
machine = Machine()
large = numpy.ones(200_000_000, numpy.uint8)
before = peak_bytes(machine)
del large
done = reset_peak(machine)
after = peak_bytes(machine)
small = numpy.ones(60_000_000, numpy.uint8)
print(before, done, after, peak_bytes(machine))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for its peak of memory")
def test_the_peak_of_a_process_and_its_new_beginning() -> None:
    told = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout.split()
    before, after, end = int(told[0]), int(told[2]), int(told[3])
    assert before > 200 * MB
    if told[1] == "True":
        assert after < before - 150 * MB
        assert 50 * MB < end - after < 70 * MB
    else:
        assert end >= before


def test_the_record_says_since_when(tree: Trees) -> None:
    machine = tree({"/proc/self/status": "Name:\tx\nVmPeak:\t  9999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"})
    assert peak_bytes(machine) == 2048 * 1024
    whole = process_memory(machine, was_reset=False)
    assert whole is not None
    assert (whole.what, whole.peak_bytes) == ("process", 2048 * 1024)
    assert "loading included" in whole.method
    since = process_memory(machine, was_reset=True)
    assert since is not None
    assert since.method == "VmHWM of /proc/self/status, reset before the runs"


def test_a_kernel_that_takes_the_write_and_does_nothing(tree: Trees) -> None:
    stays = tree({"/proc/self/status": "VmHWM:\t 9000 kB\nVmRSS:\t 1024 kB\n", "/proc/self/clear_refs": ""})
    assert not reset_peak(stays)
    assert stays.read("/proc/self/clear_refs") == "5"
    works = tree({"/proc/self/status": "VmHWM:\t 1030 kB\nVmRSS:\t 1024 kB\n"})
    assert reset_peak(works)


def test_systems_that_say_nothing(tree: Trees) -> None:
    machine = Machine(tree({}).root / "nothing", {})
    assert not reset_peak(machine)
    assert peak_bytes(machine) is None
    assert process_memory(machine, was_reset=False) is None


class Driver:
    """The functions of libcuda that are called, of a GPU with 8 GB; ``contexts``: what is current, last."""

    def __init__(self, integrated: int = 0) -> None:
        self.integrated, self.free, self.fails = integrated, 7000 * MB, 0
        self.contexts: list[Any] = ["of another"]
        self.retained = 0

    def cuInit(self, flags: int) -> int:
        return self.fails

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = 0
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> int:
        value._obj.value = self.integrated if which == 18 else -1
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value, self.retained = 0xC0, self.retained + 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        self.retained -= 1
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        self.contexts.append(context.value)
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        context._obj.value = self.contexts.pop()
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        assert self.contexts[-1] == 0xC0
        free._obj.value, total._obj.value = self.free, 8000 * MB
        return self.fails


def test_the_memory_of_a_card() -> None:
    driver = Driver()
    device = DeviceMemory(driver)
    baseline = device.used()
    assert baseline == 1000 * MB
    driver.free = 5500 * MB
    record = device.memory(baseline, device.used())
    assert record is not None
    assert (record.what, record.peak_bytes) == ("device", 1500 * MB)
    assert record.method == "cuMemGetInfo, sampled, device-wide, less what was in use before loading"
    # Whoever else uses the thread finds its own context as it was.
    assert driver.contexts == ["of another"]
    device.close()
    assert driver.retained == 0


def test_the_memory_of_a_jetson_is_the_machines() -> None:
    record = DeviceMemory(Driver(integrated=1)).memory(0, 5)
    assert record is not None
    assert "that GPU and processor share" in record.method


def test_other_programs_may_have_left_in_between() -> None:
    record = DeviceMemory(Driver()).memory(1000, 900)
    assert record is not None
    assert record.peak_bytes == 0


def test_a_driver_that_fails() -> None:
    driver = Driver()
    device = DeviceMemory(driver)
    driver.fails = 999
    assert device.used() is None
    assert device.memory(None, 5) is None
    assert device.memory(5, None) is None
    assert driver.contexts == ["of another"]


@pytest.mark.parametrize("failure", [OSError("no such library"), None])
def test_without_a_gpu_there_is_none(monkeypatch: pytest.MonkeyPatch, failure: OSError | None) -> None:
    def load(name: str) -> Any:
        if failure is not None:
            raise failure
        driver = Driver()
        driver.fails = 100
        return driver

    monkeypatch.setattr(memories.ctypes, "CDLL", load)
    assert DeviceMemory.open() is None


def test_the_sampler_keeps_the_largest_value(tree: Trees) -> None:
    driver = Driver()
    with Sampler(tree({}), 0.002, device=DeviceMemory(driver)) as sampler:
        for free in (6000 * MB, 4000 * MB, 6500 * MB):
            driver.free = free
            seen = time.monotonic()
            while time.monotonic() - seen < 0.05:
                time.sleep(0.005)
    assert sampler.device_peak_bytes == 4000 * MB


def test_reading_memory_makes_no_peak() -> None:
    held = np.ones(MB, np.uint8)
    first = peak_bytes(Machine())
    for _ in range(100):
        peak_bytes(Machine())
    last = peak_bytes(Machine())
    assert first is not None
    assert last is not None
    assert last - first < 5 * MB
    assert held[0] == 1
