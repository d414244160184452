"""RAVDESS: everything is in the name."""

import os

import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput, UsageError

# The example of RAVDESS's own description: video-only, speech, fearful, normal, "dogs", first, twelfth actor.
OWN = "02-01-06-01-02-01-12"


@pytest.fixture
def takes(clip) -> dict[str, bytes]:
    return {
        "Actor_12/01-01-06-01-02-01-12.mp4": clip,
        f"Actor_12/{OWN}.mp4": clip,
        "Actor_12/03-01-06-01-02-01-12.wav": clip,
        "Video_Song_Actor_01/Actor_01/01-02-02-02-01-02-01.mp4": clip,
        "Audio_Song_Actors_01-24/Actor_01/03-02-02-02-01-02-01.wav": clip,
        "Actor_12/._01-01-06-01-02-01-12.mp4": b"AppleDouble",
        "readme.txt": b"x",
    }


def test_takes_with_picture_and_sound(takes, read, lay) -> None:
    root = lay(takes)
    benchmark = read("ravdess", takes)
    assert benchmark.clips == (
        BenchmarkClip(
            "01-01-06-01-02-01-12",
            root / "Actor_12/01-01-06-01-02-01-12.mp4",
            label="fearful",
            subset="speech",
            speaker="12",
            transcript="Dogs are sitting by the door.",
        ),
        BenchmarkClip(
            "01-02-02-02-01-02-01",
            root / "Video_Song_Actor_01/Actor_01/01-02-02-02-01-02-01.mp4",
            label="calm",
            subset="song",
            speaker="01",
            transcript="Kids are talking by the door.",
        ),
    )
    assert benchmark.skipped == ()
    assert benchmark.to_model["fearful"] == "worried"
    assert not {"calm", "disgust"} & set(benchmark.to_model)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("speech", ["01-01-06-01-02-01-12"]),
        ("song", ["01-02-02-02-01-02-01"]),
        ("video-only", [OWN]),
        ("audio-only", ["03-01-06-01-02-01-12", "03-02-02-02-01-02-01"]),
        ("audio-only+song", ["03-02-02-02-01-02-01"]),
        ("Full-AV + Speech", ["01-01-06-01-02-01-12"]),
    ],
)
def test_splits(split, names, takes, read) -> None:
    assert [each.name for each in read("ravdess", takes, split=split).clips] == names


@pytest.mark.parametrize("split", ["", "train", "speech+song", "speech+speech", "audio-only+video-only", "speech,song"])
def test_no_such_split(split, takes, read) -> None:
    with pytest.raises(UsageError, match="no split"):
        read("ravdess", takes, split=split)


def test_names_that_are_not_ravdess(read, clip) -> None:
    names = ["holiday", "01-01-01-01-01-01", "1-01-01-01-01-01-01", "01-01-09-01-01-01-01", "01-01-01-01-01-01-25"]
    names += ["01-01-00-01-01-01-01", "01-01-01-01-01-01-01-01", "01-01-02-01-01-01-01"]
    files: dict[str, bytes] = {f"Actor_01/{name}.mp4": clip for name in names}
    files |= {"Actor_02/01-01-02-01-01-01-01.mp4": clip, "Actor_02/01-01-03-01-01-01-02.mp4": b""}
    benchmark = read("ravdess", files)
    assert [each.name for each in benchmark.clips] == ["01-01-02-01-01-01-01"]
    reasons = {each.name: each.reason for each in benchmark.skipped}
    assert len(benchmark.skipped) == len(files) - 1
    assert "seven numbers" in reasons["holiday"]
    assert "emotion 09" in reasons["01-01-09-01-01-01-01"]
    assert "emotion 00" in reasons["01-01-00-01-01-01-01"]
    assert "actor 25" in reasons["01-01-01-01-01-01-25"]
    assert "it comes again (Actor_02/" in reasons["01-01-02-01-01-01-01"]
    assert "empty file" in reasons["01-01-03-01-01-01-02"]


def test_links_in_a_circle_end(takes, lay, read) -> None:
    root = lay(takes)
    (root / "again").symlink_to(root)
    (root / "Actor_12" / "up").symlink_to(root / "Actor_12")
    benchmark = read("ravdess", {})
    assert len(benchmark.clips) == 2
    assert benchmark.skipped == ()


def test_a_name_that_is_no_unicode_is_told_as_text(takes, lay, read) -> None:
    root = lay(takes)
    (root / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    assert [each.name.encode() for each in read("ravdess", {}).skipped] == [b"caf?"]


def test_what_is_missing_is_told(read, clip) -> None:
    with pytest.raises(BadInput, match="has no clips") as caught:
        read("ravdess", {"readme.txt": "x"})
    assert "Actor_01" in caught.value.remedy
    files = {"Actor_01/03-01-01-01-01-01-01.wav": clip}
    with pytest.raises(BadInput, match=r"none of the 1 media files .* split full-av") as caught:
        read("ravdess", files)
    assert "audio-only" in caught.value.remedy
