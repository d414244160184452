"""Text that the model writes greedily behind a prompt, on a KV cache as a device does it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache

from mosear.model.modeling import Mosear
from mosear.model.prompt_rows import prompt_rows
from mosear.model.text import EOS
from mosear.runtime.modality import Modality


@torch.no_grad()
def write(
    model: Mosear, transcript: str | None, visual: Tensor | None, audio: Tensor | None, task: str, max_tokens: int
) -> str:
    """The likeliest continuation, token by token, up to the end token or ``max_tokens``.

    Args:
        model: in eval mode.
        transcript: what is said, or None.
        visual: [1, Nv, D] projected tokens, or None.
        audio: [1, Na, D] projected tokens, or None.
        task: a key of the prompt's tasks.
        max_tokens: at most so many.
    """
    prompt = prompt_rows(model, transcript, visual, audio, task=task)
    cache, modality, positions = DynamicCache(), prompt.modality, prompt.position_ids
    embeds, end, written = model.embed(prompt), model.tokenizer.token_to_id(EOS), []
    for _ in range(max_tokens):
        token = int(model.step(embeds, modality, positions, cache).argmax(-1))
        if token == end:
            break
        written.append(token)
        embeds = model.decoder.get_input_embeddings()(torch.tensor([[token]]))
        modality = torch.cat([modality, torch.full((1, 1), int(Modality.TEXT))], dim=1)
        positions = positions[:, -1:] + 1
    return str(model.tokenizer.decode(written)).strip()
