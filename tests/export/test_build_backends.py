"""Whole builds for other backends, precisions and forms of experts: built, opened and run as a user would."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import load_file, save_file

from mosear.export.clips import folder_examples
from mosear.model.checkpoint import load_checkpoint
from mosear.model.configuration import EXPERTS
from mosear.runtime.bundle import Bundle, sha256_file
from mosear.runtime.manifest import MANIFEST_NAME
from mosear.runtime.pipeline import Pipeline

REFERENCE = Path(__file__).parents[2] / "model" / "reference"
CLIPS = Path(__file__).parents[2] / "examples" / "clips"
CLIP = CLIPS / "clip_00004.mp4"

Export = Callable[..., subprocess.CompletedProcess[str]]
Build = Callable[..., Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, export: Export) -> Build:
    """Build on few windows; the bundle's folder."""

    def run(name: str, checkpoint: Path | str, *arguments: object) -> Path:
        path = tmp_path_factory.mktemp(name) / "bundle"
        done = export("build", checkpoint, "-o", path, "--examples", 18, "--threads", 1, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == str(path)
        return path

    return run


@pytest.fixture(scope="module")
def standard(build: Build) -> Path:
    return build("standard", "reference", "--target", "standard", "--precision", "fp16")


@pytest.fixture(scope="module")
def rtx(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For two kinds of GPUs at once, which no shipped target is."""
    pytest.importorskip("tensorrt_rtx")
    target = tmp_path_factory.mktemp("target") / "two-series.yaml"
    target.write_text("base: rtx-40\nprecisions: [fp16, int8, int4]\ncompute_capabilities: ['8.6', '8.9']\n")
    return build("rtx", "reference", "--target", target, "--precision", "int8", "--sensitivity")


@pytest.fixture(scope="module")
def mixed(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two formats a weight, a graph of labels, and two layers kept out of quantization by a recipe."""
    recipe = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.write_text(
        "precision: mixed\n"
        "layers:\n"
        "  - {match: 'model.layers.0.*', format: fp32}\n"
        "  - {match: lm_head, format: fp32}\n"
        "checks: {sensitivity: true}\n"
    )
    return build("mixed", "reference", "--recipe", recipe, "--lm-head", "labels")


@pytest.fixture(scope="module")
def jetson(build: Build) -> Path:
    """With a longer cache than the decoder has positions."""
    return build("jetson", "reference", "--target", "jetson-orin-nano-jp6", "--precision", "int4", "--capacity", "1024")


@pytest.fixture(scope="module")
def with_wrong_gates(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference with gates in its calibration that its experts never had: only dynamic ones can pass."""
    checkpoint = Path(shutil.copytree(REFERENCE, tmp_path_factory.mktemp("wrong") / "checkpoint"))
    file = checkpoint / "calibration.safetensors"
    wrong = torch.tensor([[40.0, 0, -39], [0, -39, 40]])
    tensors = load_file(file)
    means = [name for name in tensors if name.endswith(".mean") and not name.startswith("ranges.")]
    save_file(tensors | {name: wrong.clone() for name in means}, file)
    return build("wrong", checkpoint, "--mose", "auto")


@pytest.fixture(scope="module")
def truncated(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rank 2 of 16: too little for the default bounds, which the recipe opens."""
    recipe = tmp_path_factory.mktemp("rank") / "recipe.yaml"
    bounds = ("logits_difference", "label_kl", "label_agreement", "heads_agreement", "layer_difference", "layer_cosine")
    opened = "".join(f"    {name}: null\n" for name in bounds)
    recipe.write_text(f"mose: {{mode: merged}}\nchecks:\n  tolerances:\n{opened}")
    return build("truncated", "reference", "--recipe", recipe, "--rank", 2)


def mosear(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``mosear`` as a process of its own, which sees no GPU."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MOSEAR_")}
    return subprocess.run(
        [sys.executable, "-m", "mosear.runtime.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        timeout=120,
        check=False,
    )


def answer(bundle: Path, *arguments: object) -> dict[str, Any]:
    done = mosear("run", bundle, CLIP, "--format", "jsonl", "--threads", 1, *arguments)
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


@cache
def pytorch_scores() -> dict[str, float]:
    """What the unmerged model itself says of the clip."""
    model = load_checkpoint("reference")
    names = [line.split(",")[0] for line in (CLIPS / "labels.csv").read_text().splitlines()[1:]]
    window = folder_examples(model.config, CLIPS)[names.index(CLIP.name)].window
    assert window.frames is not None
    assert window.samples is not None
    with torch.no_grad():
        visual = model.encode_visual(torch.from_numpy(window.frames)[None])
        audio = model.encode_audio(torch.from_numpy(window.samples)[None])
        scores = model.label_log_probabilities([window.transcript], visual, audio)[0].double()
    temperature = json.loads((REFERENCE / "calibration.json").read_text())["temperature"]
    return dict(zip(model.config.labels, (scores / temperature).softmax(-1).tolist(), strict=True))


def assert_says_what_pytorch_says(found: dict[str, Any], tolerance: float) -> None:
    expected = pytorch_scores()
    assert found["label"] == max(expected, key=expected.__getitem__)
    assert found["scores"] == pytest.approx(expected, abs=tolerance)


def assert_two_lines(done: subprocess.CompletedProcess[str], code: int, word: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "  fix:"))]
    assert done.returncode == code, done.stderr
    assert [line.split(":")[0].strip() for line in lines] == ["error", "fix"], done.stderr
    assert "Traceback" not in done.stderr
    assert word in lines[0], lines


def assert_whole(folder: Path) -> None:
    """Everything in the folder is listed with its own hash, and the page tells of the checks."""
    manifest = Bundle.open(folder).manifest
    assert {path.name for path in folder.iterdir()} == manifest.files.keys() | {MANIFEST_NAME}
    for name, entry in manifest.files.items():
        assert sha256_file(folder / name) == entry.sha256
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert manifest.verification["passed"]
    assert manifest.verification["checks"]
    assert all(check["name"] in page for check in manifest.verification["checks"])


def graph_of(folder: Path, name: str) -> onnx.ModelProto:
    return onnx.load(folder / name, load_external_data=False)


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def types_of(model: onnx.ModelProto, part: str = "") -> dict[str, int]:
    return {t.name: t.data_type for t in model.graph.initializer if part in t.name and len(t.dims) == 2}


def test_standard_float16_is_nothing_but_standard_operators(standard: Path) -> None:
    assert_whole(standard)
    manifest = Bundle.open(standard).manifest
    assert (manifest.target, manifest.backend, manifest.precision) == ("standard", "standard", "fp16")
    for name in set(manifest.graphs.model_dump(exclude_none=True).values()):
        model = graph_of(standard, name)
        onnx.checker.check_model(str(standard / name))
        assert {node.domain for node in nodes_of(model)} <= {"", "ai.onnx"}, name
        assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}, name
        large = [t for t in model.graph.initializer if len(t.dims) == 2]
        assert large
        assert {t.data_type for t in large} <= {TensorProto.FLOAT16, TensorProto.INT64}, name
    assert np.load(standard / "embedding.npy", mmap_mode="r").dtype == np.float16
    assert_says_what_pytorch_says(answer(standard), 0.02)


def test_auto_merges_the_reference_and_says_why(standard: Path) -> None:
    manifest = Bundle.open(standard).manifest
    assert manifest.mose is not None
    assert manifest.mose["mode"] == "merged"
    divergence = manifest.verification["divergence"]
    assert f"{divergence['label_agreement']:.4f}" in manifest.mose["why"]
    assert manifest.mose["truncation_error"] == {}
    assert not [name for name in types_of(graph_of(standard, manifest.graphs.decode)) if ".down." in name]


def test_auto_keeps_gates_that_constants_would_falsify(with_wrong_gates: Path) -> None:
    assert_whole(with_wrong_gates)
    manifest = Bundle.open(with_wrong_gates).manifest
    assert manifest.mose is not None
    assert manifest.mose["mode"] == "dynamic"
    assert "would not keep" in manifest.mose["why"]
    gates = [
        name for name in types_of(graph_of(with_wrong_gates, manifest.graphs.decode)) if name.endswith(".gate.weight")
    ]
    assert len(gates) == 2 * 4, "decoding asks the gates too: on q and v, in four layers"
    assert_says_what_pytorch_says(answer(with_wrong_gates), 1e-3)


def test_rtx_engines_for_two_gpus(rtx: Path) -> None:
    assert_whole(rtx)
    manifest = Bundle.open(rtx).manifest
    assert (manifest.target, manifest.precision, manifest.compute_capability) == ("two-series", "int8", "8.6 8.9")
    assert {engine.graph for engine in manifest.engines} == {manifest.graphs.vision, manifest.graphs.audio,
                                                             manifest.graphs.prefill}  # fmt: skip
    for engine in manifest.engines:
        assert engine.compute_capabilities == ["8.6", "8.9"]
        assert (rtx / engine.file).stat().st_size > 10_000
    quantized = [node for node in graph_of(rtx, manifest.graphs.prefill).graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantized) >= 4 * 4, "activations of the products of each layer"
    parts = {row["part"] for row in manifest.verification["sensitivity"]}
    assert len(parts) == 4, "the decoder's layers; the encoders and the last projection stay in float16"
    assert_says_what_pytorch_says(answer(rtx, "--provider", "cpu"), 0.15)


def test_a_gpu_bundle_without_a_gpu_says_so(rtx: Path, jetson: Path) -> None:
    for bundle, word in ((rtx, "NVIDIA"), (jetson, "TensorRT")):
        done = mosear("run", bundle, CLIP, "--format", "jsonl")
        assert_two_lines(done, 1, word)
        assert done.stdout == ""


def test_engines_are_replaced(tmp_path: Path, rtx: Path, export: Export) -> None:
    bundle = Path(shutil.copytree(rtx, tmp_path / "bundle"))
    before = Bundle.open(bundle).manifest
    done = export("engine", bundle, "--compute-capability", "8.9")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(bundle)
    assert_whole(bundle)
    after = Bundle.open(bundle).manifest
    assert [engine.compute_capabilities for engine in after.engines] == [["8.9"]] * 3
    assert not {engine.file for engine in after.engines} & {engine.file for engine in before.engines}
    kept = before.files.keys() - {engine.file for engine in before.engines}
    assert {name: after.files[name] for name in kept} == {name: before.files[name] for name in kept}
    assert_two_lines(export("engine", bundle, "--compute-capability", "8.7"), 2, "8.7")
    assert_whole(bundle)
    assert Bundle.open(bundle).manifest == after


def test_mixed_formats_follow_the_recipe(mixed: Path) -> None:
    assert_whole(mixed)
    manifest = Bundle.open(mixed).manifest
    assert manifest.precision == "mixed"
    prefill, decode = (graph_of(mixed, name) for name in (manifest.graphs.prefill, manifest.graphs.decode))
    for model in (prefill, decode):
        spared = types_of(model, "model.layers.0.")
        assert len([name for name in spared if name.endswith("_proj.weight")]) == 7
        assert set(spared.values()) == {TensorProto.FLOAT}
    assert set(types_of(prefill, "model.layers.1.mlp").values()) & {TensorProto.INT8, TensorProto.UINT8}
    assert "MatMulNBits" in {node.op_type for node in nodes_of(decode)}
    assert "MatMulNBits" not in {node.op_type for node in nodes_of(prefill)}
    rows = manifest.verification["sensitivity"]
    assert [row["label_kl"] for row in rows] == sorted((row["label_kl"] for row in rows), reverse=True)
    parts = {row["part"] for row in rows}
    assert {"vision", "audio"} <= parts
    assert not any("0" in part for part in parts), "what stays in float32 costs nothing"
    assert len(parts) == 2 + 3
    assert_says_what_pytorch_says(answer(mixed), 0.1)


def test_a_graph_of_labels_scores_as_the_whole_vocabulary_does(mixed: Path) -> None:
    bundle = Bundle.open(mixed)
    manifest = bundle.manifest
    assert manifest.label_tokens is not None
    assert manifest.graphs.labels is not None
    short, whole = Pipeline(bundle, threads=1), Pipeline(bundle, threads=1, whole_vocabulary=True)
    config = load_checkpoint("reference").config
    for example in folder_examples(config, CLIPS)[:6]:
        found, expected = short.forward(example.window), whole.forward(example.window)
        assert found.logits.shape[-1] == len(manifest.label_tokens)
        assert expected.logits.shape[-1] == manifest.decoder.vocab_size
        np.testing.assert_allclose(found.logits, expected.logits[:, manifest.label_tokens], atol=1e-4)
        scores = [
            np.exp(each.label_log_probs) / np.exp(each.label_log_probs).sum(-1, keepdims=True)
            for each in (found, expected)
        ]
        np.testing.assert_allclose(*scores, atol=1e-4)


def test_jetson_with_an_old_tensorrt_gets_plain_operators(jetson: Path) -> None:
    assert_whole(jetson)
    manifest = Bundle.open(jetson).manifest
    facts = (manifest.backend, manifest.precision, manifest.compute_capability, manifest.tensorrt_version)
    assert facts == ("tensorrt", "int4", "8.7", "10.3")
    assert manifest.engines == []
    assert manifest.provider is None
    assert manifest.graphs.decode == manifest.graphs.prefill
    model = graph_of(jetson, manifest.graphs.prefill)
    assert {node.domain for node in nodes_of(model)} == {""}
    native = {"Attention", "RotaryEmbedding", "RMSNormalization", "TensorScatter"}
    assert not native & {node.op_type for node in nodes_of(model)}
    kinds = list(types_of(model, "_proj.weight").values())
    assert kinds.count(TensorProto.INT4) == 4 * 7
    cache = [value for value in model.graph.input if value.name.startswith("past_")]
    assert {value.type.tensor_type.elem_type for value in cache} == {TensorProto.FLOAT16}
    assert_says_what_pytorch_says(answer(jetson, "--provider", "cpu"), 0.3)


def test_rank_two_is_recorded_with_what_it_loses(truncated: Path) -> None:
    assert_whole(truncated)
    manifest = Bundle.open(truncated).manifest
    assert manifest.mose is not None
    errors = manifest.mose["truncation_error"]
    model = load_checkpoint("reference")
    assert errors.keys() == model.experts.keys()
    for path, found in errors.items():
        module = model.experts[path]
        visual, other = torch.tensor(manifest.mose["gate_mean"][path], dtype=torch.float64)
        scale = module.mose.alpha / module.mose.r
        terms = [
            scale * weight * module.lora_B[name].double() @ module.lora_A["shared"].double()
            for weight, name in zip(visual - other, EXPERTS, strict=True)
        ]
        values = torch.linalg.svdvals(torch.stack(terms).sum(0)).detach()
        expected = float(values[2:].norm() / values.norm())
        assert found == pytest.approx(expected, rel=1e-4), path
    dims = [
        list(t.dims)
        for t in graph_of(truncated, manifest.graphs.prefill).graph.initializer
        if t.name.endswith(".down.weight")
    ]
    assert dims == [[192, 2]] * 8


def test_a_rank_that_is_not_there_is_refused(tmp_path: Path, export: Export) -> None:
    done = export("build", "reference", "-o", tmp_path / "bundle", "--rank", 99, "--examples", 18, "--threads", 1)
    assert_two_lines(done, 2, "rank")
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_of_another_checkpoint_is_refused(tmp_path: Path, export: Export) -> None:
    (tmp_path / "other").mkdir()
    record = json.loads((REFERENCE / "calibration.json").read_text())
    record["checkpoint_sha256"] = "0" * 64
    (tmp_path / "other" / "calibration.json").write_text(json.dumps(record))
    shutil.copy(REFERENCE / "calibration.safetensors", tmp_path / "other")
    done = export("build", "reference", "-o", tmp_path / "bundle", "--calibration", tmp_path / "other")
    assert_two_lines(done, 3, "another checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
