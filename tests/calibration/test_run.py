"""From a checkpoint and clips to a record."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import calibration_clips as made
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mosear.calibration import run
from mosear.calibration.__main__ import app
from mosear.calibration.gates import measure_gates
from mosear.calibration.record import RECORD, Calibration
from mosear.calibration.run import calibrate_clips, clips_for_bound
from mosear.calibration.temperature import fit_temperature
from mosear.calibration.thresholds import choose_reallocation
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, save_checkpoint
from mosear.model.configuration import MosearConfig
from mosear.model.data import Windows
from mosear.model.pretraining import encode_all
from mosear.model.scoring import score
from mosear.runtime.errors import BadInput

EXAMPLES = Path(__file__).parents[2] / "examples" / "clips"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_few_clips_cannot_tell_is_kept_and_said(tiny_checkpoint: Path, tmp_path: Path) -> None:
    before = files(tiny_checkpoint)
    stages: list[tuple[str, float]] = []
    record = calibrate_clips(
        tiny_checkpoint, EXAMPLES, methods=None, progress=lambda stage, fraction: stages.append((stage, fraction))
    )
    assert files(tiny_checkpoint) == before
    assert record.clips == 18
    assert record.source == "clips"
    assert record.reallocation is None
    assert record.trials == []
    assert record.temperature == 1.0
    assert any("reallocation" in note and "6 video_aligned" in note for note in record.notes)
    assert any("temperature" in note and "not calibrated" in note for note in record.notes)
    assert record.ranges is None
    record.save(tmp_path)
    loaded = Calibration.load(tmp_path, checkpoint_hash(tiny_checkpoint))
    assert loaded.notes == record.notes
    assert loaded.coverage == record.coverage
    assert stages[0] == ("windows", 0.0)
    assert all(0 <= fraction <= 1 for _, fraction in stages)


def test_the_checkpoint_s_own_temperature_is_kept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    record = calibrate_clips(folder, EXAMPLES, methods=None)
    dataclasses.replace(record, temperature=2.5).save(folder)
    again = calibrate_clips(folder, EXAMPLES, methods=None)
    assert again.temperature == 2.5
    assert any("own is kept" in note for note in again.notes)


def test_enough_clips_settle_everything(tiny_checkpoint: Path, arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures as from the parts, called one by one on the same windows in their own order."""
    monkeypatch.setattr(run, "clips_for_bound", lambda bound: 12)
    monkeypatch.setattr(run, "LEAST_LABELLED", 36)
    record = calibrate_clips(tiny_checkpoint, arrays, count=None, max_audio_loss=0.3, methods=())
    model, windows = load_checkpoint(tiny_checkpoint), Windows.open(arrays)
    encoded = encode_all(model, windows, lambda *_: None)
    said = [str(text) or None for text in windows.table["transcript"]]
    true = windows.label_ids("label", model.config.labels)
    chosen, trials = choose_reallocation(model, said, encoded, true, windows.table["subset"], 0.3)
    assert record.reallocation is not None
    assert record.reallocation.setting == chosen
    assert [trial.row() for trial in trials] == record.trials
    model.reallocation = chosen
    gates = measure_gates(model, said, encoded)
    for path, mean in gates.mean.items():
        torch.testing.assert_close(record.gates.mean[path], mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(record.gates.variance[path], gates.variance[path], atol=1e-5, rtol=1e-3)
    scores = score(model, said, encoded)[0].numpy()
    assert record.temperature == pytest.approx(fit_temperature(scores, true), rel=1e-3)
    assert record.notes == ()
    assert record.ranges is not None
    assert {"lm_head", "vision.projector"} < record.ranges.keys()
    assert record.ranges_from["windows"] == 36


def test_the_same_clips_give_the_same_record(tiny_checkpoint: Path, arrays: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        calibrate_clips(tiny_checkpoint, arrays, count=18, seed=1, methods=("smoothquant",)).save(tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_model_without_experts_is_calibrated_too(
    tiny_model: Callable[..., Any], arrays: Path, tmp_path: Path
) -> None:
    save_checkpoint(tiny_model(mose=None), tmp_path / "bare")
    record = calibrate_clips(tmp_path / "bare", arrays, methods=())
    record.save(tmp_path / "record")
    loaded = Calibration.load(tmp_path / "record", checkpoint_hash(tmp_path / "bare"))
    assert loaded.gates.mean == {}
    assert loaded.ranges is not None
    assert "model.layers.0.self_attn.q_proj" in loaded.ranges


def test_labels_that_the_model_does_not_know_are_noted(tiny_checkpoint: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    media = [(made.picture(rng), made.voice(rng)) for _ in range(20)]
    rows = [("amused" if i % 2 else "happy", "", "") for i in range(20)]
    record = calibrate_clips(tiny_checkpoint, made.write_arrays(tmp_path / "a", media, rows), methods=None)
    assert any("10 clips have none of the model's labels" in note for note in record.notes)
    assert record.coverage["labels"] == {"amused": 10, "happy": 10}


def test_noise_declared_as_calibration_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = made.write_arrays(tmp_path / "noise", [made.noise(rng) for _ in range(30)], made.balanced(30))
    with pytest.raises(BadInput, match="noise"):
        calibrate_clips(tiny_checkpoint, folder, methods=None)


@pytest.mark.parametrize(("bound", "clips"), [(0.01, 100), (0.02, 50), (0.5, 30), (0.0, 100), (0.001, 100)])
def test_a_bound_needs_clips_that_can_show_it(bound: float, clips: int) -> None:
    assert clips_for_bound(bound) == clips


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_calibrates_in_place_and_adds_ranges_alone(
    tiny_checkpoint: Path, arrays: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    done = command(folder, "--data", arrays, "--no-ranges", "--threads", 1, "--source", "blobs")
    assert done.exit_code == 0, done.output
    first = Calibration.load(folder, checkpoint_hash(folder))
    assert (first.source, first.clips, first.ranges) == ("blobs", 36, None)
    assert first.reallocation_for(MosearConfig.load(folder)) == MosearConfig.load(folder).reallocation
    done = command(folder, "--data", arrays, "--only-ranges", "-o", tmp_path / "out", "--threads", 1)
    assert done.exit_code == 0, done.output
    second = Calibration.load(tmp_path / "out", checkpoint_hash(folder))
    assert second.ranges is not None
    for path, mean in first.gates.mean.items():
        assert torch.equal(second.gates.mean[path], mean)
    kept = json.loads((folder / RECORD).read_text())
    found = json.loads((tmp_path / "out" / RECORD).read_text())
    assert {key for key in kept if kept[key] != found[key]} == {"ranges"}


def test_the_command_reports_what_is_wrong(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = command(tiny_checkpoint, "--data", tmp_path, "--threads", 1)
    assert done.exit_code == 3
    assert "error:" in done.stderr
    assert "fix:" in done.stderr
