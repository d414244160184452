"""The build as a user meets it: the command, the bundle it writes, and what happens when things go wrong."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from export_command import EXPORT
from safetensors.torch import load_file, save_file

from mosear.calibration.record import Calibration
from mosear.export.clips import synthetic_examples
from mosear.export.merge import fix_gates
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, save_checkpoint
from mosear.runtime.bundle import Bundle
from mosear.runtime.manifest import MANIFEST_NAME
from mosear.runtime.pipeline import Pipeline

Export = Callable[..., subprocess.CompletedProcess[str]]
REFERENCE = Path(__file__).parents[2] / "model" / "reference"


def assert_two_lines(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "  fix:"))]
    assert done.returncode == code, done.stderr
    assert [line.split(":")[0].strip() for line in lines] == ["error", "fix"], done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REFERENCE, tmp_path / "checkpoint"))


@pytest.mark.slow
def test_bundle_agrees_with_pytorch_on_sixty_clips(reference_bundle: Callable[[str], Path]) -> None:
    """Label scores of the bundle against scoring by transformers, experts unmerged, probability form."""
    model = load_checkpoint("reference")
    gates = Calibration.load(REFERENCE, checkpoint_hash(REFERENCE)).gates
    pipeline = Pipeline(Bundle.open(reference_bundle("fp32")), threads=1)
    same = 0
    for example in synthetic_examples(model.config, 60):
        found = pipeline.forward(example.window).label_log_probs[0]
        with torch.no_grad():
            visual = model.encode_visual(torch.from_numpy(example.window.frames)[None])
            audio = model.encode_audio(torch.from_numpy(example.window.samples)[None])
            fix_gates(model, gates)
            static = model.label_log_probabilities([example.window.transcript], visual, audio)[0].numpy()
            fix_gates(model, None)
            dynamic = model.label_log_probabilities([example.window.transcript], visual, audio)[0].numpy()
        np.testing.assert_allclose(found, static, atol=1e-3)
        same += int(found.argmax()) == int(dynamic.argmax())
    assert same / 60 >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_manifest_states_the_checks_and_all_of_them_passed(
    reference_bundle: Callable[[str], Path], precision: str
) -> None:
    manifest = Bundle.open(reference_bundle(precision)).manifest
    report = manifest.verification
    assert report["passed"]
    by_name = {check["name"]: check for check in report["checks"]}
    if precision == "fp32":
        logits = by_name["logits, max difference (same gates)"]
        assert logits["measured"] <= logits["tolerance"] == 1e-3
    for subset in ("video_aligned", "audio_aligned", "consistent"):
        assert by_name[f"accuracy lost, {subset}"]["measured"] <= 0.01 + 1e-9
        assert report["accuracy"][subset]["clips"] == 100
    assert manifest.mose is not None
    assert manifest.mose["mode"] == "merged"
    assert "synthetic" in manifest.notice


@pytest.mark.slow
def test_decode_graph_holds_no_adapter(reference_bundle: Callable[[str], Path]) -> None:
    folder = reference_bundle("fp32")
    prefill = onnx.load(folder / "decoder_prefill.onnx", load_external_data=False)
    decode = onnx.load(folder / "decoder_decode.onnx", load_external_data=False)

    def adapters(model: onnx.ModelProto) -> list[str]:
        return [t.name for t in model.graph.initializer if ".down." in t.name or ".up." in t.name]

    assert len(adapters(prefill)) == 2 * 2 * 4, "down and up, on q and v, in four layers"
    assert adapters(decode) == []


@pytest.mark.slow
def test_both_decoder_graphs_read_one_weight_file(reference_bundle: Callable[[str], Path]) -> None:
    folder = reference_bundle("fp32")
    spans: list[dict[str, tuple[str, str]]] = []
    for name in ("decoder_prefill.onnx", "decoder_decode.onnx"):
        model = onnx.load(folder / name, load_external_data=False)
        stored = {}
        for tensor in model.graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if where:
                stored[tensor.name] = (where["location"], where.get("offset", "0"))
        spans.append(stored)
    shared = spans[0].keys() & spans[1].keys()
    assert len(shared) > 20
    assert all(spans[0][name] == spans[1][name] for name in shared)


@pytest.mark.slow
def test_int8_weights_are_a_quarter(reference_bundle: Callable[[str], Path]) -> None:
    def size(precision: str) -> int:
        return sum(p.stat().st_size for p in reference_bundle(precision).glob("decoder*"))

    assert size("int8") < 0.45 * size("fp32")


@pytest.mark.slow
def test_another_combination_of_backbones_exports(tmp_path: Path, tiny_model: Any, export: Export) -> None:
    """SigLIP, HuBERT and Llama with per-expert A matrices and dynamic gates: a configuration, not a code change."""
    from mosear.calibration.gates import GateStatistics

    model = tiny_model(
        vision={"model_type": "siglip_vision_model", "image_size": 64, "patch_size": 16, "hidden_size": 16,
                "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        audio={"model_type": "hubert", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
               "num_attention_heads": 2, "conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [160, 2],
               "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
        decoder={"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": 400},
        preprocessing={"frame_size": 64, "frames": 4, "window_s": 3.0, "sample_rate": 16000},
        mose={"r": 4, "alpha": 8.0, "share_a": False},
    )  # fmt: skip
    folder = tmp_path / "checkpoint"
    save_checkpoint(model, folder)
    gates = {path: torch.full((2, 3), 1 / 3) for path in model.experts}
    Calibration(checkpoint_hash(folder), 1, "0" * 64, "made up for a test", 1.0, GateStatistics(gates, gates), []).save(
        folder
    )
    done = export("build", folder, "-o", tmp_path / "bundle", "--mose", "dynamic", "--examples", 18, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["logits, max difference (same gates)"]["measured"] < 1e-3
    assert checks["label agreement with the unmerged model"]["measured"] == 1.0


@pytest.mark.slow
def test_failed_check_exits_with_its_code_and_leaves_no_bundle(tmp_path: Path, copy: Path, export: Export) -> None:
    """Gates that the experts never had: the merged bundle must not pass."""
    tensors = load_file(copy / "calibration.safetensors")
    tensors = {n: torch.tensor([[40.0, 0, -39], [0, -39, 40]]) if n.endswith("mean") else t for n, t in tensors.items()}
    save_file(tensors, copy / "calibration.safetensors")
    done = export("build", copy, "-o", tmp_path / "bundle", "--examples", 60, "--mose", "merged")
    assert_two_lines(done, 4, "label agreement")
    assert "FAIL" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle.report.html", "bundle.report.json", "checkpoint"]
    report = json.loads((tmp_path / "bundle.report.json").read_text())
    assert not report["passed"]
    assert "label agreement" in (tmp_path / "bundle.report.html").read_text()


def test_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path, export: Export) -> None:
    done = export("build", "reference", "-o", tmp_path / "bundle", "--precision", "int8", "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert (plan["target"], plan["backend"], plan["precision"], plan["mose"]) == (
        "cpu",
        "onnxruntime",
        "int8",
        "auto",
    )
    assert min(plan[name] for name in ("bundle_bytes", "disk_bytes", "memory_bytes", "seconds")) > 0
    assert list(tmp_path.iterdir()) == []


def test_targets_lists_cpu(export: Export) -> None:
    listed = {row["name"]: row for row in json.loads(export("targets", "--json").stdout)}
    assert listed["cpu"]["precisions"] == ["fp32", "int8", "int4", "mixed"]
    assert listed["jetson-orin-nano-jp6"]["tensorrt"] == "10.3"
    assert listed["rtx-40"]["compute_capabilities"] == ["8.9"]
    shown = export("targets").stdout
    assert all(name in shown for name in listed)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--target", "toaster"), 2, "toaster"),
        (("--precision", "fp4"), 2, "fp4"),
        (("--mose", "sometimes"), 2, "sometimes"),
        (("--intended-use", "workplace"), 2, "workplace"),
        (("--recipe", "no-such"), 2, "no-such"),
        (("--target", "rtx-20", "--precision", "fp8"), 2, "fp8"),
        (("--target", "rtx-40", "--lm-head", "labels"), 2, "lm_head"),
        (("--clips", "nowhere"), 3, "nowhere"),
    ],
)
def test_wrong_arguments(tmp_path: Path, export: Export, arguments: tuple[str, ...], code: int, word: str) -> None:
    done = export("build", "reference", "-o", tmp_path / "bundle", *arguments)
    assert_two_lines(done, code, word)
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_something_else_is_not_touched(tmp_path: Path, export: Export) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    assert_two_lines(export("build", "reference", "-o", tmp_path / "photos"), 3, "not empty")
    assert (tmp_path / "photos" / "one.jpg").read_bytes() == b"x"


@pytest.mark.parametrize(
    "damage", ["missing", "extra", "misshaped", "adapter", "no calibration", "foreign calibration"]
)
def test_checkpoint_that_does_not_fit(tmp_path: Path, copy: Path, export: Export, damage: str) -> None:
    weights = copy / ("adapter/adapter_model.safetensors" if damage == "adapter" else "model.safetensors")
    state = load_file(weights)
    name = sorted(state)[0]
    word = name
    if damage in ("missing", "adapter"):
        del state[name]
    elif damage == "extra":
        word = "left_over"
        state[word] = torch.zeros(1)
    elif damage == "misshaped":
        state[name] = torch.zeros(2, 7)
    if damage == "no calibration":
        (copy / "calibration.json").unlink()
        word = "calibration"
    elif damage == "foreign calibration":
        record = json.loads((copy / "calibration.json").read_text())
        record["checkpoint_sha256"] = "0" * 64
        (copy / "calibration.json").write_text(json.dumps(record))
        word = "another checkpoint"
    else:
        save_file(state, weights)
    assert_two_lines(export("build", copy, "-o", tmp_path / "bundle"), 3, word)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_build_killed_half_way(tmp_path: Path, how: signal.Signals) -> None:
    command = [*EXPORT, "build", "reference", "-o", str(tmp_path / "bundle")]
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored in a background job
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listening
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".bundle.building-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob(".bundle.building-*")), "the build never started to write"
        process.send_signal(how)
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert not (tmp_path / "bundle").exists()
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert list(tmp_path.iterdir()) == []
    else:  # nothing can clean up after SIGKILL but the next build of the same bundle
        from mosear.model.publish import published

        with published(tmp_path / "bundle", MANIFEST_NAME) as folder:
            (folder / MANIFEST_NAME).write_text("{}")
        assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.slow
def test_full_disk(tmp_path: Path) -> None:
    """A file size limit stands in for a disk that is full: the write fails with the system's own error."""

    def limit() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    command = [*EXPORT, "build", "reference", "-o", str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=300, check=False)
    assert_two_lines(done, 1, "no room")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bundle_survives_a_failed_rebuild(
    tmp_path: Path, reference_bundle: Callable[[str], Path], export: Export
) -> None:
    bundle = Path(shutil.copytree(reference_bundle("fp32"), tmp_path / "bundle"))
    before = (bundle / MANIFEST_NAME).read_bytes()
    assert export("build", tmp_path / "absent", "-o", bundle).returncode == 3
    assert (bundle / MANIFEST_NAME).read_bytes() == before


@pytest.mark.slow
def test_inspect_and_verify(tmp_path: Path, reference_bundle: Callable[[str], Path], export: Export) -> None:
    bundle = reference_bundle("fp32")
    shown = export("inspect", bundle)
    assert shown.returncode == 0
    assert "every hash right" in shown.stdout
    assert json.loads(export("inspect", bundle, "--json").stdout)["target"] == "cpu"
    again = export("verify", bundle, "--against", "reference", "--examples", 18, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["passed"]
    damaged = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    data = bytearray((damaged / "decoder.weights").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "decoder.weights").write_bytes(data)
    assert_two_lines(export("verify", damaged), 3, "decoder.weights")
    assert_two_lines(export("inspect", damaged), 3, "decoder.weights")


@pytest.mark.slow
def test_wrong_checkpoint_is_refused_by_verify(
    reference_bundle: Callable[[str], Path], copy: Path, export: Export
) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["name"] = "another"
    (copy / "config.json").write_text(json.dumps(config))
    assert_two_lines(export("verify", reference_bundle("fp32"), "--against", copy), 3, "was made from")


def test_environment_sets_a_target_and_a_flag_overrides_it(tmp_path: Path, export: Export) -> None:
    os.environ["MOSEAR_PRECISION"] = "fp4"
    try:
        assert_two_lines(export("build", "reference", "-o", tmp_path / "b", "--dry-run"), 2, "fp4")
        assert export("build", "reference", "-o", tmp_path / "b", "--dry-run", "--precision", "int8").returncode == 0
    finally:
        del os.environ["MOSEAR_PRECISION"]


def test_synthetic_examples_are_the_same_every_time() -> None:
    config = load_checkpoint("reference").config
    first, second = (synthetic_examples(config, 4) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.label == b.label
        assert np.array_equal(a.window.frames, b.window.frames)
        assert np.array_equal(a.window.samples, b.window.samples)
