"""Attention on static KV buffers, reallocating where it should, out of products and a softmax.

New keys and values are scattered into the buffers at P = T - S; only the first T positions are ever read.

Reallocation needs the scores once. One product of the probabilities with seven columns over the keys gives every mass
that it needs, already combined: with P_v, P_a, P_t the masses of a row, r the rate and t the threshold::

    P_v, P_v + r P_a, (1 - r) P_v      divided by P_v they are the factors of text, visual and audio keys
    (1 - t) P_a - t P_v                positive when P_a / (P_a + P_v) > t
    P_t, P_v, P_a                      for the telemetry

Rows that cannot change need none of this: prefill attends with them apart from those that can. And it attends in blocks
of rows that each read no more keys than its last row sees, so about a third of the scores need not be computed.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from onnx import TensorProto

from mosear.export.lowering.attention_sites import HEADS_FIRST, AttentionSite
from mosear.export.lowering.last_row import take_last_row
from mosear.export.lowering.rewriting import CONTRIB, Emitter, attribute
from mosear.model.reallocation import MASKED
from mosear.runtime.modality import Modality

_TINY = float(np.finfo(np.float32).tiny)
_COLUMNS = 7


@dataclass(frozen=True)
class Stream:
    """Query rows that go through attention together.

    Attributes:
        rows: which of the S rows, int64 [R]; empty for all of them.
        one_row: R = 1; heads of a group are then the rows of one product.
        keys: how many keys they see at most, a vector of one.
        mask: additive, float32 [B, 1, R, keys].
        chosen: bool [B, 1, R, 1], where a row may change; empty when none does.
    """

    rows: str
    one_row: bool
    keys: str
    mask: str
    chosen: str = ""


class StaticAttention:
    """Emits the attentions of one graph; what all layers share is emitted once.

    Args:
        emit: takes the nodes.
        sites: the attentions of the graph, in order.
        decode: one new token (S = 1) and not any number.
        half: keys, values and queries are float16; masses and softmax stay float32.
        blocks: into how many blocks the rows go that can't change; 1 where blocks would be too small to be worth it.

    Raises ValueError when the sites do not agree on the rows that they change.
    """

    def __init__(self, emit: Emitter, sites: list[AttentionSite], decode: bool, half: bool, blocks: int) -> None:
        self._emit, self._decode, self._half = emit, decode, half
        self._key_heads = sites[0].key_heads
        self._total = emit.op("Shape", "key_modality", start=1, end=2)
        self._batch = emit.op("Shape", "inputs_embeds", start=0, end=1)
        self._count = emit.op("Shape", "inputs_embeds", start=1, end=2)
        self._past = emit.op("Sub", self._total, self._count)
        self._positions = self._new_positions()
        self._heads = heads = emit.op("Shape", sites[0].query, start=1, end=2)
        self._split_heads = emit.op("Concat", emit.ints(0), heads, emit.ints(-1, sites[0].head_size), axis=0)
        width = emit.op("Mul", heads, emit.ints(sites[0].head_size))
        self._as_rows = emit.op("Concat", emit.ints(0, -1), width, axis=0)
        modality = emit.op("Unsqueeze", "key_modality", emit.ints(1, 2))
        kinds = emit.constant([[[[Modality.TEXT], [Modality.VISUAL], [Modality.AUDIO]]]], np.int64)
        self._classes = emit.op("Cast", emit.op("Equal", modality, kinds), to=TensorProto.FLOAT)
        self._mask = self._whole_mask(sites[0], modality)
        self._shapes: dict[tuple[str, str], str] = {}
        self._columns_of: dict[tuple[float, float], str] = {}
        self._kinds = {attribute(site.node, "rows") for site in sites if site.reallocates}
        if len(self._kinds) > 1:
            found = ", ".join(sorted(self._kinds))
            raise ValueError(f"all layers must reallocate the same rows, this graph has {found}")
        self._chosen = self._chosen_rows() if self._kinds else ""
        self._blocks = 1 if decode else blocks
        self._plain = self._whole() if self._blocks == 1 else self._in_blocks(self._row_numbers())
        self._streams, self._order = self._reallocating_streams() if self._kinds else ((), "")
        self._last: dict[bool, Stream] = {}
        self._seen: list[str] = []

    def attend(self, site: AttentionSite, last_row: bool) -> None:
        """Emit one attention; ``last_row``: for the last of the S rows alone, whatever their number."""
        emit = self._emit
        cache = [
            emit.op("ScatterND", past, self._positions, new, out=present)
            for past, new, present in (
                (site.past_key, site.new_key, site.node.input[1]),
                (site.past_value, site.new_value, site.node.input[2]),
            )
        ]
        if last_row and not self._decode:
            query = take_last_row(emit, site.query, axis=2)
            self._stream(site, self._last_row(site.reallocates), query, cache, out=site.rows)
            return
        streams = self._streams if site.reallocates else self._plain
        if len(streams) == 1:
            self._stream(site, streams[0], site.query, cache, out=site.rows)
            return
        parts = [
            self._stream(site, stream, emit.op("Gather", site.query, stream.rows, axis=2), cache) for stream in streams
        ]
        if site.reallocates:
            emit.op("Gather", emit.op("Concat", *parts, axis=1), self._order, out=site.rows, axis=1)
        else:
            emit.op("Concat", *parts, out=site.rows, axis=1)

    def report(self, audio_share: str, selected: str, modality_mass: str) -> None:
        """Emit the telemetry of all reallocating layers: [B, R, Hq] twice, and [B, R, Hq, 3]."""
        emit, tiny = self._emit, self._emit.number(_TINY)
        stacked = emit.op("Concat", *self._seen, axis=1)
        sums = emit.op("Reshape", stacked, emit.ints(0, len(self._seen), -1, _COLUMNS))
        _, over, _, visual, audio = self._split(sums)
        emit.op("Slice", sums, emit.ints(4), emit.ints(_COLUMNS), emit.ints(3), out=modality_mass)
        media = emit.op("Max", emit.op("Add", visual, audio), tiny)
        emit.op("Squeeze", emit.op("Div", audio, media), emit.ints(-1), out=audio_share)
        where = emit.op("Cast", emit.op("Greater", emit.op("Min", over, visual), tiny), to=TensorProto.FLOAT)
        emit.op("Squeeze", where, emit.ints(-1), out=selected)

    def _stream(self, site: AttentionSite, stream: Stream, query: str, cache: list[str], out: str | None = None) -> str:
        """Attention for some of the rows; returns [B, R, Hq * Dh]."""
        emit = self._emit
        key, value = (emit.op("Slice", each, emit.ints(0), stream.keys, emit.ints(2)) for each in cache)
        folded = emit.op("Reshape", query, emit.ints(0, site.key_heads, -1, site.head_size))
        scores = emit.op("FusedMatMul", folded, key, domain=CONTRIB, transB=1, alpha=site.scale)
        if self._half:
            scores = emit.op("Cast", scores, to=TensorProto.FLOAT)
        if not stream.one_row:
            scores = emit.op("Reshape", scores, self._shape(self._heads, stream.keys))
        probabilities = emit.op("Softmax", emit.op("Add", scores, stream.mask), axis=-1)
        if stream.chosen:
            probabilities = self._reallocate(site, stream, probabilities)
        if not stream.one_row:
            probabilities = emit.op("Reshape", probabilities, self._shape(emit.ints(self._key_heads), stream.keys))
        if self._half:
            probabilities = emit.op("Cast", probabilities, to=TensorProto.FLOAT16)
        mixed = emit.op("MatMul", probabilities, value)
        if stream.one_row:
            return emit.op("Reshape", mixed, emit.ints(0, 1, -1), out=out)
        by_head = emit.op("Reshape", mixed, self._split_heads)
        return emit.op("Reshape", emit.op("Transpose", by_head, perm=HEADS_FIRST), self._as_rows, out=out)

    def _reallocate(self, site: AttentionSite, stream: Stream, probabilities: str) -> str:
        """The new probabilities; the sums over the last row are kept for the telemetry."""
        emit, tiny = self._emit, self._emit.number(_TINY)
        columns = self._columns(float(attribute(site.node, "rate")), float(attribute(site.node, "threshold")))
        sums = emit.op("FusedMatMul", probabilities, columns, domain=CONTRIB, transB=1)
        numerators, over, _, visual, _ = self._split(sums)
        if stream.one_row:
            self._seen.append(sums if self._decode else emit.op("Reshape", sums, emit.ints(0, -1, 1, _COLUMNS)))
            selected = emit.op("Greater", emit.op("Min", over, visual), tiny)
        else:
            last = take_last_row(emit, sums, axis=2)
            self._seen.append(last)
            _, last_over, _, last_visual, _ = self._split(last)
            selected = emit.op("Greater", emit.op("Min", last_over, last_visual), tiny)
            selected = emit.op("And", emit.op("And", selected, stream.chosen), emit.op("Greater", visual, tiny))
        if stream.one_row and not self._decode:
            selected = emit.op("And", selected, stream.chosen)
        factors = emit.op("Where", selected, emit.op("Div", numerators, visual), emit.number(1.0))
        return emit.op("Mul", probabilities, emit.op("MatMul", factors, self._classes))

    def _split(self, sums: str) -> list[str]:
        """Numerators (3 columns), threshold difference, text, visual and audio mass."""
        names = [self._emit.fresh(name) for name in ("numerators", "over", "text", "visual", "audio")]
        return self._emit.ops("Split", sums, self._emit.ints(3, 1, 1, 1, 1), outputs=names, axis=-1)

    def _columns(self, rate: float, threshold: float) -> str:
        """What the probabilities are multiplied with, [B, 1, 7, T]: see the module's text."""
        key = rate, threshold
        if key not in self._columns_of:
            emit = self._emit
            moved = np.array([[0, 0, 0], [0, 0, rate], [0, -rate, 0], *[[0, 0, 0]] * 4])
            fixed = np.vstack([[[0, 1, 0]] * 3, [[0, -threshold, 1 - threshold]], np.eye(3)])
            if self._decode:
                # The only row: a row that may not change gets factors of 1.
                may = emit.op("Cast", self._chosen, to=TensorProto.FLOAT)
                weights = emit.op("Mul", emit.constant(moved, np.float32), may)
                weights = emit.op("Add", weights, emit.constant(fixed, np.float32))
            else:
                weights = emit.constant(moved + fixed, np.float32)
            self._columns_of[key] = emit.op("MatMul", weights, self._classes)
        return self._columns_of[key]

    def _whole_mask(self, site: AttentionSite, modality: str) -> str:
        emit = self._emit
        if self._decode:
            # The only row sees every key that is not hidden; others need the causal mask of the graph.
            return emit.op("Where", emit.op("Less", modality, emit.ints(0)), emit.number(MASKED), emit.number(0.0))
        mask = site.node.input[3]
        return emit.op("Cast", mask, to=TensorProto.FLOAT) if self._half else mask

    def _new_positions(self) -> str:
        """Indices [B, Hkv, S, 3] (sample, head, position) of the new keys in the buffer."""
        emit = self._emit
        zero, one, scalar = emit.constant(0, np.int64), emit.constant(1, np.int64), emit.ints()
        samples = emit.op("Range", zero, emit.op("Reshape", self._batch, scalar), one)
        bounds = (emit.op("Reshape", self._past, scalar), emit.op("Reshape", self._total, scalar))
        slots = emit.op("Range", *bounds, one)
        parts = [
            emit.op("Reshape", samples, emit.ints(-1, 1, 1, 1)),
            emit.constant(np.arange(self._key_heads).reshape(1, -1, 1, 1), np.int64),
            emit.op("Reshape", slots, emit.ints(1, 1, -1, 1)),
        ]
        shape = emit.op("Concat", self._batch, emit.ints(self._key_heads), self._count, emit.ints(1), axis=0)
        return emit.op("Concat", *(emit.op("Expand", part, shape) for part in parts), axis=-1)

    def _chosen_rows(self) -> str:
        """Bool [B, 1, S, 1]: rows that may change. Their own token is visible, and of the kind that is asked for."""
        emit = self._emit
        modality = emit.op("Slice", "key_modality", self._past, self._total, emit.ints(1))
        kind = "Equal" if self._kinds == {"text"} else "GreaterOrEqual"
        chosen = emit.op(kind, modality, emit.ints(Modality.TEXT))
        if self._kinds == {"last"} and not self._decode:
            chosen = emit.op("And", chosen, self._is_last())
        return emit.op("Unsqueeze", chosen, emit.ints(1, 3))

    def _is_last(self) -> str:
        """Bool [S], only its last entry true."""
        return self._emit.op("Equal", self._row_numbers(), self._emit.op("Sub", self._count, self._emit.ints(1)))

    def _row_numbers(self) -> str:
        emit = self._emit
        count = emit.op("Reshape", self._count, emit.ints())
        return emit.op("Range", emit.constant(0, np.int64), count, emit.constant(1, np.int64))

    def _shape(self, heads: str, keys: str) -> str:
        """The shape [B, heads, *, keys]."""
        if (heads, keys) not in self._shapes:
            parts = (self._emit.ints(0), heads, self._emit.ints(-1), keys)
            self._shapes[heads, keys] = self._emit.op("Concat", *parts, axis=0)
        return self._shapes[heads, keys]

    def _whole(self, chosen: str = "") -> tuple[Stream, ...]:
        return (Stream("", self._decode, self._total, self._mask, chosen),)

    def _in_blocks(self, rows: str) -> tuple[Stream, ...]:
        """Streams of equal size for these rows, int64 [R] and increasing, that can't change."""
        emit = self._emit
        # How many rows, from the first of all, are those up to the n-th of these.
        last = emit.op("Concat", emit.ints(0), emit.op("Add", rows, emit.ints(1)), axis=0)
        count = emit.op("Shape", rows)
        bounds = [
            emit.op("Div", emit.op("Mul", count, emit.ints(place)), emit.ints(self._blocks))
            for place in range(self._blocks + 1)
        ]
        streams = []
        for start, end in pairwise(bounds):
            block = emit.op("Slice", rows, start, end, emit.ints(0))
            seen = emit.op("Add", emit.op("Gather", last, end, axis=0), self._past)
            # A block without rows reads a key too, because a product wants one.
            keys = emit.op("Max", seen, emit.ints(1))
            mask = emit.op("Gather", self._mask, block, axis=2)
            streams.append(Stream(block, False, keys, emit.op("Slice", mask, emit.ints(0), keys, emit.ints(3))))
        return tuple(streams)

    def _reallocating_streams(self) -> tuple[tuple[Stream, ...], str]:
        """The streams of a reallocating layer, and where each row stands when they follow each other.

        The last row, on which selection looks, is the last of the last stream.
        """
        if self._decode or self._kinds == {"all"}:
            return self._whole(self._chosen), ""
        emit = self._emit
        flags = emit.op("Cast", self._chosen, to=TensorProto.INT32)
        anywhere = emit.op("ReduceMax", flags, emit.ints(0, 1, 3), keepdims=0)
        changing = emit.op("Or", emit.op("Cast", anywhere, to=TensorProto.BOOL), self._is_last())
        still = emit.op("Not", changing)
        rows = [emit.op("Reshape", emit.op("NonZero", each), emit.ints(-1)) for each in (still, changing)]
        order = emit.op("Concat", *rows, axis=0)
        places = emit.op("ScatterElements", order, order, self._row_numbers(), axis=0)
        mask, chosen = (emit.op("Gather", value, rows[1], axis=2) for value in (self._mask, self._chosen))
        return (*self._in_blocks(rows[0]), Stream(rows[1], False, self._total, mask, chosen)), places

    def _last_row(self, reallocates: bool) -> Stream:
        if reallocates not in self._last:
            mask = take_last_row(self._emit, self._mask, axis=2)
            chosen = take_last_row(self._emit, self._chosen, axis=2) if reallocates else ""
            self._last[reallocates] = Stream("", True, self._total, mask, chosen)
        return self._last[reallocates]
