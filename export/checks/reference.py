"""What PyTorch says of windows: in batches where only labels are wanted, one window at a time where it is timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mosear.export.clips import Example
from mosear.model.attention import Telemetry
from mosear.model.modeling import Mosear
from mosear.model.prompt_rows import prompt_rows
from mosear.runtime.pipeline import EMOTION_TASK

BATCH = 8
"""Windows a forward. Larger ones gain little on a CPU and cost memory with a large decoder."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Encoder outputs of B windows of one kind, projected.

    Attributes:
        transcripts: one a window.
        visual: [B, Nv, D], or None when these windows have no picture.
        audio: [B, Na, D], or None when they have no sound.
    """

    transcripts: list[str | None]
    visual: Tensor | None
    audio: Tensor | None


@dataclass(frozen=True, eq=False)
class Numbers:
    """PyTorch's numbers of one window, to be compared with the runtime's ``Prefill`` row by row.

    Attributes:
        logits: float32 [rows, V] behind the prompt.
        label_log_probs: float32 [labels] of the first row.
        selected: float32 [rows, R, H], or None when nothing reallocates.
        timings_ms: milliseconds by the runtime's stages; without ``labels`` where a label has several tokens.
    """

    logits: NDArray[np.float32]
    label_log_probs: NDArray[np.float32]
    selected: NDArray[np.float32] | None
    timings_ms: dict[str, float]


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """As many threads for PyTorch as the runtime has; what it had before is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def grouped(examples: Sequence[Example], size: int = BATCH) -> Iterator[list[int]]:
    """Indices of the examples in batches of one kind: those of a batch all have a picture or none, likewise sound."""
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for index, example in enumerate(examples):
        kinds.setdefault((example.window.frames is None, example.window.samples is None), []).append(index)
    for indices in kinds.values():
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


@torch.no_grad()
def encode(model: Mosear, examples: Sequence[Example]) -> Tokens:
    """Run the encoders on windows of one kind (see ``grouped``)."""
    windows = [example.window for example in examples]
    frames = [window.frames for window in windows if window.frames is not None]
    samples = [window.samples for window in windows if window.samples is not None]
    return Tokens(
        [window.transcript for window in windows],
        model.encode_visual(torch.from_numpy(np.stack(frames))) if frames else None,
        model.encode_audio(torch.from_numpy(np.stack(samples))) if samples else None,
    )


@torch.no_grad()
def label_log_probabilities(model: Mosear, tokens: Tokens) -> NDArray[np.float64]:
    """Log-probability of every label word, float64 [B, labels]; not normalized over the labels."""
    ids = model.label_token_ids()
    if any(len(each) > 1 for each in ids):
        scores = model.label_log_probabilities(tokens.transcripts, tokens.visual, tokens.audio)
        return np.asarray(scores.double().numpy())
    sequence = model.sequence(tokens.transcripts, EMOTION_TASK, tokens.visual, tokens.audio)
    logits = model(sequence, keep=1)[:, 0].double()
    return np.asarray(logits.log_softmax(-1)[:, [each[0] for each in ids]].numpy())


@torch.no_grad()
def numbers(model: Mosear, example: Example, rows: tuple[str, ...]) -> tuple[Tokens, Numbers]:
    """One window as a device answers it: encoders, then all rows in one batch, then the labels; timed by stage.

    Args:
        model: with the gates that are to be compared.
        example: the window.
        rows: ``all``, or ``all``, ``visual`` and ``audio``, as in the runtime's ``Prefill``.
    """
    laps = [perf_counter()]
    window = example.window
    visual = None if window.frames is None else model.encode_visual(torch.from_numpy(window.frames)[None])
    laps.append(perf_counter())
    audio = None if window.samples is None else model.encode_audio(torch.from_numpy(window.samples)[None])
    laps.append(perf_counter())
    tokens = Tokens([window.transcript], visual, audio)
    telemetry = Telemetry()
    sequence = prompt_rows(model, tokens.transcripts[0], tokens.visual, tokens.audio, rows)
    logits = model(sequence, telemetry, keep=1)[:, 0]
    laps.append(perf_counter())
    stages = ["vision", "audio", "prefill"]
    ids = model.label_token_ids()
    if all(len(each) == 1 for each in ids):
        scores = logits[0].log_softmax(-1)[[each[0] for each in ids]]
        laps.append(perf_counter())
        stages.append("labels")
    else:
        # This runs the prompt once more, which a device does not: its time would be no fair figure.
        scores = model.label_log_probabilities(tokens.transcripts, visual, audio)[0]
    timings = {stage: (laps[i + 1] - laps[i]) * 1000 for i, stage in enumerate(stages)}
    selected = telemetry.selected.numpy() if telemetry.layers else None
    return tokens, Numbers(logits.numpy(), scores.numpy(), selected, timings)
