"""Canonical decoder graph → the graph that ONNX Runtime runs best, on the CPU and on CUDA.

Names of inputs and outputs stay, with one change: past and present of a layer are one static buffer [B, Hkv, C, Dh],
C the capacity, that the caller binds to both. New keys and values are scattered into it at P = T - S, which ONNX
Runtime does in place because source and destination are the same memory; without that binding the result is the same,
and slower. Only the first T positions are ever read, so the rest of the buffer need not be initialized.

Attention becomes products and a softmax over those T positions, with grouped heads folded into rows
(`static_attention.py`). ``GroupQueryAttention`` is not used: it would compute the scores again behind its bias (1.3 to
2.3 times as long in decoding, 1.6 to 1.7 times in prefill: ``benchmarks/attention_lowering.py``), and it refuses
several rows on top of a past when the batch is larger than one.

What leaves the last layer is computed for the last row alone: in prefill ``hidden_{L}`` is [B, 1, D].

The graph uses opset 21 and ONNX Runtime's own norm and rotary operators, so that it runs from version 1.22 on. A
float16 graph keeps its softmax and the masses of reallocation in float32.
"""

from typing import Any, Literal

from onnx import ModelProto, TensorProto

from mosear.export.lowering.attention_sites import HEADS_FIRST, attention_sites
from mosear.export.lowering.contrib import use_own_norms, use_own_rotary
from mosear.export.lowering.last_row import keep_last_row
from mosear.export.lowering.rewriting import (
    CONTRIB,
    Emitter,
    attribute,
    keep_needed,
    set_opsets,
    sort_nodes,
    without_weights,
)
from mosear.export.lowering.static_attention import StaticAttention

Phase = Literal["prefill", "decode"]

OPSET = 21
IR_VERSION = 10
_WIDE, _BLOCKS = 512, 4
"""From this hidden size on, attention in blocks saves more than the nodes of another block cost."""

_TELEMETRY = ("audio_share", "selected", "modality_mass")


def lower(model: ModelProto, phase: Phase, blocks: int | None = None) -> ModelProto:
    """Lower a canonical decoder graph, with its weights or placeholders for them; ``model`` itself stays as it is.

    phase: ``decode`` makes a graph for one new token (S = 1), ``prefill`` one for any number on top of any past.

    blocks: into how many blocks of rows the attention of a prefill goes; by the decoder's width when left out.

    Raises ValueError when the graph is not a canonical decoder.
    """
    lowered = without_weights(model)
    graph = lowered.graph
    constants = {tensor.name for tensor in model.graph.initializer}
    decode = phase == "decode"
    sites = attention_sites(lowered)
    emit = Emitter("lowered/")
    last = set() if decode else keep_last_row(graph, constants, sites, emit)
    attention = StaticAttention(emit, sites, decode, _is_half(lowered), _blocks(lowered) if blocks is None else blocks)
    for site in sites:
        attention.attend(site, last_row=site.rows in last)
    replaced = {name for site in sites for name in site.around}
    if set(_TELEMETRY) <= {output.name for output in graph.output}:
        attention.report(*_TELEMETRY)
        replaced |= set(_TELEMETRY)
    kept = [node for node in graph.node if not replaced.intersection(node.output)]
    del graph.node[:]
    graph.node.extend([*emit.nodes, *kept])
    emit.nodes.clear()
    if decode:
        _heads_of_one_row(graph.node, emit, sites[0].head_size)
    use_own_norms(graph.node, emit, constants)
    use_own_rotary(graph.node, emit)
    graph.node.extend(emit.nodes)
    sort_nodes(graph)
    keep_needed(graph, [*model.graph.initializer, *emit.constants])
    _buffers(lowered, phase)
    del lowered.functions[:]
    set_opsets(lowered, standard=OPSET, **{CONTRIB: 1})
    lowered.ir_version = IR_VERSION
    return lowered


def _is_half(model: ModelProto) -> bool:
    types = {value.type.tensor_type.elem_type for value in model.graph.input if value.name.startswith("past_")}
    return TensorProto.FLOAT16 in types


def _blocks(model: ModelProto) -> int:
    embeds = next(value for value in model.graph.input if value.name == "inputs_embeds")
    return _BLOCKS if embeds.type.tensor_type.shape.dim[2].dim_value >= _WIDE else 1


def _heads_of_one_row(nodes: Any, emit: Emitter, head_size: int) -> None:
    """[B, 1, H, Dh] to [B, H, 1, Dh]: with one row this moves nothing, so no copy is made."""
    for node in nodes:
        if node.op_type == "Transpose" and attribute(node, "perm") == HEADS_FIRST:
            emit.op("Reshape", node.input[0], emit.ints(0, -1, 1, head_size), out=node.output[0])
    made = {node.output[0] for node in emit.nodes}
    kept = [node for node in nodes if node.output[0] not in made]
    del nodes[:]
    nodes.extend(kept)


def _buffers(model: ModelProto, phase: Phase) -> None:
    """Declare the static buffers, and the single row of a decode step."""
    for value in [*model.graph.input, *model.graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        if value.name.startswith(("past_", "present_")):
            dimensions[2].dim_param = "capacity"
        elif phase == "decode" and value.name in ("inputs_embeds", "position_ids"):
            dimensions[1].dim_value = 1
