"""What each backend's build does with a canonical graph; one record a backend, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from onnx import ModelProto

from mosear.calibration.quantization import LinearRanges
from mosear.export.lowering import onnxruntime, standard, standard_weights, tensorrt
from mosear.export.quantization.quantize import quantize as quantize_onnxruntime
from mosear.export.targets import Target
from mosear.export.tensors import Weights

Phase = Literal["prefill", "decode"]
Quantize = Callable[
    [ModelProto, Weights, Mapping[str, str], Mapping[str, LinearRanges] | None], tuple[ModelProto, Weights]
]


@dataclass(frozen=True)
class Backend:
    """How graphs become what one backend runs.

    Attributes:
        lower: the decoder's canonical structure, for a phase, a target and a KV cache of so many tokens.
        lower_encoder: an encoder's structure, for a target.
        quantize: see each backend's own.
        one_graph: prefill's graph also decodes: an engine with two optimization profiles holds its weights once.
    """

    lower: Callable[[ModelProto, Phase, Target, int], ModelProto]
    lower_encoder: Callable[[ModelProto, Target], ModelProto]
    quantize: Quantize
    one_graph: bool = False


_TENSORRT = Backend(
    lower=lambda model, phase, target, capacity: tensorrt.lower(model, phase, target.features, capacity),
    lower_encoder=lambda model, target: tensorrt.lower_encoder(model, target.features),
    quantize=tensorrt.quantize,
    one_graph=True,
)
BACKENDS: dict[str, Backend] = {
    "onnxruntime": Backend(
        lower=lambda model, phase, target, capacity: onnxruntime.lower(model, phase),
        lower_encoder=lambda model, target: model,
        quantize=quantize_onnxruntime,
    ),
    "standard": Backend(
        lower=lambda model, phase, target, capacity: standard.lower(model, phase),
        lower_encoder=lambda model, target: standard.lower_encoder(model),
        quantize=standard_weights.quantize,
    ),
    "tensorrt": _TENSORRT,
    "tensorrt_rtx": _TENSORRT,
}
