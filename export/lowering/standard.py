"""Canonical graphs → standard ONNX operators only, of the oldest opset that has them, for any other tool.

A decoder keeps its inputs and outputs: past keys and values [B, Hkv, P, Dh] come in, and go out joined with the new
ones, [B, Hkv, T, Dh]. No buffer must be bound and nothing is updated in place, so any tool can run it; what it costs is
a copy of the cache a step. Names of values and weights stay too, ``hidden_{l}`` among them.

``AttentionReallocation``, ``Attention``, ``RMSNormalization``, ``RotaryEmbedding`` and ``Gelu`` are written out in
older operators. A decoder then needs opset 15 (for ``Shape`` of some axes), an encoder 17 (``LayerNormalization``)
or 18 (axes of reductions as inputs). In a float16 graph scores, softmax, masses and norms are computed in float32.
"""

from typing import Literal

from onnx import ModelProto, NodeProto, TensorProto

from mosear.export.lowering.opsets import declare_opset
from mosear.export.lowering.rewriting import Emitter, keep_needed, sort_nodes, without_weights
from mosear.export.lowering.standard_attention import attend, find_sites, share
from mosear.export.lowering.standard_operators import Decomposer

Phase = Literal["prefill", "decode"]

_PREFIX = "standard/"


def lower(model: ModelProto, phase: Phase) -> ModelProto:
    """Lower a canonical decoder graph; ``model`` itself stays as it is.

    phase: ``decode`` makes a graph for one new token (S = 1), ``prefill`` one for any number on top of any past.

    Raises ValueError when the graph is not a canonical decoder, or holds an operator that has no standard form.
    """
    lowered = without_weights(model)
    graph = lowered.graph
    _merge_equal_nodes(lowered)
    write = Decomposer(Emitter(_PREFIX), _float_type(model))
    sites = find_sites(lowered)
    shared = share(write, sites, one_row=phase == "decode")
    attentions = {site.node.output[0] for site in sites}
    for site in sites:
        attend(write, site, shared)
    for node in graph.node:
        if node.output[0] not in attentions:
            write.add(node)
    _replace_nodes(lowered, model, write.emit)
    if phase == "decode":
        for value in graph.input:
            if value.name in ("inputs_embeds", "position_ids"):
                value.type.tensor_type.shape.dim[1].dim_value = 1
    return lowered


def lower_encoder(model: ModelProto) -> ModelProto:
    """Lower the graph of an encoder, or any other without a cache; ``model`` itself stays as it is.

    Raises ValueError when it holds an operator that has no standard form.
    """
    lowered = without_weights(model)
    write = Decomposer(Emitter(_PREFIX), _float_type(model))
    for node in lowered.graph.node:
        write.add(node)
    _replace_nodes(lowered, model, write.emit)
    return lowered


def _replace_nodes(lowered: ModelProto, model: ModelProto, emit: Emitter) -> None:
    graph = lowered.graph
    del graph.node[:]
    graph.node.extend(emit.nodes)
    sort_nodes(graph)
    keep_needed(graph, [*model.graph.initializer, *emit.constants])
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in graph.node if node.domain})
    if foreign:
        raise ValueError(f"{', '.join(foreign)} has no standard form here")
    del lowered.functions[:]
    declare_opset(lowered)


def _float_type(model: ModelProto) -> int:
    """The type that a graph computes in: float16 when its matrices are."""
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return TensorProto.FLOAT16 if TensorProto.FLOAT16 in kinds else TensorProto.FLOAT


def _merge_equal_nodes(model: ModelProto) -> None:
    """Compute a value once where the exporter writes it again for every use, like the tables of rotary embeddings."""
    kept: list[NodeProto] = []
    known: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    named = {value.name for value in model.graph.output}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        first = node.output[0]
        if len(node.output) == 1 and first not in named and not first.startswith("hidden_"):
            key = NodeProto(op_type=node.op_type, domain=node.domain, input=node.input, attribute=node.attribute)
            same = known.setdefault(key.SerializeToString(deterministic=True), first)
            if same != first:
                renamed[first] = same
                continue
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
