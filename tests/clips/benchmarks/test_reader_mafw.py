"""MAFW: five folds of lines with a clip and one of eleven labels."""

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput

SET = "Train & Test Set/single/no_caption/set_{}/test.txt"


def test_five_folds(read, lay, clip) -> None:
    rows = ["00025.mp4 anger", "00026.mp4\thelplessness", "00027.mp4 Anxiety", "00028.mp4 neutral", "00029.mp4 fear"]
    files = {
        **{SET.format(fold): "\ufeff" + row + "\r\n" for fold, row in enumerate(rows, 1)},
        **{f"data/clips/000{number}.mp4": clip for number in range(25, 30)},
    }
    root = lay(files)
    benchmark = read("mafw", files)
    assert benchmark.clips[0] == BenchmarkClip("00025", root / "data/clips/00025.mp4", label="anger", fold=1)
    assert [(each.label, each.fold) for each in benchmark.clips] == [
        ("anger", 1),
        ("helplessness", 2),
        ("anxiety", 3),
        ("neutral", 4),
        ("fear", 5),
    ]
    assert len(benchmark.labels) == 11
    assert benchmark.to_model == {
        "anger": "angry",
        "fear": "worried",
        "anxiety": "worried",
        "happiness": "happy",
        "neutral": "neutral",
        "sadness": "sad",
        "surprise": "surprise",
    }


def test_frames_and_a_renamed_folder(read, lay) -> None:
    files = {"split/single/no_caption/set_3/test.txt": "00025.mp4 sadness\n", "data/frames/00025/1.png": b"x"}
    benchmark = read("mafw", files, fold=3)
    assert benchmark.clips == (BenchmarkClip("00025", lay({}) / "data/frames/00025", label="sadness", fold=3),)


def test_what_can_not_be_evaluated_is_told(read, clip) -> None:
    lines = "00025.mp4 anger\n00026.mp4 anger_fear\n00027.mp4\n00028.mp4 anger\n00029.mp4 anger\n00025.mp4 fear\n"
    files = {SET.format(1): lines, "data/clips/00025.mp4": clip, "data/clips/00029.mp4": b""}
    benchmark = read("mafw", files, fold=1)
    assert [each.name for each in benchmark.clips] == ["00025"]
    reasons = {each.name: each.reason for each in benchmark.skipped}
    assert "'anger_fear' is none of" in reasons["00026"]
    assert reasons["00027"] == "it has no label"
    assert "is not in" in reasons["00028"]
    assert "empty file" in reasons["00029"]
    assert "another label" in reasons["00025"]


@pytest.mark.parametrize(
    ("files", "fold", "what"),
    [
        ({}, None, "no label file .* found nothing"),
        ({SET.format(1): "a.mp4 anger\n"}, 2, "set_2/test.txt"),
        ({SET.format(1): "a.mp4 anger\n"}, -1, "no fold -1"),
        ({SET.format(1): "a.mp4 anger\n"}, 1, "no folder of clips"),
        ({SET.format(1): "", "data/clips/a.mp4": "x"}, 1, "has no clips"),
        ({SET.format(1): "../a.mp4 anger\n", "data/clips/a.mp4": "x"}, 1, "leads out of"),
        ({SET.format(1): "d\xe9.mp4 anger".encode("latin-1"), "data/clips/a.mp4": "x"}, 1, "not text in UTF-8"),
    ],
)
def test_what_is_missing_is_told(files, fold, what, read) -> None:
    with pytest.raises(BadInput, match=what):
        read("mafw", files, fold=fold)
