"""A loaded engine of TensorRT or TensorRT-RTX, one profile of it at work, and the GPU's memory that it works in."""

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mosear.runtime.engines.device import Device
from mosear.runtime.engines.library import Library
from mosear.runtime.errors import BadInput, Failed
from mosear.runtime.sessions import Arrays, Observer


class Engine:
    """A loaded engine and what goes in and out of it. Raises Failed when the library does not make a context."""

    def __init__(
        self, engine: Any, path: Path, library: Library, device: Device, observer: Observer | None = None
    ) -> None:
        trt = library.module
        self.path = path
        self.device = device
        self._engine = engine
        self.title = library.title
        self._library = library
        self._observer = observer or Observer()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self.inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        self.types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        self.profiles = int(engine.num_optimization_profiles)
        # A cache that the engine updates has one shape on both sides; else only what is new comes out.
        cache = (
            [tuple(engine.get_tensor_shape(f"{side}_key_0")) for side in ("past", "present")]
            if "logits" in names
            else []
        )
        self.updates_in_place = len(set(cache)) == 1

    def largest(self, name: str, profile: int) -> tuple[int, ...]:
        """The largest shape of an input."""
        return tuple(self._engine.get_tensor_profile_shape(name, profile)[2])

    def context(self, profile: int) -> "Context":
        """Something to run it with, for one profile."""
        context = self._engine.create_execution_context()
        if context is None or not context.set_optimization_profile_async(profile, self.device.stream):
            raise Failed(f"{self.title} can't run {self.path.name} on {self.device.name}", "free memory of the GPU")
        self._observer.context(self.path, profile, context, self._library)
        return Context(self, context, profile)


class Context:
    """One profile of an engine, with buffers that grow to what was asked for."""

    def __init__(self, engine: Engine, context: Any, profile: int) -> None:
        self.engine = engine
        self._context = context
        self._profile = profile
        self._buffers = Buffers(engine.device)

    def run(self, inputs: Arrays, bound: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
        """Run once; see ``Session``.

        inputs: arrays for inputs.
        bound: addresses on the GPU of further inputs, and of outputs that are to stay there.
        shapes: of the bound inputs.

        Raises:
            BadInput: the engine takes other inputs, or smaller ones.
            Failed: the library fails.
        """
        engine, context = self.engine, self._context
        given = {*inputs, *shapes}
        if given != set(engine.inputs):
            raise BadInput(
                f"{engine.path} takes {', '.join(sorted(engine.inputs))} and not {', '.join(sorted(given))}",
                "build the bundle again",
            )
        arrays = {name: np.ascontiguousarray(array, engine.types[name]) for name, array in inputs.items()}
        for name, shape in {**{name: array.shape for name, array in arrays.items()}, **shapes}.items():
            if not context.set_input_shape(name, shape):
                raise BadInput(
                    f"{engine.path.name} was compiled for {name} up to {list(engine.largest(name, self._profile))}, "
                    f"this is {list(shape)}",
                    "build the bundle again with a larger capacity, or give a shorter transcript",
                )
        for name, array in arrays.items():
            address = self._buffers.get(name, array.nbytes)
            engine.device.upload(address, array)
            context.set_tensor_address(name, address)
        results = {}
        for name in engine.outputs:
            if name not in bound:
                results[name] = np.empty(tuple(context.get_tensor_shape(name)), engine.types[name])
                context.set_tensor_address(name, self._buffers.get(name, results[name].nbytes))
        for name, address in bound.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(engine.device.stream):
            raise Failed(f"{engine.path.name} failed to run in {engine.title}", "run again with --debug and report it")
        for name, array in results.items():
            engine.device.download(array, self._buffers.get(name, array.nbytes))
        engine.device.wait()
        return results


class Buffers:
    """Memory of the GPU by name. A name keeps its address as long as it is not asked for more."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._known: dict[str, tuple[int, int]] = {}
        self._end = weakref.finalize(self, _free_all, device, self._known)

    def get(self, name: str, size: int) -> int:
        """Address of at least ``size`` bytes; new ones are zero."""
        address, held = self._known.get(name, (0, -1))
        if size > held:
            if held >= 0:
                self._device.wait()
                self._device.free(address)
            address = self._device.allocate(size)
            self._known[name] = address, size
        return address


def _free_all(device: Device, known: dict[str, tuple[int, int]]) -> None:
    for address, _ in known.values():
        device.free(address)
    known.clear()
