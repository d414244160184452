"""Pieces of a decoder graph: from one hidden state to the next, with the telemetry that is made on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from onnx import ModelProto, NodeProto, ValueInfoProto, helper

from mosear.export.lowering.rewriting import CONTRIB, attribute, producers, without_weights

TELEMETRY = ("audio_share", "selected", "modality_mass")


def hidden_name(layer: int) -> str:
    """The value that enters ``layer``; for the number of layers, what leaves the last one."""
    return f"hidden_{layer}"


def count_layers(model: ModelProto) -> int:
    """How many layers a graph has, by its hidden states.

    Raises ValueError when it has none.
    """
    made = producers(model.graph)
    layers = 0
    while hidden_name(layers + 1) in made:
        layers += 1
    if not layers:
        raise ValueError("the graph has no value hidden_1: it is not a decoder with named hidden states")
    return layers


def tapped(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """The graph with these values among its outputs; ``model`` stays as it is."""
    copy = without_weights(model)
    copy.graph.initializer.extend(model.graph.initializer)
    present = {value.name for value in copy.graph.output}
    copy.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
    return copy


def reallocating_layers(model: ModelProto) -> list[int]:
    """The layers whose telemetry a graph reports, in order. The graph's nodes must be in order."""
    belongs = owners(model)
    made = producers(model.graph)
    if TELEMETRY[0] not in made:
        return []
    parts_of = joined(made, belongs, TELEMETRY)
    return sorted({owner for parts in parts_of.values() for owner in parts} or {belongs[TELEMETRY[0]]})


def cut(model: ModelProto, source: str, outputs: Sequence[str]) -> ModelProto:
    """The piece of a graph that makes ``outputs`` of the value ``source`` and of the graph's own inputs.

    It holds the weights that it reads, and no others. What all layers read (the mask, the tables of rotary embeddings)
    is computed again in each piece. Where the telemetry of several layers comes together, that of the piece's own layer
    stands for all: the outputs keep their shapes [B, R, Hq, ...]. ``model``, its nodes in order, stays as it is.

    Raises ValueError when an output needs another hidden state than ``source``.
    """
    layer = _place(source)
    nodes = [alone for node in model.graph.node if (alone := _alone(node, source)) is not None]
    parts_of = joined(producers(model.graph), owners(model), outputs)
    nodes = [_join_own(node, parts_of.get(node.output[0], {}).get(layer)) for node in nodes]
    made = {name: node for node in nodes for name in node.output if name}
    read: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name and name not in read:
            read.add(name)
            waiting.extend(made[name].input if name in made else ())
    strange = sorted(name for name in read if _place(name) > 0 and name not in (*outputs, source))
    if strange:
        raise ValueError(f"{', '.join(outputs)} cannot be made of {source} alone: {', '.join(strange)} is read too")
    piece = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = piece.graph
    graph.name = f"from {source}"
    graph.node.extend(node for node in nodes if read.intersection(node.output))
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    graph.input.extend(value for value in model.graph.input if value.name in read)
    if source in read and source not in {value.name for value in graph.input}:
        graph.input.append(helper.make_tensor_value_info(source, _float_type(model), [None, None, None]))
    declared = {value.name: value for value in model.graph.output}
    graph.output.extend(declared.get(name, ValueInfoProto(name=name)) for name in outputs)
    return piece


def _alone(node: NodeProto, source: str) -> NodeProto | None:
    """``node`` in a graph where ``source`` comes from outside: None when that was all it made."""
    if source not in node.output:
        return node
    if len(node.output) == 1:
        return None
    if (node.domain, node.op_type) != (CONTRIB, "SkipSimplifiedLayerNormalization"):
        raise ValueError(f"{node.op_type} makes {source} along with other values, and cannot be cut there")
    # The residual sum, which is the hidden state, and its norm: only the norm is left to do.
    return helper.make_node(
        "SimplifiedLayerNormalization",
        [source, node.input[2]],
        [node.output[0]],
        name=node.name,
        axis=-1,
        epsilon=attribute(node, "epsilon"),
    )


def _join_own(node: NodeProto, own: str | None) -> NodeProto:
    """A ``Concat`` over layers with each of its parts replaced by ``own``, where there is one."""
    if own is None:
        return node
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [own] * len(node.input)
    return changed


def owners(model: ModelProto) -> dict[str, int]:
    """The layer that each value belongs to: that of the last hidden state before it, or -1. Nodes must be in order."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        place = max(_place(name) for name in node.output)
        owner = place if place >= 0 else max((found.get(name, -1) for name in node.input), default=-1)
        found.update((name, owner) for name in node.output if name)
    return found


def joined(made: dict[str, NodeProto], belongs: dict[str, int], outputs: Iterable[str]) -> dict[str, dict[int, str]]:
    """The values in which several layers' values come together before ``outputs``: the part of each layer."""
    found: dict[str, dict[int, str]] = {}
    seen: set[str] = set()
    waiting = list(outputs)
    while waiting:
        node = made.get(waiting.pop())
        if node is None or node.output[0] in seen or _place(node.output[0]) >= 0:
            continue
        seen.add(node.output[0])
        waiting.extend(node.input)
        parts = {belongs[name]: name for name in node.input if belongs.get(name, -1) >= 0}
        if node.op_type == "Concat" and len(parts) > 1:
            found[node.output[0]] = parts
    return found


def _place(name: str) -> int:
    """l of ``hidden_{l}``; -1 for any other name."""
    found = re.fullmatch(r"hidden_(\d+)", name)
    return int(found[1]) if found else -1


def _float_type(model: ModelProto) -> int:
    """The type of hidden states: that of the cache."""
    cache = next(value for value in model.graph.input if value.name.startswith("past_key_"))
    return cache.type.tensor_type.elem_type
