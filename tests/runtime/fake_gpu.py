"""A CUDA driver whose GPU is the host's memory, and a TensorRT whose engines are ONNX graphs run by ONNX Runtime.

An engine's bytes are the path of its graph. Everything else keeps the real libraries' manners: outputs have no shape
before the inputs have one, shapes outside the profile are refused, addresses are numbers, and a profiler is told of
each layer when an execution is done.
"""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from mosear.runtime.engines.profiles import Limits, profiles_for

TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


class FakeDriver:
    """The functions of libcuda that the runtime calls. ``live`` are the allocations that were not given back."""

    def __init__(self, gpus: int = 1, full_above: int = 1 << 40) -> None:
        self.gpus, self.full_above = gpus, full_above
        self.live: dict[int, Any] = {}
        self.freed: list[int] = []

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return 0

    def cuDeviceGetName(self, text: Any, size: int, device: Any) -> int:
        text.value = b"Fake GPU"
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 6}[which]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 77
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = {2: b"out of memory"}.get(status, b"something")
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        if size.value > self.full_above:
            return 2
        block = (ctypes.c_ubyte * size.value)()
        ctypes.memset(block, 0xAB, size.value)  # memory of a GPU is not zero
        address._obj.value = ctypes.addressof(block)
        self.live[address._obj.value] = block
        return 0

    def cuMemFree_v2(self, address: Any) -> int:
        del self.live[address.value]
        self.freed.append(address.value)
        return 0

    def cuMemsetD8Async(self, address: Any, value: Any, size: Any, stream: Any) -> int:
        ctypes.memset(address.value, value.value, size.value)
        return 0

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    cuMemcpyDtoHAsync_v2 = cuMemcpyDtoDAsync_v2 = cuMemcpyHtoDAsync_v2

    def cuMemcpy2DAsync_v2(self, order: Any, stream: Any) -> int:
        o = order._obj
        # Offsets of the driver's own header on 64 bits: the structure is read as the driver would.
        words = (ctypes.c_uint64 * 16).from_buffer(o)
        assert words[2] & 0xFFFFFFFF == words[9] & 0xFFFFFFFF == 2
        source, source_pitch, target, target_pitch, width, height = (words[i] for i in (4, 6, 11, 13, 14, 15))
        for row in range(height):
            ctypes.memmove(target + row * target_pitch, source + row * source_pitch, width)
        return 0


LAYER_MS = 0.25
"""What every layer of an engine reports to a profiler."""


class FakeContext:
    profiler: Any = None

    def __init__(self, engine: "FakeEngine") -> None:
        self.engine, self.profile = engine, 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return stream == 77 and index < self.engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.profiles[self.profile][name]
        fits = len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
        self.shapes[name] = tuple(shape)
        return fits

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert set(self.shapes) == set(self.engine.inputs), "shapes of outputs are known when all inputs have theirs"
        return self.engine.output_shape(name, self.shapes)

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        feeds = {name: at(self.addresses[name], self.shapes[name], engine.types[name]).copy() for name in engine.inputs}
        for name, value in zip(engine.outputs, engine.session.run(engine.outputs, feeds), strict=True):
            if name.startswith("present_") and not engine.in_place:
                past = self.shapes["key_modality"][1] - self.shapes["inputs_embeds"][1]
                value = value[:, :, past : self.shapes["key_modality"][1]]
            elif name.startswith("present_"):
                assert self.addresses[name] == self.addresses[name.replace("present", "past")]
            at(self.addresses[name], value.shape, value.dtype)[...] = value
        for layer in engine.layers if self.profiler is not None else ():
            assert self.profiler.set_up
            self.profiler.report_layer_time(layer, LAYER_MS)
        return True


class FakeEngine:
    num_optimization_profiles = 2

    def __init__(self, path: Path, limits: Limits, in_place: bool) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.in_place = in_place
        nodes = onnx.load(path, load_external_data=False).graph.node
        self.layers = [node.name or f"{node.op_type}_{place}" for place, node in enumerate(nodes)]
        tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.inputs = [each.name for each in self.session.get_inputs()]
        self.outputs = [each.name for each in self.session.get_outputs()]
        self.types = {each.name: TYPES[each.type] for each in tensors}
        self.static = {each.name: [n if isinstance(n, int) else -1 for n in each.shape] for each in tensors}
        for name, shape in self.static.items():
            if name.startswith(("past_", "present_")):
                shape[2] = limits.capacity if in_place or name.startswith("past_") else -1
        self.profiles = profiles_for([(name, tuple(self.static[name])) for name in self.inputs], limits)
        self.num_optimization_profiles = len(self.profiles)
        self.num_io_tensors = len(tensors)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.inputs else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        return self.types[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.static[name])

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.profiles[profile][name]

    def output_shape(self, name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        batch = shapes[self.inputs[0]][0]
        return tuple(batch if axis == 0 else n for axis, n in enumerate(self.static[name]))

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


def fake_tensorrt(limits: Limits, in_place: bool, version: str = "10.16.1") -> Any:
    """The package, with what the session uses of it."""

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None:
            pass

    class IProfiler:
        """As the library's: what is derived from it must call its ``__init__``."""

        def __init__(self) -> None:
            self.set_up = True

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            self.loads = 0

        def deserialize_cuda_engine(self, data: Any) -> FakeEngine | None:
            text = bytes(data).decode(errors="replace")
            return FakeEngine(Path(text), limits, in_place) if Path(text).suffix == ".onnx" else None

    return SimpleNamespace(
        __version__=version,
        Logger=Logger,
        Runtime=Runtime,
        IProfiler=IProfiler,
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        nptype=lambda kind: kind,
    )


def at(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The array at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_ubyte * size).from_address(address), dtype).reshape(shape)
