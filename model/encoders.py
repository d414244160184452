"""Vision and audio encoders: any of a few transformers architectures, from raw frames and samples to pooled tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, CLIPVisionModel, HubertModel, SiglipVisionModel, VideoMAEModel, Wav2Vec2Model
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mosear.model.log_mel import LogMel
from mosear.runtime.errors import BadInput

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
# What each architecture's own image processor normalizes with, and how many tokens come before the patches.
_VISION: dict[str, tuple[type[nn.Module], tuple[float, ...], tuple[float, ...], int]] = {
    "clip_vision_model": (CLIPVisionModel, _CLIP_MEAN, _CLIP_STD, 1),
    "siglip_vision_model": (SiglipVisionModel, _HALF, _HALF, 0),
    "videomae": (VideoMAEModel, _IMAGENET_MEAN, _IMAGENET_STD, 0),
}
_AUDIO = ("whisper", "hubert", "wav2vec2")


def _configuration(values: dict[str, Any], known: tuple[str, ...], role: str) -> Any:
    kind = values.get("model_type")
    if kind not in known:
        raise BadInput(f"{role}.model_type is {kind!r}", f"use one of {', '.join(known)}")
    rest = {key: value for key, value in values.items() if key != "model_type"}
    # Eager attention and SDPA are equal; SDPA is the one that exports to a single fused node.
    return AutoConfig.for_model(kind, **rest, attn_implementation="sdpa")


def _averaging(groups: int, length: int) -> Tensor:
    """[groups, length]: row g averages the g-th of ``groups`` stretches of ``length`` positions."""
    edges = torch.linspace(0, length, groups + 1)
    position = torch.arange(length, dtype=torch.float32)
    overlap = torch.minimum(position[None] + 1, edges[1:, None]) - torch.maximum(position[None], edges[:-1, None])
    overlap = overlap.clamp_min(0)
    return overlap / overlap.sum(1, keepdim=True)


class VisionEncoder(nn.Module):
    """Frames to tokens: normalization, a transformers vision model, and average pooling over a grid of patches.

    Args:
        values: the vision model's configuration, ``model_type`` included.
        grid: each image, or each step of a video encoder, becomes ``grid²`` tokens.
        frame_size: side of a frame, pixels; must be the size that the model was configured for.
    """

    def __init__(self, values: dict[str, Any], grid: int, frame_size: int) -> None:
        super().__init__()
        config = _configuration(values, tuple(_VISION), "vision")
        if config.image_size != frame_size:
            raise BadInput(
                f"vision.image_size is {config.image_size} but preprocessing.frame_size is {frame_size}",
                "make them equal",
            )
        kind, mean, std, self.leading = _VISION[config.model_type]
        self.is_video = config.model_type == "videomae"
        self.model = kind(config)
        self.hidden_size = int(config.hidden_size)
        side = config.image_size // config.patch_size
        if grid > side:
            raise BadInput(f"visual_grid is {grid} but an image has {side} patches a side", "choose a smaller grid")
        steps = config.num_frames // config.tubelet_size if self.is_video else 1
        self.tokens = steps * grid * grid
        axis = _averaging(grid, side)
        pool = torch.einsum("ts,yh,xw->tyxshw", torch.eye(steps), axis, axis).reshape(self.tokens, steps * side * side)
        self.register_buffer("pool", pool, persistent=False)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Tokens of clips.

        Args:
            frames: uint8 [N, f, H, W, 3], RGB; f is 1 for image encoders.

        Returns:
            [N, tokens, hidden_size].
        """
        return self.encode(self.pixels(frames))

    def encode(self, pixels: Tensor) -> Tensor:
        """Tokens [N, tokens, hidden_size] of normalized pixels [N, f, 3, H, W]."""
        hidden = self.model(pixel_values=pixels if self.is_video else pixels[:, 0]).last_hidden_state
        return torch.matmul(self.get_buffer("pool"), hidden[:, self.leading :])

    def pixels(self, frames: Tensor) -> Tensor:
        """What the vision model itself reads: frames [N, f, H, W, 3], normalized, as [N, f, 3, H, W]."""
        scaled = frames.permute(0, 1, 4, 2, 3).to(self.get_buffer("mean").dtype) / 255.0
        return (scaled - self.get_buffer("mean")) / self.get_buffer("std")


class AudioEncoder(nn.Module):
    """Samples to tokens: features where the model wants them, a transformers speech encoder, average pooling in time.

    Args:
        values: the speech model's configuration, ``model_type`` included.
        tokens: tokens a window becomes.
        window_samples: samples a window holds at 16 kHz.
    """

    def __init__(self, values: dict[str, Any], tokens: int, window_samples: int) -> None:
        super().__init__()
        config = _configuration(values, _AUDIO, "audio")
        self.kind = config.model_type
        self.model: Any
        self.hidden_size = int(config.hidden_size)
        self.tokens = tokens
        if self.kind == "whisper":
            if config.max_source_positions * 320 != window_samples:
                raise BadInput(
                    f"max_source_positions is {config.max_source_positions}, a window has {window_samples} samples",
                    f"set it to {window_samples // 320}",
                )
            self.log_mel = LogMel(config.num_mel_bins)
            self.model = WhisperEncoder(config)
            length = config.max_source_positions
        else:
            self.model = (HubertModel if self.kind == "hubert" else Wav2Vec2Model)(config)
            length = window_samples
            for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
                length = (length - kernel) // stride + 1
        self.register_buffer("pool", _averaging(tokens, length), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Tokens of windows of sound.

        Args:
            samples: float32 [N, window_samples], 16 kHz mono.

        Returns:
            [N, tokens, hidden_size].
        """
        return self.encode(self.features(samples))

    def features(self, samples: Tensor) -> Tensor:
        """What the speech model itself reads: log-mel bands [N, bins, T], or normalized samples [N, window_samples]."""
        if self.kind == "whisper":
            return self.log_mel(samples)
        # The normalization of Wav2Vec2FeatureExtractor.
        centred = samples - samples.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()

    def encode(self, features: Tensor) -> Tensor:
        """Tokens [N, tokens, hidden_size] of ``features``."""
        return torch.matmul(self.get_buffer("pool"), self.model(features).last_hidden_state)
