"""The clip that is profiled on when none is given: a test picture that moves, and a tone."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Final, cast

import av
import numpy as np

from mosear.runtime.errors import Failed

WIDTH, HEIGHT, FRAMES_A_SECOND = 640, 480, 30
SAMPLES_A_SECOND = 48_000

_VIDEO_CODECS = ("libx264", "mpeg4")
_AUDIO_CODEC: Final = "aac"
_PIECE = 1024
_BARS = ((235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16), (235, 16, 235), (235, 16, 16), (16, 16, 235))
_TONE_HERTZ, _BEAT_HERTZ = 220.0, 3.0


def write_built_in(path: Path, seconds: float) -> str:
    """Write the clip: 640 × 480 at 30 pictures a second in H.264 (MPEG-4 where x264 is missing), AAC, in MP4.

    Args:
        path: a file that ends in ``.mp4``.
        seconds: its length.

    Returns:
        What it is, in a few words.

    Raises:
        Failed: it can't be written.
    """
    codec = next((name for name in _VIDEO_CODECS if name in av.codecs_available), None)
    if codec is None or _AUDIO_CODEC not in av.codecs_available:
        raise Failed("this PyAV can't encode a clip to profile on", "name a clip: mosear profile BUNDLE CLIP")
    try:
        with av.open(str(path), "w") as container:
            picture = cast(av.VideoStream, container.add_stream(codec, rate=FRAMES_A_SECOND))
            picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            track = container.add_stream(_AUDIO_CODEC, rate=SAMPLES_A_SECOND)
            track.layout = "stereo"
            for index in range(_at_least(seconds * FRAMES_A_SECOND)):
                frame = av.VideoFrame.from_ndarray(_picture(index), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FRAMES_A_SECOND)
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
            samples = _at_least(seconds * SAMPLES_A_SECOND)
            for first in range(0, samples, _PIECE):
                container.mux(track.encode(_sound(first, min(_PIECE, samples - first))))
            container.mux(track.encode())
    except (av.FFmpegError, OSError) as error:
        raise Failed(
            f"a clip to profile on can't be written ({error})", "name a clip, or make room in TMPDIR"
        ) from error
    name = "H.264" if codec == "libx264" else "MPEG-4"
    return f"built-in, {seconds:g} s of {WIDTH}x{HEIGHT} {name} and AAC"


def _at_least(count: float) -> int:
    """Rounded up, so that the clip is not shorter than its window; what binary fractions add is no part of it."""
    return math.ceil(count - 1e-6)


def _picture(index: int) -> np.ndarray:
    """uint8 [height, width, 3]: bars that wander, below them noise that a codec can't foresee, and a square."""
    bars = np.repeat(np.array(_BARS, np.uint8), -(-WIDTH // len(_BARS)), axis=0)[:WIDTH]
    picture = np.repeat(np.roll(bars, 4 * index, axis=0)[None], HEIGHT, axis=0)
    noise = np.random.default_rng(index).integers(0, 256, (HEIGHT // 32, WIDTH // 8), dtype=np.uint8)
    picture[-HEIGHT // 4 :] = np.repeat(np.repeat(noise, 8, axis=0), 8, axis=1)[..., None]
    left, top = 3 * index % (WIDTH - 96), 2 * index % (HEIGHT // 2)
    picture[top : top + 96, left : left + 96] = 128
    return picture


def _sound(first: int, count: int) -> av.AudioFrame:
    """A tone that swells and fades, from sample ``first`` on."""
    times = np.arange(first, first + count) / SAMPLES_A_SECOND
    wave = 0.3 * np.sin(2 * np.pi * _TONE_HERTZ * times) * (1 + np.sin(2 * np.pi * _BEAT_HERTZ * times)) / 2
    frame = av.AudioFrame.from_ndarray(np.repeat(wave[None], 2, axis=0).astype(np.float32), "fltp", "stereo")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLES_A_SECOND, Fraction(1, SAMPLES_A_SECOND), first
    return frame
