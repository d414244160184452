"""The GPU's memory, through the CUDA driver: it comes with every NVIDIA driver, so nothing else must be installed."""

import ctypes
from typing import Any, ClassVar, Protocol

import numpy as np

from mosear.runtime.errors import Failed

_NAMES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_MAJOR, _MINOR = 75, 76
_DEVICE = 2
_REMEDY = "check that nvidia-smi (or tegrastats on a Jetson) sees the GPU, or use a bundle for the target cpu"


class Device(Protocol):
    """One GPU. Addresses are plain numbers; everything runs in order on one stream."""

    name: str
    capability: str
    stream: int

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes, all zero."""
        ...

    def free(self, address: int) -> None:
        """Give memory back."""
        ...

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to the GPU."""
        ...

    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the GPU into a contiguous array."""
        ...

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy on the GPU."""
        ...

    def copy_rows(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None:
        """Copy ``rows`` stretches of ``width`` bytes, which begin a pitch apart."""
        ...

    def wait(self) -> None:
        """Until everything on the stream is done."""
        ...


class _Copy2D(ctypes.Structure):
    """``CUDA_MEMCPY2D`` of the driver's header."""

    _fields_: ClassVar[Any] = [
        *((f"src{name}", kind) for name, kind in (("XInBytes", ctypes.c_size_t), ("Y", ctypes.c_size_t))),
        ("srcMemoryType", ctypes.c_uint),
        ("srcHost", ctypes.c_void_p),
        ("srcDevice", ctypes.c_uint64),
        ("srcArray", ctypes.c_void_p),
        ("srcPitch", ctypes.c_size_t),
        *((f"dst{name}", kind) for name, kind in (("XInBytes", ctypes.c_size_t), ("Y", ctypes.c_size_t))),
        ("dstMemoryType", ctypes.c_uint),
        ("dstHost", ctypes.c_void_p),
        ("dstDevice", ctypes.c_uint64),
        ("dstArray", ctypes.c_void_p),
        ("dstPitch", ctypes.c_size_t),
        ("WidthInBytes", ctypes.c_size_t),
        ("Height", ctypes.c_size_t),
    ]


class CudaDevice:
    """The first GPU that the driver shows (``CUDA_VISIBLE_DEVICES`` chooses another).

    Raises:
        Failed: there is no driver or no GPU, and later when the driver reports an error.
    """

    def __init__(self, driver: Any = None) -> None:
        self._driver = _load() if driver is None else driver
        count = ctypes.c_int()
        if self._driver.cuInit(0) or self._driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
            raise Failed("there is no NVIDIA GPU here that works", _REMEDY)
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), device)
        self.name = text.value.decode(errors="replace")
        self.capability = ".".join(str(self._attribute(which, device)) for which in (_MAJOR, _MINOR))
        # The primary context is the one that the inference library uses too.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self._context, self._stream = context, stream
        self.stream = int(stream.value or 0)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes, all zero. Raises Failed when the GPU's memory is full."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self._call("cuMemsetD8Async", address, ctypes.c_ubyte(0), ctypes.c_size_t(max(size, 1)), self._stream)
        return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a contiguous array to the GPU."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), _pointer(array), size, self._stream)

    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the GPU into a contiguous array."""
        size = ctypes.c_size_t(array.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", _pointer(array), ctypes.c_uint64(address), size, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy on the GPU."""
        places = ctypes.c_uint64(target), ctypes.c_uint64(source)
        self._call("cuMemcpyDtoDAsync_v2", *places, ctypes.c_size_t(size), self._stream)

    def copy_rows(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None:
        """Copy ``rows`` stretches of ``width`` bytes, which begin a pitch apart."""
        order = _Copy2D(
            srcMemoryType=_DEVICE,
            srcDevice=source,
            srcPitch=source_pitch,
            dstMemoryType=_DEVICE,
            dstDevice=target,
            dstPitch=target_pitch,
            WidthInBytes=width,
            Height=rows,
        )
        self._call("cuMemcpy2DAsync_v2", ctypes.byref(order), self._stream)

    def wait(self) -> None:
        """Until everything on the stream is done. Raises Failed for what went wrong in it."""
        # Another thread may be the one that asks: the context is each thread's own setting.
        self._call("cuCtxSetCurrent", self._context)
        self._call("cuStreamSynchronize", self._stream)

    def _attribute(self, which: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), which, device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(text))
            reason = (text.value or b"unknown").decode(errors="replace")
            out_of_memory = status == 2
            raise Failed(
                f"the GPU reports: {reason} ({name})",
                "close what else uses it, or build with a smaller capacity or precision" if out_of_memory else _REMEDY,
            )


def _load() -> Any:
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise Failed("there is no NVIDIA driver here", _REMEDY)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError("only contiguous arrays can be copied")
    return ctypes.c_void_p(array.ctypes.data)
