"""In the child: a tiny graph on one of ONNX Runtime's providers, or as an engine on the GPU."""

import hashlib
import importlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from mosear.runtime.doctor.tiny_graph import example, tiny_graph
from mosear.runtime.engines.cache import EngineCache
from mosear.runtime.engines.device import CudaDevice
from mosear.runtime.engines.library import open_library
from mosear.runtime.engines.profiles import Limits
from mosear.runtime.engines.provide import EngineProvider
from mosear.runtime.sessions.tensorrt import TensorRT

_CPU = "CPUExecutionProvider"


def onnxruntime(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the library's version and the providers that it names."""
    library = importlib.import_module("onnxruntime")
    yield {"version": str(library.__version__), "available": list(library.get_available_providers())}


def provider(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield where the nodes of the tiny graph ran, how far off they were and how long a run takes.

    question: ``provider``, ONNX Runtime's name of it.
    """
    name = question["provider"]
    library = importlib.import_module("onnxruntime")
    options = library.SessionOptions()
    options.log_severity_level = 3
    if name != _CPU:
        # Without this, nodes that the provider does not take run on the CPU, and nothing says so.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    inputs, truth = example()
    with tempfile.TemporaryDirectory(prefix="mosear-doctor-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = library.InferenceSession(tiny_graph(), options, providers=[name])
        yield {"providers": session.get_providers()}
        session.run(None, inputs)
        began = perf_counter()
        result = session.run(None, inputs)[0]
        yield {"ms": (perf_counter() - began) * 1000, "difference": _difference(result, truth)}
        yield {"ran_on": _nodes(Path(session.end_profiling()))}


def gpu(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield name and compute capability of the first GPU."""
    device = CudaDevice()
    yield {"gpu": device.name, "capability": device.capability}


def engine(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the library's version, then the GPU, then what came of the tiny graph as an engine on it.

    question: ``backend``, tensorrt or tensorrt_rtx.
    """
    library = open_library(question["backend"])
    yield {"version": library.version}
    device = CudaDevice()
    yield {"gpu": device.name, "capability": device.capability}
    inputs, truth = example(half=True)
    with tempfile.TemporaryDirectory(prefix="mosear-doctor-") as folder:
        path = Path(folder) / "proof.onnx"
        path.write_bytes(tiny_graph(half=True))
        engines = EngineProvider(
            library=library,
            capability=device.capability,
            device=device.name,
            limits=Limits(clips=1, prompt=1, capacity=1, decode_rows=1),
            content={path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
            cache=EngineCache(Path(folder) / "engines"),
        )
        began = perf_counter()
        session = TensorRT(engines, device).session(path)
        yield {"build_ms": (perf_counter() - began) * 1000}
        session.run(inputs)
        began = perf_counter()
        result = session.run(inputs)["y"]
        yield {"ms": (perf_counter() - began) * 1000, "difference": _difference(result, truth)}


def _difference(result: np.ndarray, truth: np.ndarray) -> float:
    if result.shape != truth.shape or not np.isfinite(result).all():
        return 1.0  # probabilities can't be further apart
    return float(np.abs(result.astype(np.float64) - truth).max())


def _nodes(profile: Path) -> dict[str, int]:
    """How many nodes ran where, by the library's own record."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    where = {each["name"]: each["args"]["provider"] for each in events if "provider" in each.get("args", {})}
    return dict(Counter(where.values()))
