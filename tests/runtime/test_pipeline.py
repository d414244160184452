"""The pipeline on the toy model, against the same model in NumPy that sees the whole sequence at once."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import runtime_fakes
import scipy.special
from runtime_fakes import EMBEDDING, IDS, TASKS, TEMPLATE
from scipy.spatial.distance import jensenshannon

from mosear.runtime.bundle import Bundle, file_entry
from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.manifest import Manifest, write_manifest
from mosear.runtime.modality import LABELS, Modality
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.prompt import Prompt, assemble
from mosear.runtime.windows import Window, read_windows

PROMPT = Prompt(TEMPLATE, TASKS, "nothing")


@pytest.fixture(scope="module")
def single(toy_bundle: Path) -> Pipeline:
    return Pipeline(Bundle.open(toy_bundle), threads=1)


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Labels of one, two and three tokens."""
    folder = tmp_path_factory.mktemp("multi") / "bundle"
    return Pipeline(runtime_fakes.open_bundle(folder, label_ids=runtime_fakes.MULTI), threads=1)


def _window(seed: int = 0, **changes) -> Window:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (8, 64, 64, 3), np.uint8)
    samples = random.normal(size=48000).astype(np.float32) * 0.3
    return replace(Window(0.0, 3.0, frames, samples, "hello"), **changes)


def _sequence(window: Window, row: str, task: str = "emotion") -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [S, D] and modality [S] of a row, laid out by hand."""
    ids, modality = assemble(PROMPT, runtime_fakes.make_tokenizer(), 8, 2, window.transcript, task)
    embeds = np.zeros((len(ids), runtime_fakes.D), np.float32)
    embeds[ids >= 0] = EMBEDDING[ids[ids >= 0]]
    seen, heard = window.frames is not None and row != "audio", window.samples is not None and row != "visual"
    if seen:
        embeds[modality == 1] = runtime_fakes.truth_visual(window.frames)
    if heard:
        embeds[modality == 2] = runtime_fakes.truth_audio(window.samples)
    modality = modality.copy()
    if not seen:
        modality[modality == 1] = Modality.HIDDEN
    if not heard:
        modality[modality == 2] = Modality.HIDDEN
    return embeds, modality


def _truth_log_probs(window: Window, row: str, labels: dict[str, list[int]]) -> list[float]:
    log_probs = []
    for tokens in labels.values():
        embeds, modality = _sequence(window, row)
        total = 0.0
        for token in tokens:
            total += scipy.special.log_softmax(runtime_fakes.truth_logits(embeds, modality))[token]
            embeds = np.concatenate([embeds, EMBEDDING[[token]]])
            modality = np.append(modality, 0)
        log_probs.append(total)
    return log_probs


def _truth_scores(window: Window, row: str, labels: dict[str, list[int]]) -> np.ndarray:
    return scipy.special.softmax(np.array(_truth_log_probs(window, row, labels)) / 1.5)


def _values(scores: dict[str, float]) -> list[float]:
    return [scores[label] for label in LABELS]


@pytest.mark.parametrize("seed", range(3))
def test_three_rows_against_the_truth(single: Pipeline, seed: int) -> None:
    window = _window(seed)
    prefill = single.forward(window)
    assert prefill.rows == ("all", "visual", "audio")
    for row, logits in zip(prefill.rows, prefill.logits, strict=True):
        assert np.allclose(logits, runtime_fakes.truth_logits(*_sequence(window, row)), atol=1e-4)
    assert np.allclose(prefill.visual_embeds.reshape(8, -1), runtime_fakes.truth_visual(window.frames), atol=1e-5)
    assert np.allclose(prefill.audio_embeds[0], runtime_fakes.truth_audio(window.samples), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_against_the_truth(single: Pipeline, seed: int) -> None:
    window = _window(seed)
    emotion = single.analyse(window, "clip.mp4")
    both, face, voice = (_truth_scores(window, row, runtime_fakes.SINGLE) for row in ("all", "visual", "audio"))
    assert _values(emotion.scores) == pytest.approx(both, abs=1e-5)
    assert _values(emotion.by_modality["visual"]) == pytest.approx(face, abs=1e-5)
    assert _values(emotion.by_modality["audio"]) == pytest.approx(voice, abs=1e-5)
    assert emotion.conflict == pytest.approx(jensenshannon(face, voice, base=2) ** 2, abs=1e-5)
    assert emotion.label == LABELS[int(np.argmax(both))]
    assert sum(emotion.scores.values()) == pytest.approx(1)
    assert {"vision", "audio", "prefill", "labels", "total"} == set(emotion.timings_ms)


def test_what_the_answer_relied_on(single: Pipeline) -> None:
    emotion = single.analyse(_window())
    _, modality = _sequence(_window(), "all")
    count = len(modality)
    # Head 0 of each layer is selected and head 1 is not: half of the heads give 0.3 of their audio mass away.
    assert emotion.reallocated_heads == [[0, 0], [1, 0]]
    assert emotion.reliance == pytest.approx(
        {"visual": (8 + 0.15 * 2) / count, "audio": (2 - 0.15 * 2) / count, "text": (count - 10) / count}, abs=1e-6
    )


@pytest.mark.parametrize(("rows", "moved"), [("text", 0.0), ("last", 0.15 * 2), ("all", 0.15 * 2)])
def test_a_prompt_that_ends_in_sound(tmp_path: Path, rows: str, moved: float) -> None:
    """Where only text rows are reallocated, the last one is not."""
    prompt = {"template": "{transcript} {task} {visual}{audio}", "tasks": TASKS, "no_transcript": "nothing"}
    settings = {"rate": 0.3, "threshold": 0.1, "rows": rows, "layers": [0, 1]}
    bundle = runtime_fakes.open_bundle(tmp_path / "b", prompt=prompt, reallocation=settings)
    emotion = Pipeline(bundle, threads=1).analyse(_window())
    count = 3 + 8 + 2
    assert emotion.reliance["audio"] == pytest.approx((2 - moved) / count, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_several_tokens_are_fed_token_by_token(multi: Pipeline, seed: int) -> None:
    window = _window(seed)
    prefill = multi.forward(window)
    for row, log_probs in zip(prefill.rows, prefill.label_log_probs, strict=True):
        assert log_probs == pytest.approx(_truth_log_probs(window, row, runtime_fakes.MULTI), abs=1e-3)
    emotion = multi.analyse(window)
    assert _values(emotion.scores) == pytest.approx(_truth_scores(window, "all", runtime_fakes.MULTI), abs=1e-5)
    assert _values(emotion.by_modality["audio"]) == pytest.approx(
        _truth_scores(window, "audio", runtime_fakes.MULTI), abs=1e-5
    )


def test_windows_leave_nothing_behind(multi: Pipeline) -> None:
    """A long prompt, then a short one with other rows, then the long one again: the cache is reused, not remembered."""
    long, short = _window(0, transcript="hello " * 60), _window(1, samples=None, transcript=None)
    before = multi.analyse(long)
    assert _values(multi.analyse(short).scores) == pytest.approx(
        _truth_scores(short, "all", runtime_fakes.MULTI), abs=1e-5
    )
    assert multi.analyse(long).scores == before.scores


@pytest.mark.parametrize(("missing", "left"), [("samples", "visual"), ("frames", "audio")])
def test_a_missing_modality(single: Pipeline, missing: str, left: str) -> None:
    window = _window(2, **{missing: None})
    prefill = single.forward(window)
    assert prefill.rows == ("all",)
    emotion = single.analyse(window)
    assert _values(emotion.scores) == pytest.approx(_truth_scores(window, "all", runtime_fakes.SINGLE), abs=1e-5)
    assert emotion.by_modality[left] == emotion.scores
    assert emotion.by_modality["audio" if left == "visual" else "visual"] is None
    assert emotion.conflict is None
    assert emotion.reallocated_heads == []
    # The answer without a modality is the answer of the row that did not see it.
    whole = single.analyse(_window(2))
    assert _values(emotion.scores) == pytest.approx(_values(whole.by_modality[left]), abs=1e-5)


def test_neither_modality_is_unknown(single: Pipeline) -> None:
    window = _window(frames=None, samples=None, states=("no_video", "no_speech"))
    emotion = single.analyse(window)
    assert (emotion.label, emotion.scores, emotion.conflict) == ("unknown", {}, None)
    assert emotion.states == ["no_video", "no_speech", "unknown"]
    with pytest.raises(ValueError, match="neither"):
        single.forward(window)


def test_reasons_are_the_greedy_continuation(single: Pipeline) -> None:
    window = _window(4)
    embeds, modality = _sequence(window, "all", "reason")
    words: list[int] = []
    while len(modality) < runtime_fakes.CAPACITY + 1:
        token = int(np.argmax(runtime_fakes.truth_logits(embeds, modality)))
        if token == IDS["</s>"]:
            break
        words.append(token)
        embeds = np.concatenate([embeds, EMBEDDING[[token]]])
        modality = np.append(modality, 0)
    told = single.analyse(window, reason=True).reason
    assert told == "".join(runtime_fakes.WORDS[token] for token in words)


def test_generation_stops_at_an_end_token(tmp_path: Path) -> None:
    window = _window(4)
    first = int(np.argmax(runtime_fakes.truth_logits(*_sequence(window, "all", "reason"))))
    decoder = {**runtime_fakes.manifest_fields()["decoder"], "eos_token_ids": [first]}
    pipeline = Pipeline(runtime_fakes.open_bundle(tmp_path / "b", decoder=decoder), threads=1)
    assert pipeline.analyse(window, reason=True).reason == ""


def test_no_reason_from_a_model_that_gives_none(tmp_path: Path) -> None:
    prompt = {"template": TEMPLATE, "tasks": {"emotion": "which emotion"}, "no_transcript": "nothing"}
    pipeline = Pipeline(runtime_fakes.open_bundle(tmp_path / "b", prompt=prompt), threads=1)
    with pytest.raises(UsageError, match="can't give reasons"):
        pipeline.analyse(_window(), reason=True)


def test_a_prompt_longer_than_the_cache(tmp_path: Path) -> None:
    """The last token of a label is never fed, so labels of three tokens need room for two more."""
    needed = len(_sequence(_window(), "all")[1]) + 2
    for capacity, fits in ((needed, True), (needed - 1, False)):
        decoder = {**runtime_fakes.manifest_fields()["decoder"], "capacity": capacity}
        folder = tmp_path / str(capacity)
        bundle = runtime_fakes.open_bundle(folder, decoder=decoder, label_ids=runtime_fakes.MULTI)
        pipeline = Pipeline(bundle, threads=1)
        if fits:
            assert pipeline.analyse(_window()).scores
        else:
            with pytest.raises(BadInput, match="takes"):
                pipeline.analyse(_window())


def test_numbers_that_are_none_are_an_error(single: Pipeline) -> None:
    samples = np.full(48000, np.inf, np.float32)
    with pytest.raises(Failed, match="not finite"):
        single.analyse(_window(samples=samples))


def test_graphs_that_do_not_fit_the_manifest(tmp_path: Path) -> None:
    bundle = runtime_fakes.open_bundle(tmp_path / "tokens", tokens={"visual": 9, "audio": 2})
    with pytest.raises(BadInput, match="vision graph gives"):
        Pipeline(bundle, threads=1).analyse(_window())
    settings = {"rate": 0.3, "threshold": 0.1, "rows": "text", "layers": [0]}
    bundle = runtime_fakes.open_bundle(tmp_path / "layers", reallocation=settings)
    with pytest.raises(BadInput, match="2 reallocating layers"):
        Pipeline(bundle, threads=1).analyse(_window())
    decoder = {**runtime_fakes.manifest_fields()["decoder"], "layers": 3}
    bundle = runtime_fakes.open_bundle(tmp_path / "decoder", decoder=decoder)
    with pytest.raises(BadInput, match="lacks past_key_2"):
        Pipeline(bundle, threads=1)


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    folder = runtime_fakes.make_bundle(tmp_path / "b")
    (folder / "vision.onnx").write_bytes(b"not a graph")
    fields = json.loads((folder / "manifest.json").read_text())
    fields["files"]["vision.onnx"] = file_entry(folder / "vision.onnx").model_dump()
    write_manifest(folder, Manifest.model_validate(fields))
    with pytest.raises(BadInput, match="can't be loaded"):
        Pipeline(Bundle.open(folder), threads=1)


def test_a_provider_that_is_not_here(toy_bundle: Path) -> None:
    bundle = Bundle.open(toy_bundle)
    with pytest.raises(UsageError, match="no provider"):
        Pipeline(bundle, provider="abacus")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(Failed, match="without CUDAExecutionProvider") as caught:
            Pipeline(bundle, provider="cuda")
        assert "mosear[gpu]" in caught.value.remedy


def test_a_clip_from_file_to_answer(single: Pipeline, clip: Path, preprocessing) -> None:
    (window,) = read_windows(clip, preprocessing)
    emotion = single.analyse(window)
    assert _values(emotion.scores) == pytest.approx(_truth_scores(window, "all", runtime_fakes.SINGLE), abs=1e-5)
    assert math.isclose(sum(emotion.reliance.values()), 1, abs_tol=1e-6)
