"""The forwards that activations are measured on: what a device runs, and nothing that it does not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mosear.calibration.encoding import BATCH, Progress, media
from mosear.calibration.windows import JointWindow
from mosear.model.modeling import Mosear, Sequence

SHOWN = ((True, True), (True, False), (False, True))
"""Which of picture and sound a row shows: the three rows that a device scores for every window."""


def calibration_loop(windows: list[JointWindow], progress: Progress, passes: int) -> Callable[[Mosear], None]:
    """A function that runs a model on ``windows``: both encoders, and the decoder on every task's prompt.

    Args:
        windows: decoded.
        progress: told the fraction of all passes that is done.
        passes: how often the function will be called.
    """
    done = 0

    def loop(model: Mosear) -> None:
        nonlocal done
        for start in range(0, len(windows), BATCH):
            batch = windows[start : start + BATCH]
            frames, samples = media(batch)
            visual, audio = model.encode_visual(frames), model.encode_audio(samples)
            for sequence in prompts(model, [window.transcript for window in batch], visual, audio):
                model(sequence, keep=1)
            progress("ranges", min(1.0, (done + (start + len(batch)) / len(windows)) / passes))
        done += 1

    return loop


def prompts(model: Mosear, transcripts: list[str | None], visual: Tensor, audio: Tensor) -> Iterator[Sequence]:
    """Every task's prompt of every window with both modalities, with the picture alone and with the sound alone.

    Prompts of one length make a batch, and hidden positions are taken out of it: padding and hidden media also run
    through every linear module of the decoder, but no answer depends on them, so their values must not count.
    """
    for task in model.config.prompt.tasks:
        for with_visual, with_audio in SHOWN:
            groups: dict[int, list[Sequence]] = defaultdict(list)
            for row, transcript in enumerate(transcripts):
                seen = visual[row : row + 1] if with_visual else None
                heard = audio[row : row + 1] if with_audio else None
                sequence = _visible(model.sequence([transcript], task, seen, heard))
                groups[sequence.token_ids.shape[1]].append(sequence)
            for _, group in sorted(groups.items()):
                yield _stacked(group)


def _visible(sequence: Sequence) -> Sequence:
    """One row [1, S] without its hidden positions; the others keep their position ids, so nothing shifts."""
    shown = sequence.modality[0] >= 0
    ids, modality, positions = sequence.token_ids, sequence.modality, sequence.position_ids
    return Sequence(ids[:, shown], modality[:, shown], positions[:, shown], sequence.visual, sequence.audio)


def _stacked(rows: list[Sequence]) -> Sequence:
    def joined(tensors: list[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(present) if present else None

    return Sequence(
        torch.cat([row.token_ids for row in rows]),
        torch.cat([row.modality for row in rows]),
        torch.cat([row.position_ids for row in rows]),
        joined([row.visual for row in rows]),
        joined([row.audio for row in rows]),
    )
