"""What a build says it needs, what it refuses to start without, and how it goes where the model does not fit."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mosear.calibration.gates import GateStatistics
from mosear.calibration.record import Calibration
from mosear.export import resources
from mosear.export.cli import app
from mosear.export.clips import synthetic_examples
from mosear.export.recipe import Recipe
from mosear.export.resources import BY_LAYER, END_TO_END, Estimate, estimate, shapes_of
from mosear.export.targets import TARGETS
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve, save_checkpoint
from mosear.model.configuration import MosearConfig
from mosear.runtime.bundle import Bundle
from mosear.runtime.pipeline import Pipeline

REFERENCE = resolve("reference")
PLENTY = 10**15


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command sets what termination does; here it runs inside the tests' own process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def room(monkeypatch: pytest.MonkeyPatch, disk: int = PLENTY, memory: int = PLENTY) -> None:
    """Let the machine seem to have so much free."""
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda folder: SimpleNamespace(free=disk))
    monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: SimpleNamespace(available=memory))


def estimated(precision: str, target: str = "cpu", **more: Any) -> Estimate:
    recipe = Recipe(target=target, precision=precision, **more)
    return estimate(REFERENCE, MosearConfig.load(REFERENCE), recipe, TARGETS[target])


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["build", *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_size_that_is_foretold_is_the_size_that_comes(
    reference_bundle: Callable[[str], Path], precision: str
) -> None:
    size = sum(path.stat().st_size for path in reference_bundle(precision).iterdir())
    foretold = estimated(precision)
    assert foretold.bundle_bytes == pytest.approx(size, rel=0.2)
    assert foretold.disk_bytes > size


@pytest.mark.parametrize("target", TARGETS)
def test_a_smaller_precision_is_a_smaller_bundle(target: str) -> None:
    offered = TARGETS[target].precisions
    sizes = [estimated(precision, target).bundle_bytes for precision in ("fp32", "fp16", "int8", "int4") if precision in offered]  # fmt: skip # noqa: E501
    assert len(sizes) > 1
    assert sizes == sorted(set(sizes), reverse=True)
    if "mixed" in offered:
        mixed = estimated("mixed", target).bundle_bytes
        assert mixed > estimated("int8", target).bundle_bytes, "two formats store their weights twice"


def test_shapes_are_those_of_the_model() -> None:
    model = load_checkpoint("reference")
    shapes = shapes_of(REFERENCE, model.config)
    decoder = {n: p for n, p in model.decoder.named_parameters() if ".lora_" not in n and not n.endswith(".gate")}
    assert shapes.experts == sum(p.numel() for p in model.decoder.parameters()) - sum(
        p.numel() for p in decoder.values()
    )
    table = decoder.pop("model.embed_tokens.weight")
    assert shapes.head == table.numel()
    layers = {n: p.numel() for n, p in decoder.items() if ".layers." in n}
    assert shapes.products == sum(layers.values())
    assert shapes.layers == 4
    assert shapes.layer == sum(count for name, count in layers.items() if ".layers.0." in name)
    others = [p.numel() for n, p in model.named_parameters() if not n.startswith("decoder.")]
    assert shapes.encoders + shapes.encoders_rest == sum(others)
    assert shapes.encoders > 0
    assert shapes.tables >= 402 * 400, "the spectrum's basis"


def test_every_machine_gets_the_check_that_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, memory=16 * 10**9)
    whole = estimated("fp32")
    room(monkeypatch, memory=700 * 10**6)
    by_layer = estimated("fp32")
    assert (whole.checks, by_layer.checks) == (END_TO_END, BY_LAYER)
    assert by_layer.memory_bytes < whole.memory_bytes
    assert by_layer.bundle_bytes == whole.bundle_bytes


def refused(done: Any, *words: str) -> None:
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "  fix:"))]
    assert [line.split(":")[0].strip() for line in lines] == ["error", "fix"]
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_build_without_room_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def never(*given: Any, **settings: Any) -> Any:
        raise AssertionError("the checkpoint was opened")

    monkeypatch.setattr("mosear.export.build.map_checkpoint", never)
    room(monkeypatch, **{kind: 12_000_000})
    needs = getattr(estimated("fp32"), f"{kind}_bytes")
    done = run("reference", "-o", tmp_path / "bundle", "--precision", "fp32")
    refused(done, kind, f"{needs / 1e6:.0f} MB", "12 MB")
    assert list(tmp_path.iterdir()) == []
    room(monkeypatch, **{kind: needs})
    enough = run("reference", "-o", tmp_path / "bundle", "--precision", "fp32")
    assert "the checkpoint was opened" in enough.stderr, "so much and no more is asked for"


def test_a_dry_run_without_room_still_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room(monkeypatch, disk=1, memory=700 * 10**6)
    done = run("reference", "-o", tmp_path / "bundle", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["checks"] == BY_LAYER
    assert plan["disk_bytes"] > plan["bundle_bytes"] > 1_000_000
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["merged", "dynamic"])
def tiny(request: pytest.FixtureRequest, tiny_model: Callable[..., Any], tmp_path: Path) -> tuple[Path, str]:
    """A bfloat16 checkpoint of three layers, and the form of experts that suits its calibrated gates."""
    model = tiny_model(
        decoder={"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "vocab_size": 400},
        preprocessing={"frame_size": 32, "frames": 4, "window_s": 3.0, "sample_rate": 16000},
        audio={"model_type": "whisper", "num_mel_bins": 80, "d_model": 16, "encoder_layers": 1,
               "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "max_source_positions": 150, "dropout": 0.0},
    )  # fmt: skip
    constant = request.param == "merged"
    if constant:
        with torch.no_grad():
            for module in model.experts.values():
                module.gate.zero_()
    folder = tmp_path / "checkpoint"
    save_checkpoint(model, folder)
    state = load_file(folder / "model.safetensors")
    save_file({name: t.bfloat16() for name, t in state.items()}, folder / "model.safetensors", {"format": "pt"})
    mean = {path: torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]) for path in model.experts}
    variance = {path: torch.full((2, 3), 0.0 if constant else 0.01) for path in model.experts}
    gates = GateStatistics(mean, variance)
    Calibration(checkpoint_hash(folder), 1, "0" * 64, "made up for a test", 1.0, gates, []).save(folder)
    return folder, request.param


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_built_layer_by_layer(
    tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, mode = tiny
    room(monkeypatch, memory=700 * 10**6)

    def never(*given: Any, **settings: Any) -> Any:
        raise AssertionError("the whole model was loaded")

    with monkeypatch.context() as patched:
        patched.setattr("mosear.export.build.load_checkpoint", never)
        done = run(checkpoint, "-o", tmp_path / "bundle", "--precision", "fp32", "--threads", 1, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["passed"]
    assert report["examples"] == 0
    assert [row["layer"] for row in report["layers"]] == [0, 1, 2]
    assert all(row["relative"] < 1e-5 for row in report["layers"])
    assert report["checks"]
    assert all("layer" in check["name"] for check in report["checks"])
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.mose is not None
    assert bundle.manifest.mose["mode"] == mode
    assert ("exact" if mode == "merged" else "too large") in bundle.manifest.mose["why"]
    assert "report.html" in bundle.manifest.files
    # What was not compared end to end by the build is the same all the same.
    whole = load_checkpoint(checkpoint)
    pipeline = Pipeline(bundle, threads=1)
    for example in synthetic_examples(whole.config, 3):
        window = example.window
        with torch.no_grad():
            visual = whole.encode_visual(torch.from_numpy(window.frames)[None])
            audio = whole.encode_audio(torch.from_numpy(window.samples)[None])
            expected = whole.label_log_probabilities([window.transcript], visual, audio)[0].numpy()
        np.testing.assert_allclose(pipeline.forward(window).label_log_probs[0], expected, atol=1e-3)


def test_an_output_that_cannot_be_written_is_refused_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **settings: Any) -> Any:
        raise AssertionError("the checkpoint was opened")

    monkeypatch.setattr("mosear.export.build.map_checkpoint", never)
    done = run("reference", "-o", tmp_path / "none" / "bundle")
    assert done.exit_code == 3, done.output
    assert "is not a folder" in done.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"x")
    done = run("reference", "-o", tmp_path / "photos")
    assert done.exit_code == 3, done.output
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
