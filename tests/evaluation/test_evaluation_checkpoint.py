"""A checkpoint under evaluation: its numbers are the model's own, and each variant is what its name says."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mosear.evaluation.asking import Asking
from mosear.evaluation.checkpoint_model import CheckpointModel
from mosear.evaluation.variants import ABLATION, AS_IS, BASE, BOTH, ONLY_AR, ONLY_MOSE
from mosear.model.checkpoint import load_checkpoint, save_checkpoint
from mosear.model.modeling import Mosear
from mosear.model.reallocation import Reallocation
from mosear.runtime.errors import UsageError
from mosear.runtime.scores import jensen_shannon, label_scores
from mosear.runtime.windows import Window


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    # The threshold is below the share of three sounds among sixteen pictures, so that heads are chosen.
    save_checkpoint(tiny_model(reallocation={"rate": 0.5, "threshold": 0.05}), folder)
    return folder


def window(seed: int = 0, picture: bool = True, sound: bool = True) -> Window:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (4, 32, 32, 3), np.uint8) if picture else None
    samples = random.normal(0, 0.1, 16000).astype(np.float32) if sound else None
    return Window(0.0, 1.0, frames, samples, "hello", ())


def truth(model: Mosear, seen: Window, hide: str | None = None) -> np.ndarray:
    """Label scores by the model's own method, which runs a prompt at a time."""
    assert seen.frames is not None
    assert seen.samples is not None
    visual = None if hide == "visual" else model.encode_visual(torch.from_numpy(seen.frames)[None])
    audio = None if hide == "audio" else model.encode_audio(torch.from_numpy(seen.samples)[None])
    with torch.no_grad():
        return label_scores(model.label_log_probabilities([seen.transcript], visual, audio).numpy(), 1.0)[0]


def test_a_checkpoint_as_it_is(checkpoint: Path) -> None:
    model, seen = load_checkpoint(checkpoint), window()
    ((name, view),) = CheckpointModel(checkpoint, Asking()).look(seen, "clip")
    emotion = view.emotion
    assert name == AS_IS
    np.testing.assert_allclose(list(emotion.scores.values()), truth(model, seen), atol=1e-5)
    face, voice = truth(model, seen, "audio"), truth(model, seen, "visual")
    np.testing.assert_allclose(list(emotion.by_modality["visual"].values()), face, atol=1e-5)
    np.testing.assert_allclose(list(emotion.by_modality["audio"].values()), voice, atol=1e-5)
    assert emotion.conflict == pytest.approx(jensen_shannon(face, voice), abs=1e-5)
    assert sum(emotion.reliance.values()) == pytest.approx(1.0, abs=1e-5)


def test_each_variant_is_what_its_name_says(checkpoint: Path) -> None:
    subject = CheckpointModel(checkpoint, Asking(), ABLATION, base_reallocation=(0.9, 0.08))
    for seed in range(3):
        seen = window(seed)
        found = {name: view.emotion for name, view in subject.look(seen, "clip")}
        assert list(found) == list(ABLATION)
        for name, experts, setting in (
            (BASE, False, None),
            (ONLY_MOSE, True, None),
            (ONLY_AR, False, Reallocation(0.9, 0.08)),
            (BOTH, True, Reallocation(0.5, 0.05)),
        ):
            model = load_checkpoint(checkpoint, with_experts=experts)
            model.reallocation = setting
            np.testing.assert_allclose(list(found[name].scores.values()), truth(model, seen), atol=1e-5)
            assert bool(found[name].reallocated_heads) == (setting is not None)
        everything = [tuple(each.scores.values()) for each in found.values()]
        assert len(set(everything)) == 4  # and none of them is another one


def test_the_base_reports_its_attention_and_moves_none(checkpoint: Path) -> None:
    subject = CheckpointModel(checkpoint, Asking(), (BASE,))
    ((_, view),) = subject.look(window(), "clip")
    assert view.prefill is not None
    assert view.prefill.modality_mass is not None
    assert view.prefill.modality_mass.shape == (3, 2, 4, 3)
    assert view.emotion.reallocated_heads == []
    mean = view.prefill.modality_mass[0].mean(axis=(0, 1))
    assert list(view.emotion.reliance.values()) == pytest.approx(mean[[1, 2, 0]], abs=1e-6)


def test_gates_are_means_over_the_rows_of_each_class(checkpoint: Path) -> None:
    ((_, view),) = CheckpointModel(checkpoint, Asking()).look(window(), "clip")
    assert set(view.gates) == {f"model.layers.{layer}.self_attn.{name}_proj" for layer in (0, 1) for name in "qv"}
    for gate in view.gates.values():
        np.testing.assert_allclose(gate.sum(axis=1), 1.0, atol=1e-5)
        assert gate[0, 1] == gate[1, 0] == 0.0  # nobody uses the other class's expert
    ((_, bare),) = CheckpointModel(checkpoint, Asking(), (BASE,)).look(window(), "clip")
    assert bare.gates == {}


@pytest.mark.parametrize(("picture", "sound"), [(True, False), (False, True)])
def test_a_missing_modality(checkpoint: Path, picture: bool, sound: bool) -> None:
    ((_, view),) = CheckpointModel(checkpoint, Asking()).look(window(0, picture, sound), "clip")
    there, missing = ("visual", "audio") if picture else ("audio", "visual")
    assert view.emotion.by_modality[there] == view.emotion.scores
    assert view.emotion.by_modality[missing] is None
    assert view.emotion.conflict is None


def test_nothing_to_see_or_hear(checkpoint: Path) -> None:
    views = list(CheckpointModel(checkpoint, Asking(), (BASE, BOTH)).look(window(0, False, False), "clip"))
    assert [(name, view.emotion.label, view.prefill) for name, view in views] == [
        (BASE, "unknown", None),
        (BOTH, "unknown", None),
    ]


def test_what_is_not_there_can_not_be_taken_away(tiny_model: Callable[..., Any], tmp_path: Path) -> None:
    save_checkpoint(tiny_model(mose=None), tmp_path / "bare")
    with pytest.raises(UsageError, match="no experts"):
        CheckpointModel(tmp_path / "bare", Asking(), ABLATION)
    save_checkpoint(tiny_model(reallocation=None), tmp_path / "plain")
    with pytest.raises(UsageError, match="no attention reallocation"):
        CheckpointModel(tmp_path / "plain", Asking(), ABLATION)
    ((_, view),) = CheckpointModel(tmp_path / "plain", Asking()).look(window(), "clip")
    assert view.emotion.reallocated_heads == []


def test_writing_is_transformers_greedy_text(checkpoint: Path) -> None:
    """Against the whole sequence run anew for every token, without a cache."""
    subject = CheckpointModel(checkpoint, dataclasses.replace(Asking(), answer="write", reason=True))
    seen = window()
    ((_, view),) = subject.look(seen, "clip")
    model = load_checkpoint(checkpoint)
    model.reallocation = None
    plain = CheckpointModel(checkpoint, Asking(answer="write"), (ONLY_MOSE,))
    ((_, without),) = plain.look(seen, "clip")
    visual = model.encode_visual(torch.from_numpy(seen.frames)[None])
    audio = model.encode_audio(torch.from_numpy(seen.samples)[None])
    written: list[int] = []
    end = model.tokenizer.token_to_id("</s>")
    with torch.no_grad():
        for _ in range(24):
            sequence = model.sequence(["hello"], "emotion", visual, audio, [written])
            token = int(model(sequence, keep=1)[0, -1].argmax())
            if token == end:
                break
            written.append(token)
    assert without.text == model.tokenizer.decode(written).strip()
    assert view.text is not None
    assert view.emotion.reason is not None
