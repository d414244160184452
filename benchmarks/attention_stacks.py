"""Stacks of attention layers as ONNX graphs: this project's lowering, and the same on GroupQueryAttention.

A stack has no projections. It starts from what projections leave: queries [B, S, Hq * Dh] in ``inputs_embeds``, and
``new_key`` and ``new_value`` [B, S, Hkv * Dh] that all layers share. Past and present of a layer are one static buffer
[B, Hkv, C, Dh]. Hidden keys are masked and text rows reallocate, as in a bundle; there are no telemetry outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from mosear.export.lowering.onnxruntime import IR_VERSION, OPSET, lower
from mosear.export.lowering.rewriting import CONTRIB, Emitter, keep_needed, set_opsets
from mosear.export.ops.attention_reallocation import DOMAIN, OP_TYPE
from mosear.model.reallocation import MASKED
from mosear.runtime.modality import Modality

RATE = 0.5
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Case:
    """Shapes of one measurement: S new tokens on top of P, T = P + S."""

    heads: int
    key_heads: int
    head_size: int
    batch: int
    rows: int
    past: int
    capacity: int

    @property
    def total(self) -> int:
        """T, past and new tokens."""
        return self.past + self.rows

    @property
    def visual(self) -> int:
        """Visual keys; media come before the last text, as in a prompt."""
        return self.total * 3 // 10

    @property
    def audio(self) -> int:
        """Audio keys."""
        return self.total * 6 // 100

    @property
    def threshold(self) -> float:
        """The audio share of uniform attention, so that some heads are selected and others are not."""
        return self.audio / (self.audio + self.visual)


def graph_of(emit: Emitter, case: Case, layers: int) -> ModelProto:
    """A model of the emitted nodes; the query of layer l + 1 is that of layer l plus its output."""
    width, key_width = case.heads * case.head_size, case.key_heads * case.head_size
    floats = int(TensorProto.FLOAT)
    cache: list[str | int] = ["batch", case.key_heads, "capacity", case.head_size]
    inputs: dict[str, tuple[int, list[str | int]]] = {
        "inputs_embeds": (floats, ["batch", "rows", width]),
        "new_key": (floats, ["batch", "rows", key_width]),
        "new_value": (floats, ["batch", "rows", key_width]),
        "key_modality": (TensorProto.INT64, ["batch", "total"]),
    }
    buffers = [f"{kind}_{layer}" for layer in range(layers) for kind in ("key", "value")]
    inputs |= {f"past_{name}": (floats, cache) for name in buffers}
    outputs = {f"present_{name}": cache for name in buffers}
    outputs["output"] = ["batch", "rows", width]
    graph = helper.make_graph(
        emit.nodes,
        "attention",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in outputs.items()],
    )
    keep_needed(graph, emit.constants)
    model = helper.make_model(graph, ir_version=IR_VERSION)
    set_opsets(model, standard=OPSET, **{CONTRIB: 1, DOMAIN: 1})
    return model


def causal_mask(emit: Emitter) -> str:
    """Additive mask [B, 1, S, T]: 0 where key j <= P + i is visible to row i and not hidden, else ``MASKED``."""
    zero, one, scalar = emit.constant(0, np.int64), emit.constant(1, np.int64), emit.ints()
    total = emit.op("Reshape", emit.op("Shape", "key_modality", start=1, end=2), scalar)
    rows = emit.op("Reshape", emit.op("Shape", "inputs_embeds", start=1, end=2), scalar)
    row = emit.op("Range", emit.op("Sub", total, rows), total, one)
    key = emit.op("Range", zero, total, one)
    causal = emit.op("LessOrEqual", key, emit.op("Unsqueeze", row, emit.ints(1)))
    shown = emit.op("GreaterOrEqual", emit.op("Unsqueeze", "key_modality", emit.ints(1, 2)), emit.ints(0))
    return emit.op("Where", emit.op("And", shown, causal), emit.number(0.0), emit.number(MASKED))


def heads_first(emit: Emitter, value: str, heads: int, size: int) -> str:
    """[B, S, heads * Dh] → [B, heads, S, Dh]."""
    return emit.op("Transpose", emit.op("Reshape", value, emit.ints(0, 0, heads, size)), perm=[0, 2, 1, 3])


def lowering(case: Case, layers: int) -> ModelProto:
    """The canonical stack, lowered as a build lowers a decoder."""
    emit = Emitter("stack/")
    mask = causal_mask(emit)
    key, value = (heads_first(emit, f"new_{kind}", case.key_heads, case.head_size) for kind in ("key", "value"))
    states = "inputs_embeds"
    for layer in range(layers):
        (output, *_) = emit.ops(
            OP_TYPE,
            heads_first(emit, states, case.heads, case.head_size),
            emit.op("Concat", f"past_key_{layer}", key, out=f"present_key_{layer}", axis=2),
            emit.op("Concat", f"past_value_{layer}", value, out=f"present_value_{layer}", axis=2),
            mask,
            "key_modality",
            outputs=[emit.fresh(name) for name in ("output", "share", "selected", "mass")],
            domain=DOMAIN,
            scale=case.head_size**-0.5,
            rate=RATE,
            threshold=case.threshold,
            rows="text",
        )
        rows = emit.op("Reshape", emit.op("Transpose", output, perm=[0, 2, 1, 3]), emit.ints(0, 0, -1))
        states = emit.op("Add", states, rows, out="output" if layer == layers - 1 else None)
    return lower(graph_of(emit, case, layers), "decode" if case.rows == 1 else "prefill")


class FirstPass:
    """What GroupQueryAttention lacks: the scores once more, the masses, and the bias that they lead to."""

    def __init__(self, emit: Emitter, case: Case, mask: str) -> None:
        self.emit, self.case, self.mask = emit, case, mask
        total = emit.op("Shape", "key_modality", start=1, end=2)
        self.past = emit.op("Sub", total, emit.op("Shape", "inputs_embeds", start=1, end=2))
        self.shape = emit.op("Concat", emit.ints(0, case.heads, case.rows), total, axis=0)
        classes = emit.constant([[[[Modality.TEXT], [Modality.VISUAL], [Modality.AUDIO]]]], np.int64)
        is_class = emit.op("Equal", emit.op("Unsqueeze", "key_modality", emit.ints(1, 2)), classes)
        self.classes = emit.op("Cast", is_class, to=TensorProto.FLOAT)
        text = emit.op("Equal", emit.op("Slice", "key_modality", self.past, total, emit.ints(1)), emit.ints(0))
        self.text_rows = emit.op("Cast", emit.op("Unsqueeze", text, emit.ints(1, 3)), to=TensorProto.FLOAT)
        self.key = heads_first(emit, "new_key", case.key_heads, case.head_size)

    def scores(self, states: str, layer: int) -> str:
        """Masked scores [B, Hq, S, T]. The operator appends the new keys only later, so they are multiplied apart."""
        emit, case = self.emit, self.case
        query = states if case.rows == 1 else heads_first(emit, states, case.heads, case.head_size)
        grouped = emit.op("Reshape", query, emit.ints(0, case.key_heads, -1, case.head_size))
        factor = case.head_size**-0.5
        scores = emit.op("FusedMatMul", grouped, self.key, domain=CONTRIB, transB=1, alpha=factor)
        if case.past:
            old_keys = emit.op("Slice", f"past_key_{layer}", emit.ints(0), self.past, emit.ints(2))
            old = emit.op("FusedMatMul", grouped, old_keys, domain=CONTRIB, transB=1, alpha=factor)
            scores = emit.op("Concat", old, scores, axis=-1)
        return emit.op("Add", emit.op("Reshape", scores, self.shape), self.mask)

    def bias(self, states: str, layer: int) -> str:
        """[B, Hq, S, T]: the mask, log(1 - rate) on audio keys, log(1 + rate * P_a / P_v) on visual keys."""
        emit = self.emit
        tiny = emit.number(TINY)
        probabilities = emit.op("Softmax", self.scores(states, layer), axis=-1)
        masses = emit.op("FusedMatMul", probabilities, self.classes, domain=CONTRIB, transB=1)
        names = [emit.fresh(name) for name in ("text", "visual", "audio")]
        _, visual, audio = emit.ops("Split", masses, outputs=names, axis=-1, num_outputs=3)
        both = emit.op("GreaterOrEqual", emit.op("Min", visual, audio), tiny)
        share = emit.op("Div", audio, emit.op("Max", emit.op("Add", visual, audio), tiny))
        over = emit.op("And", emit.op("Greater", share, emit.number(self.case.threshold)), both)
        moved = selected = emit.op("Cast", over, to=TensorProto.FLOAT)
        if self.case.rows > 1:
            end = emit.ints(np.iinfo(np.int64).max)
            selected = emit.op("Slice", selected, emit.ints(-1), end, emit.ints(2))
            moved = emit.op("Mul", selected, emit.op("Cast", both, to=TensorProto.FLOAT))
        moved = emit.op("Mul", moved, self.text_rows)
        ratio = emit.op("Div", audio, emit.op("Max", visual, tiny))
        # The change of the factors of text, visual and audio keys, as in the lowering.
        gain = emit.op("Mul", ratio, emit.constant([0.0, RATE, 0.0], np.float32))
        change = emit.op("Mul", emit.op("Add", gain, emit.constant([0.0, 0.0, -RATE], np.float32)), moved)
        logarithms = emit.op("Log", emit.op("Add", change, emit.number(1.0)))
        return emit.op("Add", emit.op("MatMul", logarithms, self.classes), self.mask)


def group_query_attention(case: Case, layers: int, reallocation: bool) -> ModelProto:
    """The stack on GroupQueryAttention, with the first pass or without."""
    emit = Emitter("stack/")
    mask = causal_mask(emit)
    first_pass = FirstPass(emit, case, mask)
    total = emit.op("Cast", emit.op("Shape", "key_modality", start=1, end=2), to=TensorProto.INT32)
    last = emit.op("Sub", total, emit.constant([1], np.int32))
    lasts = emit.op("Expand", last, emit.op("Shape", "key_modality", start=0, end=1))
    total = emit.op("Reshape", total, emit.ints())
    states = "inputs_embeds"
    for layer in range(layers):
        bias = first_pass.bias(states, layer) if reallocation else mask
        past = [f"past_{kind}_{layer}" for kind in ("key", "value")]
        sources = [states, "new_key", "new_value", *past, lasts, total, "", "", "", bias]
        outputs = [emit.fresh("output"), *(name.replace("past", "present") for name in past)]
        numbers = {"num_heads": case.heads, "kv_num_heads": case.key_heads, "scale": case.head_size**-0.5}
        emit.ops("GroupQueryAttention", *sources, outputs=outputs, domain=CONTRIB, **numbers)
        states = emit.op("Add", states, outputs[0], out="output" if layer == layers - 1 else None)
    return graph_of(emit, case, layers)
