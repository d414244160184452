"""Runs from a folder of clips to figures: a bundle's answers are the runtime's, and a stopped run ends the same."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import runtime_fakes
import runtime_media

from mosear.clips.benchmarks.options import ReadOptions
from mosear.evaluation import run as running
from mosear.evaluation.finish import figures_of, finish
from mosear.evaluation.plan import Plan, Wishes, make_plan
from mosear.evaluation.results import read_run
from mosear.evaluation.run import Counts, Where, answer_all
from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput, Failed, UsageError
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.windows import read_windows

LEVELS = (0, 60, 120, 180, 240)
TRUTH = ("happy", "sad", "bored", "neutral", "angry")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_fakes.make_bundle(tmp_path_factory.mktemp("evaluated") / "toy")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips of one grey each, one without sound, one of two windows, and a file that is none."""
    folder = tmp_path_factory.mktemp("benchmark")
    rows = []
    for place, (level, label) in enumerate(zip(LEVELS, TRUTH, strict=True)):
        name = f"clip{place}.mp4"
        runtime_media.write(
            folder / name,
            6.0 if place == 3 else 3.0,
            frames=lambda index, grey=level: runtime_media.flat((64, 48), grey),
            audio=place != 4,
        )
        rows.append((name, label, ("video_aligned", "audio_aligned")[place % 2], "hello"))
    (folder / "broken.mp4").write_bytes(b"no film at all")
    rows.append(("broken.mp4", "sad", "consistent", ""))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "label", "subset", "transcript"), *rows])
    return folder


def plan_for(toy: Path, root: Path, output: Path, **changes: object) -> Plan:
    fields: dict = {"subject": str(toy), "dataset": "csv", "root": root, "read": ReadOptions(), "output": output}
    return make_plan(Wishes(**{**fields, **changes}))


def nothing(counts: Counts) -> None:
    pass


def test_a_bundles_answers_are_the_runtimes(toy: Path, root: Path, tmp_path: Path) -> None:
    plan = plan_for(toy, root, tmp_path / "run", own_words={"bored": "worried"})
    skipped = answer_all(plan, Where(), nothing)
    run = read_run(tmp_path / "run")
    assert [each.name for each in run.records] == [f"clip{place}.mp4" for place in range(5)]
    assert [each.name for each in skipped] == [each.name for each in run.skipped] == ["broken.mp4"]
    assert "not a media file" in run.skipped[0].reason
    pipeline = Pipeline(Bundle.open(toy))
    for record in run.records:
        windows = list(read_windows(root / record.name, pipeline.bundle.manifest.preprocessing, transcript="hello"))
        answers = [pipeline.analyse(window) for window in windows]
        mean = {label: np.mean([each.scores[label] for each in answers]) for label in pipeline.labels}
        assert record.windows == len(windows) == (2 if record.name == "clip3.mp4" else 1)
        assert record.scores == pytest.approx(mean, abs=1e-6)
        assert record.predicted == max(mean, key=lambda label: mean[label])
        assert record.conflict == (None if record.name == "clip4.mp4" else pytest.approx(
            np.mean([each.conflict for each in answers]), abs=1e-6))  # fmt: skip
        assert record.states == (["no_audio"] if record.name == "clip4.mp4" else [])
        assert record.reallocated == np.mean([len(each.reallocated_heads) for each in answers])
        assert record.media == record.name
    assert [each.label for each in run.records] == ["happy", "sad", "worried", "neutral", "angry"]


def test_attention_is_that_of_the_graph(toy: Path, root: Path, tmp_path: Path) -> None:
    answer_all(plan_for(toy, root, tmp_path / "run"), Where(), nothing)
    pipeline = Pipeline(Bundle.open(toy))
    for record in read_run(tmp_path / "run").attention():
        windows = read_windows(root / record.name, pipeline.bundle.manifest.preprocessing, transcript="hello")
        told = [pipeline.forward(window) for window in windows]
        np.testing.assert_allclose(record.mass, np.mean([each.modality_mass[0] for each in told], axis=0), atol=1e-4)
        np.testing.assert_allclose(record.selected, np.mean([each.selected[0] for each in told], axis=0), atol=1e-4)
        assert record.layers == [0, 1]


def content(folder: Path) -> dict[str, list[dict]]:
    """All that a run wrote, without what it took."""
    found = {}
    for name in ("clips.jsonl", "attention.jsonl", "skipped.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        found[name] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return found


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    toy: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_all(plan_for(toy, root, tmp_path / "whole"), Where(), nothing)

    def stop(counts: Counts) -> None:
        if counts.answered == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_all(plan_for(toy, root, tmp_path / "parts"), Where(), stop)
    asked: list[str] = []
    here = running.run_here

    def counting(opener, items):  # type: ignore[no-untyped-def]
        return here(opener, ((key, asked.append(key) or item) for key, item in items))

    monkeypatch.setattr(running, "run_here", counting)
    answer_all(plan_for(toy, root, tmp_path / "parts"), Where(), nothing)
    assert asked == ["clip2.mp4", "clip3.mp4", "clip4.mp4", "broken.mp4"]
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    # When all is answered, only what could not be read is tried again.
    asked.clear()
    answer_all(plan_for(toy, root, tmp_path / "parts"), Where(), nothing)
    assert asked == ["broken.mp4"]
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


@pytest.mark.slow
def test_workers_answer_alike_though_one_is_killed(toy: Path, root: Path, tmp_path: Path) -> None:
    answer_all(plan_for(toy, root, tmp_path / "one"), Where(), nothing)
    killed: list[int] = []

    def kill(counts: Counts) -> None:
        workers = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
        if counts.answered and not killed and workers:
            killed.append(workers[0].pid)
            workers[0].kill()

    skipped = answer_all(plan_for(toy, root, tmp_path / "two", threads=1), Where(workers=2), kill)
    assert killed
    assert [each.name for each in skipped] == ["broken.mp4"]
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_written_answers_that_hold_no_label_are_failures(toy: Path, root: Path, tmp_path: Path) -> None:
    answer_all(plan_for(toy, root, tmp_path / "run", answer="write"), Where(), nothing)
    run = read_run(tmp_path / "run")
    labels = runtime_fakes.LABELS
    for record in run.records:
        words = (record.text or "").split()
        named = {word for word in words if word in labels}
        if len(named) == 1 and " | " not in (record.text or ""):
            assert record.predicted == named.pop()
        elif not named:
            assert record.predicted is None
            assert (record.failure or "").startswith("parse: ")
    failed = [record for record in run.records if record.failure]
    assert failed  # the toy writes nonsense: some of it names no label
    figures = figures_of(run)
    assert sum(figures["counts"]["parse_failures"].values()) == len(failed)
    right = sum(record.predicted == record.label for record in run.records)
    assert figures["figures"]["accuracy"]["value"] == pytest.approx(right / len(run.records))


def test_the_benchmarks_own_words_are_scored(toy: Path, root: Path, tmp_path: Path) -> None:
    # The toy's tokenizer knows "hello" and "very" as words of one token each.
    labels = tmp_path / "two.csv"
    labels.write_text("name,label\nclip0.mp4,hello\nclip1.mp4,very\n")
    options = ReadOptions(labels=labels)
    plan = plan_for(toy, root, tmp_path / "run", words="benchmark", read=options)
    answer_all(plan, Where(), nothing)
    pipeline = Pipeline(Bundle.open(toy))
    for record in read_run(tmp_path / "run").records:
        (window,) = read_windows(root / record.name, pipeline.bundle.manifest.preprocessing)
        logits = pipeline.forward(window).logits[0].astype(np.float64)
        pair = logits[[runtime_fakes.IDS["hello"], runtime_fakes.IDS["very"]]]
        wanted = np.exp(pair / 1.5) / np.exp(pair / 1.5).sum()  # 1.5 is the toy's temperature
        assert list(record.scores) == ["hello", "very"]
        assert list(record.scores.values()) == pytest.approx(wanted.tolist(), abs=1e-5)


def test_figures_and_page_are_written(toy: Path, root: Path, tmp_path: Path) -> None:
    answer_all(plan_for(toy, root, tmp_path / "run", reason=True), Where(), nothing)
    figures = finish(tmp_path / "run", None, report=True)
    run = read_run(tmp_path / "run")
    assert run.metrics == json.loads(json.dumps(figures))
    right = sum(record.predicted == record.label for record in run.records)
    assert figures["figures"]["accuracy"]["value"] == pytest.approx(right / 5)
    assert figures["truth_beyond_labels"] == {"bored": 1}
    assert all(record.reason is not None for record in run.records)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert "broken.mp4" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_does_not_go_together_is_refused(toy: Path, root: Path, tmp_path: Path) -> None:
    for changes, said in (
        ({"ablate": True}, "baked into"),
        ({"base_reallocation": (0.1, 0.5)}, "--ablate"),
        ({"answer": "sing"}, "no way of answering"),
    ):
        with pytest.raises(UsageError, match=said):
            plan_for(toy, root, tmp_path / "run", **changes)
    with pytest.raises(BadInput, match="neither a bundle nor a checkpoint"):
        plan_for(tmp_path, root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_machine_without_the_same_files_is_refused(toy: Path, root: Path, tmp_path: Path) -> None:
    opener = plan_for(toy, root, tmp_path / "run").opener
    with pytest.raises(Failed, match="is not there on"):
        dataclasses.replace(opener, root=tmp_path / "elsewhere")()
    with pytest.raises(Failed, match="another bundle on"):
        dataclasses.replace(opener, sha256="0" * 64)()


def test_nothing_answered_is_an_error(toy: Path, root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("name,label\nbroken.mp4,sad\n")
    plan = plan_for(toy, root, tmp_path / "run", read=ReadOptions(labels=labels))
    with pytest.raises(BadInput, match=r"no clip was answered \(broken.mp4"):
        answer_all(plan, Where(), nothing)
