import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from mosear.calibration import thresholds
from mosear.calibration.gates import GateStatistics
from mosear.calibration.quantization import LinearRanges
from mosear.calibration.record import RECORD, TENSORS, Calibration, Choice, files_hash
from mosear.calibration.temperature import fit_temperature
from mosear.calibration.thresholds import Accuracy, Trial, accuracy_by_subset, best_trial, choose_reallocation
from mosear.model.checkpoint import checkpoint_hash, resolve
from mosear.model.configuration import MosearConfig
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import BadInput

SUBSETS = np.array(["video_aligned", "audio_aligned", "consistent"] * 20)


def test_temperature_finds_the_scale_that_was_hidden() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20000, 6))
    true = np.array([rng.choice(6, p=p) for p in softmax(logits, axis=-1)])
    for factor in (0.4, 1.0, 3.0):
        found = fit_temperature((factor * logits).astype(np.float32), true)
        assert found == pytest.approx(factor, rel=0.05)


def test_temperature_never_makes_the_loss_worse() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 5, (300, 4)).astype(np.float32)
    true = rng.integers(0, 4, 300)
    before = log_loss(true, softmax(logits, axis=-1), labels=range(4))
    after = log_loss(true, softmax(logits / fit_temperature(logits, true), axis=-1), labels=range(4))
    assert after <= before


def test_accuracy_by_subset_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(2)
    true, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    found = accuracy_by_subset(predicted, true, SUBSETS)
    for name in set(SUBSETS):
        rows = name == SUBSETS
        assert getattr(found, str(name)) == pytest.approx(accuracy_score(true[rows], predicted[rows]))
    assert found.gap == pytest.approx(found.audio_aligned - found.video_aligned)


class Scripted:
    """Stands for a model: how many audio- and video-aligned clips are right depends on the rate alone."""

    reallocation: Any = Reallocation(rate=0.9, threshold=0.1, rows="all", layers=(1,))


@pytest.mark.parametrize(("bound", "wanted"), [(0.0, 0.1), (0.1, 0.3), (1.0, 0.7)])
def test_the_choice_keeps_to_the_bound_on_audio_aligned_loss(
    monkeypatch: pytest.MonkeyPatch, bound: float, wanted: float
) -> None:
    right = {0.0: (10, 20), 0.1: (11, 20), 0.3: (16, 18), 0.7: (20, 15)}  # video- and audio-aligned, of 20

    def scripted(model: Scripted, transcripts: list[Any], encoded: Any) -> tuple[torch.Tensor, None, None]:
        rate = model.reallocation.rate if model.reallocation else 0.0
        video, audio = right[rate]
        scores = torch.zeros(60, 2)
        for name, count in (("video_aligned", video), ("audio_aligned", audio), ("consistent", 20)):
            for order, row in enumerate(np.flatnonzero(name == SUBSETS)):
                scores[row, 0 if order < count else 1] = 1.0
        return scores, None, None

    monkeypatch.setattr(thresholds, "score", scripted)
    model = Scripted()
    chosen, trials = choose_reallocation(
        model, [None] * 60, None, np.zeros(60, int), SUBSETS, bound, rates=(0.1, 0.3, 0.7), thresholds=(0.5,)
    )
    assert chosen is not None
    assert chosen.rate == wanted
    assert [trial.rate for trial in trials] == [0.0, 0.1, 0.3, 0.7]
    assert (chosen.rows, chosen.layers) == ("all", (1,))  # where it acts is the checkpoint's affair
    assert model.reallocation is Scripted.reallocation


def test_no_reallocation_where_none_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "score", lambda model, said, encoded: (torch.eye(2)[[0] * 60], None, None))
    chosen, _ = choose_reallocation(Scripted(), [None] * 60, None, np.zeros(60, int), SUBSETS)
    assert chosen is None


def trial(rate: float, video: float, audio: float) -> Trial:
    return Trial(rate, 0.5, Accuracy(video, audio, 1.0))


def test_losing_audio_aligned_accuracy_does_not_count_as_closing_the_gap() -> None:
    without = trial(0.0, 0.70, 0.90)
    gains, loses = trial(0.1, 0.75, 0.90), trial(0.2, 0.75, 0.89)  # the second has the smaller gap
    assert best_trial(without, [loses, gains], 0.01) is gains
    assert best_trial(without, [trial(0.1, 0.70, 0.89)], 0.01) is without
    # A closed gap is closed: beyond it, what is right more often wins, and then the gentler rate.
    closed, beyond = trial(0.1, 0.91, 0.90), trial(0.2, 0.95, 0.84)
    assert best_trial(without, [beyond, closed], 1.0) is closed
    assert best_trial(without, [trial(0.3, 0.8, 0.9), trial(0.2, 0.8, 0.9)], 0.01).rate == 0.2


def test_the_reference_has_what_the_rule_chooses_from_its_trials() -> None:
    folder = resolve("reference")
    config = MosearConfig.load(folder)
    record = Calibration.load(folder, checkpoint_hash(folder))
    tried = [
        Trial(row["rate"], row["threshold"], Accuracy(row["video_aligned"], row["audio_aligned"], row["consistent"]))
        for row in record.trials
    ]
    best = best_trial(tried[0], tried[1:], 0.01)
    setting = record.reallocation_for(config)
    assert setting is not None
    assert (best.rate, best.threshold) == (setting.rate, setting.threshold)


def record(checkpoint: str = "a" * 64) -> Calibration:
    gates = {"layers.0.q_proj": torch.tensor([[0.4, 0.0, 0.6], [0.0, 0.3, 0.7]])}
    return Calibration(checkpoint, 7, "b" * 64, "test", 1.5, GateStatistics(gates, gates), [{"rate": 0.0}])


def test_record_survives_a_round_trip(tmp_path: Path) -> None:
    record().save(tmp_path)
    loaded = Calibration.load(tmp_path, "a" * 64)
    assert loaded.temperature == 1.5
    assert loaded.clips == 7
    assert torch.equal(loaded.gates.mean["layers.0.q_proj"], record().gates.mean["layers.0.q_proj"])
    assert loaded.ranges is None
    assert loaded.reallocation is None
    assert Calibration.load(tmp_path / RECORD, "a" * 64).temperature == 1.5


RANGES = {
    "model.layers.0.self_attn.q_proj": LinearRanges(
        3.25, np.array([0.1, 2.0], np.float32), 1.125, np.array([1.5, 0.7], np.float32)
    ),
    "lm_head": LinearRanges(0.1),  # not a number that float32 holds exactly
    "a.mean": LinearRanges(2.0, np.array([3.0], np.float32), 6.0, None),  # a name that ends like a gate's
}


@pytest.mark.parametrize("setting", [None, Reallocation(0.3, 0.5, "last", (0, 2))])
def test_all_that_was_measured_survives_a_round_trip(tmp_path: Path, setting: Reallocation | None) -> None:
    whole = dataclasses.replace(
        record(),
        reallocation=Choice(setting),
        ranges=RANGES,
        ranges_from={"windows": 3},
        coverage={"labels": {"happy": 7}},
        notes=("temperature: kept",),
    )
    folder = tmp_path / "new" / "folder"
    whole.save(folder)
    loaded = Calibration.load(folder, "a" * 64)
    assert loaded.reallocation == Choice(setting)
    assert loaded.ranges_from == {"windows": 3}
    assert loaded.coverage == whole.coverage
    assert loaded.notes == whole.notes
    assert loaded.gates.mean.keys() == loaded.gates.variance.keys() == whole.gates.mean.keys()
    assert loaded.ranges is not None
    assert loaded.ranges.keys() == RANGES.keys()
    for key, wanted in RANGES.items():
        found = loaded.ranges[key]
        assert found.input_amax == pytest.approx(wanted.input_amax)
        assert found.smooth_amax == wanted.smooth_amax
        for name in ("smooth", "awq"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert found.smooth is None or found.smooth.dtype == np.float32
    loaded.save(tmp_path / "again")
    for name in (RECORD, TENSORS):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_first_schema_is_read(tmp_path: Path, tiny_model: Callable[..., Any]) -> None:
    record().save(tmp_path)
    old = ("checkpoint_sha256", "clips", "clips_sha256", "source", "temperature", "trials")
    content = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({"schema": 1} | {key: content[key] for key in old}))
    loaded = Calibration.load(tmp_path, "a" * 64)
    assert loaded.ranges is None
    assert loaded.temperature == 1.5
    config = tiny_model().config
    assert loaded.reallocation_for(config) == config.reallocation


def test_a_calibrated_choice_goes_before_the_checkpoint_s_setting(tiny_model: Callable[..., Any]) -> None:
    config = tiny_model().config
    assert config.reallocation is not None
    assert dataclasses.replace(record(), reallocation=Choice(None)).reallocation_for(config) is None
    other = Reallocation(0.1, 0.9)
    assert dataclasses.replace(record(), reallocation=Choice(other)).reallocation_for(config) == other


@pytest.mark.parametrize("damage", ["foreign", "newer", "not json", "not a table", "ranges", "no tensors", "absent"])
def test_record_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    record("c" * 64 if damage == "foreign" else "a" * 64).save(tmp_path)
    if damage == "newer":
        content = json.loads((tmp_path / RECORD).read_text())
        (tmp_path / RECORD).write_text(json.dumps(content | {"schema": 99}))
    elif damage == "not a table":
        (tmp_path / RECORD).write_text("[]")
    elif damage == "ranges":
        tensors = load_file(tmp_path / TENSORS)
        save_file(tensors | {"ranges.lm_head.unheard_of": torch.zeros(2)}, tmp_path / TENSORS)
        content = json.loads((tmp_path / RECORD).read_text())
        (tmp_path / RECORD).write_text(json.dumps(content | {"ranges": {"windows": 1}}))
    elif damage == "not json":
        (tmp_path / RECORD).write_text("{")
    elif damage == "no tensors":
        (tmp_path / "calibration.safetensors").write_bytes(b"junk")
    elif damage == "absent":
        (tmp_path / RECORD).unlink()
    with pytest.raises(BadInput) as caught:
        Calibration.load(tmp_path, "a" * 64)
    assert "calibrate" in caught.value.remedy


def test_files_hash_follows_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    before = files_hash([tmp_path / "a"])
    (tmp_path / "a").write_bytes(b"2")
    assert files_hash([tmp_path / "a"]) != before
