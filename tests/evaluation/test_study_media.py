"""Clips in the page: files that browsers play are left alone, the others lose nothing but their format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import runtime_media

from mosear.evaluation.study.clip_media import find_media, read_media
from mosear.runtime.errors import BadInput
from mosear.runtime.media.file import pictures, probe, sound


def halves(index: int) -> np.ndarray:
    """96 × 64, black on the left and white on the right."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, 48:] = 255
    return picture


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.mp4", {}, "video/mp4"),
        ("b.mov", {}, "video/mp4"),
        ("c.mp4", {"audio": False}, "video/mp4"),
        ("d.m4a", {"video": False}, "audio/mp4"),
        ("e.webm", {"codec": "libvpx", "audio": False}, "video/webm"),
    ],
)
def test_what_browsers_play_is_left_alone(tmp_path: Path, name: str, options: dict[str, Any], kind: str) -> None:
    path = runtime_media.write(tmp_path / name, seconds=0.5, **options)
    media = read_media(path)
    assert (media.kind, media.converted) == (kind, False)
    assert media.data == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.avi", {"codec": "mpeg4", "audio_codec": "ac3"}),
        ("b.mp4", {"codec": "mpeg4"}),
        ("c.mkv", {"codec": "ffv1", "pixels": "yuv444p", "size": (131, 99)}),
        ("d.mkv", {}),
        ("e.mkv", {"sound_delay": 0.4, "size": (1282, 722)}),
        ("f.flac", {"video": False, "audio_codec": "flac"}),
    ],
)
def test_the_others_are_converted(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    if name.endswith(".flac"):
        path = flac(tmp_path / name)
    else:
        path = runtime_media.write(tmp_path / name, seconds=1.0, **options)
    media = read_media(path)
    assert media.converted
    made = tmp_path / "made.mp4"
    made.write_bytes(media.data)
    before, after = probe(path), probe(made)
    assert (after.video is None) == (before.video is None)
    assert media.kind == ("audio/mp4" if after.video is None else "video/mp4")
    assert after.duration == pytest.approx(before.duration, abs=0.1)
    with av.open(str(made)) as container:
        for stream in container.streams.video:
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert stream.codec_context.width <= 640
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"]
    if before.video is not None:
        times = [[time for time, _ in pictures(info)] for info in (before, after)]
        assert times[1] == pytest.approx(times[0], abs=0.002)
    heard = [loudness(path), loudness(made)]
    assert heard[1][:9] == pytest.approx(heard[0][:9], abs=0.05)


def loudness(path: Path) -> list[float]:
    """Root mean square of the sound in each tenth of a second from the file's beginning; 0 where there is none."""
    timeline = np.zeros(48_000 * 2)
    for place, chunk in sound(probe(path), 48_000):
        timeline[max(place, 0) : place + len(chunk)] = chunk[max(-place, 0) :]
    return [float(np.sqrt((part**2).mean())) for part in np.split(timeline, 20)]


def flac(path: Path) -> Path:
    """One second of a tone."""
    samples = (runtime_media.tone(1.0, 16_000) * 32_000).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        track = container.add_stream("flac", rate=16_000, layout="mono", format="s16")
        for start in range(0, 16_000, 1_000):
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1_000], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def test_a_turned_film_is_upright(tmp_path: Path) -> None:
    path = runtime_media.write(
        tmp_path / "turned.mp4", seconds=0.5, codec="mpeg4", rotation=90, size=(96, 64), frames=halves
    )
    made = tmp_path / "made.mp4"
    made.write_bytes(read_media(path).data)
    ((_, before), *_), ((_, after), *_) = list(pictures(probe(path))), list(pictures(probe(made)))
    assert (before.width, before.height, round(before.rotation)) == (96, 64, 90)
    assert (after.width, after.height, round(after.rotation)) == (64, 96, 0)
    shown = np.asarray(after.to_ndarray(format="rgb24"), float).mean(axis=2)
    # A quarter turn against the clock brings the right half to the top.
    assert shown[:40].mean() > 200
    assert shown[56:].mean() < 50


def test_what_is_no_media_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(BadInput, match=r"a\.mp4"):
        read_media(tmp_path / "a.mp4")


def test_files_are_found_below_their_roots_only(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (inner / "frames").mkdir(parents=True)
    for path in (tmp_path / "secret", inner / "one", tmp_path / "inner-secret"):
        path.write_bytes(b"x")
    assert find_media("one", [tmp_path / "nowhere", inner]) == inner / "one"
    assert find_media("frames/../one", [inner]) == inner / "one"
    assert find_media(str(inner / "one"), []) == inner / "one"
    for name in (None, "", "two", "frames", "../secret", "../inner-secret", "frames/../../secret", "one\0", "."):
        assert find_media(name, [inner]) is None
