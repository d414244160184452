"""Peaks of memory: the process's by the kernel's own mark, the GPU's by asking its driver again and again."""

from __future__ import annotations

import ctypes
import re
from typing import Any

from mosear.runtime.board.machine import Machine
from mosear.runtime.board.records import Memory

_STATUS = "/proc/self/status"
_RESET = "/proc/self/clear_refs"
_SLACK = 1.05
_INTEGRATED = 18
_DRIVER = "libcuda.so.1"


def peak_bytes(machine: Machine) -> int | None:
    """The most memory that this process held at once (VmHWM), or None where the kernel does not say."""
    return _status_bytes(machine, "VmHWM")


def reset_peak(machine: Machine) -> bool:
    """Begin the process's peak anew from what it holds now; whether the kernel did so.

    Writing 5 to ``clear_refs`` does it (proc(5), since Linux 4.0). Sandboxes may take the write and do nothing.
    """
    try:
        machine.path(_RESET).write_text("5", encoding="ascii")
    except OSError:
        return False
    peak, held = _status_bytes(machine, "VmHWM"), _status_bytes(machine, "VmRSS")
    return peak is not None and held is not None and peak <= held * _SLACK


def process_memory(machine: Machine, was_reset: bool) -> Memory | None:
    """The peak of this process since ``reset_peak``, or since its beginning where that did not work."""
    peak = peak_bytes(machine)
    if peak is None:
        return None
    since = "reset before the runs" if was_reset else "since the process began, loading included (no reset here)"
    return Memory("process", peak, f"VmHWM of {_STATUS}, {since}")


class DeviceMemory:
    """What the first visible GPU has in use, all programs together: ``cuMemGetInfo`` of the CUDA driver.

    It holds the GPU's primary context, which the inference library uses too, so the context's own memory is part of
    the first value and not of what is added later. May be asked from any thread.

    Attributes:
        is_shared: whether the GPU has no memory of its own, as on a Jetson.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        shared = ctypes.c_int()
        self._check(driver.cuInit(0))
        self._check(driver.cuDeviceGet(ctypes.byref(self._device), 0))
        self._check(driver.cuDeviceGetAttribute(ctypes.byref(shared), _INTEGRATED, self._device))
        self._check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), self._device))
        self.is_shared = bool(shared.value)

    @classmethod
    def open(cls) -> DeviceMemory | None:
        """None without a driver, or without a GPU that works."""
        try:
            return cls(ctypes.CDLL(_DRIVER))
        except (OSError, AttributeError):  # no library, no GPU, or a library that is too old to have the functions
            return None

    def used(self) -> int | None:
        """Bytes in use on the whole GPU now, or None when the driver does not answer."""
        free, total, before = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
        if self._driver.cuCtxPushCurrent_v2(self._context):
            return None
        status = self._driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        self._driver.cuCtxPopCurrent_v2(ctypes.byref(before))
        return None if status else total.value - free.value

    def memory(self, baseline: int | None, peak: int | None) -> Memory | None:
        """The record for the largest value of ``used``, less that of before the model was loaded.

        None when one of the two could not be had.
        """
        if baseline is None or peak is None:
            return None
        whose = "the memory that GPU and processor share, all programs'" if self.is_shared else "device-wide"
        return Memory(
            "device", max(0, peak - baseline), f"cuMemGetInfo, sampled, {whose}, less what was in use before loading"
        )

    def close(self) -> None:
        """Give the context back. ``used`` is not to be called any more."""
        self._driver.cuDevicePrimaryCtxRelease_v2(self._device)

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise OSError(f"the CUDA driver reports {status}")


def _status_bytes(machine: Machine, name: str) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB", machine.read(_STATUS) or "", re.MULTILINE)
    return int(found[1]) * 1024 if found else None
