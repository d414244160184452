"""What windows share is computed once, and changes no answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import runtime_fakes

from mosear.runtime.bundle import Bundle
from mosear.runtime.frame_memory import FrameMemory
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.results import Emotion
from mosear.runtime.windows import Window


def a_window(seed: int = 0, transcript: str | None = "hello") -> Window:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (8, 64, 64, 3), np.uint8)
    return Window(0.0, 3.0, frames, random.normal(size=48000).astype(np.float32) * 0.3, transcript)


def assert_same(found: Emotion, wanted: Emotion, atol: float = 1e-5) -> None:
    assert (found.label, found.states, found.reason) == (wanted.label, wanted.states, wanted.reason)
    assert found.reallocated_heads == wanted.reallocated_heads
    for label, score in wanted.scores.items():
        assert found.scores[label] == pytest.approx(score, abs=atol)
    for name, scores in wanted.by_modality.items():
        assert (found.by_modality[name] is None) == (scores is None)
        for label, score in (scores or {}).items():
            assert found.by_modality[name][label] == pytest.approx(score, abs=atol)


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Labels of one, two and three tokens."""
    return runtime_fakes.open_bundle(tmp_path_factory.mktemp("multi") / "bundle", label_ids=runtime_fakes.MULTI)


def test_a_held_beginning_changes_no_answer_whatever_comes_in_between(multi: Bundle) -> None:
    held, whole = Pipeline(multi, threads=1), Pipeline(multi, threads=1, hold_beginning=False)
    shapes = [
        (a_window(0), False),
        (replace(a_window(1), samples=None), True),
        (a_window(2, None), True),
        (replace(a_window(3), frames=None), False),
        (a_window(0), False),
    ]
    for window, reason in shapes:
        assert_same(held.analyse(window, reason=reason), whole.analyse(window, reason=reason))


def test_the_beginning_runs_once_and_then_no_more(multi: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    from mosear.runtime.sessions.onnxruntime import BoundGraph

    run = BoundGraph.run

    def counting(self: BoundGraph, inputs: dict[str, np.ndarray], cache: dict) -> dict:
        lengths.append(inputs["inputs_embeds"].shape[1])
        return run(self, inputs, cache)

    monkeypatch.setattr(BoundGraph, "run", counting)
    held = Pipeline(multi, threads=1)
    assert len(lengths) == 1
    beginning = lengths[0]
    whole = len(held._assemble(a_window(), "emotion")[0])
    held.forward(a_window())
    held.forward(a_window(1))
    assert beginning > 0
    assert [length for length in lengths[1:] if length > 1] == [whole - beginning] * 2


def test_windows_together_are_answered_as_alone(multi: Bundle) -> None:
    pipeline = Pipeline(multi, threads=1)
    windows = [
        a_window(0),
        a_window(1, None),
        replace(a_window(2), samples=None),
        replace(a_window(3), frames=None, samples=None, states=("no_video", "no_audio")),
        a_window(4),
        a_window(5, "hello word1 word2"),
    ]
    together = pipeline.analyse_many(windows, [f"clip {place}" for place in range(6)])
    assert [each.clip for each in together] == [f"clip {place}" for place in range(6)]
    for window, found in zip(windows, together, strict=True):
        assert_same(found, pipeline.analyse(window))
    assert together[3].label == "unknown"
    assert pipeline.analyse_many([], []) == []


def test_frames_that_windows_share_are_encoded_once(toy_bundle: Path) -> None:
    pipeline = Pipeline(Bundle.open(toy_bundle), threads=1)
    random = np.random.default_rng(0)
    stream = random.integers(0, 256, (14, 64, 64, 3), np.uint8)
    for start in (0, 3, 6):
        window = replace(a_window(start), frames=stream[start : start + 8])
        keyed = replace(window, frame_keys=tuple(range(start, start + 8)))
        assert_same(pipeline.analyse(keyed), pipeline.analyse(window))
    assert pipeline.frame_memory.encoded == 14
    assert pipeline.frame_memory.reused == 10


def test_memory_of_clips_shares_whole_clips_only_and_forgets() -> None:
    calls: list[int] = []

    def encode(clips: np.ndarray) -> np.ndarray:
        calls.append(len(clips))
        return clips.reshape(len(clips), -1).sum(axis=1, dtype=np.float64)[:, None, None]

    memory = FrameMemory(2)
    clips = np.random.default_rng(1).integers(0, 256, (3, 2, 4, 4, 3), np.uint8)
    first = memory.embeds(clips, list("abcdef"), encode)
    moved = memory.embeds(clips[[1, 2, 0]], list("cdefgh"), encode)
    np.testing.assert_array_equal(moved[:2], first[1:])
    memory.embeds(clips[[0, 1, 2]], list("bcdefg"), encode)
    assert calls == [3, 1, 3]
    memory.embeds(clips, list("abcdef"), encode)
    assert calls == [3, 1, 3, 3]
    with pytest.raises(ValueError, match="keys"):
        memory.embeds(clips, list("abc"), encode)


def test_the_same_new_frame_twice_in_a_window_is_encoded_once() -> None:
    memory = FrameMemory(1)
    clips = np.zeros((4, 1, 2, 2, 3), np.uint8)
    clips[3] = 9
    seen: list[int] = []

    def encode(clips: np.ndarray) -> np.ndarray:
        seen.append(len(clips))
        return clips.astype(np.float32).mean(axis=(1, 2, 3, 4))[:, None, None]

    embeds = memory.embeds(clips, ["x", "x", "x", "y"], encode)
    assert seen == [2]
    np.testing.assert_allclose(embeds[:, 0, 0], [0, 0, 0, 9])
