"""An ONNX file → an engine, with TensorRT or TensorRT-RTX alike."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosear.runtime.engines.library import Library, numbers
from mosear.runtime.engines.profiles import Limits, profiles_for
from mosear.runtime.errors import BadInput, Failed, UsageError, one_line

Progress = Callable[[str, float], None]

TYPE_FLOORS = {"INT4": ("int4", (8, 0)), "FP8": ("fp8", (8, 9)), "FP4": ("fp4", (10, 0))}
"""Types of a network that older GPUs have no products for, and the first compute capability that has."""


@dataclass(frozen=True)
class Built:
    """An engine, and what was learnt of kernel times on the way; empty where nothing was timed."""

    engine: Any
    timing_cache: bytes


def build_engine(
    library: Library,
    onnx: Path,
    limits: Limits,
    compute_capabilities: Sequence[str],
    timing_cache: bytes = b"",
    progress: Progress | None = None,
) -> Built:
    """Compile the graph at ``onnx``; its external weights are read from beside it.

    compute_capabilities: of the GPUs that it is for, as ``8.6``. TensorRT builds for the GPU that is here only, so
        there it is that one.
    timing_cache: from an earlier build with the same library on the same GPU.
    progress: called with the file's name and the part that is done, from 0 to 1. What it raises ends the build.

    Raises:
        UsageError: a GPU that the library can't build for, or that has no products of the graph's types.
        BadInput: the library can't parse the graph.
        Failed: there is no GPU and the library needs one, or it can't build the engine.
    """
    with _no_collection():
        return _build(library, onnx, limits, compute_capabilities, timing_cache, progress)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the library's calls, once it has done what there is to do.

    The library holds a lock while it logs. Were the collector to run inside our logger and free the builder of an
    earlier build that failed, that would wait for the same lock for ever.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _build(
    library: Library,
    onnx: Path,
    limits: Limits,
    compute_capabilities: Sequence[str],
    timing_cache: bytes,
    progress: Progress | None,
) -> Built:
    trt = library.module
    log = _log(trt)
    try:
        builder = trt.Builder(log)
        network = builder.create_network(_strongly_typed(trt))
    except (RuntimeError, TypeError) as error:  # the binding's ways of saying that the constructor gave nothing
        raise Failed(
            f"{library.title} can't start here: {log.last or error}", "it needs an NVIDIA GPU with a working driver"
        ) from error
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BadInput(
            f"{onnx.name} can't be parsed by {library.title}: {one_line(reasons[0] if reasons else log.last, 300)}",
            "build the bundle for a target with this version; mosear-export targets lists them",
        )
    _check_types(network, compute_capabilities, onnx)
    _allow_decomposition(trt, network)
    config = builder.create_builder_config()
    # TF32 would round float32 to 10 bits: a graph in float32 was asked for.
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    _set_capabilities(library, config, compute_capabilities)
    _add_profiles(builder, config, network, limits, onnx)
    if library.times_kernels:
        cache = config.create_timing_cache(timing_cache)
        config.set_timing_cache(cache, ignore_mismatch=False)
    monitor = _monitor(trt, onnx.name, progress) if progress is not None else None
    if monitor is not None:
        config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.stopped is not None:
        raise monitor.stopped
    if engine is None:
        raise Failed(
            f"{library.title} can't build {onnx.name}: {one_line(log.last, 300)}",
            "free memory if it ran out, or build the bundle with the precision fp16",
        )
    return Built(engine, bytes(config.get_timing_cache().serialize()) if library.times_kernels else b"")


def _strongly_typed(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(index) for index in range(network.num_layers)]


def _check_types(network: Any, compute_capabilities: Sequence[str], onnx: Path) -> None:
    """Refuse a type before the builder does, whose message names neither the GPU nor a way out."""
    found = set()
    for layer in _layers(network):
        for index in range(layer.num_outputs):
            found.add(layer.get_output(index).dtype.name)
    for kind, (name, floor) in TYPE_FLOORS.items():
        early = [each for each in compute_capabilities if numbers(each) < floor]
        if kind in found and early:
            raise UsageError(
                f"{onnx.name} is in {name}, which GPUs of compute capability {', '.join(early)} can't do",
                f"{name} needs {'.'.join(map(str, floor))} or later: build the bundle with another precision",
            )


def _allow_decomposition(trt: Any, network: Any) -> None:
    """Where a GPU has no fused kernel for an attention, let it be built from products instead of not at all."""
    if not hasattr(trt, "IAttentionInputLayer"):
        return
    for layer in _layers(network):
        attention = getattr(layer, "attention", None)
        if isinstance(layer, trt.IAttentionInputLayer) and attention is not None:
            attention.decomposable = True


def _set_capabilities(library: Library, config: Any, compute_capabilities: Sequence[str]) -> None:
    if not library.cross_compiles:
        return
    kinds = library.module.ComputeCapability
    names = {each: f"SM{each.replace('.', '')}" for each in compute_capabilities}
    known = [name for name in kinds.__members__ if name.startswith("SM")]
    foreign = [each for each, name in names.items() if name not in known]
    if foreign:
        raise UsageError(
            f"{library.title} can't build for compute capability {', '.join(foreign)}",
            f"it builds for {', '.join(f'{name[2:-1]}.{name[-1]}' for name in known)}",
        )
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names.values()):
        config.set_compute_capability(getattr(kinds, name), index)


def _add_profiles(builder: Any, config: Any, network: Any, limits: Limits, onnx: Path) -> None:
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    try:
        profiles = profiles_for([(each.name, tuple(each.shape)) for each in tensors], limits)
    except ValueError as error:
        raise BadInput(f"{onnx.name}: {error}", "build the bundle again with this version of mosear") from error
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, (smallest, usual, largest) in shapes.items():
            profile.set_shape(name, smallest, usual, largest)
        config.add_optimization_profile(profile)


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps the last error: the library's calls only say that they failed."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last = message

    return Log()


def _monitor(trt: Any, stage: str, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        """The library's nested phases as one fraction that only grows."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped: BaseException | None = None
            self._fractions = PhaseFractions()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._fractions.start(phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self._fractions.finish(phase_name)
            self._show()

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._fractions.step(phase_name, step)
            return self._show()

        def _show(self) -> bool:
            # An exception can't pass through the library: it is kept, and the build told to stop.
            try:
                progress(stage, self._fractions.total)
            except BaseException as error:
                self.stopped = error
            return self.stopped is None

    return Monitor()


class PhaseFractions:
    """How much is done of phases that lie in one another; ``total`` is that of the outermost, and never falls."""

    def __init__(self) -> None:
        self.total = 0.0
        self._phases: dict[str, tuple[str | None, int, int]] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins: the next step of its parent, if it has one."""
        self._phases[name] = parent, max(steps, 1), 0

    def step(self, name: str, step: int) -> None:
        """Step ``step`` of a phase, counted from 0, is done."""
        if name in self._phases:
            parent, steps, _ = self._phases[name]
            self._phases[name] = parent, steps, step + 1
            self._update()

    def finish(self, name: str) -> None:
        """A phase is done, whichever steps it reported."""
        parent = self._phases.pop(name, (None, 1, 0))[0]
        if parent is None and not self._phases:
            self.total = 1.0
        else:
            self._update()

    def _update(self) -> None:
        roots = [name for name, (parent, _, _) in self._phases.items() if parent not in self._phases]
        if roots:
            self.total = max(self.total, min(1.0, self._fraction(roots[0])))

    def _fraction(self, name: str) -> float:
        _, steps, done = self._phases[name]
        inner = [child for child, (parent, _, _) in self._phases.items() if parent == name]
        return min(1.0, (done + (self._fraction(inner[0]) if inner else 0.0)) / steps)
