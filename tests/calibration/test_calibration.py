import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from mosear.calibration import thresholds
from mosear.calibration.gates import GateStatistics
from mosear.calibration.record import RECORD, Calibration, files_hash
from mosear.calibration.temperature import fit_temperature
from mosear.calibration.thresholds import accuracy_by_subset, choose_reallocation
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

    reallocation: Any = "untouched"


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
    assert model.reallocation == "untouched"


def test_no_reallocation_where_none_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "score", lambda model, said, encoded: (torch.eye(2)[[0] * 60], None, None))
    chosen, _ = choose_reallocation(Scripted(), [None] * 60, None, np.zeros(60, int), SUBSETS)
    assert chosen is None


def record(checkpoint: str = "a" * 64) -> Calibration:
    gates = {"layers.0.q_proj": torch.tensor([[0.4, 0.0, 0.6], [0.0, 0.3, 0.7]])}
    return Calibration(checkpoint, 7, "b" * 64, "test", 1.5, GateStatistics(gates, gates), [{"rate": 0.0}])


def test_record_survives_a_round_trip(tmp_path: Path) -> None:
    record().save(tmp_path)
    loaded = Calibration.load(tmp_path, "a" * 64)
    assert loaded.temperature == 1.5
    assert loaded.clips == 7
    assert torch.equal(loaded.gates.mean["layers.0.q_proj"], record().gates.mean["layers.0.q_proj"])


@pytest.mark.parametrize("damage", ["foreign", "newer", "not json", "no tensors", "absent"])
def test_record_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    record("c" * 64 if damage == "foreign" else "a" * 64).save(tmp_path)
    if damage == "newer":
        content = json.loads((tmp_path / RECORD).read_text())
        (tmp_path / RECORD).write_text(json.dumps(content | {"schema": 99}))
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
