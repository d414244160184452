"""Names of nodes that tell their layer, ``layers.3/MatMul_7``: profilers know a node by its name alone.

Only names change. ONNX Runtime keeps a node's name in its profile, and names what it fuses after one of the nodes;
TensorRT names its layers after the nodes that are in them.

- ``layers.{l}/``: in a decoder what stands between ``hidden_{l}`` and ``hidden_{l+1}``, in an encoder from the first
  node that reads a weight of layer l to the first of the next layer. A sum fused with the norm behind it goes with it.
- ``head/``: behind the last layer; in an encoder from the first weight there that is no layer's.
- ``shared/``: of a decoder, what several layers read (masks, rotary tables) or join in (telemetry).
- ``stem/``: of an encoder, what stands before its first layer.
"""

from __future__ import annotations

import re
from collections import Counter

from onnx import GraphProto, ModelProto, NodeProto

from mosear.export.layers.segments import TELEMETRY, count_layers, hidden_name, joined, owners
from mosear.export.lowering.rewriting import producers, without_weights

_OUTSIDE = -1
"""The place of a node that is in no layer; what is behind the last of L layers has the place L."""

_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")


def name_nodes(model: ModelProto) -> ModelProto:
    """A graph with its nodes named by their layers, each name once; ``model``, its nodes in order, stays as it is.

    A decoder is told by its hidden states, an encoder by its weights' names, which are those of the torch parameters:
    ``….layers.3.…`` or ``….layer.3.…``.
    """
    named = without_weights(model)
    named.graph.initializer.extend(model.graph.initializer)
    if hidden_name(1) in producers(model.graph):
        places, layers, outside = _in_decoder(model), count_layers(model), "shared"
    else:
        places, layers, outside = *_in_encoder(model.graph), "stem"
    seen: Counter[str] = Counter()
    for node, place in zip(named.graph.node, places, strict=True):
        folder = outside if place == _OUTSIDE else "head" if place == layers else f"layers.{place}"
        stem = f"{folder}/{node.op_type}"
        node.name = f"{stem}_{seen[stem]}"
        seen[stem] += 1
    return named


def _in_decoder(model: ModelProto) -> list[int]:
    """The place of each node. What only one layer reads, and is made of no layer's values, is in that layer."""
    belongs = owners(model)
    apart = set(joined(producers(model.graph), belongs, TELEMETRY))
    places = []
    for node in model.graph.node:
        if apart.intersection((*node.input, *node.output)):
            apart.update(filter(None, node.output))
            places.append(_OUTSIDE)
        elif len(made := [name for name in node.output if name]) > 1:
            places.append(max(belongs[name] for name in made))
        else:
            places.append(max((belongs.get(name, _OUTSIDE) for name in node.input), default=_OUTSIDE))
    return _with_readers(model.graph, places, set(range(len(places))))


def _in_encoder(graph: GraphProto) -> tuple[list[int], int]:
    """The place of each node, and the number of layers. What is made of weights alone is where it is read."""
    readers = Counter(name for node in graph.node for name in node.input)
    # The tracer stores equal weights, as biases of zeros, once, under a name that tells only one of their layers.
    telling = {tensor.name for tensor in graph.initializer if readers[tensor.name] == 1}
    own = [_layer_of(node, telling) for node in graph.node]
    layers = max(own, default=_OUTSIDE) + 1
    before = _before_layers(graph, own)
    fed = {value.name for value in graph.input}
    found: dict[str, int] = {}
    places, constant = [], set()
    for index, node in enumerate(graph.node):
        place = max((own[index], *(found.get(name, _OUTSIDE) for name in node.input)))
        # Parameters and buffers have dots in their names, and constants that a graph makes for itself have not.
        outer = own[index] == _OUTSIDE and any(name in telling and "." in name for name in node.input)
        if layers and outer and place == layers - 1 and index not in before:
            place = layers
        if fed.intersection(node.input):
            fed.update(filter(None, node.output))
        else:
            constant.add(index)
        found.update((name, place) for name in node.output if name)
        places.append(place)
    return _with_readers(graph, places, constant), layers


def _layer_of(node: NodeProto, weights: set[str]) -> int:
    """The layer that the names of a node's weights tell."""
    numbers = [int(match[1]) for name in node.input if name in weights and (match := _LAYER.search(name))]
    return max(numbers, default=_OUTSIDE)


def _before_layers(graph: GraphProto, own: list[int]) -> set[int]:
    """The nodes whose values a layer's weight still meets, now or later."""
    needed: set[str] = set()
    found = set()
    for index in reversed(range(len(own))):
        node = graph.node[index]
        if own[index] >= 0 or needed.intersection(node.output):
            found.add(index)
            needed.update(filter(None, node.input))
    return found


def _with_readers(graph: GraphProto, places: list[int], movable: set[int]) -> list[int]:
    """``places`` with those of ``movable`` that are nowhere put where all their readers are, if that is one place."""
    places = list(places)
    readers: dict[str, set[int]] = {value.name: {_OUTSIDE} for value in graph.output}
    for index in reversed(range(len(places))):
        node = graph.node[index]
        around = set().union(*(readers.get(name, set()) for name in node.output))
        if index in movable and places[index] == _OUTSIDE and len(around) == 1:
            (places[index],) = around
        for name in filter(None, node.input):
            readers.setdefault(name, set()).add(places[index])
    return places
