"""A runtime that answers with PyTorch, window by window, and can be made to err by a known amount."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from mosear.export.clips import Example
from mosear.export.merge import fix_gates
from mosear.model.attention import Telemetry
from mosear.runtime.answer import Prefill
from mosear.runtime.windows import Window

SUBSETS = ("audio_aligned", "consistent", "video_aligned")


def random_examples(model: Any, count: int, seed: int = 0) -> list[Example]:
    """Windows of noise with transcripts of different lengths; labels and subsets go round."""
    random = np.random.default_rng(seed)
    pre, labels = model.config.preprocessing, model.config.labels
    examples = []
    for index in range(count):
        frames = random.integers(0, 256, (pre.frames, pre.frame_size, pre.frame_size, 3), dtype=np.uint8)
        samples = random.normal(0, 0.1, pre.window_samples).astype(np.float32)
        said = None if index % 3 == 0 else " ".join(["well"] * (index % 5 + 1))
        window = Window(0.0, pre.window_s, frames, samples, said, ())
        examples.append(Example(window, labels[index % len(labels)], SUBSETS[index % 3]))
    return examples


@dataclass
class TorchPipeline:
    """Answers as the runtime does: one window, one row at a time, nothing batched.

    Attributes:
        model: its own copy of the model.
        gates: constant gates, or None.
        vision_error: added to one value of the visual tokens that it reports.
        logits_error: added to one logit that it reports.
        moved: windows, by index of the call, whose first label it makes the likeliest.
        flipped: how many head selections of each row it reports the wrong way round.
        temperature: of the manifest.
        logit_tokens: None: its logits are those of the whole vocabulary.
    """

    model: Any
    gates: Any = None
    vision_error: float = 0.0
    logits_error: float = 0.0
    moved: frozenset[int] = frozenset()
    flipped: int = 0
    temperature: float = 1.5
    logit_tokens: None = None
    calls: int = field(default=0, init=False)

    @property
    def bundle(self) -> Any:
        """What the comparison reads of a bundle."""
        return SimpleNamespace(manifest=SimpleNamespace(temperature=self.temperature))

    @torch.no_grad()
    def forward(self, window: Window) -> Prefill:
        """The answer for a window."""
        model = self.model
        fix_gates(model, self.gates)
        visual = None if window.frames is None else model.encode_visual(torch.from_numpy(window.frames)[None])
        audio = None if window.samples is None else model.encode_audio(torch.from_numpy(window.samples)[None])
        names = ("all",) if visual is None or audio is None else ("all", "visual", "audio")
        logits, selected, scores = [], [], []
        for name in names:
            shown = (None if name == "audio" else visual, None if name == "visual" else audio)
            telemetry = Telemetry()
            logits.append(model(model.sequence([window.transcript], "emotion", *shown), telemetry, keep=1)[0, 0])
            scores.append(model.label_log_probabilities([window.transcript], *shown)[0])
            selected.append(telemetry.selected[0].numpy())
        heads = np.stack(selected)
        heads.reshape(len(heads), -1)[:, : self.flipped] = 1 - heads.reshape(len(heads), -1)[:, : self.flipped]
        reported = torch.stack(logits).numpy()
        reported[0, 0] += self.logits_error
        tokens = None if visual is None else visual.numpy().copy()
        if tokens is not None:
            tokens.flat[0] += self.vision_error
        log_probs = torch.stack(scores).double().numpy()
        if self.calls in self.moved:
            log_probs[0, 0] = log_probs[0].max() + 1.0
        self.calls += 1
        return Prefill(
            rows=names,
            logits=reported,
            label_log_probs=log_probs,
            audio_share=None,
            selected=heads,
            modality_mass=None,
            visual_embeds=tokens,
            audio_embeds=None if audio is None else audio.numpy(),
            last_is_text=True,
            timings_ms={"vision": 1.0, "audio": 2.0, "prefill": 3.0, "labels": 0.5},
        )
