"""First stage of the reference model's training: each encoder learns its own modality, by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mosear.model.data import Windows
from mosear.model.encoders import VisionEncoder
from mosear.model.mixed_precision import training_mode
from mosear.model.modeling import Mosear
from mosear.model.optimization import Report, minimize


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, mirror, brighten and blur frames a little, each clip alike.

    Args:
        frames: uint8 [B, F, H, W, 3].

    Returns:
        uint8 of the same shape.
    """
    batch, _, height, width, _ = frames.shape
    frames = torch.where(torch.rand(batch, 1, 1, 1, 1, generator=generator) < 0.5, frames.flip(3), frames)
    rows = (torch.arange(height)[None] + torch.randint(-1, 2, (batch, 1), generator=generator)).clamp(0, height - 1)
    columns = (torch.arange(width)[None] + torch.randint(-1, 2, (batch, 1), generator=generator)).clamp(0, width - 1)
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


def standardized(cues: NDArray[np.float32]) -> Tensor:
    """Cues with mean 0 and standard deviation 1 in every column; float32, shape unchanged."""
    flat = np.asarray(cues, np.float32).reshape(-1, cues.shape[-1])
    return torch.from_numpy((np.asarray(cues, np.float32) - flat.mean(0)) / (flat.std(0) + 1e-6))


@torch.no_grad()
def whiten_patches(encoder: VisionEncoder, frames: Tensor, floor: float = 1e-3) -> None:
    """Start an image encoder's patch filters as whitened principal components of real patches.

    Skin and background make up nearly all of a patch's variance; a brow or the corner of a mouth is a small rest that a
    random projection followed by a layer norm all but hides. Whitening gives every direction the same say (Coates and
    Ng, 2012). Positions start as large as the content, for what a patch means depends on where in the face it lies.

    Args:
        encoder: changed in place; only one whose patches are embedded by a 2D convolution.
        frames: uint8 [N, H, W, 3] to learn the components from.
        floor: variance below which a direction counts as noise, relative to the mean variance.
    """
    convolution = next((m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == m.stride), None)
    if convolution is None:
        return
    pixels = encoder.pixels(frames[:, None])[:, 0]
    patches = nn.functional.unfold(pixels, convolution.kernel_size, stride=convolution.stride)
    rows = patches.transpose(1, 2).flatten(0, 1).double()
    variance, directions = torch.linalg.eigh(torch.cov(rows.T))
    scale = (variance + floor * variance.mean()).rsqrt()
    filters = (directions * scale).T.flip(0)[: convolution.out_channels].float()
    convolution.weight[: len(filters)] = filters.reshape(-1, *convolution.weight.shape[1:])
    for name, parameter in encoder.named_parameters():
        if name.endswith("position_embedding.weight"):
            parameter.normal_(0, 0.5)


class _Task:
    """One encoder's training: the emotion that its modality shows, and the cues that make it up.

    Labels alone teach a small encoder slowly; action units and prosody tell it where to look and what to listen for.
    """

    def __init__(self, encoder: nn.Module, width: int, targets: Tensor, cues: Tensor) -> None:
        self.targets, self.cues = targets, cues
        # The heads read all tokens side by side: which part of the face, or of the time, a cue comes from matters.
        self.label_head, self.cue_head = nn.Linear(width, targets.shape[-1]), nn.Linear(width, cues.shape[-1])
        modules = (encoder, self.label_head, self.cue_head)
        self.parameters = [p for module in modules for p in module.parameters()]

    def loss(self, hidden: Tensor, rows: Tensor, cues: Tensor) -> Tensor:
        """Loss of features [B, parts, width], each part with its own ``cues`` [B, parts, U]."""
        labels = nn.functional.cross_entropy(self.label_head(hidden.mean(1)), self.targets[rows])
        return labels + nn.functional.mse_loss(self.cue_head(hidden), cues)


def _fit(
    stage: str,
    task: _Task,
    loss_of: Callable[[NDArray[np.int64]], Tensor],
    epochs: float,
    learning_rate: float,
    rng: np.random.Generator,
    report: Report,
    batch: int = 64,
) -> None:
    count = len(task.targets)
    batch = min(batch, count)

    def draw() -> tuple[Tensor, Tensor]:
        loss = loss_of(np.sort(rng.choice(count, batch, replace=False)))
        return loss, loss

    steps = max(1, int(count / batch * epochs))
    minimize(stage, task.parameters, draw, steps, learning_rate, 0.02, report)


def pretrain_encoders(
    model: Mosear,
    windows: Windows,
    epochs: tuple[float, float],
    learning_rate: float,
    seed: int,
    report: Report,
    bfloat16: bool = False,
) -> None:
    """Train the vision encoder on faces and the audio encoder on voices, with heads that are thrown away.

    Args:
        model: changed in place; its encoders are frozen at the end.
        windows: needs each modality's own label, intensity and cues.
        epochs: passes over the clips for vision and for audio.
        learning_rate: peak of the schedule.
        seed: of the order, the augmentation and the heads.
        report: progress.
        bfloat16: multiply in bfloat16, see ``mixed_precision``.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    labels = model.config.labels
    clip = model.config.frames_per_clip
    shown = max(2, clip)

    def targets(kind: str) -> Tensor:
        intensity = windows.table[f"{kind}_intensity"].astype(np.float32)
        return soft_targets(windows.label_ids(f"{kind}_label", labels), intensity, len(labels), labels.index("neutral"))

    seen = model.vision.tokens * model.vision.hidden_size
    heard = model.audio.tokens * model.audio.hidden_size
    vision = _Task(model.vision, seen, targets("visual"), standardized(windows.visual_cues))
    audio = _Task(model.audio, heard, targets("audio"), standardized(windows.audio_cues))

    some = np.sort(rng.choice(len(windows), min(400, len(windows)), replace=False))
    whiten_patches(model.vision, torch.from_numpy(np.ascontiguousarray(windows.frames[some, 0])))

    def visual_loss(rows: NDArray[np.int64]) -> Tensor:
        picked = np.sort(rng.choice(windows.frames.shape[1], shown, replace=False))
        frames = augment(torch.from_numpy(np.ascontiguousarray(windows.frames[rows][:, picked])), generator)
        hidden = model.vision(frames.reshape(-1, clip, *frames.shape[2:])).flatten(1)
        cues = vision.cues[torch.from_numpy(rows)][:, torch.from_numpy(picked)]
        parts = cues.reshape(len(rows), -1, clip, cues.shape[-1]).mean(2)
        return vision.loss(hidden.reshape(len(rows), -1, hidden.shape[-1]), torch.from_numpy(rows), parts)

    def audio_loss(rows: NDArray[np.int64]) -> Tensor:
        sound = torch.from_numpy(windows.sound(rows))
        gain = 10 ** ((torch.rand(len(rows), 1, generator=generator) * 6 - 3) / 20)
        level = 10 ** (-3.0 - torch.rand(len(rows), 1, generator=generator))
        noise = torch.randn(sound.shape, generator=generator) * level
        with torch.autocast("cpu", enabled=False):  # bfloat16 is too coarse for a spectrum
            features = model.audio.features(sound * gain + noise)
        hidden = model.audio.encode(features).flatten(1)[:, None]
        chosen = torch.from_numpy(rows)
        return audio.loss(hidden, chosen, audio.cues[chosen][:, None])

    with training_mode(model.vision.model, bfloat16):
        _fit("vision encoder", vision, visual_loss, epochs[0], learning_rate, rng, report)
    with training_mode(model.audio.model, bfloat16):
        _fit("audio encoder", audio, audio_loss, epochs[1], learning_rate, rng, report)
    model.vision.requires_grad_(False)
    model.audio.requires_grad_(False)


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
