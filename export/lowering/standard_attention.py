"""A decoder's attention on standard operators, over a cache that grows, reallocating where a layer asks for it.

Heads of a group are folded into the rows of one product, so that keys and values are never repeated. A reallocating
layer computes its scores once: masses, selection and factors act on the probabilities, in float32 always.
"""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from mosear.export.lowering.rewriting import Emitter, attribute, producers
from mosear.export.lowering.standard_operators import Decomposer
from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE
from mosear.model.reallocation import MASKED
from mosear.runtime.modality import Modality

_TINY = float(np.finfo(np.float32).tiny)
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class AttentionSite:
    """One attention of the canonical graph. Its keys and values hold the past and the present already."""

    node: NodeProto
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
    rows_shape: str  # S and T, where there may be several rows
    grouped_shape: str  # 0, Hkv, -1, T
    query_shape: str  # B, Hq, S, Dh
    mask: str  # additive float32, [B, 1, S, T]
    class_rows: str  # [B, 1, 3, T], 1.0 where a key is text, visual, audio
    class_columns: str  # [B, 1, T, 3]
    chosen: str  # [B, 1, S, 1], 1.0 where a row may change; empty when nothing reallocates


def find_sites(model: ModelProto) -> list[AttentionSite]:
    """The attentions of a canonical decoder, in order.

    Raises ValueError when there is none, or one that does not read past and new keys.
    """
    made_by = producers(model.graph)
    inputs = {value.name: value for value in model.graph.input}
    sites = []
    for node in model.graph.node:
        if (node.domain, node.op_type) not in ((DOMAIN, OP_TYPE), ("", "Attention")):
            continue
        joined = [made_by.get(name) for name in node.input[1:3]]
        if not all(maker is not None and maker.op_type == "Concat" and maker.input[0] in inputs for maker in joined):
            raise ValueError(f"attention {node.output[0]} does not read past and new keys: not a canonical decoder")
        past_key = next(maker.input[0] for maker in joined if maker is not None)
        dimensions = inputs[past_key].type.tensor_type.shape.dim
        sites.append(AttentionSite(node, dimensions[1].dim_value, dimensions[3].dim_value))
    if not sites:
        raise ValueError("the graph has no attention: not a canonical decoder")
    return sites


def share(write: Decomposer, sites: list[AttentionSite], one_row: bool) -> Shared:
    """Write the values that all attentions use.

    Raises ValueError when the layers reallocate different rows.
    """
    emit = write.emit
    total = emit.op("Shape", "key_modality", start=1, end=2)
    rows = emit.op("Shape", "inputs_embeds", start=1, end=2)
    modality = emit.op("Unsqueeze", "key_modality", emit.ints(1, 2))
    hidden = emit.op("Where", emit.op("Less", modality, emit.ints(0)), emit.number(MASKED), emit.number(0.0))
    reallocating = [site for site in sites if site.reallocates]
    columns = ""
    if reallocating:
        classes = emit.constant([[[list(map(int, (Modality.TEXT, Modality.VISUAL, Modality.AUDIO)))]]], np.int64)
        is_class = emit.op("Equal", emit.op("Unsqueeze", "key_modality", emit.ints(1, 3)), classes)
        columns = emit.op("Cast", is_class, to=TensorProto.FLOAT)
    return Shared(
        one_row=one_row,
        rows_shape=emit.op("Concat", emit.ints(0, -1), rows, total, axis=0),
        grouped_shape=emit.op("Concat", emit.ints(0, sites[0].key_heads, -1), total, axis=0),
        query_shape=emit.op("Concat", emit.ints(0, -1), rows, emit.ints(sites[0].head_size), axis=0),
        # The only row of a decode step sees every key that is not hidden; others need the causal mask of the graph.
        mask=hidden if one_row else write.precise(sites[0].node.input[3]),
        class_rows=emit.op("Transpose", columns, perm=[0, 1, 3, 2]) if reallocating else "",
        class_columns=columns,
        chosen=_chosen_rows(emit, reallocating, one_row) if reallocating else "",
    )


def _chosen_rows(emit: Emitter, sites: list[AttentionSite], one_row: bool) -> str:
    """1.0 [B, 1, S, 1] on the rows that may change: their own token is visible, and of the kind that is asked for."""
    kinds = {attribute(site.node, "rows") for site in sites}
    if len(kinds) > 1:
        raise ValueError(f"all layers must reallocate the same rows, this graph has {', '.join(sorted(kinds))}")
    total = emit.op("Shape", "key_modality", start=1, end=2)
    first = emit.ints(-1) if one_row else emit.op("Sub", total, emit.op("Shape", "inputs_embeds", start=1, end=2))
    modality = emit.op("Slice", "key_modality", first, emit.ints(_END), emit.ints(1))
    if kinds == {"text"}:
        chosen = emit.op("Equal", modality, emit.ints(Modality.TEXT))
    else:
        chosen = emit.op("GreaterOrEqual", modality, emit.ints(0))
    if kinds == {"last"} and not one_row:
        scalar, one = emit.ints(), emit.constant(1, np.int64)
        slots = emit.op("Range", emit.op("Reshape", first, scalar), emit.op("Reshape", total, scalar), one)
        chosen = emit.op("And", chosen, emit.op("Equal", slots, emit.op("Sub", total, emit.ints(1))))
    return emit.op("Unsqueeze", emit.op("Cast", chosen, to=TensorProto.FLOAT), emit.ints(1, 3))


def attend(write: Decomposer, site: AttentionSite, shared: Shared) -> None:
    """Write one attention under the names of the site's outputs."""
    emit = write.emit
    query, key, value = site.node.input[:3]
    folded = emit.op("Reshape", query, emit.ints(0, site.key_heads, -1, site.head_size))
    scores = write.scores(folded, key, attribute(site.node, "scale", site.head_size**-0.5))
    if not shared.one_row:
        scores = emit.op("Reshape", scores, shared.rows_shape)
    probabilities = emit.op("Softmax", emit.op("Add", scores, shared.mask), axis=-1)
    if site.reallocates:
        probabilities = _reallocate(emit, site, shared, probabilities)
    probabilities = write.coarse(probabilities)
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

    def column(masses: str, kind: Modality) -> str:
        return emit.op("Slice", masses, emit.ints(kind), emit.ints(kind + 1), emit.ints(3))

    masses = emit.op("MatMul", probabilities, shared.class_columns)
    visual, audio = column(masses, Modality.VISUAL), column(masses, Modality.AUDIO)
    both = emit.op("GreaterOrEqual", emit.op("Min", visual, audio), tiny)
    last_masses, last_visual, last_audio, last_both = masses, visual, audio, both
    if not shared.one_row:
        last_masses = emit.op("Slice", masses, emit.ints(-1), emit.ints(_END), emit.ints(2))
        last_visual, last_audio = column(last_masses, Modality.VISUAL), column(last_masses, Modality.AUDIO)
        last_both = emit.op("GreaterOrEqual", emit.op("Min", last_visual, last_audio), tiny)
    audio_share = emit.op("Div", last_audio, emit.op("Max", emit.op("Add", last_visual, last_audio), tiny))
    over = emit.op("And", emit.op("Greater", audio_share, emit.number(threshold)), last_both)
    selected = emit.op("Cast", over, to=TensorProto.FLOAT)
    _, share_output, selected_output, mass_output = site.node.output
    emit.op("Reshape", audio_share, emit.ints(0, -1), out=share_output)
    emit.op("Reshape", selected, emit.ints(0, -1), out=selected_output)
    emit.op("Reshape", last_masses, emit.ints(0, -1, 3), out=mass_output)

    moved = emit.op("Mul", selected, shared.chosen)
    if not shared.one_row:
        moved = emit.op("Mul", moved, emit.op("Cast", both, to=TensorProto.FLOAT))
    # The change of the factors is (0, rate * audio / visual, -rate) for (text, visual, audio) keys.
    ratio = emit.op("Div", audio, emit.op("Max", visual, tiny))
    gain = emit.op("Mul", ratio, emit.constant([0.0, rate, 0.0], np.float32))
    change = emit.op("Mul", emit.op("Add", gain, emit.constant([0.0, 0.0, -rate], np.float32)), moved)
    factors = emit.op("MatMul", emit.op("Add", change, emit.number(1.0)), shared.class_rows)
    return emit.op("Mul", probabilities, factors)
