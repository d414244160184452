"""DFEW: five folds, numbered labels, ids with and without zeros."""

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput

SET = "EmoLabel_DataSplit/test(single-labeled)/set_{}.csv"
HEADER = "video_name,label\n"


def five(*rows: str) -> dict[str, str]:
    """A clip a fold."""
    return {SET.format(fold): HEADER + row + "\n" for fold, row in enumerate(rows, 1)}


def test_five_folds_of_original_videos_with_ids_of_any_width(read, lay, clip) -> None:
    files = {
        **five("1,1", "00002,2", "3.0,5", "4000,6", "16372,7"),
        SET.format(1): "\ufeff" + HEADER + "1,1\r\n",
        "Clip/original/1.mp4": clip,
        "Clip/original/00002.mp4": clip,
        "Clip/original/3.mp4": clip,
        "Clip/original/part_3/4000.mp4": clip,
        "Clip/original/part_11/16372.mp4": clip,
        "Clip/clip_224x224/00001/00001_00001.jpg": b"x",
    }
    root = lay(files)
    benchmark = read("dfew", files)
    assert benchmark.clips == (
        BenchmarkClip("00001", root / "Clip/original/1.mp4", label="happy", fold=1),
        BenchmarkClip("00002", root / "Clip/original/00002.mp4", label="sad", fold=2),
        BenchmarkClip("00003", root / "Clip/original/3.mp4", label="surprise", fold=3),
        BenchmarkClip("04000", root / "Clip/original/part_3/4000.mp4", label="disgust", fold=4),
        BenchmarkClip("16372", root / "Clip/original/part_11/16372.mp4", label="fear", fold=5),
    )
    assert benchmark.headline[:2] == ("uar", "war")
    assert benchmark.to_model["fear"] == "worried"
    assert "disgust" not in benchmark.to_model


@pytest.mark.parametrize(
    "folder", ["Clip/clip_224x224", "Clip/clip_224x224_16f", "Clip/clip_224x224/clip_224x224_part_1", "Clip/jpg_256"]
)
def test_frames_where_there_are_no_videos(folder, read, lay) -> None:
    files = {SET.format(2): HEADER + "1,3\n", f"{folder}/00001/00001_00001.jpg": b"x"}
    benchmark = read("dfew", files, fold=2)
    assert benchmark.clips == (BenchmarkClip("00001", lay({}) / folder / "00001", label="neutral", fold=2),)


def test_videos_and_frames_are_not_mixed(read, clip) -> None:
    files = {
        SET.format(1): HEADER + "1,1\n2,2\n",
        "Clip/original/1.mp4": clip,
        "Clip/clip_224x224/00002/00002_00001.jpg": b"x",
    }
    benchmark = read("dfew", files, fold=1)
    assert [each.name for each in benchmark.clips] == ["00001"]
    assert [each.name for each in benchmark.skipped] == ["00002"]


def test_the_folder_with_an_underscore(read, clip) -> None:
    files = {SET.format(1).replace("-", "_"): HEADER + "1,1\n", "Clip/original/1.mp4": clip}
    assert len(read("dfew", files, fold=1).clips) == 1


def test_what_can_not_be_evaluated_is_told(read, clip) -> None:
    table = HEADER + "1,1\n2,0\n3,8\n4,happy\nx,1\n,1\n5,\n6,1\n7,1\n00001,1\n-1,1\n"
    files = {SET.format(1): table, "Clip/original/1.mp4": clip, "Clip/original/7.mp4": b""}
    benchmark = read("dfew", files, fold=1)
    assert [each.name for each in benchmark.clips] == ["00001"]
    for skipped, (name, reason) in zip(
        benchmark.skipped,
        [
            ("00002", "label 0 is none of 1 to 7"),
            ("00003", "label 8 is none of 1 to 7"),
            ("00004", "label 'happy' is no whole number"),
            ("line 6 of set_1.csv", "video_name 'x' is no whole number"),
            ("line 7 of set_1.csv", "it has no video_name"),
            ("00005", "it has no label"),
            ("00006", "is not in"),
            ("00007", "empty file"),
            ("00001", "it comes again (line 11 of set_1.csv); the first is kept"),
            ("line 12 of set_1.csv", "'-1' is no whole number"),
        ],
        strict=True,
    ):
        assert skipped.name == name
        assert reason in skipped.reason


def test_a_clip_in_two_folds_counts_once(read, clip) -> None:
    files = {**five("1,1", "1,1", "2,1", "3,1", "4,1"), **{f"Clip/original/{n}.mp4": clip for n in range(1, 5)}}
    benchmark = read("dfew", files)
    assert [each.fold for each in benchmark.clips] == [1, 3, 4, 5]
    assert "it comes again (line 2 of set_2.csv) in fold 2, and is in fold 1" in benchmark.skipped[0].reason


def test_a_set_of_ones_own(read, clip, tmp_path) -> None:
    (tmp_path / "single_testset_1.csv").write_text(HEADER + "1,1\n")
    files = {"Clip/original/1.mp4": clip}
    assert read("dfew", files, labels=tmp_path / "single_testset_1.csv").clips[0].fold is None
    assert read("dfew", files, labels=tmp_path / "single_testset_1.csv", fold=1).clips[0].fold == 1


@pytest.mark.parametrize(
    ("files", "fold", "what"),
    [
        (five("1,1", "2,1"), 6, "no fold 6"),
        (five("1,1", "2,1"), 0, "no fold 0"),
        (five("1,1", "2,1"), None, r"looked for .*set_3.csv"),
        ({}, 1, "no label file"),
        (five("1,1"), 1, "no folder of clips: looked for Clip/original or"),
        ({SET.format(1): "clip_name,label\n1,1\n", "Clip/original/1.mp4": "x"}, 1, "no column video_name"),
        ({SET.format(1): "", "Clip/original/1.mp4": "x"}, 1, "its header: nothing"),
        ({SET.format(1): HEADER, "Clip/original/1.mp4": "x"}, 1, "has no clips"),
    ],
)
def test_what_is_missing_is_told(files, fold, what, read) -> None:
    with pytest.raises(BadInput, match=what):
        read("dfew", files, fold=fold)
