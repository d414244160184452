"""The whole pass on the toy bundle: what is counted, for which graph, and that nothing is left behind."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from runtime_fakes import MULTI, make_bundle, manifest_fields, open_bundle

from mosear.runtime.bundle import Bundle, file_entry
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.manifest import Manifest, write_manifest
from mosear.runtime.pipeline import REASON_TASK, Pipeline
from mosear.runtime.profiling.operators import profile_operators
from mosear.runtime.profiling.operators_onnxruntime import BETWEEN, CountedSession
from mosear.runtime.profiling.record import Operator
from mosear.runtime.windows import Window

TOKENS = 5


def window() -> Window:
    random = np.random.default_rng(3)
    frames = random.integers(0, 256, (8, 64, 64, 3), np.uint8)
    samples = random.normal(size=48000).astype(np.float32) * 0.3
    return Window(0.0, 3.0, frames, samples, "hello")


def found_in(bundle: Bundle, windows: list[Window], runs: int = 3, tokens: int = 0) -> list[Operator]:
    found, method = profile_operators(bundle, windows, runs, 1, None, tokens)
    assert found is not None, method
    assert f"ONNX Runtime's own profile, {runs} run" in method
    assert "after 2 for warming up" in method
    return found


def runs_of(found: list[Operator]) -> dict[str, float]:
    """How often each graph ran, a run of the profile."""
    return {each.graph: each.calls for each in found if each.operator == BETWEEN}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files that nobody else uses."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_every_graph_is_run_as_often_as_a_window_needs(toy_bundle: Path) -> None:
    found = found_in(Bundle.open(toy_bundle), [window()])
    # The three rows are one batch, and the prompt's beginning was run before.
    assert runs_of(found) == {"vision": 1, "audio": 1, "prefill": 1}
    nodes = Counter(node.op_type for node in onnx.load(toy_bundle / "audio.onnx").graph.node)
    counted = {each.operator: each.calls for each in found if each.graph == "audio" and each.operator != BETWEEN}
    assert counted == nodes
    assert [each.ms for each in found] == sorted((each.ms for each in found), reverse=True)
    assert all(each.ms >= 0 for each in found)
    # The toy's nodes have no names, as those of bundles that were built before nodes were named.
    assert {each.layer for each in found} == {None}


def test_labels_of_several_tokens_are_scored_by_the_decode_graph(tmp_path: Path) -> None:
    found = found_in(open_bundle(tmp_path / "b", label_ids=MULTI), [window()])
    assert runs_of(found) == {"vision": 1, "audio": 1, "prefill": 1, "decode": max(map(len, MULTI.values())) - 1}


def test_text_is_a_prompt_of_its_own_and_a_step_a_token(toy_bundle: Path) -> None:
    bundle = Bundle.open(toy_bundle)
    pipeline = Pipeline(bundle, 1)
    words = pipeline.write(window(), pipeline.forward(window()), REASON_TASK, TOKENS)
    assert words  # tokens are words, and the toy never ends a text here
    assert runs_of(found_in(bundle, [window()], 2, TOKENS)) == {
        "vision": 1, "audio": 1, "prefill": 2, "decode": TOKENS - 1
    }  # fmt: skip


def test_windows_take_turns_and_blind_ones_are_left_out(toy_bundle: Path) -> None:
    full = window()
    windows = [full, replace(full, frames=None), replace(full, frames=None, samples=None), replace(full, samples=None)]
    runs = runs_of(found_in(Bundle.open(toy_bundle), windows, 6))
    assert runs == {"vision": pytest.approx(4 / 6), "audio": pytest.approx(4 / 6), "prefill": 1}
    found, why = profile_operators(Bundle.open(toy_bundle), [windows[2]], 3, 1, None)
    assert found is None
    assert "no window has picture or sound" in why
    assert profile_operators(Bundle.open(toy_bundle), [], 3, 1, None)[0] is None
    with pytest.raises(ValueError, match="at least one run"):
        profile_operators(Bundle.open(toy_bundle), windows, 0, 1, None)


def test_frames_that_were_seen_are_encoded_again(toy_bundle: Path) -> None:
    keyed = replace(window(), frame_keys=tuple(range(8)))
    assert runs_of(found_in(Bundle.open(toy_bundle), [keyed]))["vision"] == 1


def test_one_graph_for_both_phases_on_a_cpu(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b", label_ids=MULTI)
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    fields["graphs"]["decode"] = "decoder_prefill.onnx"
    fields |= {"backend": "tensorrt_rtx", "target": "rtx-40"}
    write_manifest(folder, Manifest.model_validate(fields))
    found, method = profile_operators(Bundle.open(folder), [window()], 2, 1, "cpu")
    assert found is not None, method
    assert runs_of(found) == {"vision": 1, "audio": 1, "prefill": 1, "decode": 2}


def test_layers_are_told_by_the_names_of_nodes(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    path = folder / "audio.onnx"
    model = onnx.load(path)
    for place, node in enumerate(model.graph.node):
        node.name = f"layers.{place % 2}/{node.op_type}_0"
    onnx.save(model, path)
    fields = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    fields["files"]["audio.onnx"] = file_entry(path).model_dump()
    write_manifest(folder, Manifest.model_validate(fields))
    found = found_in(Bundle.open(folder), [window()])
    told = {(each.operator, each.layer) for each in found if each.graph == "audio" and each.operator != BETWEEN}
    assert told == {(node.op_type, place % 2) for place, node in enumerate(model.graph.node)}


def test_no_file_is_left_behind(toy_bundle: Path, tmp_path: Path, temporary: Path) -> None:
    found_in(Bundle.open(toy_bundle), [window()], 1)
    assert not list(temporary.iterdir())
    small = open_bundle(tmp_path / "b", decoder={**manifest_fields()["decoder"], "capacity": 16})
    with pytest.raises(BadInput, match="the prompt takes"):
        profile_operators(small, [window()], 1, 1, None)
    assert not list(temporary.iterdir())


def test_text_is_refused_where_there_is_none(tmp_path: Path, temporary: Path) -> None:
    template = "[INST] picture {visual} sound {audio} said {transcript} {task} [/INST]"
    prompt = {"template": template, "tasks": {"emotion": "which emotion"}, "no_transcript": "nothing"}
    bundle = open_bundle(tmp_path / "b", prompt=prompt)
    with pytest.raises(UsageError, match="can't give reasons"):
        profile_operators(bundle, [window()], 1, 1, None, TOKENS)
    assert not list(temporary.iterdir())
    assert runs_of(found_in(bundle, [window()], 1)) == {"vision": 1, "audio": 1, "prefill": 1}


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(("spoil", "told"), [(truncated, "damaged|breaks off"), (Path.unlink, "can't be read")])
def test_a_broken_profile_is_told_and_not_raised(
    toy_bundle: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    told: str,
) -> None:
    real, spoilt = CountedSession.end, set()

    def end(session: CountedSession) -> Path:
        path = real(session)
        if path not in spoilt:
            spoil(path)
            spoilt.add(path)
        return path

    monkeypatch.setattr(CountedSession, "end", end)
    found, why = profile_operators(Bundle.open(toy_bundle), [window()], 2, 1, None)
    assert found is None
    assert why.startswith("ONNX Runtime: its profile ")
    assert told.split("|")[0] in why or told.split("|")[-1] in why
    assert "\n" not in why
    assert not list(temporary.iterdir())


def test_without_a_folder_for_temporary_files(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    found, why = profile_operators(Bundle.open(toy_bundle), [window()], 2, 1, None)
    assert found is None
    assert "there is no folder for its profile (No such file or directory)" in why


def test_answers_are_those_of_any_pipeline(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(toy_bundle)
    expected = Pipeline(bundle, 1).analyse(window())
    real, seen = Pipeline.examine, []

    def examine(pipeline: Pipeline, given: Window) -> object:
        result = real(pipeline, given)
        seen.append(result[0])
        return result

    monkeypatch.setattr(Pipeline, "examine", examine)
    found_in(bundle, [window()], 2)
    assert len(seen) == 4
    assert all(each.scores == expected.scores and each.conflict == expected.conflict for each in seen)
