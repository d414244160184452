"""Clips as files: what is in the MP4, and that it is what training sees."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from mosear.clips.labelled import read_labels
from mosear.clips.synthetic import describe, draw_spec, render_window
from mosear.clips.synthetic.write import LABEL_COLUMNS, write_clip, write_labels
from mosear.runtime.media.resize import resize

SPEC = draw_spec(4, "video_aligned", "happy")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(SPEC, path)
    return path


def decoded(path: Path) -> tuple[list[av.VideoFrame], np.ndarray]:
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return pictures, sound


def test_streams(clip) -> None:
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height, video.average_rate) == (192, 192, 15)
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 16_000, 1)
        for stream in (video, audio):
            assert float(stream.duration * stream.time_base) == pytest.approx(3.0, abs=0.07)


def test_the_file_holds_what_training_sees(clip) -> None:
    pictures, sound = decoded(clip)
    assert len(pictures) == 45
    frames, samples = render_window(SPEC)
    for index, frame in enumerate(frames):
        shown = pictures[int((index + 0.5) * 3 / 8 * 15)]
        assert np.abs(resize(shown, 64).astype(int) - frame).mean() < 3.0
    assert len(sound) >= 48_000
    assert np.corrcoef(sound[:48_000], samples)[0, 1] > 0.98


def test_the_same_clip_gives_the_same_bytes(clip, tmp_path) -> None:
    again = tmp_path / "again.mp4"
    junk = [bytes([value]) * (1 << power) for value in (0, 85, 255) for power in range(8, 20)]
    del junk
    write_clip(SPEC, again)
    assert again.read_bytes() == clip.read_bytes()


def test_another_size_and_rate(tmp_path) -> None:
    write_clip(SPEC, tmp_path / "clip.mp4", size=128, fps=12)
    pictures, _ = decoded(tmp_path / "clip.mp4")
    assert (len(pictures), pictures[0].width) == (36, 128)


@pytest.mark.parametrize("arguments", [{"size": 191}, {"fps": 12.5}])
def test_what_the_codec_cannot_hold_is_refused(arguments, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"even size|whole number"):
        write_clip(SPEC, tmp_path / "clip.mp4", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_the_renderer_fails(tmp_path, monkeypatch) -> None:
    def fail(*_) -> None:
        raise RuntimeError("no voice")

    monkeypatch.setattr("mosear.clips.synthetic.write.render_voice", fail)
    with pytest.raises(RuntimeError, match="no voice"):
        write_clip(SPEC, tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_labels_file(tmp_path) -> None:
    path = tmp_path / "labels.csv"
    write_labels([("a.mp4", SPEC)], path)
    with path.open(encoding="utf-8", newline="") as file:
        header, row = csv.reader(file)
    assert tuple(header) == LABEL_COLUMNS
    assert row[:4] == ["a.mp4", "video_aligned", "happy", "happy"]
    assert row[-3:] == [SPEC.transcript, "4", describe(SPEC)]


def test_the_shipped_examples() -> None:
    folder = Path(__file__).parents[2] / "examples" / "clips"
    clips = read_labels(folder / "labels.csv")
    assert len(clips) >= 12
    assert {clip.path.name for clip in clips} == {path.name for path in folder.glob("*.mp4")}
    assert {clip.label for clip in clips} == {"neutral", "angry", "happy", "sad", "worried", "surprise"}
    assert {clip.subset for clip in clips} == {"video_aligned", "audio_aligned", "consistent"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
