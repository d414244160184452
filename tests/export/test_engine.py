"""Bundles compiled by the real TensorRT-RTX, which needs no GPU: every form, several GPUs in one engine."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from small_decoders import small_decoder
from tensorrt_decoders import FORMS

from mosear.calibration.quantization import LinearRanges
from mosear.export.engine import compile_engines
from mosear.export.graphs.decoder import export_decoder
from mosear.export.graphs.half import half_weights, to_half
from mosear.export.lowering.tensorrt import lower, quantize
from mosear.export.precision import product_weights
from mosear.export.tensors import Weights, attach, detach
from mosear.model.reallocation import Reallocation
from mosear.runtime.bundle import file_entry
from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.manifest import Manifest

CAPACITY = 24
GPUS = {"fp16": ["7.5", "8.6", "8.9", "12.0"], "int8": ["7.5", "8.6", "8.9", "12.0"], "int4": ["8.6", "12.0"]}
GPUS |= {"fp8": ["8.9", "12.0"], "fp32": ["8.6", "12.0"]}


@cache
def decoder() -> tuple[ModelProto, Weights]:
    """One layer, wide enough for blocks of int4 of both sizes."""
    small = small_decoder(
        "qwen3",
        num_hidden_layers=1,
        hidden_size=128,
        intermediate_size=192,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return detach(export_decoder(small, reallocation=Reallocation(0.5, 0.35)))


def lowered(precision: str, form: str) -> ModelProto:
    graph, weights = decoder()
    if precision != "fp32":
        graph, weights = to_half(graph), half_weights(weights)
    model = lower(graph, "prefill", FORMS[form], CAPACITY)
    if precision in ("int8", "int4", "fp8"):
        names = product_weights(model)
        ranges = {}
        for name in names:
            scale = np.full(weights[name].shape[0], 1.5, np.float32)
            ranges[name.removesuffix(".weight")] = LinearRanges(8.0, scale, 12.0, scale)
        model, weights = quantize(model, weights, dict.fromkeys(names, precision), ranges)
    return attach(model, weights)


def encoder(name: str, shape: list[int], output: str) -> ModelProto:
    weight = np.zeros((shape[-1], 128), np.float16)
    kind = TensorProto.UINT8 if name == "frames" else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", [name], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "w"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, ["n", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT16, ["n", *shape[:-1], 128])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def bundle(folder: Path, model: ModelProto, **changes: Any) -> Manifest:
    """Just as much of a bundle as is compiled; prefill and decode are one graph."""
    onnx.save(encoder("frames", [1, 8, 8, 3], "visual_embeds"), folder / "vision.onnx")
    onnx.save(encoder("samples", [64], "audio_embeds"), folder / "audio.onnx")
    onnx.save(model, folder / "decoder.onnx", save_as_external_data=True, location="decoder.weights")
    for name in ("embedding.npy", "tokenizer.json"):
        (folder / name).write_text("")
    fields: dict[str, Any] = {
        "name": "small",
        "created": "",
        "tool_version": "0",
        "checkpoint": {"name": "small", "sha256": "0" * 64},
        "target": "rtx-30",
        "backend": "tensorrt_rtx",
        "precision": "fp16",
        "tensorrt_version": "1.7",
        "files": {path.name: file_entry(path) for path in folder.iterdir()},
        "graphs": {"vision": "vision.onnx", "audio": "audio.onnx", "prefill": "decoder.onnx", "decode": "decoder.onnx"},
        "embedding": "embedding.npy",
        "tokenizer": "tokenizer.json",
        "preprocessing": {"frame_size": 8, "frames": 4, "sample_rate": 1000, "window_s": 0.064},
        "decoder": {
            "layers": 1,
            "hidden_size": 128,
            "heads": 4,
            "kv_heads": 2,
            "head_dim": 16,
            "vocab_size": 61,
            "capacity": CAPACITY,
            "eos_token_ids": [1],
        },
        "tokens": {"visual": 4, "audio": 2},
        "prompt": {
            "template": "{visual} {audio} {transcript} {task}",
            "tasks": {"emotion": "which"},
            "no_transcript": "none",
        },
        "labels": [{"name": "happy", "token_ids": [2]}, {"name": "sad", "token_ids": [3, 4]}],
        "temperature": 1.0,
        "licences": [],
        "intended_use": "tests",
        "notice": "",
    }
    return Manifest.model_validate({**fields, **changes})


@pytest.mark.parametrize(
    ("precision", "form"),
    [
        ("fp16", "native"),
        ("fp16", "plain"),
        ("int8", "native"),
        ("int4", "plain"),
        ("fp8", "native"),
        ("fp32", "native"),
    ],
)
def test_every_form_compiles_for_several_gpus_at_once(tmp_path: Path, precision: str, form: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    manifest = bundle(tmp_path, lowered(precision, form))
    seen: dict[str, list[float]] = {}
    entries = compile_engines(
        tmp_path, manifest, GPUS[precision], progress=lambda stage, done: seen.setdefault(stage, []).append(done)
    )
    assert [entry.graph for entry in entries] == ["vision.onnx", "audio.onnx", "decoder.onnx"]
    assert list(seen) == ["vision.onnx", "audio.onnx", "decoder.onnx"]
    for entry in entries:
        assert seen[entry.graph] == sorted(seen[entry.graph])
        assert seen[entry.graph][-1] == 1.0
        assert (tmp_path / entry.file).stat().st_size > 1000
        assert entry.compute_capabilities == GPUS[precision]
        assert entry.runs_on("tensorrt_rtx", entry.version, "12.0")
        assert not entry.runs_on("tensorrt_rtx", entry.version, "8.7")
        assert not entry.runs_on("tensorrt_rtx", "1.0", "12.0")
    assert len({entry.file for entry in entries}) == 3


def test_what_cannot_be_compiled_is_refused(tmp_path: Path) -> None:
    manifest = bundle(tmp_path, lowered("fp16", "plain"))
    with pytest.raises(UsageError, match="runs its graphs as they are"):
        compile_engines(tmp_path, manifest.model_copy(update={"backend": "onnxruntime"}))
    with pytest.raises(Failed, match="TensorRT can't be imported"):
        compile_engines(tmp_path, manifest.model_copy(update={"backend": "tensorrt"}))
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(Failed, match=r"needs 99\.0 or later"):
        compile_engines(tmp_path, manifest.model_copy(update={"tensorrt_version": "99.0"}), ["8.6"])
    with pytest.raises(UsageError, match=r"can't build for compute capability 8\.7"):
        compile_engines(tmp_path, manifest, ["8.7"])
    (tmp_path / "decoder.weights").unlink()
    with pytest.raises(BadInput, match=r"decoder\.onnx can't be parsed"):
        compile_engines(tmp_path, manifest, ["8.6"])


def test_fp8_for_ampere_is_refused_in_words_of_our_own(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    manifest = bundle(tmp_path, lowered("fp8", "native"))
    with pytest.raises(UsageError, match=r"decoder\.onnx is in fp8, which GPUs of compute capability 8\.6 can't do"):
        compile_engines(tmp_path, manifest, ["8.9", "8.6"])
