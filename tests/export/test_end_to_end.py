"""From an MP4 to an emotion, by the commands alone, against the PyTorch model on the same decoded windows."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from transformers import DynamicCache

from mosear.calibration.record import Calibration
from mosear.export.merge import fix_gates
from mosear.model.attention import Telemetry
from mosear.model.checkpoint import checkpoint_hash, load_checkpoint, resolve
from mosear.model.configuration import preprocessing_of
from mosear.runtime.windows import read_windows

CLIPS = Path(__file__).parents[2] / "examples" / "clips"
RUN = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "onnx", "peft", "safetensors", "cv2", "scipy"}:
            raise ImportError(f"{name} must not be needed here")
sys.meta_path.insert(0, Blocker())
from mosear.runtime.cli import main
main()
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``mosear run`` in a process that can't import torch or transformers."""
    command = [sys.executable, "-c", RUN, "run", *map(str, arguments)]
    environment = {**os.environ, "MOSEAR_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.fixture(scope="module")
def reference() -> Any:
    model = load_checkpoint("reference")
    folder = resolve("reference")
    fix_gates(model, Calibration.load(folder, checkpoint_hash(folder)).gates)
    return model


@pytest.fixture(scope="module")
def answers(reference_bundle: Callable[[str], Path]) -> list[dict[str, Any]]:
    done = run(reference_bundle("fp32"), *sorted(CLIPS.glob("*.mp4")), "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert "rendered faces and synthetic voices" in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_every_example_is_answered_as_pytorch_answers_it(reference: Any, answers: list[dict[str, Any]]) -> None:
    clips = sorted(CLIPS.glob("*.mp4"))
    assert len(answers) == len(clips) >= 12
    temperature = Calibration.load(resolve("reference"), checkpoint_hash(resolve("reference"))).temperature
    for clip, answer in zip(clips, answers, strict=True):
        (window,) = read_windows(clip, preprocessing_of(reference.config))
        with torch.no_grad():
            visual = reference.encode_visual(torch.from_numpy(window.frames)[None])
            audio = reference.encode_audio(torch.from_numpy(window.samples)[None])
            wanted = {}
            for name, shown in (("all", (visual, audio)), ("visual", (visual, None)), ("audio", (None, audio))):
                scores = reference.label_log_probabilities([window.transcript], *shown)[0] / temperature
                wanted[name] = scores.softmax(-1).numpy()
            telemetry = Telemetry()
            reference(reference.sequence([window.transcript], "emotion", visual, audio), telemetry, keep=1)
        found = {"all": answer["scores"], **answer["by_modality"]}
        for name, scores in wanted.items():
            np.testing.assert_allclose([found[name][label] for label in reference.config.labels], scores, atol=1e-3)
        conflict = jensenshannon(wanted["visual"], wanted["audio"], base=2) ** 2
        assert answer["conflict"] == pytest.approx(conflict, abs=2e-3)
        heads = [[telemetry.layers[r], h] for _, r, h in telemetry.selected.nonzero().tolist()]
        assert answer["reallocated_heads"] == heads
        assert sum(answer["reliance"].values()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_examples_are_read_right_more_often_than_not(answers: list[dict[str, Any]]) -> None:
    with (CLIPS / "labels.csv").open(newline="") as file:
        labels = {row["name"]: row["label"] for row in csv.DictReader(file)}
    right = [labels[Path(answer["clip"]).name] == answer["label"] for answer in answers]
    assert sum(right) > len(right) / 2


def greedy(model: Any, sequence: Any, limit: int = 200) -> str:
    """Greedy text of the transformers decoder on its own KV cache, reallocating anew in every step."""
    cache = DynamicCache()
    embeds, modality, positions = model.embed(sequence), sequence.modality, sequence.position_ids
    end, tokens = model.tokenizer.token_to_id("</s>"), []
    while len(tokens) < limit:
        logits = model.step(embeds, modality, positions, cache)
        token = int(logits[0].argmax())
        if token == end:
            break
        tokens.append(token)
        embeds = model.decoder.get_input_embeddings()(torch.tensor([[token]]))
        modality = torch.cat([modality, torch.zeros(1, 1, dtype=modality.dtype)], dim=1)
        positions = positions[:, -1:] + 1
    return str(model.tokenizer.decode(tokens)).strip()


@pytest.mark.slow
def test_reason_is_what_transformers_generates(reference: Any, reference_bundle: Callable[[str], Path]) -> None:
    clips = [CLIPS / f"clip_{number:05d}.mp4" for number in (2, 7)]
    done = run(reference_bundle("fp32"), *clips, "--format", "jsonl", "--reason")
    assert done.returncode == 0, done.stderr
    for clip, line in zip(clips, done.stdout.splitlines(), strict=True):
        (window,) = read_windows(clip, preprocessing_of(reference.config))
        with torch.no_grad():
            visual = reference.encode_visual(torch.from_numpy(window.frames)[None])
            audio = reference.encode_audio(torch.from_numpy(window.samples)[None])
            wanted = greedy(reference, reference.sequence([None], "reason", visual, audio))
        assert len(wanted.split()) > 5
        assert json.loads(line)["reason"] == wanted
