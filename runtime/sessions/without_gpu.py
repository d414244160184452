"""A bundle for TensorRT on ONNX Runtime's CPU: the graphs that engines are compiled from, for checks without a GPU.

The numbers are those of the graphs as they are written; an engine rounds in other places. It is slow: every step copies
the cache.
"""

from pathlib import Path

import numpy as np

from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Decoder
from mosear.runtime.sessions import Arrays, Observer
from mosear.runtime.sessions.onnxruntime import OnnxRuntime, OnnxSession

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class WithoutGpu(OnnxRuntime):
    """ONNX Runtime on the CPU for graphs that were lowered for TensorRT."""

    def __init__(
        self,
        threads: int | None = None,
        provider: str = "cpu",
        debug: bool = False,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(threads, provider, debug, observer)
        # Behind DequantizeLinear it would quantize the activations too, which the graph does not say.
        self._options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")

    def decoder(  # type: ignore[override]
        self, prefill: Path, decode: Path, shape: Decoder
    ) -> "StaticDecoderSession":
        """Load the prefill graph; the decode graph when it is first needed."""
        return StaticDecoderSession(self, prefill, decode, shape)


class StaticDecoderSession:
    """Prefill and decode over static buffers, updated by the graph or, where it hands out new rows only, here."""

    def __init__(self, backend: OnnxRuntime, prefill: Path, decode: Path, shape: Decoder) -> None:
        self._backend = backend
        self._shape = shape
        self._decode_path = decode
        session = backend.load(prefill)
        types = {each.name: each.type for each in session.get_inputs()}
        self._names = [f"{kind}_{layer}" for layer in range(shape.layers) for kind in ("key", "value")]
        missing = [f"past_{name}" for name in self._names if f"past_{name}" not in types]
        if missing:
            raise BadInput(
                f"{prefill} lacks {', '.join(missing[:4])}: it is not the decoder of this manifest",
                "build the bundle again",
            )
        self._type = _TYPES[types["past_key_0"]]
        self._prefill = OnnxSession(session, prefill)
        self._decode: OnnxSession | None = None
        self._cache: Arrays = {}
        self._held: Arrays = {}

    def hold(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> None:
        """Keep the beginning of all prompts; see ``DecoderSession``."""
        self._held = {}
        self.prefill(inputs_embeds, position_ids, key_modality)
        length = inputs_embeds.shape[1]
        self._held = {name: buffer[:, :, :length].copy() for name, buffer in self._cache.items()}

    def prefill(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Start over with a prompt; see ``DecoderSession``."""
        shape = (len(inputs_embeds), self._shape.kv_heads, self._shape.capacity, self._shape.head_dim)
        self._cache = {name: np.zeros(shape, self._type) for name in self._names}
        for name, held in self._held.items():
            self._cache[name][:, :, : held.shape[2]] = held
        return self._run(self._prefill, inputs_embeds, position_ids, key_modality)

    def decode(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Go on by one token; see ``DecoderSession``."""
        if self._decode is None:
            self._decode = OnnxSession(self._backend.load(self._decode_path), self._decode_path)
        return self._run(self._decode, inputs_embeds, position_ids, key_modality)

    def repeat(self, times: int) -> None:
        """Widen the batch; see ``DecoderSession``."""
        self._cache = {name: np.repeat(buffer, times, axis=0) for name, buffer in self._cache.items()}

    def _run(self, session: OnnxSession, embeds: np.ndarray, positions: np.ndarray, modality: np.ndarray) -> Arrays:
        inputs = {"inputs_embeds": embeds, "position_ids": positions, "key_modality": modality}
        outputs = session.run(inputs | {f"past_{name}": buffer for name, buffer in self._cache.items()})
        total, rows = modality.shape[1], embeds.shape[1]
        for name, buffer in self._cache.items():
            present = outputs.pop(f"present_{name}")
            if present.shape == buffer.shape:
                self._cache[name] = present
            else:
                buffer[:, :, total - rows : total] = present
        return outputs
