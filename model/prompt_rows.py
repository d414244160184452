"""One window as a device answers it: the same prompt once a row, each with the modalities that it shows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mosear.model import modeling
from mosear.runtime.modality import Modality
from mosear.runtime.pipeline import EMOTION_TASK

_HIDDEN = {"visual": Modality.AUDIO, "audio": Modality.VISUAL}


def prompt_rows(
    model: modeling.Mosear,
    transcript: str | None,
    visual: Tensor | None,
    audio: Tensor | None,
    rows: Sequence[str] = ("all",),
    task: str = EMOTION_TASK,
) -> modeling.Sequence:
    """A batch of prompts.

    Args:
        model: lays out the prompt.
        transcript: what is said, or None.
        visual: [1, Nv, D] projected tokens, or None.
        audio: [1, Na, D] projected tokens, or None.
        rows: ``all``, ``visual`` (hides the sound) and ``audio`` (hides the picture), as in the runtime's ``Prefill``.
        task: a key of the prompt's tasks.
    """
    count = len(rows)
    seen, heard = (None if each is None else each.expand(count, -1, -1) for each in (visual, audio))
    sequence = model.sequence([transcript] * count, task, seen, heard)
    for row, name in enumerate(rows):
        if name in _HIDDEN:
            sequence.modality[row].masked_fill_(sequence.modality[row] == _HIDDEN[name], int(Modality.HIDDEN))
    return sequence
