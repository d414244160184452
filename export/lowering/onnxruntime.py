"""Canonical decoder graph → the graph that ONNX Runtime runs best on the CPU.

Names of inputs and outputs stay, with one change: past and present of a layer are one static buffer [B, Hkv, C, Dh],
C the capacity, that the caller binds to both. New keys and values are scattered into it at P = T - S, which ONNX
Runtime does in place because source and destination are the same memory; without that binding the result is the same,
and slower. Only the first T positions are ever read, so the rest of the buffer need not be initialized.

Attention becomes products and a softmax over those T positions, with grouped heads folded into rows. Every reallocating
layer then needs the scores once: masses, selection and factors act on the probabilities. ``GroupQueryAttention`` is
not used: it would compute the scores again behind its bias (1.3 to 2.3 times as long in decoding, 1.6 to 1.7 times in
prefill: ``benchmarks/attention_lowering.py``), and it refuses several rows on top of a past when the batch is larger
than one.

The graph uses opset 21 and ONNX Runtime's own norm and rotary operators, so that it runs from version 1.22 on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from mosear.export.lowering.contrib import use_own_norms, use_own_rotary
from mosear.export.lowering.rewriting import (
    CONTRIB,
    Emitter,
    attribute,
    keep_needed,
    producers,
    set_opsets,
    sort_nodes,
    without_weights,
)
from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE
from mosear.model.reallocation import MASKED
from mosear.runtime.modality import Modality

Phase = Literal["prefill", "decode"]

OPSET = 21
IR_VERSION = 10
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class AttentionSite:
    """One attention of the canonical graph: its node, and the pieces of cache that it reads."""

    node: NodeProto
    query: str
    past_key: str
    past_value: str
    new_key: str
    new_value: str
    key_heads: int
    head_size: int

    @property
    def reallocates(self) -> bool:
        """Whether it is a ``mosear::AttentionReallocation``."""
        return self.node.domain == DOMAIN


@dataclass(frozen=True)
class Shared:
    """Values that all layers use. One row means S = 1: heads of a group are then the rows of one product."""

    one_row: bool
    total: str  # T, a vector of one
    query_shape: str  # B, Hq, S, Dh
    score_shape: str  # B, Hq, S, T
    grouped_shape: str  # B, Hkv, (Hq / Hkv) * S, T
    positions: str  # where the new keys go in the buffer, [B, Hkv, S, 3]
    mask: str  # additive, [B, 1, S, T]
    classes: str  # [B, 1, 3, T], 1.0 where a key is text, visual, audio
    rows: str  # [B, 1, S, 1], 1.0 where a row may change; empty when nothing reallocates


def lower(model: ModelProto, phase: Phase) -> ModelProto:
    """Lower a canonical decoder graph; ``model`` itself stays as it is.

    phase: ``decode`` makes a graph for one new token (S = 1), ``prefill`` one for any number on top of any past.

    Raises ValueError when the graph is not a canonical decoder.
    """
    lowered = without_weights(model)
    graph = lowered.graph
    sites = _sites(lowered)
    emit = Emitter("lowered/")
    shared = _shared(emit, sites, one_row=phase == "decode")
    replaced = {name for site in sites for name in (*site.node.output, site.node.input[1], site.node.input[2])}
    for site in sites:
        _attention(emit, site, shared)
    kept = [node for node in graph.node if not replaced.intersection(node.output)]
    del graph.node[:]
    graph.node.extend([*emit.nodes, *kept])
    emit.nodes.clear()
    use_own_norms(graph.node, emit, {tensor.name for tensor in model.graph.initializer})
    use_own_rotary(graph.node, emit)
    graph.node.extend(emit.nodes)
    sort_nodes(graph)
    keep_needed(graph, [*model.graph.initializer, *emit.constants])
    _buffers(lowered, phase)
    del lowered.functions[:]
    set_opsets(lowered, standard=OPSET, **{CONTRIB: 1})
    lowered.ir_version = IR_VERSION
    return lowered


def _sites(model: ModelProto) -> list[AttentionSite]:
    made_by = producers(model.graph)
    inputs = {value.name: value for value in model.graph.input}
    sites = []
    for node in model.graph.node:
        if (node.domain, node.op_type) not in ((DOMAIN, OP_TYPE), ("", "Attention")):
            continue
        cached = [made_by.get(name) for name in node.input[1:3]]
        if not all(maker is not None and maker.op_type == "Concat" and maker.input[0] in inputs for maker in cached):
            raise ValueError(f"attention {node.output[0]} does not read past and new keys: not a canonical decoder")
        (past_key, new_key), (past_value, new_value) = (maker.input for maker in cached if maker is not None)
        dimensions = inputs[past_key].type.tensor_type.shape.dim
        sites.append(
            AttentionSite(
                node=node,
                query=node.input[0],
                past_key=past_key,
                past_value=past_value,
                new_key=new_key,
                new_value=new_value,
                key_heads=dimensions[1].dim_value,
                head_size=dimensions[3].dim_value,
            )
        )
    if not sites:
        raise ValueError("the graph has no attention: not a canonical decoder")
    return sites


def _shared(emit: Emitter, sites: list[AttentionSite], one_row: bool) -> Shared:
    total = emit.op("Shape", "key_modality", start=1, end=2)
    batch = emit.op("Shape", "inputs_embeds", start=0, end=1)
    rows = emit.op("Shape", "inputs_embeds", start=1, end=2)
    past = emit.op("Sub", total, rows)
    query_shape = emit.op("Shape", sites[0].query)
    modality = emit.op("Unsqueeze", "key_modality", emit.ints(1, 2))
    classes = emit.constant([[[[Modality.TEXT], [Modality.VISUAL], [Modality.AUDIO]]]], np.int64)
    reallocating = [site for site in sites if site.reallocates]
    hidden = emit.op("Where", emit.op("Less", modality, emit.ints(0)), emit.number(MASKED), emit.number(0.0))
    return Shared(
        one_row=one_row,
        total=total,
        query_shape=query_shape,
        score_shape=emit.op("Concat", emit.op("Slice", query_shape, emit.ints(0), emit.ints(3)), total, axis=0),
        grouped_shape=emit.op("Concat", emit.ints(0, sites[0].key_heads, -1), total, axis=0),
        positions=_positions(emit, sites[0].key_heads, batch, past, total),
        # The only row of a decode step sees every key that is not hidden; others need the causal mask of the graph.
        mask=hidden if one_row else sites[0].node.input[3],
        classes=emit.op("Cast", emit.op("Equal", modality, classes), to=TensorProto.FLOAT),
        rows=_chosen_rows(emit, reallocating, rows, past, total) if reallocating else "",
    )


def _positions(emit: Emitter, key_heads: int, batch: str, past: str, total: str) -> str:
    """Indices [B, Hkv, S, 3] (sample, head, position) of the new keys in the buffer."""
    one, scalar = emit.constant(1, np.int64), emit.ints()
    zero = emit.constant(0, np.int64)
    samples = emit.op("Range", zero, emit.op("Reshape", batch, scalar), one)
    slots = emit.op("Range", emit.op("Reshape", past, scalar), emit.op("Reshape", total, scalar), one)
    parts = [
        emit.op("Reshape", samples, emit.ints(-1, 1, 1, 1)),
        emit.constant(np.arange(key_heads).reshape(1, -1, 1, 1), np.int64),
        emit.op("Reshape", slots, emit.ints(1, 1, -1, 1)),
    ]
    count = emit.op("Sub", total, past)
    shape = emit.op("Concat", batch, emit.ints(key_heads), count, emit.ints(1), axis=0)
    return emit.op("Concat", *(emit.op("Expand", part, shape) for part in parts), axis=-1)


def _chosen_rows(emit: Emitter, sites: list[AttentionSite], rows: str, past: str, total: str) -> str:
    """1.0 [B, 1, S, 1] on the rows that may change: their own token is visible, and of the kind that is asked for."""
    kinds = {attribute(site.node, "rows") for site in sites}
    if len(kinds) > 1:
        raise ValueError(f"all layers must reallocate the same rows, this graph has {', '.join(sorted(kinds))}")
    modality = emit.op("Slice", "key_modality", past, total, emit.ints(1))
    if kinds == {"text"}:
        chosen = emit.op("Equal", modality, emit.ints(Modality.TEXT))
    else:
        chosen = emit.op("GreaterOrEqual", modality, emit.ints(0))
    if kinds == {"last"}:
        last = emit.op("Sub", total, emit.ints(1))
        zero, one, scalar = emit.constant(0, np.int64), emit.constant(1, np.int64), emit.ints()
        slots = emit.op("Add", emit.op("Range", zero, emit.op("Reshape", rows, scalar), one), past)
        chosen = emit.op("And", chosen, emit.op("Equal", slots, last))
    return emit.op("Unsqueeze", emit.op("Cast", chosen, to=TensorProto.FLOAT), emit.ints(1, 3))


def _attention(emit: Emitter, site: AttentionSite, shared: Shared) -> None:
    """Attention over the first T positions of the static buffers, reallocating where the site asks for it."""
    buffers = zip((site.past_key, site.past_value), (site.new_key, site.new_value), site.node.input[1:3], strict=True)
    key, value = (
        emit.op(
            "Slice",
            emit.op("ScatterND", past, shared.positions, new, out=present),
            emit.ints(0),
            shared.total,
            emit.ints(2),
        )
        for past, new, present in buffers
    )
    folded = emit.ints(0, site.key_heads, -1, site.head_size)
    query = emit.op("Reshape", site.query, folded)
    scale = attribute(site.node, "scale", site.head_size**-0.5)
    scores = emit.op("FusedMatMul", query, key, domain=CONTRIB, transB=1, alpha=scale)
    if not shared.one_row:
        scores = emit.op("Reshape", scores, shared.score_shape)
    probabilities = emit.op("Softmax", emit.op("Add", scores, shared.mask), axis=-1)
    if site.reallocates:
        probabilities = _reallocate(emit, site, shared, probabilities)
    output = site.node.output[0]
    if shared.one_row:
        mixed = emit.op("MatMul", probabilities, value)
        emit.op("Reshape", mixed, emit.ints(0, -1, 1, site.head_size), out=output)
    else:
        mixed = emit.op("MatMul", emit.op("Reshape", probabilities, shared.grouped_shape), value)
        emit.op("Reshape", mixed, shared.query_shape, out=output)


def _reallocate(emit: Emitter, site: AttentionSite, shared: Shared, probabilities: str) -> str:
    """Masses, selection and factors (`mosear.model.reallocation.decide`); returns the new probabilities.

    The telemetry outputs of the site are made on the way. Everything has the last axis of the masses: 3, or 1.
    """
    rate, threshold = attribute(site.node, "rate"), attribute(site.node, "threshold")
    tiny = emit.number(_TINY)

    def split(masses: str) -> tuple[str, str, str]:
        _, visual, audio = emit.ops(
            "Split", masses, outputs=[emit.fresh(name) for name in ("text", "visual", "audio")], axis=-1, num_outputs=3
        )
        return visual, audio, emit.op("GreaterOrEqual", emit.op("Min", visual, audio), tiny)

    masses = emit.op("FusedMatMul", probabilities, shared.classes, domain=CONTRIB, transB=1)
    visual, audio, both = split(masses)
    last_masses, last_visual, last_audio, last_both = masses, visual, audio, both
    if not shared.one_row:
        last_masses = emit.op("Slice", masses, emit.ints(-1), emit.ints(np.iinfo(np.int64).max), emit.ints(2))
        last_visual, last_audio, last_both = split(last_masses)
    share = emit.op("Div", last_audio, emit.op("Max", emit.op("Add", last_visual, last_audio), tiny))
    over = emit.op("And", emit.op("Greater", share, emit.number(threshold)), last_both)
    selected = emit.op("Cast", over, to=TensorProto.FLOAT)
    _, audio_share, selected_heads, modality_mass = site.node.output
    emit.op("Reshape", share, emit.ints(0, -1), out=audio_share)
    emit.op("Reshape", selected, emit.ints(0, -1), out=selected_heads)
    emit.op("Reshape", last_masses, emit.ints(0, -1, 3), out=modality_mass)

    moved = emit.op("Mul", selected, shared.rows)
    if not shared.one_row:
        moved = emit.op("Mul", moved, emit.op("Cast", both, to=TensorProto.FLOAT))
    # The change of the factors is (0, rate * audio / visual, -rate) for (text, visual, audio) keys.
    ratio = emit.op("Div", audio, emit.op("Max", visual, tiny))
    gain = emit.op("Mul", ratio, emit.constant([0.0, rate, 0.0], np.float32))
    change = emit.op("Mul", emit.op("Add", gain, emit.constant([0.0, 0.0, -rate], np.float32)), moved)
    factors = emit.op("MatMul", emit.op("Add", change, emit.number(1.0)), shared.classes)
    return emit.op("Mul", probabilities, factors)


def _buffers(model: ModelProto, phase: Phase) -> None:
    """Declare the static buffers, and the single row of a decode step."""
    for value in [*model.graph.input, *model.graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        if value.name.startswith(("past_", "present_")):
            dimensions[2].dim_param = "capacity"
        elif phase == "decode" and value.name in ("inputs_embeds", "position_ids"):
            dimensions[1].dim_value = 1
