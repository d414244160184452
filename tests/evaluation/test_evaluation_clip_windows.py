"""Clips of a benchmark as windows: files as the runtime reads them, folders of pictures by their order."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.evaluation.clip_windows import clip_windows
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.windows import read_windows

EXAMPLE = Path(__file__).parents[2] / "examples" / "clips" / "clip_00003.mp4"
PREPROCESSING = Preprocessing(frame_size=32, frames=4, sample_rate=16000, window_s=3.0)


def write_pictures(folder: Path, levels: list[int], names: list[str]) -> Path:
    folder.mkdir()
    for level, name in zip(levels, names, strict=True):
        assert cv2.imwrite(str(folder / name), np.full((48, 64, 3), level, np.uint8))
    return folder


def test_a_file_is_read_as_the_runtime_reads_it() -> None:
    clip = BenchmarkClip("c", EXAMPLE, transcript="hello")
    (found,), (wanted,) = (
        list(clip_windows(clip, PREPROCESSING)),
        list(read_windows(EXAMPLE, PREPROCESSING, transcript="hello")),
    )
    assert (found.frames == wanted.frames).all()
    assert (found.samples == wanted.samples).all()
    assert found.transcript == "hello"
    assert len(list(clip_windows(clip, PREPROCESSING, 1.0, 0.5))) == 5


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    # By the alphabet, 10 would come before 2.
    names = [f"{number}.jpg" for number in range(1, 13)]
    folder = write_pictures(tmp_path / "00001", [20 * number for number in range(1, 13)], names)
    (folder / "notes.txt").write_text("no picture")
    (window,) = clip_windows(BenchmarkClip("1", folder), PREPROCESSING)
    assert window.samples is None
    assert window.states == ("no_audio",)
    # The middles of four equal parts of twelve pictures: the 2nd, 5th, 8th and 11th.
    np.testing.assert_allclose(window.frames.mean(axis=(1, 2, 3)), [40, 100, 160, 220], atol=3)
    assert window.frames.shape == (4, 32, 32, 3)


def test_few_pictures_are_used_again(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "f", [50, 150], ["00001.png", "00002.png"])
    (window,) = clip_windows(BenchmarkClip("1", folder), PREPROCESSING)
    np.testing.assert_allclose(window.frames.mean(axis=(1, 2, 3)), [50, 50, 150, 150], atol=2)


def test_what_can_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no picture"):
        clip_windows(BenchmarkClip("1", tmp_path / "empty"), PREPROCESSING)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.jpg").write_bytes(b"\xff\xd8\xffnot really")
    with pytest.raises(BadInput):
        clip_windows(BenchmarkClip("1", tmp_path / "broken"), PREPROCESSING)
    folder = write_pictures(tmp_path / "f", [50], ["1.png"])
    with pytest.raises(UsageError):
        clip_windows(BenchmarkClip("1", folder), PREPROCESSING, window_s=99.0)
