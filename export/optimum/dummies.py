"""Dummy inputs of the components, drawn to the shapes of their signatures."""

from __future__ import annotations

from typing import Any

from optimum.utils.input_generators import DummyInputGenerator

from mosear.export.graphs.signatures import EXAMPLE_SIZES, TensorSignature
from mosear.export.optimum.normalized import NormalizedMosearConfig
from mosear.runtime.modality import Modality

_OPTIMUM_TYPES = {"float32": "fp32", "float16": "fp16", "int64": "int64"}


class ComponentInputs(DummyInputGenerator):
    """Draws any input of one component.

    Args:
        component: vision, audio, prefill or decode. (`optimum` calls this argument the task.)
        normalized: the checkpoint's configuration.
        batch_size: clips, or rows of the decoder.
        sequence_length: present tokens; the decode graph has always one.
        past_length: tokens in the KV cache.
    """

    def __init__(
        self,
        component: str,
        normalized: NormalizedMosearConfig,
        batch_size: int = EXAMPLE_SIZES["batch"],
        sequence_length: int = EXAMPLE_SIZES["sequence"],
        past_length: int = EXAMPLE_SIZES["past"],
        **_: Any,
    ) -> None:
        present = 1 if component == "decode" else sequence_length
        self.inputs = {tensor.name: tensor for tensor in normalized.signatures[component].inputs}
        self.sizes = {
            "N": batch_size,
            "batch": batch_size,
            "sequence": present,
            "past": past_length,
            "total": past_length + present,
        }
        self.positions = int(normalized.max_position_embeddings)

    def supports_input(self, input_name: str) -> bool:
        """Whether the component has this input."""
        return input_name in self.inputs

    def generate(
        self, input_name: str, framework: str = "pt", int_dtype: str = "int64", float_dtype: str = "fp32"
    ) -> Any:
        """A tensor for one input; its type is the signature's, whatever types are asked for."""
        tensor = self.inputs[input_name]
        shape = list(tensor.example_shape(self.sizes))
        if tensor.dtype == "uint8":
            drawn = self.random_int_tensor(shape, 256, framework=framework, dtype="int64")
            return drawn.byte() if framework == "pt" else drawn.astype("uint8")
        if tensor.dtype == "int64":
            return self.random_int_tensor(shape, self._largest(tensor) + 1, framework=framework, dtype="int64")
        return self.random_float_tensor(
            shape, min_value=-1, max_value=1, framework=framework, dtype=_OPTIMUM_TYPES[tensor.dtype]
        )

    def _largest(self, tensor: TensorSignature) -> int:
        return int(max(Modality)) if tensor.name == "key_modality" else self.positions - 1
