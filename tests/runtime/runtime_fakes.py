"""A bundle with a toy model that keeps the contract, and the same model in NumPy without a cache as the truth."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mosear.runtime.bundle import Bundle, file_entry
from mosear.runtime.manifest import Manifest, write_manifest
from mosear.runtime.modality import LABELS

D, V, LAYERS, HEADS, CAPACITY = 8, 40, 2, 2, 96
FRAMES, AUDIO_TOKENS, SIZE, RATE, WINDOW = 8, 2, 64, 16000, 3.0
AUDIO_SHARE_LIMITS = (0.1, 0.99)
RATE_OF_REALLOCATION = 0.3

_random = np.random.default_rng(7)
EMBEDDING = _random.normal(size=(V, D)).astype(np.float32)
SEE = _random.normal(size=(3, D)).astype(np.float32) * 4
HEAR = _random.normal(size=(1, AUDIO_TOKENS * D)).astype(np.float32) * 9
OUT = _random.normal(size=(D, V)).astype(np.float32) * 3
PLACE = _random.normal(size=(D,)).astype(np.float32) * 0.05

WORDS = [
    "[UNK]",
    "[INST]",
    "[/INST]",
    "</s>",
    "picture",
    "sound",
    "nothing",
    "said",
    "which",
    "emotion",
    "why",
    "hello",
]
WORDS += [*LABELS, "very", "deeply", *(f"word{i}" for i in range(V - 20))]
IDS = {word: index for index, word in enumerate(WORDS)}
SINGLE = {name: [IDS[name]] for name in LABELS}
MULTI = {**SINGLE, "sad": [IDS["very"], IDS["sad"]], "worried": [IDS["very"], IDS["deeply"], IDS["worried"]]}

TEMPLATE = "[INST] picture {visual} sound {audio} said {transcript} {task} [/INST]"
TASKS = {"emotion": "which emotion", "reason": "why"}


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["[UNK]", "[INST]", "[/INST]", "</s>"])
    return tokenizer


def manifest_fields(**changes: Any) -> dict[str, Any]:
    """Everything of a manifest but its files."""
    labels = changes.pop("label_ids", SINGLE)
    fields: dict[str, Any] = {
        "name": "toy",
        "created": "2026-01-01T00:00:00Z",
        "tool_version": "0.1.0",
        "checkpoint": {"name": "toy", "sha256": "0" * 64},
        "target": "cpu",
        "backend": "onnxruntime",
        "precision": "fp32",
        "graphs": {
            "vision": "vision.onnx",
            "audio": "audio.onnx",
            "prefill": "decoder_prefill.onnx",
            "decode": "decoder_decode.onnx",
        },
        "embedding": "embedding.npy",
        "tokenizer": "tokenizer.json",
        "preprocessing": {
            "frame_size": SIZE,
            "frames": FRAMES,
            "frames_per_clip": 1,
            "sample_rate": RATE,
            "window_s": WINDOW,
            "silence_dbfs": -60.0,
        },
        "decoder": {
            "layers": LAYERS,
            "hidden_size": D,
            "heads": HEADS,
            "kv_heads": 1,
            "head_dim": D,
            "vocab_size": V,
            "capacity": CAPACITY,
            "eos_token_ids": [IDS["</s>"]],
        },
        "tokens": {"visual": FRAMES, "audio": AUDIO_TOKENS},
        "prompt": {"template": TEMPLATE, "tasks": TASKS, "no_transcript": "nothing"},
        "labels": [{"name": name, "token_ids": ids} for name, ids in labels.items()],
        "reallocation": {"rate": RATE_OF_REALLOCATION, "threshold": 0.1, "rows": "text", "layers": [0, 1]},
        "temperature": 1.5,
        "licences": ["Apache-2.0"],
        "intended_use": "tests",
        "notice": "This is a toy and reads nobody.",
    }
    return {**fields, **changes}


def make_bundle(folder: Path, **changes: Any) -> Path:
    """Write the toy bundle; ``changes`` replace fields of its manifest (``label_ids``: tokens by label)."""
    folder.mkdir(parents=True)
    frames = changes.get("preprocessing", {}).get("frames_per_clip", 1)
    onnx.save(_vision(frames), folder / "vision.onnx")
    onnx.save(_audio(), folder / "audio.onnx")
    capacity = changes.get("decoder", {}).get("capacity", CAPACITY)
    prefill = folder / "decoder_prefill.onnx"
    onnx.save(_decoder(capacity), prefill, save_as_external_data=True, location="weights.bin", size_threshold=256)
    # Here decode is the same graph; it reads the same weight file.
    (folder / "decoder_decode.onnx").write_bytes(prefill.read_bytes())
    np.save(folder / "embedding.npy", EMBEDDING)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    files = {path.name: file_entry(path) for path in sorted(folder.iterdir())}
    write_manifest(folder, Manifest.model_validate({**manifest_fields(**changes), "files": files}))
    return folder


def open_bundle(folder: Path, **changes: Any) -> Bundle:
    return Bundle.open(make_bundle(folder, **changes))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _vision(frames: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["frames"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["wide", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["level"]),
        helper.make_node("MatMul", ["level", "weight"], ["visual_embeds"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, 3]), "axes"),
        numpy_helper.from_array(np.array(255, np.float32), "full"),
        numpy_helper.from_array(SEE, "weight"),
    ]
    taken = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", frames, SIZE, SIZE, 3])
    given = helper.make_tensor_value_info("visual_embeds", TensorProto.FLOAT, ["N", frames, D])
    return _model(helper.make_graph(nodes, "vision", [taken], [given], constants))


def _audio() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Abs", ["samples"], ["level"]),
        helper.make_node("ReduceMean", ["level", "axes"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "weight"], ["line"]),
        helper.make_node("Reshape", ["line", "shape"], ["audio_embeds"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1]), "axes"),
        numpy_helper.from_array(HEAR, "weight"),
        numpy_helper.from_array(np.array([-1, AUDIO_TOKENS, D]), "shape"),
    ]
    taken = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["N", round(RATE * WINDOW)])
    given = helper.make_tensor_value_info("audio_embeds", TensorProto.FLOAT, ["N", AUDIO_TOKENS, D])
    return _model(helper.make_graph(nodes, "audio", [taken], [given], constants))


def _decoder(capacity: int) -> onnx.ModelProto:
    """Last row attends evenly to all visible keys: h = mean of values + 0.1 last embedding + last position · PLACE."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def op(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def const(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    zero, one = const("zero", np.int64(0)), const("one", np.int64(1))
    axis1, axis12 = const("axis1", np.array([1])), const("axis12", np.array([1, 2]))
    length = op("Gather", [op("Shape", ["inputs_embeds"], "s_shape"), one], "S")
    total = op("Gather", [op("Shape", ["key_modality"], "t_shape"), one], "T")
    past = op("Sub", [total, length], "P")
    places = op("Range", [zero, const("capacity", np.int64(capacity)), one], "places")
    offset = op("Sub", [places, past], "offset")
    clipped = op("Clip", [offset, zero, op("Sub", [length, one], "S1")], "clipped")
    inside = op(
        "And",
        [op("GreaterOrEqual", [places, past], "after"), op("Less", [places, total], "before")],
        "inside",
    )
    column = op("Reshape", [inside, const("column_shape", np.array([1, 1, capacity, 1]))], "column")
    fresh = op("Unsqueeze", [op("Gather", ["inputs_embeds", clipped], "spread", axis=1), axis1], "fresh")
    for layer in range(LAYERS):
        for kind in ("key", "value"):
            op("Where", [column, fresh, f"past_{kind}_{layer}"], f"present_{kind}_{layer}")
    visible = op(
        "Cast",
        [
            op("GreaterOrEqual", ["key_modality", zero], "seen"),
        ],
        "visible",
        to=TensorProto.FLOAT,
    )
    room = op(
        "Sub", [const("capacity1", np.array([capacity])), op("Unsqueeze", [total, const("axis0", [0])], "T1")], "room"
    )
    ends = op("Concat", [const("no_pads", np.array([0, 0, 0])), room], "ends", axis=0)
    weights = op("Unsqueeze", [op("Pad", [visible, ends], "wide"), axis12], "weights")
    summed = op("Squeeze", [op("MatMul", [weights, f"present_value_{LAYERS - 1}"], "summed4"), axis12], "summed")
    count = op("ReduceSum", ["visible", axis1], "count", keepdims=1)
    mean = op("Div", [summed, count], "mean")
    last = op("Gather", ["inputs_embeds", const("minus1", np.int64(-1))], "last", axis=1)
    where = op(
        "Cast", [op("Gather", ["position_ids", const("minus1s", np.array([-1]))], "where_i", axis=1)], "where", to=1
    )
    state = op("Add", [mean, op("Mul", [last, const("tenth", np.float32(0.1))], "small")], "state0")
    state = op("Add", [state, op("Mul", [where, const("PLACE", PLACE)], "moved")], "state")
    op("Unsqueeze", [op("MatMul", [state, const("OUT", OUT)], "flat_logits"), axis1], "logits")
    _telemetry(op, const)
    cache = ["B", 1, capacity, D]
    inputs = [
        helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT, ["B", "S", D]),
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["B", "S"]),
        helper.make_tensor_value_info("key_modality", TensorProto.INT64, ["B", "T"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 1, V])]
    for layer in range(LAYERS):
        for kind in ("key", "value"):
            inputs.append(helper.make_tensor_value_info(f"past_{kind}_{layer}", TensorProto.FLOAT, cache))
            outputs.append(helper.make_tensor_value_info(f"present_{kind}_{layer}", TensorProto.FLOAT, cache))
    for name, shape in (("audio_share", []), ("selected", []), ("modality_mass", [3])):
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", LAYERS, HEADS, *shape]))
    return _model(helper.make_graph(nodes, "decoder", inputs, outputs, constants))


def _telemetry(op: Any, const: Any) -> None:
    axis1, axis12 = "axis1", "axis12"
    shares = []
    for kind in range(3):
        hit = op("Equal", ["key_modality", const(f"kind{kind}", np.int64(kind))], f"is{kind}")
        hits = op("ReduceSum", [op("Cast", [hit], f"f{kind}", to=TensorProto.FLOAT), axis1], f"hits{kind}", keepdims=1)
        shares.append(op("Div", [hits, "count"], f"share{kind}"))
    mass = op("Unsqueeze", [op("Concat", shares, "mass2", axis=1), axis12], "mass4")
    op("Tile", [mass, const("tile4", np.array([1, LAYERS, HEADS, 1]))], "modality_mass")
    both = op("Max", [op("Add", [shares[1], shares[2]], "both"), const("least", np.float32(1e-9))], "both1")
    share = op("Unsqueeze", [op("Div", [shares[2], both], "share"), axis1], "share3")
    op("Tile", [share, const("tile3", np.array([1, LAYERS, HEADS]))], "audio_share")
    limits = const("limits", np.array(AUDIO_SHARE_LIMITS, np.float32))
    over = op("Cast", [op("Greater", ["audio_share", limits], "over")], "over_f", to=TensorProto.FLOAT)
    has_visual = op(
        "Cast", [op("Greater", [shares[1], const("none", np.float32(0))], "has")], "has_f", to=TensorProto.FLOAT
    )
    op("Mul", [over, op("Unsqueeze", [has_visual, axis1], "has3")], "selected")


def truth_logits(embeds: np.ndarray, modality: np.ndarray) -> np.ndarray:
    """Logits float64 [V] behind one whole sequence (embeds [T, D], modality [T]), computed at once."""
    visible = modality >= 0
    state = embeds[visible].mean(axis=0) + 0.1 * embeds[-1] + (len(modality) - 1) * PLACE
    return state.astype(np.float64) @ OUT


def truth_visual(frames: np.ndarray) -> np.ndarray:
    """float32 [8, D]."""
    return (frames.reshape(len(frames), -1, 3).mean(axis=1) / 255).astype(np.float32) @ SEE


def truth_audio(samples: np.ndarray) -> np.ndarray:
    """float32 [2, D]."""
    return (np.abs(samples).mean(keepdims=True)[None].astype(np.float32) @ HEAR).reshape(AUDIO_TOKENS, D)
