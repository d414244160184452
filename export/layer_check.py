"""A decoder's layers against PyTorch's one at a time: the check that fits a model of any size into little memory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper
from torch import nn

from mosear.calibration.gates import GateStatistics
from mosear.export import layers
from mosear.export.checks.record import LayerRow
from mosear.export.clips import Example
from mosear.export.layers.torch_layers import TorchLayers
from mosear.export.lowering.weights import open_saved
from mosear.export.merge import fix_gates
from mosear.model.experts import MoseLinear
from mosear.model.modeling import Mosear

Feeds = dict[str, NDArray[Any]]


@torch.no_grad()
def check_layers(
    model: Mosear,
    gates: GateStatistics | None,
    saved: Path,
    example: Example,
    capacity: int,
    progress: Callable[[float], None],
) -> list[LayerRow]:
    """Compare every layer of a prefill graph with PyTorch's layer in float32 on the same input.

    Args:
        model: the checkpoint, perhaps mapped from disk; a layer at a time is made float32.
        gates: the constant gates that the graph was merged at, or None.
        saved: the prefill graph's file; its weights are mapped from beside it.
        example: the window whose prompt is run.
        capacity: length of a static KV cache, tokens.
        progress: called with the fraction done.
    """
    decoder = model.decoder
    graph, weights = open_saved(saved)
    feeds = _feeds(model, graph, example, capacity)
    count = decoder.config.num_hidden_layers

    def layer(index: int) -> nn.Module:
        progress(index / count)
        return _alone(decoder.get_decoder().layers[index], model)

    rotary = copy.deepcopy(decoder.get_decoder().rotary_emb)
    reference = TorchLayers(
        layer=layer,
        rotary=rotary,
        feeds=feeds,
        layers=count,
        reallocation=model.reallocation,
        holders=[model.token_modality],
    )
    try:
        fix_gates(model, gates)
        return list(layers.compare_layers(graph, weights, feeds, reference))
    finally:
        fix_gates(model, None)


def _alone(module: nn.Module, model: Mosear) -> nn.Module:
    """A float32 copy of one layer whose experts read the model's own holder of modality."""
    holder = model.token_modality
    alone = copy.deepcopy(module, {id(holder): holder}).float().eval()
    for part in alone.modules():
        if isinstance(part, MoseLinear):
            assert part.modality is holder
    return alone


def _feeds(model: Mosear, graph: ModelProto, example: Example, capacity: int) -> Feeds:
    window = example.window
    width = model.decoder.config.hidden_size
    media = [
        torch.zeros(1, count, width) if given is None else 0.05 * torch.randn(1, count, width, generator=_seeded())
        for given, count in ((window.frames, model.visual_tokens), (window.samples, model.config.audio_tokens))
    ]
    sequence = model.sequence([window.transcript], "emotion", media[0], media[1])
    table = model.decoder.get_input_embeddings().weight
    embeds = table[sequence.token_ids.clamp_min(0)].float() * (sequence.token_ids >= 0).unsqueeze(-1)
    for tokens, kind in ((media[0], 1), (media[1], 2)):
        embeds = embeds.masked_scatter((sequence.modality == kind).unsqueeze(-1), tokens)
    feeds: Feeds = {
        "inputs_embeds": embeds.numpy(),
        "position_ids": sequence.position_ids.numpy(),
        "key_modality": sequence.modality.numpy(),
    }
    for value in graph.graph.input:
        if value.name.startswith("past_"):
            dims = value.type.tensor_type.shape.dim
            # A cache that grows is called by its past; a static one has the capacity's length.
            length = 0 if dims[2].dim_param == "past" else dims[2].dim_value or capacity
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            feeds[value.name] = np.zeros((1, dims[1].dim_value, length, dims[3].dim_value), dtype)
    return feeds


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
