"""MELD: utterances of a split, some of whose clips are missing or empty."""

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput, UsageError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
TABLE = (
    HEADER + '1,"Why, what?",Mark,surprise,positive,0,0,3,19,"00:14:38,127","00:14:40,378"\n'
    '2,It\x92s \x93me\x94\x85,Rachel,Joy,positive,0,1,3,19,"00:14:40,629","00:14:42,000"\n'
)


@pytest.mark.parametrize(
    ("split", "folder"),
    [
        (None, "test/output_repeated_splits_test"),
        ("test", "output_repeated_splits_test"),
        ("dev", "dev/dev_splits_complete"),
        ("Train", "train_splits"),
        ("train", "train"),
    ],
)
def test_splits_where_the_archive_and_its_users_have_them(split, folder, read, lay, clip) -> None:
    part = (split or "test").lower()
    files = {
        f"{part}_sent_emo.csv": "\ufeff" + TABLE,
        f"{folder}/dia0_utt0.mp4": clip,
        f"{folder}/dia0_utt1.mp4": clip,
        f"{folder}/._dia0_utt1.mp4": b"AppleDouble",
    }
    root = lay(files)
    benchmark = read("meld", files, split=split)
    assert benchmark.clips == (
        BenchmarkClip(
            "dia0_utt0",
            root / folder / "dia0_utt0.mp4",
            label="surprise",
            subset=part,
            speaker="Mark",
            transcript="Why, what?",
        ),
        BenchmarkClip(
            "dia0_utt1",
            root / folder / "dia0_utt1.mp4",
            label="joy",
            subset=part,
            speaker="Rachel",
            transcript="It’s “me”…",
        ),
    )
    assert benchmark.to_model == {
        "neutral": "neutral",
        "surprise": "surprise",
        "fear": "worried",
        "sadness": "sad",
        "joy": "happy",
        "anger": "angry",
    }


def test_label_file_in_the_folder_of_its_split(read, clip) -> None:
    files = {"train/train_sent_emo.csv": TABLE, "train/train_splits/dia0_utt0.mp4": clip}
    benchmark = read("meld", files, split="train")
    assert [each.name for each in benchmark.clips] == ["dia0_utt0"]


def test_a_prefixed_clip_stands_in_where_there_is_no_plain_one(read, lay, clip) -> None:
    folder = "test/output_repeated_splits_test"
    files = {
        "test_sent_emo.csv": TABLE,
        f"{folder}/dia0_utt0.mp4": clip,
        f"{folder}/final_videos_testdia0_utt0.mp4": clip,
        f"{folder}/final_videos_testdia0_utt1.mp4": clip,
    }
    names = [each.media.name for each in read("meld", files).clips]
    assert names == ["dia0_utt0.mp4", "final_videos_testdia0_utt1.mp4"]


def test_what_can_not_be_evaluated_is_told(read, clip) -> None:
    rows = [
        "3,a,A,joy,p,0,0,1,1,x,x",
        "4,a,A,joy,p,0,7,1,1,x,x",
        "5,a,A,joy,p,0,8,1,1,x,x",
        "6,a,A,excited,p,0,0,1,1,x,x",
        "7,a,A,joy,p,zero,0,1,1,x,x",
        "8,a, b,A,joy,p,0,0,1,1,x,x",
        "9,a,A,joy,p,0,0,1,1,x,x",
    ]
    files = {"test_sent_emo.csv": HEADER + "\n".join(rows), "test/dia0_utt0.mp4": clip, "test/dia0_utt8.mp4": b""}
    benchmark = read("meld", files)
    assert len(benchmark.clips) == 1
    for skipped, (name, reason) in zip(
        benchmark.skipped,
        [
            ("dia0_utt7", "is not in"),
            ("dia0_utt8", "empty file"),
            ("dia0_utt0", "'excited' is none of"),
            ("line 6 of test_sent_emo.csv", "'zero' is no whole number"),
            ("line 7 of test_sent_emo.csv", "12 cells and the header 11"),
            ("dia0_utt0", "comes again"),
        ],
        strict=True,
    ):
        assert skipped.name == name
        assert reason in skipped.reason


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "looked for test_sent_emo.csv or test/test_sent_emo.csv; found nothing"),
        ({"test_sent_emo.csv": TABLE}, "no folder of clips"),
        ({"test_sent_emo.csv": "Utterance,Emotion\na,joy\n", "test/a": "x"}, "no column Speaker, Dialogue_ID"),
        ({"test_sent_emo.csv": TABLE.encode("latin-1"), "test/a": "x"}, "not text in UTF-8"),
        ({"test_sent_emo.csv": HEADER, "test/a": "x"}, "has no clips"),
    ],
)
def test_what_is_missing_is_told(files, what, read) -> None:
    with pytest.raises(BadInput, match=what):
        read("meld", files)


def test_no_such_split(read) -> None:
    with pytest.raises(UsageError, match="no split 'valid'"):
        read("meld", {"test_sent_emo.csv": TABLE}, split="valid")
