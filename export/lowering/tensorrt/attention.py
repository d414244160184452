"""Attention over a static cache, with reallocation, for TensorRT.

Reallocation has two forms (`mosear.model.reallocation` proves them equal). Where TensorRT has an attention of its own,
a first pass takes the masses, and the change goes in as an additive bias, beside the mask. Where it has not, products
and a softmax are written out, and the change multiplies the probabilities.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from mosear.export.lowering.rewriting import Emitter, attribute, producers
from mosear.export.lowering.tensorrt.cache import Positions, cached, positions
from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE
from mosear.runtime.modality import Modality

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Site:
    """One attention of the canonical graph: its node, the pieces of cache that it reads, and its type."""

    node: NodeProto
    past_key: str
    past_value: str
    new_key: str
    new_value: str
    heads: int
    key_heads: int
    head_size: int
    dtype: int

    @property
    def scale(self) -> float:
        """Factor of the logits."""
        return float(attribute(self.node, "scale", self.head_size**-0.5))

    @property
    def reallocates(self) -> bool:
        """Whether it is a ``mosear::AttentionReallocation``."""
        return self.node.domain == DOMAIN


@dataclass(frozen=True)
class Shared:
    """Values that all layers use.

    Attributes:
        where: lengths, and the place of the new keys.
        batch, rows_and_keys: B, and S and T, that shapes are made of.
        mask: additive, float32 [B, 1, S, T].
        text, visual, audio: float32 [B, 1, 1, T], 1.0 where a key is of that kind.
        rows: float32 [B, 1, S, 1], 1.0 on the rows that may change; empty when nothing reallocates.
    """

    where: Positions
    batch: str
    rows_and_keys: str
    mask: str
    text: str
    visual: str
    audio: str
    rows: str


@dataclass(frozen=True)
class Change:
    """What reallocation does to one layer, float32 [B, Hq, S, 1] each: 1.0 where a row moves, and P_a / P_v."""

    moved: str
    ratio: str


def attention_sites(model: ModelProto) -> list[Site]:
    """Every attention of a canonical decoder. Raises ValueError when the graph is none."""
    made_by = producers(model.graph)
    inputs = {value.name: value for value in model.graph.input}
    sites = []
    for node in model.graph.node:
        if (node.domain, node.op_type) not in ((DOMAIN, OP_TYPE), ("", "Attention")):
            continue
        makers = [made_by.get(name) for name in node.input[1:3]]
        if not all(maker is not None and maker.op_type == "Concat" and maker.input[0] in inputs for maker in makers):
            raise ValueError(f"attention {node.output[0]} does not read past and new keys: not a canonical decoder")
        (past_key, new_key), (past_value, new_value) = (maker.input for maker in makers if maker is not None)
        kind = inputs[past_key].type.tensor_type
        key_heads, size = kind.shape.dim[1].dim_value, kind.shape.dim[3].dim_value
        heads = _query_heads(model, node, made_by)
        sites.append(Site(node, past_key, past_value, new_key, new_value, heads, key_heads, size, kind.elem_type))
    if not sites:
        raise ValueError("the graph has no attention: not a canonical decoder")
    return sites


def _query_heads(model: ModelProto, node: NodeProto, made_by: dict[str, NodeProto]) -> int:
    """Hq, which the exporter leaves to be found at run time: from the rotary embedding, or else from the telemetry."""
    maker = made_by.get(node.input[0])
    heads = 0
    if maker is not None and maker.op_type == "RotaryEmbedding":
        heads = attribute(maker, "num_heads", 0)
    if not heads:
        shares = [output.type.tensor_type.shape.dim[2] for output in model.graph.output if output.name == "audio_share"]
        heads = shares[0].dim_value if shares else 0
    if not heads:
        raise ValueError(f"attention {node.output[0]} does not say how many heads it has: not a canonical decoder")
    return int(heads)


def shared_values(emit: Emitter, sites: list[Site], own_cache: bool) -> Shared:
    """What all layers read, made once."""
    where = positions(emit, own_cache)
    modality = emit.op("Unsqueeze", "key_modality", emit.ints(1, 2))
    text, visual, audio = (
        emit.op("Cast", emit.op("Equal", modality, emit.ints(kind)), to=TensorProto.FLOAT)
        for kind in (Modality.TEXT, Modality.VISUAL, Modality.AUDIO)
    )
    reallocating = [site for site in sites if site.reallocates]
    return Shared(
        where=where,
        batch=emit.op("Shape", "inputs_embeds", start=0, end=1),
        rows_and_keys=emit.op("Concat", emit.op("Shape", "inputs_embeds", start=1, end=2), where.total, axis=0),
        mask=emit.op("Cast", sites[0].node.input[3], to=TensorProto.FLOAT),
        text=text,
        visual=visual,
        audio=audio,
        rows=_chosen_rows(emit, reallocating, where) if reallocating else "",
    )


def attention(emit: Emitter, site: Site, shared: Shared, own_attention: bool, own_cache: bool) -> None:
    """Replace one attention; its cache outputs and its telemetry are made on the way."""
    present_key, present_value = site.node.input[1:3]
    # TensorRT's own layers want to know the number of heads when they are built.
    query, new_key, new_value = (
        emit.op("Reshape", name, emit.ints(0, heads, -1, site.head_size))
        for name, heads in (
            (site.node.input[0], site.heads),
            (site.new_key, site.key_heads),
            (site.new_value, site.key_heads),
        )
    )
    keys = cached(emit, site.past_key, new_key, present_key, shared.where, own_cache)
    values = cached(emit, site.past_value, new_value, present_value, shared.where, own_cache)
    if not own_attention:
        probabilities = _probabilities(emit, site, shared, query, keys)
        if site.reallocates:
            factors = _factors(emit, site, shared, _decide(emit, site, shared, probabilities))
            probabilities = emit.op("Mul", probabilities, factors)
        _mix(emit, site, shared, probabilities, values)
        return
    bias = shared.mask
    if site.reallocates:
        change = _decide(emit, site, shared, _probabilities(emit, site, shared, query, keys))
        bias = emit.op("Add", _log_factors(emit, site, shared, change), shared.mask)
    bias = emit.op("Cast", bias, to=site.dtype)
    key, value = (_joined(emit, pieces) for pieces in (keys, values))
    emit.op("Attention", query, key, value, bias, out=site.node.output[0], scale=site.scale)


def _joined(emit: Emitter, pieces: list[str]) -> str:
    return pieces[0] if len(pieces) == 1 else emit.op("Concat", *pieces, axis=2)


def _probabilities(emit: Emitter, site: Site, shared: Shared, query: str, keys: list[str]) -> str:
    """Float32 probabilities [B, Hq, S, T]; the heads of a group are the rows of one product."""
    scaled = emit.op(
        "Mul", query, emit.constant(site.scale, np.float16 if site.dtype == TensorProto.FLOAT16 else np.float32)
    )
    grouped = emit.op("Reshape", scaled, emit.ints(0, site.key_heads, -1, site.head_size))
    scores = [emit.op("MatMul", grouped, emit.op("Transpose", key, perm=[0, 1, 3, 2])) for key in keys]
    joined = scores[0] if len(scores) == 1 else emit.op("Concat", *scores, axis=3)
    shape = emit.op("Concat", shared.batch, emit.ints(site.heads), shared.rows_and_keys, axis=0)
    logits = emit.op("Cast", emit.op("Reshape", joined, shape, allowzero=1), to=TensorProto.FLOAT)
    return emit.op("Softmax", emit.op("Add", logits, shared.mask), axis=-1)


def _mix(emit: Emitter, site: Site, shared: Shared, probabilities: str, values: list[str]) -> None:
    """Probabilities times values, [B, Hq, S, Dh], from as many pieces as there are."""
    shape = emit.op("Concat", emit.ints(0, site.key_heads, -1), shared.where.total, axis=0)
    grouped = emit.op("Reshape", emit.op("Cast", probabilities, to=site.dtype), shape)
    if len(values) == 1:
        mixed = emit.op("MatMul", grouped, values[0])
    else:
        bounds = [emit.ints(0), shared.where.past, shared.where.total]
        parts = [emit.op("Slice", grouped, bounds[i], bounds[i + 1], emit.ints(3)) for i in range(2)]
        mixed = emit.op("Add", *(emit.op("MatMul", part, value) for part, value in zip(parts, values, strict=True)))
    emit.op("Reshape", mixed, emit.ints(0, site.heads, -1, site.head_size), out=site.node.output[0])


def _decide(emit: Emitter, site: Site, shared: Shared, probabilities: str) -> Change:
    """Masses and selection (`mosear.model.reallocation.decide`); makes the telemetry outputs of the site.

    Sums and not products with the classes: TensorRT-RTX has no float32 product on Turing, and elsewhere would round it.
    """
    tiny = emit.number(_TINY)

    def mass(source: str, of: str) -> str:
        return emit.op("ReduceSum", emit.op("Mul", source, of), emit.ints(-1), keepdims=1)

    def last_row(source: str) -> str:
        return emit.op("Slice", source, emit.ints(-1), emit.ints(np.iinfo(np.int64).max), emit.ints(2))

    visual, audio = mass(probabilities, shared.visual), mass(probabilities, shared.audio)
    both = emit.op("GreaterOrEqual", emit.op("Min", visual, audio), tiny)
    last_text = mass(last_row(probabilities), shared.text)
    last_visual, last_audio = last_row(visual), last_row(audio)
    last_both = emit.op("GreaterOrEqual", emit.op("Min", last_visual, last_audio), tiny)
    share = emit.op("Div", last_audio, emit.op("Max", emit.op("Add", last_visual, last_audio), tiny))
    over = emit.op("And", emit.op("Greater", share, emit.number(attribute(site.node, "threshold"))), last_both)
    selected = emit.op("Cast", over, to=TensorProto.FLOAT)
    last = emit.op("Concat", last_text, last_visual, last_audio, axis=-1)
    _, audio_share, selected_heads, modality_mass = site.node.output
    for value, width, name in ((share, (), audio_share), (selected, (), selected_heads), (last, (3,), modality_mass)):
        emit.op("Reshape", value, emit.ints(0, site.heads, *width), out=name)
    moved = emit.op("Mul", emit.op("Mul", selected, shared.rows), emit.op("Cast", both, to=TensorProto.FLOAT))
    return Change(moved, emit.op("Div", audio, emit.op("Max", visual, tiny)))


def _factors(emit: Emitter, site: Site, shared: Shared, change: Change) -> str:
    """What probabilities are multiplied by, [B, Hq, S, T]: 1 + rate P_a / P_v on visual keys, 1 - rate on audio."""
    rate = attribute(site.node, "rate")
    gain = emit.op("Mul", emit.op("Mul", change.ratio, change.moved), emit.number(rate))
    loss = emit.op("Mul", change.moved, emit.number(-rate))
    parts = [emit.op("Mul", part, keys) for part, keys in ((gain, shared.visual), (loss, shared.audio))]
    return emit.op("Add", emit.op("Add", *parts), emit.number(1.0))


def _log_factors(emit: Emitter, site: Site, shared: Shared, change: Change) -> str:
    """What logits have added to them, [B, Hq, S, T]: the logarithm of the factors."""
    rate = attribute(site.node, "rate")
    gain = emit.op("Mul", emit.op("Mul", change.ratio, change.moved), emit.number(rate))
    gain = emit.op("Log", emit.op("Add", gain, emit.number(1.0)))
    loss = emit.op("Mul", change.moved, emit.number(log(1.0 - rate)))
    return emit.op("Add", *(emit.op("Mul", part, keys) for part, keys in ((gain, shared.visual), (loss, shared.audio))))


def _chosen_rows(emit: Emitter, sites: list[Site], where: Positions) -> str:
    """1.0 [B, 1, S, 1] on the rows that may change: their own token is visible, and of the kind that is asked for."""
    kinds = {attribute(site.node, "rows") for site in sites}
    if len(kinds) > 1:
        raise ValueError(f"all layers must reallocate the same rows, this graph has {', '.join(sorted(kinds))}")
    modality = emit.op("Slice", "key_modality", where.past, where.total, emit.ints(1))
    if kinds == {"text"}:
        chosen = emit.op("Equal", modality, emit.ints(Modality.TEXT))
    else:
        chosen = emit.op("GreaterOrEqual", modality, emit.ints(0))
    if kinds == {"last"}:
        zero, one, scalar = emit.constant(0, np.int64), emit.constant(1, np.int64), emit.ints()
        slots = emit.op("Range", zero, emit.op("Reshape", where.total, scalar), one)
        new_slots = emit.op("Slice", slots, where.past, where.total, emit.ints(0))
        chosen = emit.op("And", chosen, emit.op("Equal", new_slots, emit.op("Sub", where.total, emit.ints(1))))
    return emit.op("Unsqueeze", emit.op("Cast", chosen, to=TensorProto.FLOAT), emit.ints(1, 3))
