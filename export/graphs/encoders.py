"""Vision and audio encoders with their projectors as ONNX graphs: raw frames and samples in, decoder tokens out."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from mosear.model.modeling import Mosear

OPSET = 23


class _Vision(nn.Module):
    def __init__(self, model: Mosear) -> None:
        super().__init__()
        self.encoder, self.projector = model.vision, model.visual_projector

    def forward(self, frames: Tensor) -> Tensor:
        return self.projector(self.encoder(frames))


class _Audio(nn.Module):
    def __init__(self, model: Mosear) -> None:
        super().__init__()
        self.encoder, self.projector = model.audio, model.audio_projector

    def forward(self, samples: Tensor) -> Tensor:
        return self.projector(self.encoder(samples))


def _export(module: nn.Module, example: Tensor, name: str, output: str) -> onnx.ModelProto:
    program = torch.onnx.export(
        module.eval(),
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[name],
        output_names=[output],
        dynamic_shapes={name: {0: torch.export.Dim("N", min=1, max=4096)}},
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def export_vision(model: Mosear) -> onnx.ModelProto:
    """``frames`` uint8 [N, f, H, W, 3] → ``visual_embeds`` float32 [N, k, D]."""
    config = model.config
    side = config.preprocessing.frame_size
    example = torch.zeros(2, config.frames_per_clip, side, side, 3, dtype=torch.uint8)
    return _export(_Vision(model), example, "frames", "visual_embeds")


def export_audio(model: Mosear) -> onnx.ModelProto:
    """``samples`` float32 [N, window_samples] → ``audio_embeds`` float32 [N, a, D]."""
    example = 0.1 * torch.randn(2, model.config.preprocessing.window_samples)
    return _export(_Audio(model), example, "samples", "audio_embeds")
