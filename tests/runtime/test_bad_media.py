"""Clips that are broken, cut, hostile or no media at all: used as far as they go, or refused in two lines."""

import os
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import runtime_media
from runtime_commands import json_lines, mosear, two_lines

from mosear.runtime.bundle import Bundle
from mosear.runtime.errors import BadInput
from mosear.runtime.windows import read_windows


def _garbage(path: Path, good: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(200_000))


def _text(path: Path, good: Path) -> None:
    path.write_text("hello\n" * 100)


def _playlist(path: Path, good: Path) -> None:
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{good}\n#EXT-X-ENDLIST\n")


def _concatenation(path: Path, good: Path) -> None:
    path.write_text(f"ffconcat version 1.0\nfile '{good}'\n")


def _no_frames(path: Path, good: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def _empty_sound(path: Path, good: Path) -> None:
    runtime_media.write(path, 0.0, video=False, audio_codec="pcm_s16le")


def _huge_picture(path: Path, good: Path) -> None:
    """A PNG of a few bytes that says it has 30,000 by 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


BAD = {
    "garbage.mp4": _garbage,
    "empty.mp4": lambda path, good: path.write_bytes(b""),
    "folder.mp4": lambda path, good: path.mkdir(),
    "missing.mp4": lambda path, good: None,
    "text.txt": _text,
    "text.mp4": _text,
    "playlist.m3u8": _playlist,
    "playlist.mp4": _playlist,
    "list.ffconcat": _concatenation,
    "no_frames.mp4": _no_frames,
    "no_sound.wav": _empty_sound,
    "huge.png": _huge_picture,
    "no_index.mp4": lambda path, good: path.write_bytes(good.read_bytes()[: good.stat().st_size // 2]),
    "header_only.mp4": lambda path, good: path.write_bytes(good.read_bytes()[:40]),
    "pipe.mp4": lambda path, good: os.mkfifo(path),
    "dangling.mp4": lambda path, good: path.symlink_to("nowhere"),
    "http://127.0.0.1:9/x.mp4": lambda path, good: None,
    "a\nerror: forged.mp4": lambda path, good: None,
}


def test_bad_clips_are_told_apart_and_stop_no_other(toy_bundle: Path, clip: Path, tmp_path: Path) -> None:
    paths = []
    for name, make in BAD.items():
        path = name if "://" in name else tmp_path / name
        if make:
            make(Path(path), clip)
        paths.append(path)
    done = mosear("run", toy_bundle, *paths[:9], clip, *paths[9:], clip, "--format", "jsonl")
    assert done.returncode == 3
    assert [line["clip"] for line in json_lines(done)] == [str(clip)] * 2
    pairs = two_lines(done.stderr)
    assert len(pairs) == len(BAD)
    for (what, _), name in zip(pairs, BAD, strict=True):
        assert " ".join(Path(name).name.split()) in what


@pytest.mark.parametrize("name", BAD)
def test_each_bad_clip_alone_is_bad_input(toy_bundle: Path, clip: Path, tmp_path: Path, name: str) -> None:
    """The library's own answer, since a process for each would take long."""
    path = Path(name) if "://" in name else tmp_path / name
    BAD[name](path, clip)
    with pytest.raises(BadInput):
        list(read_windows(path, Bundle.open(toy_bundle).manifest.preprocessing))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_a_file_that_breaks_off_is_used_as_far_as_it_goes(
    toy_bundle: Path, tmp_path: Path, container: str, share: float
) -> None:
    whole = runtime_media.write(
        tmp_path / f"whole.{container}", 9.0, options={"movflags": "faststart"} if container == "mp4" else {}
    )
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{container}"
    cut.write_bytes(data[: int(len(data) * share)])
    preprocessing = Bundle.open(toy_bundle).manifest.preprocessing
    windows = list(read_windows(cut, preprocessing))
    assert "truncated" in windows[-1].states
    assert all("truncated" not in window.states for window in windows[:-1])
    assert windows[-1].end < 9.0
    assert windows[0].frames is not None
    assert windows[0].samples is not None
    assert not any("truncated" in window.states for window in read_windows(whole, preprocessing))


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mka", "libopus")])
def test_sound_that_breaks_off(tmp_path: Path, preprocessing, name: str, codec: str) -> None:
    whole = runtime_media.write(tmp_path / name, 6.0, video=False, audio_codec=codec)
    assert [window.states for window in read_windows(whole, preprocessing)] == [("no_video",)] * 2
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 3])
    (window,) = read_windows(whole, preprocessing)
    assert window.states == ("no_video", "truncated")
    assert window.end < 3


def test_every_cut_of_a_file_is_used_or_refused(tmp_path: Path, preprocessing) -> None:
    data = runtime_media.write(tmp_path / "whole.mp4", 1.0, options={"movflags": "faststart"}).read_bytes()
    used = 0
    for size in range(1, len(data), max(1, len(data) // 60)):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(data[:size])
        try:
            used += len(list(read_windows(cut, preprocessing)))
        except BadInput:
            assert size < len(data) * 0.9
    assert used > 20


def test_flipped_bytes_are_used_or_refused(tmp_path: Path, preprocessing) -> None:
    data = runtime_media.write(tmp_path / "whole.mp4", 1.0).read_bytes()
    random = np.random.default_rng(5)
    for _ in range(60):
        spoilt = np.frombuffer(data, np.uint8).copy()
        spoilt[random.integers(0, len(spoilt), 30)] ^= random.integers(1, 256, 30, np.uint8)
        (tmp_path / "spoilt.mp4").write_bytes(spoilt.tobytes())
        try:
            windows = read_windows(tmp_path / "spoilt.mp4", preprocessing)
            for window, _ in zip(windows, range(5), strict=False):
                assert window.samples is None or np.isfinite(window.samples).all()
        except BadInput:
            continue
