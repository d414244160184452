"""The operator ``mosear::AttentionReallocation`` (version 1): its schema, its body on standard operators, its emission.

Inputs:
    query          [B, Hq, Sq, Dh]
    key, value     [B, Hkv, Sk, Dh], the past included; Hq is a multiple of Hkv
    mask           additive, broadcastable to [B, Hq, Sq, Sk]
    key_modality   int64 [B, Sk]: -1 hidden, 0 text, 1 visual, 2 audio; the queries are the last Sq tokens
Attributes:
    scale, rate, threshold (floats), rows ("text", "last" or "all"); see `mosear.model.reallocation`
Outputs:
    output         [B, Hq, Sq, Dh]
    audio_share    [B, Hq]     audio part of the media attention on the last row
    selected       [B, Hq]     1.0 for the heads that reallocate, else 0.0
    modality_mass  [B, Hq, 3]  text, visual and audio mass of the last row, before reallocation

The body is the logit-bias form: one pass for the masses, then the standard ``Attention`` with an additive bias. So any
ONNX tool can run a graph that holds the operator, and a backend with a fused attention keeps using it.
"""

from typing import Any

import onnx
import torch
from onnx import FunctionProto, defs
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from mosear.model.attention import Telemetry, reallocates
from mosear.model.reallocation import Reallocation, Rows

DOMAIN = "mosear"
OP_TYPE = "AttentionReallocation"
VERSION = 1
OPSET = 23
"""Standard opset of the body: the first one with ``Attention``."""

ONNX_ATTENTION = "mosear_onnx"
"""Name of the transformers attention implementation that emits the operator; outside export it computes nothing."""

# Smallest normal float32: a mass below it cannot be divided by, and counts as none.
_TINY = "1.1754944e-38"

_ROW_CHOICE = {
    "text": "row_is_chosen = Equal (query_modality, zero)",
    "all": "row_is_chosen = GreaterOrEqual (query_modality, zero)",
    "last": """
    row_number = Range (zero, rows_scalar, one)
    last_number = Sub (rows_scalar, one)
    row_is_last = Equal (row_number, last_number)
    row_is_visible = GreaterOrEqual (query_modality, zero)
    row_is_chosen = And (row_is_visible, row_is_last)""",
}

_BODY = """
<domain: "mosear", opset_import: ["" : 23]>
AttentionReallocation <scale, rate, threshold, rows> (query, key, value, mask, key_modality)
    => (output, audio_share, selected, modality_mass)
{
    zero = Constant <value_int: int = 0> ()
    minus_one_scalar = Constant <value_int: int = -1> ()
    three = Constant <value_ints: ints = [3]> ()
    one = Constant <value_int: int = 1> ()
    zeros = Constant <value_ints: ints = [0]> ()
    ones = Constant <value_ints: ints = [1]> ()
    minus_one = Constant <value_ints: ints = [-1]> ()
    row_axis = Constant <value_ints: ints = [2]> ()
    head_and_key_axes = Constant <value_ints: ints = [1, 3]> ()
    classes = Constant <value = int64[1, 3, 1] {0, 1, 2}> ()
    tiny = Constant <value_float: float = TINY> ()
    unit = Constant <value_float: float = 1.0> ()
    scale_value = Constant <value_float: float = @scale> ()
    rate_value = Constant <value_float: float = @rate> ()
    threshold_value = Constant <value_float: float = @threshold> ()

    key_heads = Shape <start = 0, end = 2> (key)
    query_rows = Shape <start = 0, end = 3> (query)
    head_size = Shape <start = 3, end = 4> (query)
    rows_count = Shape <start = 2, end = 3> (query)
    keys_count = Shape <start = 1, end = 2> (key_modality)
    rows_scalar = Squeeze (rows_count, zeros)

    query_f = Cast <to = 1> (query)
    key_f = Cast <to = 1> (key)
    mask_f = Cast <to = 1> (mask)
    grouped_shape = Concat <axis = 0> (key_heads, minus_one, head_size)
    grouped = Reshape (query_f, grouped_shape)
    key_columns = Transpose <perm = [0, 1, 3, 2]> (key_f)
    grouped_scores = MatMul (grouped, key_columns)
    score_shape = Concat <axis = 0> (query_rows, keys_count)
    scores = Reshape (grouped_scores, score_shape)
    scaled = Mul (scores, scale_value)
    logits = Add (scaled, mask_f)
    probabilities = Softmax <axis = -1> (logits)

    modality_row = Unsqueeze (key_modality, ones)
    key_is = Equal (modality_row, classes)
    key_class = Cast <to = 1> (key_is)
    key_class_heads = Unsqueeze (key_class, ones)
    class_columns = Transpose <perm = [0, 1, 3, 2]> (key_class_heads)
    masses = MatMul (probabilities, class_columns)
    text_mass, visual_mass, audio_mass = Split <axis = -1, num_outputs = 3> (masses)
    visual_safe = Max (visual_mass, tiny)
    modality_mass = Gather <axis = 2> (masses, minus_one_scalar)

    last_text, last_visual, last_audio = Split <axis = -1, num_outputs = 3> (modality_mass)
    media = Add (last_visual, last_audio)
    media_safe = Max (media, tiny)
    share = Div (last_audio, media_safe)
    audio_share = Squeeze (share, minus_one)
    over = Greater (share, threshold_value)
    has_last_visual = GreaterOrEqual (last_visual, tiny)
    has_last_audio = GreaterOrEqual (last_audio, tiny)
    has_last_media = And (has_last_visual, has_last_audio)
    head_is_selected = And (over, has_last_media)
    selected_f = Cast <to = 1> (head_is_selected)
    selected = Squeeze (selected_f, minus_one)

    first_row = Sub (keys_count, rows_count)
    query_modality = Slice (key_modality, first_row, keys_count, ones)
    ROW_CHOICE
    row_is_chosen_heads = Unsqueeze (row_is_chosen, head_and_key_axes)
    head_rows = Unsqueeze (head_is_selected, row_axis)
    has_visual = GreaterOrEqual (visual_mass, tiny)
    has_audio = GreaterOrEqual (audio_mass, tiny)
    has_media = And (has_visual, has_audio)
    head_and_row = And (head_rows, row_is_chosen_heads)
    moved = And (head_and_row, has_media)
    moved_f = Cast <to = 1> (moved)

    ratio = Div (audio_mass, visual_safe)
    gain = Mul (ratio, rate_value)
    moved_gain = Mul (gain, moved_f)
    visual_factor = Add (moved_gain, unit)
    visual_bias = Log (visual_factor)
    kept = Sub (unit, rate_value)
    kept_bias = Log (kept)
    audio_bias = Mul (kept_bias, moved_f)
    media_bias = Concat <axis = -1> (visual_bias, audio_bias)
    media_class = Slice (key_class_heads, ones, three, row_axis)
    bias = MatMul (media_bias, media_class)
    biased = Add (bias, mask_f)
    biased_like = CastLike (biased, query)
    output = Attention <scale: float = @scale> (query, key, value, biased_like)
}
"""


def schema() -> defs.OpSchema:
    """The operator's schema, for shape inference and checkers (register it with `onnx.defs.register_schema`)."""
    floats = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
    parameter, attribute = defs.OpSchema.FormalParameter, defs.OpSchema.Attribute
    kinds = defs.OpSchema.AttrType
    return defs.OpSchema(
        OP_TYPE,
        DOMAIN,
        VERSION,
        doc=__doc__ or "",
        inputs=[
            parameter("query", "T", "[B, Hq, Sq, Dh]"),
            parameter("key", "T", "[B, Hkv, Sk, Dh]"),
            parameter("value", "T", "[B, Hkv, Sk, Dh]"),
            parameter("mask", "T", "additive, broadcastable to [B, Hq, Sq, Sk]"),
            parameter("key_modality", "tensor(int64)", "[B, Sk]"),
        ],
        outputs=[
            parameter("output", "T", "[B, Hq, Sq, Dh]"),
            parameter("audio_share", "tensor(float)", "[B, Hq]"),
            parameter("selected", "tensor(float)", "[B, Hq]"),
            parameter("modality_mass", "tensor(float)", "[B, Hq, 3]"),
        ],
        type_constraints=[("T", floats, "query, key, value and mask")],
        attributes=[
            attribute("scale", kinds.FLOAT, "factor of the logits", required=True),
            attribute("rate", kinds.FLOAT, "part of the audio attention that moves", required=True),
            attribute("threshold", kinds.FLOAT, "audio share above which a head is selected", required=True),
            attribute("rows", kinds.STRING, "query rows that change: text, last or all", required=True),
        ],
    )


def function(rows: Rows) -> FunctionProto:
    """The operator's body for one value of ``rows``.

    The choice of rows is made here and not in the graph, because backends have no string tensors; so all nodes of a
    model must agree on it.
    """
    text = _BODY.replace("ROW_CHOICE", _ROW_CHOICE[rows]).replace("TINY", _TINY)
    return onnx.parser.parse_function(text)


def emit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    key_modality: Tensor,
    scale: float,
    reallocation: Reallocation,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator as one node of the graph that `torch.onnx.export` is tracing; outputs as in the module's text."""
    batch, heads = query.shape[0], query.shape[1]
    output, audio_share, selected, modality_mass = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{OP_TYPE}",
        (query, key, value, mask, key_modality),
        {
            "scale": float(scale),
            "rate": float(reallocation.rate),
            "threshold": float(reallocation.threshold),
            "rows": reallocation.rows,
        },
        dtypes=(query.dtype, torch.float32, torch.float32, torch.float32),
        shapes=(query.shape, (batch, heads), (batch, heads), (batch, heads, 3)),
        version=VERSION,
    )
    return output, audio_share, selected, modality_mass


def _onnx_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    key_modality: Tensor | None = None,
    reallocation: Reallocation | None = None,
    telemetry: Telemetry | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if kwargs.get("softcap") is not None:
        raise ValueError("this decoder caps its attention logits (softcap), which cannot be exported")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if reallocation is not None and key_modality is not None and reallocates(module, reallocation):
        output, share, selected, mass = emit(query, key, value, attention_mask, key_modality, scale, reallocation)
        if telemetry is not None:
            telemetry.record(int(module.layer_idx), share, selected, mass)
    else:
        output = torch.onnx.ops.attention(query, key, value, attention_mask, scale=scale)[0]
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(ONNX_ATTENTION, _onnx_attention)
AttentionMaskInterface.register(ONNX_ATTENTION, eager_mask)
