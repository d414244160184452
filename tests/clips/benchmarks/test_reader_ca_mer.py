"""CA-MER: subsets as told, or derived from what people saw in the picture, the sound and both."""

import csv
from pathlib import Path

import pytest

from mosear.clips.benchmarks.ca_mer import derive_subset, subset_of
from mosear.clips.benchmarks.gather import LeftOutError
from mosear.clips.benchmarks.registry import ReadOptions, read_benchmark
from mosear.runtime.errors import BadInput, UsageError

EXAMPLES = Path(__file__).parents[3] / "examples" / "clips"


def test_the_synthetic_set_reads_without_options() -> None:
    with (EXAMPLES / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    there = [row for row in rows if (EXAMPLES / row["name"]).exists()]
    benchmark = read_benchmark("ca-mer", EXAMPLES, ReadOptions())
    assert [(each.name, each.subset, each.label, each.transcript) for each in benchmark.clips] == [
        (row["name"], row["subset"], row["label"], row["transcript"] or None) for row in there
    ]
    assert [each.reference for each in benchmark.clips] == [row["reason"] for row in there]
    assert benchmark.labels == ("neutral", "angry", "happy", "sad", "worried", "surprise")
    assert benchmark.headline[0] == "modality_gap"


@pytest.mark.parametrize(
    ("word", "subset"),
    [
        ("video_aligned", "video_aligned"),
        ("Video-Aligned", "video_aligned"),
        ("video aligned", "video_aligned"),
        ("VideoAligned", "video_aligned"),
        ("AUDIO-ALIGNED", "audio_aligned"),
        ("Consistent", "consistent"),
    ],
)
def test_spellings_of_a_subset(word, subset) -> None:
    assert subset_of(word) == subset


@pytest.mark.parametrize("word", ["", "aligned", "video", "text_aligned", "video_aligned2"])
def test_other_words_are_no_subset(word) -> None:
    with pytest.raises(LeftOutError):
        subset_of(word)


@pytest.mark.parametrize(
    ("video", "audio", "joint", "subset"),
    [
        ("sad", "happy", "sad", "video_aligned"),
        ("sad", "happy", "happy", "audio_aligned"),
        ("sad", "sad", "sad", "consistent"),
    ],
)
def test_the_rule_of_the_subsets(video, audio, joint, subset) -> None:
    assert derive_subset(video, audio, joint) == subset


@pytest.mark.parametrize(
    ("video", "audio", "joint", "reason"),
    [
        ("sad", "happy", "angry", "all differ"),
        ("sad", "sad", "angry", "both sad, together they are angry"),
        ("sad", "", "sad", "missing"),
    ],
)
def test_what_belongs_to_no_subset(video, audio, joint, reason) -> None:
    with pytest.raises(LeftOutError, match=reason):
        derive_subset(video, audio, joint)


UNIMODAL = "name,q_v,q_a,q_av\na,Sad,happy,sad\nb,sad,happy,happy\nc,sad,sad,SAD\nd,sad,happy,angry\n"


@pytest.mark.parametrize("mapped", [False, True])
def test_subsets_from_unimodal_labels(mapped, read, clip) -> None:
    files = {"labels.csv": UNIMODAL, **{f"{name}.mp4": clip for name in "abcd"}}
    columns = {"video_label": "see", "audio_label": "hear", "joint_label": "both"} if mapped else {}
    if mapped:
        files["labels.csv"] = UNIMODAL.replace("q_v,q_a,q_av", "see,hear,both")
    benchmark = read("ca-mer", files, columns=columns)
    assert [(each.name, each.subset, each.label) for each in benchmark.clips] == [
        ("a", "video_aligned", "sad"),
        ("b", "audio_aligned", "happy"),
        ("c", "consistent", "sad"),
    ]
    assert [each.name for each in benchmark.skipped] == ["d"]
    assert "all differ" in benchmark.skipped[0].reason


def test_open_labels_and_a_subset_that_is_unknown(read, clip) -> None:
    table = "name,subset,labels\na,video-aligned,\"['sad', 'Lonely']\"\nb,mixed,sad\nc,,sad\n"
    files = {"ca-mer.csv": table, **{f"clips/{name}.mp4": clip for name in "abc"}}
    benchmark = read("ca-mer", files)
    assert [(each.label, each.labels) for each in benchmark.clips] == [(None, ("sad", "lonely"))]
    assert benchmark.labels == ()
    assert ["'mixed' is none of" in benchmark.skipped[0].reason, benchmark.skipped[1].reason] == [
        True,
        "it has no subset",
    ]


@pytest.mark.parametrize(
    ("table", "columns", "error", "what"),
    [
        ("name,label\na,sad\n", {}, BadInput, r"no column subset \(its header: name, label\)"),
        ("name,q_v,q_av\na,sad,sad\n", {}, BadInput, "no column subset"),
        ("name,v,label\na,sad,sad\n", {"video_label": "v"}, BadInput, "no column of audio_label, joint_label"),
        (
            "name,subset,v,label\na,consistent,sad,sad\n",
            {"subset": "subset", "video_label": "v"},
            UsageError,
            "read or derived, not both",
        ),
        ("name,subset,label\na,none,sad\n", {}, BadInput, "none of the 1 clips .* 'none' is none of video_aligned"),
        ("name,subset\na,consistent\n", {}, BadInput, "no column label or labels or joint_label"),
    ],
)
def test_what_is_missing_is_told(table, columns, error, what, read, clip) -> None:
    with pytest.raises(error, match=what):
        read("ca-mer", {"labels.csv": table, "a.mp4": clip}, columns=columns)
