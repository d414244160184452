"""Clips are found by the names that label files give them, and nothing else is."""

import os

import pytest

from mosear.clips.benchmarks.gather import LeftOutError
from mosear.clips.benchmarks.media import MediaFolders
from mosear.runtime.errors import BadInput


def find(folder, *names: str):
    return MediaFolders([folder]).find("line 2", *names)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.mp4", "a.mp4"),
        ("a.mp4", "a"),
        ("a.AVI", "a"),
        ("a.b.mkv", "a.b"),
        ("inner/a.mp4", "inner/a"),
        ("inner/a.mp4", "./inner/../inner/a.mp4"),
        ("a.wav", "a.wav"),
        ("..a.mp4", "..a.mp4"),
    ],
)
def test_a_file_by_its_name_with_or_without_ending(file, name, lay, clip) -> None:
    root = lay({file: clip})
    if file.startswith("."):
        with pytest.raises(LeftOutError):  # a hidden file is no clip, and its name leads nowhere
            find(root, name)
    else:
        assert find(root, name) == root / file


def test_the_first_spelling_that_is_there(lay, clip) -> None:
    root = lay({"1.mp4": clip, "00002.mp4": clip, "2.mp4": clip})
    assert find(root, "00001", "1") == root / "1.mp4"
    assert find(root, "00002", "2") == root / "00002.mp4"


def test_a_video_goes_before_pictures_and_the_preferred_ending_first(lay, clip) -> None:
    root = lay({"a.avi": clip, "a.mp4": clip, "a/1.jpg": b"x", "b/1.jpg": b"x", "b.wav": clip})
    assert find(root, "a") == root / "a.mp4"
    assert find(root, "b") == root / "b"  # sound alone is no stand-in for a clip


def test_places_in_their_order(lay, clip) -> None:
    root = lay({"one/b.mp4": clip, "two/a.mp4": clip, "two/b.mp4": clip})
    folders = MediaFolders([root / "one", root / "two"])
    assert folders.find("line 2", "a") == root / "two/a.mp4"
    assert folders.find("line 2", "b") == root / "one/b.mp4"


@pytest.mark.parametrize("name", ["absent", "absent/a", ".", "", "a.mp4/b", "x" * 5000, "._a", "\ud800"])
def test_what_is_not_there_is_told(name, lay, clip) -> None:
    root = lay({"a.mp4": clip, "._a.mp4": b"AppleDouble"})
    with pytest.raises(LeftOutError, match="is not in"):
        find(root, name)


def test_empty_files_folders_without_pictures_and_pipes(lay) -> None:
    root = lay({"a.mp4": b"", "b/readme.txt": b"x", "c/1.jpg": b"", "d.mp4/readme.txt": b"x", "f/1.PNG": b"x"})
    os.mkfifo(root / "e.mp4")
    for name, reason in [
        ("a", "an empty file"),
        ("b", "a folder without pictures"),
        ("c", "a folder without pictures"),
        ("d.mp4", "a folder without pictures"),
        ("e", "is no file"),
    ]:
        with pytest.raises(LeftOutError, match=reason):
            find(root, name)
    assert find(root, "f") == root / "f"


def test_links_are_followed_and_broken_ones_told(lay, clip, tmp_path) -> None:
    root = lay({"a.mp4": clip})
    (tmp_path / "elsewhere.mp4").write_bytes(clip)
    (root / "b.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    (root / "c.mp4").symlink_to(tmp_path / "nothing.mp4")
    assert find(root, "b") == root / "b.mp4"
    with pytest.raises(LeftOutError, match="can't be read: No such file"):
        find(root, "c")


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd", "..", "a\0b", "../root2/a"])
def test_names_that_lead_out_are_refused(name, lay, clip) -> None:
    root = lay({"a.mp4": clip})
    with pytest.raises(BadInput, match=r"line 2: .* leads out of"):
        find(root, name)


def test_an_absolute_name_within_the_folder_is_one_of_its_names(lay, clip) -> None:
    root = lay({"a.mp4": clip})
    assert find(root, str(root / "a.mp4")) == root / "a.mp4"
