"""The folder of a run: what is written is read back, a stopped run goes on, and another run is refused."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mosear.clips.benchmarks.record import Skipped
from mosear.evaluation.record import AttentionRecord, ClipRecord
from mosear.evaluation.results import ATTENTION, CLIPS, METRICS, RUN, RunWriter, read_run, write_metrics
from mosear.runtime.errors import BadInput, Failed

SETUP = {
    "subject": {"name": "toy", "precision": "int8"},
    "benchmark": {},
    "variant": "",
    "words": ["sad", "happy"],
    "window_s": None,
}


def record(name: str, predicted: str | None = "sad") -> ClipRecord:
    return ClipRecord(name=name, label="sad", predicted=predicted, scores={"sad": 2 / 3, "happy": 1 / 3}, windows=1)


def attention(name: str) -> AttentionRecord:
    return AttentionRecord(name=name, layers=[0], mass=[[[0.5, 0.25, 0.25]]], selected=[[1.0]])


def test_what_is_written_is_read_back_in_the_order_of_the_benchmark(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run", SETUP, {"root": "/clips"}) as writer:
        for name in ("b", "c", "a"):
            writer.add(record(name), attention(name))
        writer.finish(["a", "b", "c"], [Skipped("d", "not there")])
    run = read_run(tmp_path / "run")
    assert [each.name for each in run.records] == ["a", "b", "c"]
    assert [each.name for each in run.attention()] == ["a", "b", "c"]
    assert run.records[0].scores["sad"] == pytest.approx(2 / 3, abs=1e-6)
    assert run.skipped == [Skipped("d", "not there")]
    assert run.about["root"] == "/clips"
    assert run.title == "toy, int8"
    assert run.metrics is None
    write_metrics(run.path, {"accuracy": 0.5})
    assert read_run(run.path).metrics == {"accuracy": 0.5}
    assert sorted(each.name for each in run.path.iterdir()) == sorted([RUN, CLIPS, ATTENTION, METRICS, "skipped.jsonl"])


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    with RunWriter(tmp_path, SETUP, {}) as writer:
        writer.add(record("a"), attention("a"))
    # Killed while it wrote: half a line at the end of each file.
    for name in (CLIPS, ATTENTION):
        with (tmp_path / name).open("a") as file:
            file.write('{"name": "b", "pred')
    with RunWriter(tmp_path, SETUP, {}) as writer:
        assert writer.done == {"a"}
        writer.add(record("b", "happy"), attention("b"))
        writer.finish(["a", "b"], [])
    assert [each.predicted for each in read_run(tmp_path).records] == ["sad", "happy"]
    assert [each.name for each in read_run(tmp_path).attention()] == ["a", "b"]


def test_attention_of_a_clip_whose_answer_was_lost_does_not_count_twice(tmp_path: Path) -> None:
    with RunWriter(tmp_path, SETUP, {}) as writer:
        writer.add(record("a"), attention("a"))
    (tmp_path / CLIPS).write_text("")  # killed between the two lines
    with RunWriter(tmp_path, SETUP, {}) as writer:
        assert writer.done == set()
        writer.add(record("a"), attention("a"))
        writer.finish(["a"], [])
    assert len(list(read_run(tmp_path).attention())) == 1


def test_another_run_is_refused_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    with RunWriter(tmp_path, SETUP, {}) as writer:
        writer.add(record("a"), None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadInput, match="another window_s and words"):
        RunWriter(tmp_path, {**SETUP, "words": ["sad"], "window_s": 1.0}, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(BadInput, match="something else than a run"):
        RunWriter(tmp_path, SETUP, {})
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with RunWriter(tmp_path, SETUP, {}), pytest.raises(BadInput, match="another process"):
        RunWriter(tmp_path, SETUP, {})
    with RunWriter(tmp_path, SETUP, {}) as writer:  # and the claim ends with its holder
        assert writer.done == set()


def test_a_killed_writer_claims_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from mosear.evaluation.results import RunWriter\n"
        "RunWriter(Path(sys.argv[1]), "
        "{'subject': {}, 'benchmark': {}, 'words': [], 'variant': ''}, {}); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with RunWriter(tmp_path, {"subject": {}, "benchmark": {}, "words": [], "variant": ""}, {}) as writer:
        assert writer.done == set()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (RUN, "{", "can't be read"),
        (RUN, '{"schema": "other"}', "not of mosear.evaluation-run/1"),
        (RUN, '{"schema": "mosear.evaluation-run/1", "setup": {}}', "not of mosear.evaluation-run/1"),
        (CLIPS, '{"name": "a"}\n', "line 1"),
        (CLIPS, "[]\n", "line 1"),
        (CLIPS, '{"schema": "mosear.evaluation/1", "name": "a", "wrong": 1}\n', "line 1"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with RunWriter(tmp_path, SETUP, {}) as writer:
        writer.add(record("a"), None)
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        read_run(tmp_path)
    assert caught.value.remedy


def test_no_run_and_no_room(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no run"):
        read_run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="can't be written"):
        RunWriter(tmp_path / "file" / "run", SETUP, {})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said_and_what_was_answered_stays(tmp_path: Path) -> None:
    with RunWriter(tmp_path, SETUP, {}) as writer:
        writer.add(record("a"), None)
        writer._clips.close()
        writer._clips = open("/dev/full", "w")  # noqa: SIM115
        with pytest.raises(Failed, match="No space"):
            writer.add(record("b"), None)
        assert writer.done == {"a"}
    assert [each.name for each in read_run(tmp_path).records] == ["a"]


def test_half_a_character_in_a_text_is_kept(tmp_path: Path) -> None:
    with RunWriter(tmp_path, SETUP, {}) as writer:
        writer.add(dataclasses.replace(record("a"), reason="sad \ud83d and 难过"), None)
        writer.add(dataclasses.replace(record("b"), reason="难过"), None)
        writer.finish(["a", "b"], [])
    assert [each.reason for each in read_run(tmp_path).records] == ["sad \ud83d and 难过", "难过"]


def test_a_record_survives_json() -> None:
    whole = ClipRecord(
        name="x",
        label="sad",
        predicted=None,
        failure="parse: no label",
        labels=["sad"],
        fold=2,
        reliance={"visual": 0.5},
        by_modality={"visual": {"sad": 1.0}, "audio": None},
    )
    assert ClipRecord.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
