"""Vision and audio encoders with their projectors as ONNX graphs: raw frames and samples in, decoder tokens out."""

from __future__ import annotations

import copy
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from mosear.export.graphs.signatures import GraphSignature, audio_signature, vision_signature
from mosear.export.graphs.tracing import OPSET, quiet, strip_traces
from mosear.model.modeling import Mosear


class _Encoder(nn.Module):
    """An encoder with its projector; what the model reads (pixels, bands) is made in float32 in any case."""

    def __init__(self, encoder: nn.Module, projector: nn.Module, read: str, half: bool) -> None:
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        # A copy, because the parameters may be mapped from disk in another type.
        self.encoder: Any = copy.deepcopy(encoder).float()
        self.encoder.model.to(self.dtype)
        self.encoder.register_buffer("pool", self.encoder.get_buffer("pool").to(self.dtype), persistent=False)
        self.projector = copy.deepcopy(projector).to(self.dtype)
        self.read = getattr(self.encoder, read)

    def forward(self, media: Tensor) -> Tensor:
        return self.projector(self.encoder.encode(self.read(media).to(self.dtype))).float()


def _export(module: nn.Module, signature: GraphSignature) -> onnx.ModelProto:
    [media], [tokens] = signature.inputs, signature.outputs
    example = torch.zeros(media.example_shape(), dtype=getattr(torch, media.dtype))
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[media.name],
            output_names=[tokens.name],
            dynamic_shapes=({a: torch.export.Dim(name, min=1, max=4096) for a, name in media.dynamic_axes.items()},),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto  # made anew by every reading
    _name_weights(model, dict(module.named_parameters()))
    strip_traces(model)
    return model


def _name_weights(model: onnx.ModelProto, parameters: dict[str, nn.Parameter]) -> None:
    """Give products' weights, which the exporter folds into [in, out], the names of the torch parameters."""
    dims = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    names: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in dims or node.input[1] in parameters:
            continue
        scopes = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "[]")
        # From the innermost module outwards: the first whose weight has the turned shape.
        for scope in reversed([part.strip(" []'") for part in scopes.split(",")]):
            name = f"{scope}.weight"
            free = name in parameters and name not in names.values()
            if free and list(parameters[name].shape)[::-1] == dims[node.input[1]]:
                names[node.input[1]] = name
                break
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def export_vision(model: Mosear, half: bool = False) -> onnx.ModelProto:
    """``frames`` uint8 [N, f, H, W, 3] → ``visual_embeds`` float32 [N, k, D]; inside in float16 with ``half``."""
    return _export(_Encoder(model.vision, model.visual_projector, "pixels", half), vision_signature(model.config))


def export_audio(model: Mosear, half: bool = False) -> onnx.ModelProto:
    """``samples`` float32 [N, window_samples] → ``audio_embeds`` float32 [N, a, D]; inside in float16 with ``half``."""
    return _export(_Encoder(model.audio, model.audio_projector, "features", half), audio_signature(model.config))
