"""What the encoders make of the windows that were chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from mosear.calibration.windows import JointWindow, Selection
from mosear.model.modeling import Mosear

BATCH = 16
Progress = Callable[[str, float], None]


def batches(selection: Selection, stop: int | None = None) -> Iterator[list[JointWindow]]:
    """The first ``stop`` windows, ``BATCH`` at a time."""
    end = len(selection) if stop is None else min(stop, len(selection))
    for start in range(0, end, BATCH):
        yield list(selection.read(start, min(start + BATCH, end)))


def media(windows: list[JointWindow]) -> tuple[Tensor, Tensor]:
    """Frames uint8 [B, F, H, W, 3] and samples float32 [B, window_samples]."""
    frames = torch.from_numpy(np.stack([window.frames for window in windows]))
    return frames, torch.from_numpy(np.stack([window.samples for window in windows]))


@torch.no_grad()
def encode(model: Mosear, selection: Selection, progress: Progress) -> tuple[Tensor, Tensor]:
    """Encoder outputs before the projectors: [N, Nv, Cv] and [N, Na, Ca]."""
    visual, audio, clip = [], [], model.config.frames_per_clip
    for index, windows in enumerate(batches(selection)):
        frames, samples = media(windows)
        hidden = model.vision(frames.reshape(-1, clip, *frames.shape[2:]))
        visual.append(hidden.reshape(len(windows), -1, model.vision.hidden_size))
        audio.append(model.audio(samples))
        progress("encode", min(1.0, (index + 1) * BATCH / len(selection)))
    return torch.cat(visual), torch.cat(audio)
