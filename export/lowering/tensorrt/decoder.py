"""A canonical decoder → a decoder for TensorRT.

Inputs and outputs keep their names. Past and present of a layer become one static buffer [B, Hkv, C, Dh], C the
capacity, in one of two forms (`mosear.export.lowering.tensorrt.cache`):

- with ``native_kv_update`` the buffer goes in as ``past_*`` and out as ``present_*`` at the same address;
- without it ``present_*`` is what is new, [B, Hkv, S, Dh], and the caller copies it into the buffer at P = T - S.

Either way only the first T positions are read. The graph for ``prefill`` takes any number of rows S on top of any past,
one row included, so one engine with two optimization profiles can do both phases over one copy of the weights; the
graph for ``decode`` is the same with S = 1 written into its shapes.

Masses, selection and telemetry are float32 whatever the type of the graph. The one product that feeds them, queries by
keys, is in the graph's own type, with the scale taken into the query first so that float16 does not overflow.
"""

from collections.abc import Collection
from typing import Literal

from onnx import ModelProto, TensorProto

from mosear.export.lowering.rewriting import (
    Emitter,
    keep_needed,
    set_opsets,
    sort_nodes,
    without_weights,
)
from mosear.export.lowering.tensorrt import primitives
from mosear.export.lowering.tensorrt.attention import attention, attention_sites, shared_values
from mosear.export.targets import FEATURE_FLOORS

Phase = Literal["prefill", "decode"]

FEATURES = tuple(FEATURE_FLOORS)
"""What a version of TensorRT may have as a layer of its own; without it, the same is written in plain operators."""

FUSED_HEADS = range(16, 257, 8)
"""Head sizes that TensorRT's own attention has kernels for."""

PLAIN, NATIVE, NATIVE_CACHE = (21, 10), (23, 11), (24, 11)
"""Standard opset and IR version: of plain operators with four-bit weights, of Attention, and of TensorScatter."""


def lower(model: ModelProto, phase: Phase, features: Collection[str], capacity: int) -> ModelProto:
    """Lower a canonical decoder graph; ``model`` itself stays as it is, and no large weight is read.

    phase: ``decode`` makes a graph for one new token (S = 1), ``prefill`` one for any number.
    features: which of `FEATURES` the target has. Attention is written out all the same in a float32 graph and for
        heads outside `FUSED_HEADS`: there, TensorRT's own layer has no kernel.
    capacity: C, static because TensorRT's layer for the cache wants it so.

    Raises ValueError when the graph is not a canonical decoder, or for an unknown feature.
    """
    unknown = sorted(set(features) - set(FEATURES))
    if unknown:
        raise ValueError(f"there is no feature called {', '.join(unknown)}; there are {', '.join(FEATURES)}")
    lowered = without_weights(model)
    graph = lowered.graph
    emit = Emitter("lowered/")
    sites = attention_sites(lowered)
    half = sites[0].dtype == TensorProto.FLOAT16
    if not half and sites[0].dtype != TensorProto.FLOAT:
        raise ValueError("the KV cache must be float16 or float32")
    own_attention = half and sites[0].head_size in FUSED_HEADS and "native_attention" in features
    own_cache = "native_kv_update" in features
    shared = shared_values(emit, sites, own_cache)
    for site in sites:
        attention(emit, site, shared, own_attention, own_cache)
    replaced = {name for site in sites for name in (*site.node.output, site.node.input[1], site.node.input[2])}
    kept = [node for node in graph.node if not replaced.intersection(node.output)]
    del graph.node[:]
    graph.node.extend([*emit.nodes, *kept])
    emit.nodes.clear()
    if "native_norm" not in features:
        primitives.write_out_norms(graph.node, emit)
    if "native_rotary" not in features:
        primitives.write_out_rotary(graph.node, emit)
    graph.node.extend(emit.nodes)
    sort_nodes(graph)
    keep_needed(graph, [*model.graph.initializer, *emit.constants])
    _declare_shapes(lowered, phase, capacity, own_cache)
    del lowered.functions[:]
    kinds = {node.op_type for node in graph.node}
    newest = NATIVE if kinds & {"Attention", "RotaryEmbedding", "RMSNormalization"} else PLAIN
    opset, lowered.ir_version = NATIVE_CACHE if "TensorScatter" in kinds else newest
    set_opsets(lowered, standard=opset)
    return lowered


def _declare_shapes(model: ModelProto, phase: Phase, capacity: int, own_cache: bool) -> None:
    """The static buffers, what comes out of them, and the single row of a decode step."""
    for value in [*model.graph.input, *model.graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        if value.name.startswith("past_") or (own_cache and value.name.startswith("present_")):
            dimensions[2].dim_value = capacity
        elif value.name.startswith("present_"):
            dimensions[2].dim_param = "sequence"
        if phase == "decode" and value.name in ("inputs_embeds", "position_ids"):
            dimensions[1].dim_value = 1
        elif phase == "decode" and not own_cache and value.name.startswith("present_"):
            dimensions[2].dim_value = 1
