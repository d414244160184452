"""Any table of clips, through a mapping of its columns."""

import json
from pathlib import Path

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.clips.benchmarks.registry import ReadOptions, read_benchmark
from mosear.runtime.errors import BadInput, UsageError

PLAIN = "name,label\na,sad\nb,happy\n"
THEIRS = (
    "clip_id;file;emotion;words;said;who;set;why\n"
    "1;inner/a.mp4;Sad;sad, lonely;Well, yes.;Ann;2;He cries.\n"
    "2;b;;proud;;;1;\n"
)
MAPPING = {
    "name": "clip_id",
    "media": "file",
    "label": "emotion",
    "labels": "words",
    "transcript": "said",
    "speaker": "WHO",
    "fold": "set",
    "reference": "why",
}


def test_usual_columns_are_found(read, lay, clip) -> None:
    files = {"labels.csv": PLAIN, "a.mp4": clip, "video/b.avi": clip}
    root = lay(files)
    benchmark = read("csv", files)
    assert benchmark.clips == (
        BenchmarkClip("a", root / "a.mp4", label="sad"),
        BenchmarkClip("b", root / "video/b.avi", label="happy"),
    )
    assert benchmark.labels == ("neutral", "angry", "happy", "sad", "worried", "surprise")
    assert "yours to know" in benchmark.licence


def test_a_mapping_of_every_field(read, lay, clip) -> None:
    files = {"labels.csv": THEIRS, "inner/a.mp4": clip, "b.mp4": clip}
    root = lay(files)
    assert read("csv", files, columns=MAPPING).clips == (
        BenchmarkClip(
            "1",
            root / "inner/a.mp4",
            label="sad",
            labels=("sad", "lonely"),
            fold=2,
            speaker="Ann",
            transcript="Well, yes.",
            reference="He cries.",
        ),
        BenchmarkClip("2", root / "b.mp4", labels=("proud",), fold=1),
    )


def test_json_and_the_table_itself_as_root(lay, clip, read) -> None:
    rows = [{"name": "a", "label": "joy", "labels": ["happy", "proud"]}, {"name": "b", "label": "bored"}]
    root = lay({"mine.json": json.dumps(rows), "a.mp4": clip, "b.mp4": clip})
    benchmark = read_benchmark("csv", root / "mine.json", ReadOptions())
    assert [(each.label, each.labels) for each in benchmark.clips] == [("joy", ("happy", "proud")), ("bored", ())]
    assert benchmark.labels == ("bored", "joy")
    assert benchmark.to_model == {"joy": "happy"}
    with pytest.raises(UsageError, match="another"):
        read_benchmark("csv", root / "mine.json", ReadOptions(labels=root / "mine.json"))


def test_only_open_labels_and_their_separator(read, clip) -> None:
    files = {"labels.csv": "name,labels\na,sad/lonely\n", "a.mp4": clip}
    assert read("csv", files, separator="/").clips[0].labels == ("sad", "lonely")
    benchmark = read("csv", files)
    assert benchmark.clips[0].labels == ("sad/lonely",)
    assert (benchmark.labels, benchmark.headline) == ((), ("open_vocabulary",))


def test_a_subset_and_a_fold(read, clip) -> None:
    table = "name,label,subset,fold\na,sad,dev,1\nb,sad,Test,1.0\nc,sad,test,2\nd,sad,test,x\ne,sad,v1.0,\n"
    files = {"labels.csv": table, **{f"{name}.mp4": clip for name in "abcde"}}
    assert [each.name for each in read("csv", files, split="test").clips] == ["b", "c"]
    first = read("csv", files, fold=1)
    assert [each.name for each in first.clips] == ["a", "b"]
    assert [each.name for each in first.skipped] == ["d"]
    assert [each.name for each in read("csv", files, split="v1.0").clips] == ["e"]
    with pytest.raises(BadInput, match="no clip of split v1"):
        read("csv", files, split="v1")
    assert [each.name for each in read("csv", files, split="test", fold=2).clips] == ["c"]
    with pytest.raises(BadInput, match="no clip of split train") as caught:
        read("csv", files, split="train")
    assert "Test, dev, test, v1.0" in caught.value.remedy
    with pytest.raises(BadInput, match="no clip of fold 7"):
        read("csv", {**files, "labels.csv": table.replace(",x", ",3")}, fold=7)
    with pytest.raises(BadInput, match="no column fold to tell the folds"):
        read("csv", {"labels.csv": PLAIN, "a.mp4": clip}, fold=1)


def test_what_can_not_be_evaluated_is_told(read, clip) -> None:
    table = "name,label,fold\na,sad,1\nb,,1\n,sad,1\nc,sad,1\na,happy,1\nd,sad,one\n"
    benchmark = read("csv", {"labels.csv": table, "a.mp4": clip, "b.mp4": clip, "d.mp4": clip})
    assert [each.name for each in benchmark.clips] == ["a"]
    assert [each.name for each in benchmark.skipped] == ["b", "line 4 of labels.csv", "c", "a", "d"]


@pytest.mark.parametrize(
    ("files", "options", "error", "what"),
    [
        ({}, {}, BadInput, "looked for labels with the ending .csv, .tsv"),
        ({"labels.csv": ""}, {}, BadInput, "no column name"),
        ({"labels.csv": "name,label\n"}, {}, BadInput, "has no clips"),
        ({"labels.csv": "name,text\na,b\n"}, {}, BadInput, r"no column label or labels \(its header: name, text\)"),
        ({"labels.csv": "id,label\na,b\n"}, {}, BadInput, "no column name"),
        ({"labels.csv": PLAIN}, {"columns": {"label": "emo"}}, BadInput, "no column emo"),
        ({"labels.csv": PLAIN}, {"columns": {"labl": "label"}}, UsageError, "no field 'labl'"),
        ({"labels.csv": PLAIN}, {"columns": {"video_label": "label"}}, UsageError, "no field"),
        ({"labels.csv": PLAIN}, {"separator": "/"}, UsageError, "no column of several labels"),
        ({"labels.csv": PLAIN}, {"separator": ""}, UsageError, "separator is empty"),
        ({"labels.csv": PLAIN}, {"media": "nowhere"}, BadInput, "no folder of clips nowhere"),
        ({"labels.csv": PLAIN}, {"labels": "nowhere.csv"}, BadInput, "nowhere.csv can't be read"),
        ({"labels.csv": PLAIN}, {}, BadInput, "none of the 2 clips"),
        ({"labels.csv": "name,label\n../a,sad\n"}, {}, BadInput, "line 2 of labels.csv: '../a' leads out of"),
        ({"labels.csv": "name,label,media\na,sad,/etc/passwd\n"}, {}, BadInput, "'/etc/passwd' leads out of"),
        ({"labels.csv": "name,label\na\0b,sad\n"}, {}, BadInput, "leads out of|not well-formed"),
    ],
)
def test_what_is_missing_is_told(files, options, error, what, read) -> None:
    options = {key: Path(value) if key in ("media", "labels") else value for key, value in options.items()}
    with pytest.raises(error, match=what) as caught:
        read("csv", files, **options)
    assert caught.value.remedy
