"""First stage of the reference model's training: each encoder learns its own modality, by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mosear.model.data import Windows
from mosear.model.modeling import Mosear

Report = Callable[[str, float, str], None]
"""Called with the stage's name, the fraction done and a short text."""


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A tenth of the steps to warm up, then a cosine down to nothing."""
    warm = max(1, steps // 10)

    def factor(step: int) -> float:
        return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, mirror, brighten and blur frames a little, each clip alike.

    Args:
        frames: uint8 [B, F, H, W, 3].

    Returns:
        uint8 of the same shape.
    """
    batch, _, height, width, _ = frames.shape
    frames = torch.where(torch.rand(batch, 1, 1, 1, 1, generator=generator) < 0.5, frames.flip(3), frames)
    rows = (torch.arange(height)[None] + torch.randint(-3, 4, (batch, 1), generator=generator)).clamp(0, height - 1)
    columns = (torch.arange(width)[None] + torch.randint(-3, 4, (batch, 1), generator=generator)).clamp(0, width - 1)
    clip = torch.arange(batch)[:, None, None]
    shifted = frames.permute(0, 2, 3, 1, 4)[clip, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2, 4)
    gain = 0.85 + 0.3 * torch.rand(batch, 1, 1, 1, 1, generator=generator)
    offset = 24 * torch.rand(batch, 1, 1, 1, 1, generator=generator) - 12
    noise = 4 * torch.randn(shifted.shape, generator=generator)
    return (shifted * gain + offset + noise).clamp(0, 255).to(torch.uint8)


def soft_targets(labels: NDArray[np.int64], intensity: NDArray[np.float32], classes: int, neutral: int) -> Tensor:
    """Expression strength as a distribution: a weak smile is partly neutral. float32 [N, classes]."""
    target = np.zeros((len(labels), classes), dtype=np.float32)
    strength = np.clip(intensity, 0.0, 1.0)
    target[np.arange(len(labels)), labels] += strength
    target[:, neutral] += 1.0 - strength
    return torch.from_numpy(target)


def _fit(
    stage: str,
    modules: list[nn.Module],
    logits_of: Callable[[NDArray[np.int64]], Tensor],
    targets: Tensor,
    rows: int,
    epochs: float,
    learning_rate: float,
    rng: np.random.Generator,
    report: Report,
    batch: int = 64,
) -> None:
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    steps = max(1, int(rows / batch * epochs))
    schedule = warm_cosine(optimizer, steps)
    average = 0.0
    for step in range(steps):
        chosen = np.sort(rng.choice(rows, batch, replace=False))
        loss = nn.functional.cross_entropy(logits_of(chosen), targets[torch.from_numpy(chosen)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        average = float(loss.detach()) if step == 0 else 0.98 * average + 0.02 * float(loss.detach())
        if step % 20 == 0 or step == steps - 1:
            report(stage, (step + 1) / steps, f"loss {average:.3f}")


def pretrain_encoders(
    model: Mosear, windows: Windows, epochs: tuple[float, float], learning_rate: float, seed: int, report: Report
) -> None:
    """Train the vision encoder on faces and the audio encoder on voices, with heads that are thrown away.

    Args:
        model: changed in place; its encoders are frozen at the end.
        windows: needs ``visual_label``, ``audio_label`` and both intensities.
        epochs: passes over the clips for vision and for audio.
        learning_rate: peak of the schedule.
        seed: of the order, the augmentation and the heads.
        report: progress.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    labels = model.config.labels
    neutral = labels.index("neutral")
    frames_a_clip = 2 if model.config.frames_per_clip == 1 else model.config.frames_per_clip

    def targets(kind: str) -> Tensor:
        intensity = windows.table[f"{kind}_intensity"].astype(np.float32)
        return soft_targets(windows.label_ids(f"{kind}_label", labels), intensity, len(labels), neutral)

    def visual_logits(rows: NDArray[np.int64]) -> Tensor:
        clip = windows.frames[rows]
        if frames_a_clip < clip.shape[1]:
            clip = clip[:, np.sort(rng.choice(clip.shape[1], frames_a_clip, replace=False))]
        frames = augment(torch.from_numpy(np.ascontiguousarray(clip)), generator)
        hidden = model.vision(frames.reshape(-1, model.config.frames_per_clip, *frames.shape[2:]))
        return visual_head(hidden.mean(1)).reshape(len(rows), -1, len(labels)).mean(1)

    def audio_logits(rows: NDArray[np.int64]) -> Tensor:
        sound = torch.from_numpy(windows.sound(rows))
        gain = 10 ** ((torch.rand(len(rows), 1, generator=generator) * 16 - 10) / 20)
        noise = torch.randn(sound.shape, generator=generator) * 10 ** (-2.2 - torch.rand(len(rows), 1, generator=generator))
        return audio_head(model.audio(sound * gain + noise).mean(1))

    visual_head = nn.Linear(model.vision.hidden_size, len(labels))
    _fit("vision encoder", [model.vision, visual_head], visual_logits, targets("visual"), len(windows), epochs[0],
         learning_rate, rng, report)  # fmt: skip
    audio_head = nn.Linear(model.audio.hidden_size, len(labels))
    _fit("audio encoder", [model.audio, audio_head], audio_logits, targets("audio"), len(windows), epochs[1],
         learning_rate, rng, report)  # fmt: skip
    for encoder in (model.vision, model.audio):
        encoder.requires_grad_(False).eval()


@torch.no_grad()
def encode_all(model: Mosear, windows: Windows, report: Report, batch: int = 64) -> tuple[Tensor, Tensor]:
    """What the frozen encoders make of every window, before the projectors: [N, Nv, Cv] and [N, Na, Ca]."""
    visual, audio = [], []
    clip = model.config.frames_per_clip
    for start in range(0, len(windows), batch):
        rows = np.arange(start, min(start + batch, len(windows)))
        frames = torch.from_numpy(np.ascontiguousarray(windows.frames[rows]))
        hidden = model.vision(frames.reshape(-1, clip, *frames.shape[2:]))
        visual.append(hidden.reshape(len(rows), -1, model.vision.hidden_size))
        audio.append(model.audio(torch.from_numpy(windows.sound(rows))))
        report("encoding", (rows[-1] + 1) / len(windows), "")
    return torch.cat(visual), torch.cat(audio)
