"""MER2023 in the layout that its users have."""

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.media.file import probe

HEADER = "name,discrete,valence\n"
TEST1 = HEADER + "sample_00000001,happy,2.5\nsample_00000002,worried,-1.25\n"
TEST3 = "name,discrete\nsample_00000009,surprise\n"


def test_every_test_split_that_is_there(read, lay, clip) -> None:
    files = {
        "train-label.csv": HEADER + "sample_00000000,sad,0\n",
        "test1-label.csv": "\ufeff" + TEST1.replace("\n", "\r\n"),
        "test3-label.csv": TEST3,
        "train/sample_00000000.mp4": clip,
        "test1/sample_00000001.mp4": clip,
        "test1/sample_00000002.avi": clip,
        "test3/sample_00000009.mp4": clip,
    }
    root = lay(files)
    benchmark = read("mer2023", files)
    assert benchmark.clips == (
        BenchmarkClip(
            "sample_00000001", root / "test1/sample_00000001.mp4", label="happy", valence=2.5, subset="test1"
        ),
        BenchmarkClip(
            "sample_00000002", root / "test1/sample_00000002.avi", label="worried", valence=-1.25, subset="test1"
        ),
        BenchmarkClip("sample_00000009", root / "test3/sample_00000009.mp4", label="surprise", subset="test3"),
    )
    assert benchmark.skipped == ()
    assert benchmark.labels == ("neutral", "angry", "happy", "sad", "worried", "surprise")
    assert benchmark.to_model == {label: label for label in benchmark.labels}
    assert benchmark.headline[0] == "weighted_f1"
    assert probe(benchmark.clips[0].media).video


@pytest.mark.parametrize(("split", "name"), [("train", "a"), ("test3", "b"), ("SEMI", "b"), ("Test3", "b")])
def test_one_split_or_track(split, name, read, clip) -> None:
    files = {
        "train-label.csv": HEADER + "a,sad,0\n",
        "test3-label.csv": HEADER + "b,sad,\n",
        "train/a.mp4": clip,
        "test3/b.mp4": clip,
    }
    assert [each.name for each in read("mer2023", files, split=split).clips] == [name]


def test_all_clips_in_one_folder_and_transcripts(read, clip) -> None:
    files = {"test1-label.csv": TEST1, "video/sample_00000001.avi": clip, "video/sample_00000002.mp4": clip}
    emotion_llama = {"transcription_en_all.csv": 'name,sentence\nsample_00000001,"Well, yes."\n'}
    mertools = {"transcription-engchi-polish.csv": "name,chinese,english\nsample_00000002,好,Good.\n"}
    assert [each.transcript for each in read("mer2023", files).clips] == [None, None]
    assert [each.transcript for each in read("mer2023", {**files, **mertools}).clips] == [None, "Good."]
    assert [each.transcript for each in read("mer2023", {**files, **emotion_llama}).clips] == ["Well, yes.", None]


def test_what_can_not_be_evaluated_is_told(read, clip) -> None:
    table = HEADER + "a,happy,1\nabsent,sad,1\nempty,sad,1\nb,bored,1\nc,,1\n,sad,1\na,sad,1\na,happy,1\nd,SAD,high\n"
    skipped = read(
        "mer2023",
        {
            "test3-label.csv": table + "e,Sad,\n",
            "test3/a.mp4": clip,
            "test3/empty.mp4": b"",
            "test3/b.mp4": clip,
            "test3/c.mp4": clip,
            "test3/d.mp4": clip,
            "test3/e.mp4": clip,
        },
    )
    assert [(each.name, each.label) for each in skipped.clips] == [("a", "happy"), ("e", "sad")]
    reasons = [(each.name, each.reason) for each in skipped.skipped]
    for (name, reason), (expected, part) in zip(
        reasons,
        [
            ("absent", "is not in"),
            ("empty", "an empty file"),
            ("b", "'bored' is none of neutral, angry"),
            ("c", "has no label"),
            ("line 7 of test3-label.csv", "has no name"),
            ("a", "it comes again (line 8 of test3-label.csv) with another label"),
            ("a", "it comes again (line 9 of test3-label.csv); the first is kept"),
            ("d", "valence 'high' is no number"),
        ],
        strict=True,
    ):
        assert name == expected
        assert part in reason


def test_a_label_file_and_clips_elsewhere(read, lay, clip, tmp_path) -> None:
    (tmp_path / "mine.csv").write_text("name,discrete\na,sad\n")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(clip)
    benchmark = read("mer2023", {}, labels=tmp_path / "mine.csv", media=tmp_path / "clips")
    assert benchmark.clips == (BenchmarkClip("a", tmp_path / "clips/a.mp4", label="sad"),)


@pytest.mark.parametrize(
    ("files", "options", "what"),
    [
        ({"readme.txt": "x"}, {}, r"no label file .* looked for test3-label.csv; found readme.txt"),
        ({}, {"split": "test2"}, "looked for test2-label.csv; found nothing"),
        ({"train-label.csv": HEADER}, {}, "no test split"),
        ({"test3-label.csv": ""}, {}, "no column name, discrete"),
        ({"test3-label.csv": "name,label\na,sad\n"}, {}, r"no column discrete \(its header: name, label\)"),
        ({"test3-label.csv": TEST3}, {}, r"no folder of clips: looked for test3 or video or videos"),
        ({"test3-label.csv": TEST3, "test3": "a file"}, {}, "no folder of clips"),
        ({"test3-label.csv/x": "a folder"}, {}, "is a folder"),
        ({"test3-label.csv": HEADER, "test3/a.mp4": "x"}, {}, "has no clips"),
        ({"test3-label.csv": TEST3, "test3/a.mp4": "x"}, {}, "none of the 1 clips .* is not in"),
        (
            {"test3-label.csv": HEADER + "../a,sad,0\n", "test3/b.mp4": "x"},
            {},
            "line 2 of test3-label.csv: '../a' leads out of",
        ),
    ],
)
def test_what_is_missing_is_told_with_what_there_is(files, options, what, read) -> None:
    with pytest.raises(BadInput, match=what) as caught:
        read("mer2023", files, **options)
    assert caught.value.remedy


def test_no_such_split(read) -> None:
    with pytest.raises(UsageError, match="no split 'test4'"):
        read("mer2023", {}, split="test4")
