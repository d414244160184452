"""TensorRT and TensorRT-RTX: engines, and a decoder whose KV cache stays on the GPU and is never copied.

Prompt and decoding are two optimization profiles of one engine when the bundle names one graph for both, and two
engines when it names two.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mosear.runtime.engines.bar import CompileBar
from mosear.runtime.engines.builder import Progress
from mosear.runtime.engines.cache import EngineCache, cap_from, default_folder
from mosear.runtime.engines.device import CudaDevice, Device
from mosear.runtime.engines.entry import EngineFile
from mosear.runtime.engines.library import Library, open_library
from mosear.runtime.engines.profiles import DECODE_PROFILE, PREFILL_PROFILE
from mosear.runtime.engines.provide import EngineProvider, provider_for
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Decoder, Manifest
from mosear.runtime.sessions import Arrays, Observer
from mosear.runtime.sessions.engine import Buffers, Context, Engine


def open_tensorrt(
    manifest: Manifest,
    engines: Sequence[EngineFile],
    progress: Progress | None = None,
    observer: Observer | None = None,
) -> "TensorRT":
    """The backend of a bundle for TensorRT or TensorRT-RTX, on the GPU that is here.

    engines: those that the bundle holds. One that does not fit this GPU and version is passed over, and compiled from
        its graph when it is wanted.
    progress: told how far a compilation is; a bar on standard error when left out.
    observer: is told of every execution context.

    Raises:
        Failed: the library is missing or older than the bundle needs, or there is no GPU.
    """
    library = open_library(manifest.backend, manifest.tensorrt_version)
    device = CudaDevice()
    cache = EngineCache(default_folder(), cap_from())
    provider = provider_for(manifest, engines, library, device.capability, device.name, cache, progress or CompileBar())
    return TensorRT(provider, device, observer)


class TensorRT:
    """The library on one GPU.

    Args:
        provider: where engines come from.
        device: the GPU.
        observer: is told of every execution context.
    """

    def __init__(self, provider: EngineProvider, device: Device, observer: Observer | None = None) -> None:
        self.device = device
        self._observer = observer
        self._provider = provider
        self._library: Library = provider.library
        trt = self._library.module
        self._log = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._log)
        self._loaded: dict[Path, Engine] = {}

    def engine(self, path: Path) -> "Engine":
        """The engine for the graph at ``path``, on the GPU; loaded once, whoever needs it.

        Raises:
            BadInput: the graph can't be parsed, or the engine is not for this library and GPU.
            UsageError: the GPU can't do what the graph asks for.
            Failed: it can't be built.
        """
        if path in self._loaded:
            return self._loaded[path]
        loaded = self._runtime.deserialize_cuda_engine(self._provider.engine(path))
        if loaded is None:
            raise BadInput(
                f"the engine for {path.name} does not load in {self._library.title} on {self.device.name}",
                f"compile it here with mosear-export engine {path.parent}",
            )
        self._loaded[path] = Engine(loaded, path, self._library, self.device, self._observer)
        return self._loaded[path]

    def session(self, path: Path) -> "TensorRTSession":
        """Load the graph at ``path``."""
        return TensorRTSession(self.engine(path))

    def decoder(self, prefill: Path, decode: Path, shape: Decoder) -> "TensorRTDecoderSession":
        """Load the decoder; an engine of its own for decoding when it is first needed."""
        return TensorRTDecoderSession(self, prefill, decode, shape)


class TensorRTSession:
    """One graph."""

    def __init__(self, engine: Engine) -> None:
        self._context = engine.context(0)

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name for the inputs by name."""
        return self._context.run(inputs, {}, {})


class TensorRTDecoderSession:
    """Prefill and decode over one set of KV buffers on the GPU."""

    def __init__(self, backend: TensorRT, prefill: Path, decode: Path, shape: Decoder) -> None:
        self._backend = backend
        self._shape = shape
        self._decode_path = decode
        self._engine = backend.engine(prefill)
        self._names = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        missing = [f"past_{name}" for name in self._names if f"past_{name}" not in self._engine.inputs]
        if missing or "logits" not in self._engine.outputs:
            raise BadInput(
                f"{prefill} lacks {', '.join([*missing, 'logits'][:4])}: it is not the decoder of this manifest",
                "build the bundle again",
            )
        self._type = self._engine.types["past_key_0"]
        self._prefill = self._engine.context(PREFILL_PROFILE)
        self._decode: Context | None = None
        self._buffers = Buffers(backend.device)
        self._spread = Buffers(backend.device)
        self._cache: dict[str, int] = {}
        self._batch = 0
        self._held = Buffers(backend.device)
        self._held_rows = 0
        self._filled = 0

    def hold(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> None:
        """Keep the beginning of all prompts; see ``DecoderSession``."""
        self._held_rows = 0
        self.prefill(inputs_embeds, position_ids, key_modality)
        rows = inputs_embeds.shape[1]
        for name, address in self._cache.items():
            held = self._held.get(name, self._shape.kv_heads * rows * self._width)
            self._copy(held, rows, address, self._shape.capacity, rows, self._shape.kv_heads)
        self._backend.device.wait()
        self._held_rows, self._filled = rows, 0

    def prefill(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Start over with a prompt; see ``DecoderSession``."""
        self._batch = len(inputs_embeds)
        self._cache = {name: self._buffers.get(name, self._batch * self._row) for name in self._names}
        if self._held_rows and self._filled < self._batch:
            self._fill()
        return self._run(self._prefill, inputs_embeds, position_ids, key_modality)

    def _fill(self) -> None:
        """Put what is held in front of every row. A smaller batch is the first rows of it, so this lasts."""
        shape = self._shape
        for name, address in self._cache.items():
            held = self._held.get(name, shape.kv_heads * self._held_rows * self._width)
            for place in range(self._batch):
                row = address + place * self._row
                self._copy(row, shape.capacity, held, self._held_rows, self._held_rows, shape.kv_heads)
        self._backend.device.wait()
        self._filled = self._batch

    def decode(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Go on by one token; see ``DecoderSession``."""
        if self._decode is None:
            engine = self._backend.engine(self._decode_path)
            self._decode = engine.context(min(DECODE_PROFILE, engine.profiles - 1))
        return self._run(self._decode, inputs_embeds, position_ids, key_modality)

    def repeat(self, times: int) -> None:
        """Widen the batch; see ``DecoderSession``."""
        device, row = self._backend.device, self._row
        wide = Buffers(device)
        cache = {name: wide.get(name, self._batch * times * row) for name in self._names}
        for name, address in cache.items():
            for place in range(self._batch * times):
                device.copy(address + place * row, self._cache[name] + place // times * row, row)
        device.wait()
        self._cache, self._spread, self._batch = cache, wide, self._batch * times

    @property
    def _row(self) -> int:
        """Bytes of one sample's keys or values in one layer."""
        return self._shape.kv_heads * self._shape.capacity * self._width

    @property
    def _width(self) -> int:
        """Bytes of one position's key or value in one head."""
        return self._shape.head_dim * self._type.itemsize

    def _run(self, context: Context, embeds: np.ndarray, positions: np.ndarray, modality: np.ndarray) -> Arrays:
        shape = self._shape
        buffer = (self._batch, shape.kv_heads, shape.capacity, shape.head_dim)
        bound = {f"past_{name}": address for name, address in self._cache.items()}
        new_rows = self._new_rows(context, embeds.shape[1])
        bound |= new_rows or {f"present_{name}": address for name, address in self._cache.items()}
        inputs = {"inputs_embeds": embeds, "position_ids": positions, "key_modality": modality}
        past = {f"past_{name}": buffer for name in self._names}
        results = context.run(inputs, bound, past)
        if new_rows:
            self._keep(new_rows, modality.shape[1] - embeds.shape[1], embeds.shape[1])
        return results

    def _new_rows(self, context: Context, rows: int) -> dict[str, int]:
        """Where the engine is to put new keys and values, if it does not write them into the cache itself."""
        if context.engine.updates_in_place:
            return {}
        shape = self._shape
        size = self._batch * shape.kv_heads * rows * shape.head_dim * self._type.itemsize
        return {f"present_{name}": self._buffers.get(f"new_{name}", size) for name in self._names}

    def _keep(self, new_rows: dict[str, int], past: int, rows: int) -> None:
        """Copy new keys and values [B, Hkv, S, Dh] into the buffers behind the past."""
        shape = self._shape
        for name, address in self._cache.items():
            target = address + past * self._width
            self._copy(target, shape.capacity, new_rows[f"present_{name}"], rows, rows, self._batch * shape.kv_heads)
        self._backend.device.wait()

    def _copy(self, target: int, target_rows: int, source: int, source_rows: int, rows: int, heads: int) -> None:
        """Copy ``rows`` positions of each of ``heads`` heads, between buffers of so many positions a head."""
        width = self._width
        self._backend.device.copy_rows(target, target_rows * width, source, source_rows * width, rows * width, heads)
