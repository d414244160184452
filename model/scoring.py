"""Label scores of many encoded windows, with the modalities that are asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from mosear.model.attention import Telemetry
from mosear.model.modeling import Mosear


@torch.no_grad()
def score(
    model: Mosear,
    transcripts: list[str | None],
    encoded: tuple[Tensor, Tensor],
    hide: str | None = None,
    batch: int = 64,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Log-probabilities of the label words, from encoder outputs.

    Labels of one token are read off one forward; others are scored a forward each.

    Args:
        model: the model; its ``reallocation`` is used as it is.
        transcripts: one a window, None where not known.
        encoded: encoder outputs before the projectors, [N, Nv, Cv] and [N, Na, Ca].
        hide: ``visual`` or ``audio`` to hide those keys, None to show all.
        batch: windows a forward.

    Returns:
        float32 [N, labels]; and, where reallocation is on, its audio_share and selected, both [N, R, Hq].
    """
    labels = model.label_token_ids()
    single = all(len(ids) == 1 for ids in labels)
    scores, share, selected = [], [], []
    for start in range(0, len(transcripts), batch):
        rows = slice(start, start + batch)
        visual = None if hide == "visual" else model.visual_projector(encoded[0][rows])
        audio = None if hide == "audio" else model.audio_projector(encoded[1][rows])
        said = transcripts[rows]
        if not single:
            scores.append(model.label_log_probabilities(said, visual, audio))
            continue
        telemetry = Telemetry()
        logits = model(model.sequence(said, "emotion", visual, audio), telemetry, keep=1)[:, 0]
        scores.append(logits.float().log_softmax(-1)[:, [ids[0] for ids in labels]])
        if telemetry.layers:
            share.append(telemetry.audio_share)
            selected.append(telemetry.selected)
    return torch.cat(scores), torch.cat(share) if share else None, torch.cat(selected) if selected else None
