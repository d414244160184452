"""A benchmark's clip → windows: a media file as ever, a folder of pictures as one window without sound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mosear.clips.benchmarks.record import BenchmarkClip
from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media.file import pictures, probe
from mosear.runtime.media.resize import resize
from mosear.runtime.windows import Window, lengths, read_windows

PICTURES = (".jpg", ".jpeg", ".png")


def clip_windows(
    clip: BenchmarkClip, preprocessing: Preprocessing, window_s: float | None = None, hop_s: float | None = None
) -> Iterator[Window]:
    """The windows of a clip.

    Args:
        clip: from a reader.
        preprocessing: the model's sizes and rates.
        window_s, hop_s: as for ``read_windows``. A folder of pictures says nothing of its rate: its pictures are spread
            over one window, whatever these say.

    Raises:
        UsageError: a length is out of range.
        BadInput: the media can't be read.
    """
    if clip.media.is_dir():
        lengths(preprocessing, window_s, hop_s)
        return iter([_picture_window(clip, preprocessing)])
    return read_windows(clip.media, preprocessing, window_s, hop_s, clip.transcript)


def _picture_window(clip: BenchmarkClip, preprocessing: Preprocessing) -> Window:
    """Frames evenly spaced over the pictures, by their order: the middles of equal parts, as for a film."""
    paths = sorted((path for path in clip.media.iterdir() if path.suffix.lower() in PICTURES), key=_order)
    if not paths:
        raise BadInput(f"{clip.media} holds no picture ({', '.join(PICTURES)})", "check the folder")
    count = preprocessing.frames
    chosen = [paths[int((place + 0.5) * len(paths) / count)] for place in range(count)]
    scaled = {path: _read_picture(path, preprocessing.frame_size) for path in dict.fromkeys(chosen)}
    frames = np.stack([scaled[path] for path in chosen])
    return Window(0.0, preprocessing.window_s, frames, None, clip.transcript, ("no_audio",))


def _read_picture(path: Path, size: int) -> np.ndarray:
    for _, frame in pictures(probe(path)):
        return resize(frame, size)
    raise BadInput(f"{path} holds no picture that can be decoded", "copy it again")


def _order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """By the numbers in the name: 10.jpg comes after 9.jpg."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name
