import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mosear.model.data import AUDIO_CUES, COLUMNS, FRAMES, LABELS_TABLE, SAMPLES, VISUAL_CUES, Windows
from mosear.model.pretraining import augment, encode_all, pretrain_encoders, soft_targets
from mosear.model.scoring import score
from mosear.model.stages import Stage, train_stage
from mosear.model.training import Plan
from mosear.runtime.errors import BadInput

REFERENCE_PLAN = Path(__file__).parents[2] / "model" / "reference.yaml"
LABELS = ("neutral", "angry", "happy", "sad", "worried", "surprise")


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    """Sixty windows whose picture's brightness tells the visual label and whose tone the audio label."""
    rng = np.random.default_rng(0)
    seen, heard = rng.integers(0, 6, 60), rng.integers(0, 6, 60)
    frames = np.clip(40 * seen[:, None, None, None, None] + rng.normal(0, 5, (60, 4, 32, 32, 3)), 0, 255)
    tone = np.sin(2 * np.pi * (200 * (heard[:, None] + 1)) * np.arange(16000) / 16000)
    np.save(tmp_path / FRAMES, frames.astype(np.uint8))
    np.save(tmp_path / SAMPLES, (8000 * tone).astype(np.int16))
    np.save(tmp_path / VISUAL_CUES, np.repeat(seen[:, None, None], 4, axis=1).astype(np.float32))
    np.save(tmp_path / AUDIO_CUES, heard[:, None].astype(np.float32))
    with (tmp_path / LABELS_TABLE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for v, a in zip(seen, heard, strict=True):
            writer.writerow(["audio_aligned", LABELS[a], LABELS[v], LABELS[a], 0.9, 0.9, "", f"It sounds {LABELS[a]}."])
    return Windows.open(tmp_path)


def silent(stage: str, fraction: float, note: str) -> None:
    return None


@pytest.mark.parametrize("bfloat16", [False, True])
def test_training_the_experts_learns_and_leaves_the_backbone_alone(
    tiny_model: Any, windows: Windows, bfloat16: bool
) -> None:
    model = tiny_model()
    with torch.no_grad():  # the random decoder's tied head is too small to prefer any word, whatever it reads
        model.decoder.get_input_embeddings().weight.mul_(10)
    encoded = encode_all(model, windows, silent)
    true = torch.from_numpy(windows.label_ids("label", LABELS))
    transcripts: list[str | None] = [None] * 60

    def loss() -> float:
        model.reallocation = None
        scores = score(model, transcripts, encoded)[0]
        return float(torch.nn.functional.nll_loss(scores, true))

    frozen = {name: tensor.clone() for name, tensor in model.state_dict().items() if "lora" not in name}
    frozen = {name: tensor for name, tensor in frozen.items() if not name.endswith(".gate")}
    model.requires_grad_(False)
    for module in model.experts.values():
        for parameter in (*module.lora_A.parameters(), *module.lora_B.parameters(), module.gate):
            parameter.requires_grad_(True)
    before = loss()
    train_stage(
        "experts", model, windows, encoded, Stage(60, 1e-2, {"audio_aligned": 1.0}, batch=16), 0, silent, bfloat16
    )
    assert loss() < before - 1.0
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in frozen.items())


def test_augmentation_keeps_shape_and_moves_pixels() -> None:
    frames = torch.randint(0, 256, (4, 2, 16, 16, 3), dtype=torch.uint8)
    changed = augment(frames, torch.Generator().manual_seed(1))
    assert changed.shape == frames.shape
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, frames)


def test_weak_expression_is_partly_neutral() -> None:
    targets = soft_targets(np.array([2, 0, 3]), np.array([0.25, 0.0, 1.0], dtype=np.float32), 6, neutral=0)
    torch.testing.assert_close(targets.sum(-1), torch.ones(3))
    assert targets[0, 2] == 0.25
    assert targets[0, 0] == 0.75
    assert targets[1, 0] == 1.0
    assert targets[2, 3] == 1.0


def test_shipped_plan_loads_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    plan = Plan.load(REFERENCE_PLAN)
    assert plan.model.labels == LABELS
    assert replace(plan.model).preprocessing.window_samples == 48000
    broken = REFERENCE_PLAN.read_text().replace("vocabulary:", "vocabularyy:")
    (tmp_path / "plan.yaml").write_text(broken)
    with pytest.raises(BadInput, match="vocabulary"):
        Plan.load(tmp_path / "plan.yaml")
    with pytest.raises(BadInput):
        Plan.load(tmp_path / "absent.yaml")


@pytest.mark.parametrize("damage", ["no frames", "no column", "short", "pickle"])
def test_incomplete_training_data_is_refused(tmp_path: Path, windows: Windows, damage: str) -> None:
    if damage == "no frames":
        (tmp_path / FRAMES).unlink()
    elif damage == "no column":
        text = (tmp_path / LABELS_TABLE).read_text()
        (tmp_path / LABELS_TABLE).write_text(text.replace("visual_label", "other", 1))
    elif damage == "short":
        np.save(tmp_path / SAMPLES, np.zeros((3, 16000), dtype=np.int16))
    else:
        np.save(tmp_path / FRAMES, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput):
        Windows.open(tmp_path)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_encoders_learn_what_their_modality_shows(tiny_model: Any, windows: Windows, bfloat16: bool) -> None:
    model = tiny_model()
    losses: dict[str, list[float]] = {}

    def note(stage: str, fraction: float, text: str) -> None:
        losses.setdefault(stage, []).append(float(text.removeprefix("loss ")))

    pretrain_encoders(model, windows, (60, 60), 3e-3, 0, note, bfloat16)
    assert losses["vision encoder"][-1] < losses["vision encoder"][0] - 0.4
    assert losses["audio encoder"][-1] < losses["audio encoder"][0] - 0.4
    assert not any(p.requires_grad for p in (*model.vision.parameters(), *model.audio.parameters()))
    assert model.decoder.config._attn_implementation == "mosear"
