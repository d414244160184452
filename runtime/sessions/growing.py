"""A decoder of standard operators on ONNX Runtime: its cache goes in as the past and comes out, longer, as the present.

Each step copies the cache once inside the graph. What comes out stays on the device, and is the past of the next step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mosear.runtime.manifest import Decoder
from mosear.runtime.sessions import Arrays
from mosear.runtime.sessions.onnxruntime import BoundGraph, OnnxRuntime, check_inputs, run_failed, step_inputs


class GrowingOnnxRuntime(OnnxRuntime):
    """ONNX Runtime for bundles of standard operators: the decoder's cache grows, all else is as ever."""

    def decoder(  # type: ignore[override]
        self, prefill: Path, decode: Path, shape: Decoder
    ) -> GrowingDecoderSession:
        """Load the prefill graph; the decode graph when it is first needed."""
        return GrowingDecoderSession(self, prefill, decode, shape)


class GrowingDecoderSession:
    """Prefill and decode over a cache [B, Hkv, T, Dh], a pair a layer, that every step makes anew."""

    def __init__(self, backend: OnnxRuntime, prefill: Path, decode: Path, shape: Decoder) -> None:
        self._backend = backend
        self._shape = shape
        self._decode_path = decode
        self._prefill = _GrowingGraph(backend.load(prefill), prefill, shape)
        self._decode: _GrowingGraph | None = None
        self._cache: dict[str, Any] = {}
        nothing: np.ndarray = np.zeros((1, shape.kv_heads, 0, shape.head_dim), self._prefill.cache_type)
        self._held: Arrays = {f"{kind}_{layer}": nothing for layer in range(shape.layers) for kind in ("key", "value")}
        self._past: dict[str, Any] = {}
        self._batch = 0

    def hold(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> None:
        """Keep the beginning of all prompts; see ``DecoderSession``."""
        past = {name: self._backend.value(value[:, :, :0]) for name, value in self._held.items()}
        self._go_on(self._prefill, step_inputs(inputs_embeds, position_ids, key_modality), past)
        self._held = {name: value.numpy() for name, value in self._cache.items()}
        self._batch = 0

    def prefill(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Start over with a prompt; see ``DecoderSession``."""
        if self._batch != len(inputs_embeds):
            self._batch = len(inputs_embeds)
            self._past = {
                name: self._backend.value(np.repeat(value, self._batch, axis=0)) for name, value in self._held.items()
            }
        return self._go_on(self._prefill, step_inputs(inputs_embeds, position_ids, key_modality), self._past)

    def decode(self, inputs_embeds: np.ndarray, position_ids: np.ndarray, key_modality: np.ndarray) -> Arrays:
        """Go on by one token; see ``DecoderSession``."""
        if self._decode is None:
            self._decode = _GrowingGraph(self._backend.load(self._decode_path), self._decode_path, self._shape)
        return self._go_on(self._decode, step_inputs(inputs_embeds, position_ids, key_modality), self._cache)

    def repeat(self, times: int) -> None:
        """Widen the batch; see ``DecoderSession``."""
        self._cache = {
            name: self._backend.value(np.repeat(value.numpy(), times, axis=0)) for name, value in self._cache.items()
        }

    def _go_on(self, graph: _GrowingGraph, inputs: Arrays, past: dict[str, Any]) -> Arrays:
        results, self._cache = graph.extend(inputs, past, self._backend.device)
        return results


class _GrowingGraph(BoundGraph):
    """A decoder graph whose present is a new tensor on the device."""

    def extend(self, inputs: Arrays, past: dict[str, Any], device: str) -> tuple[Arrays, dict[str, Any]]:
        """The outputs but for the cache, and the cache with the new keys and values behind ``past``."""
        check_inputs(self._path, inputs, self._input_names)
        try:
            binding = self._session.io_binding()
            for name in self._input_names:
                binding.bind_cpu_input(name, np.ascontiguousarray(inputs[name]))
            for name in self._results:
                binding.bind_output(name, "cpu")
            for name, value in past.items():
                binding.bind_ortvalue_input(f"past_{name}", value)
                binding.bind_output(f"present_{name}", device)
            self._session.run_with_iobinding(binding)
            values = binding.get_outputs()
            results = {name: value.numpy() for name, value in zip(self._results, values, strict=False)}
            return results, dict(zip(past, values[len(self._results) :], strict=True))
        except Exception as error:  # the library's exceptions share no base class of their own
            raise run_failed(self._path, error) from error
