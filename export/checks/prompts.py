"""Prompts of real windows as feeds of a decoder graph, for measuring a graph apart from a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mosear.export.checks.reference import Tokens, encode
from mosear.export.clips import Example
from mosear.model.modeling import Mosear
from mosear.runtime.pipeline import EMOTION_TASK


@torch.no_grad()
def prompt_feeds(model: Mosear, examples: Sequence[Example], tokens: Tokens | None = None) -> dict[str, NDArray[Any]]:
    """One batch of prompts: ``inputs_embeds`` [B, S, D], ``position_ids`` [B, S], ``key_modality`` [B, S].

    Args:
        model: embeds the words and lays out the prompt.
        examples: windows of one kind, all with picture and sound or all without the same one.
        tokens: media tokens to put in, as of a quantized encoder; the model's own when left out.
    """
    sequence = _sequence(model, encode(model, examples) if tokens is None else tokens)
    return {
        "inputs_embeds": np.ascontiguousarray(model.embed(sequence).float().numpy()),
        "position_ids": np.ascontiguousarray(sequence.position_ids.numpy()),
        "key_modality": np.ascontiguousarray(sequence.modality.numpy()),
    }


def _sequence(model: Mosear, tokens: Tokens) -> Any:
    return model.sequence(tokens.transcripts, EMOTION_TASK, tokens.visual, tokens.audio)
