"""A clip in whatever format → MP4 with H.264 and AAC, which every browser plays."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mosear.runtime.errors import BadInput
from mosear.runtime.media.file import MediaInfo, pictures, sound

_WIDEST = 640
_VIDEO_OPTIONS = {"crf": "23", "preset": "veryfast"}
_CLOCK = Fraction(1, 1000)
_SAMPLE_RATE = 48_000
_AUDIO_FRAME = 1024
_AUDIO_BITRATE = 96_000


def convert(info: MediaInfo, path: Path) -> None:
    """Write the clip as MP4: pictures at their own times and at most 640 wide, upright; sound as mono.

    Raises:
        BadInput: it can't be encoded.
    """
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            _write(info, container)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BadInput(
            f"{info.path} can't be converted to what browsers play ({error})",
            "convert it to MP4 (H.264 and AAC), or make the study without media in the page",
        ) from error


def _write(info: MediaInfo, container: av.container.OutputContainer) -> None:
    # All streams have to be there before the first packet is written.
    frames = _upright(info)
    first = next(frames, None)
    if first is not None:
        video = container.add_stream("libx264", options=dict(_VIDEO_OPTIONS))
        video.height, video.width = first[1].height, first[1].width
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = _CLOCK
    samples = _samples(info)
    if len(samples):
        audio = container.add_stream("aac", rate=_SAMPLE_RATE, layout="mono")
        audio.codec_context.bit_rate = _AUDIO_BITRATE
    if first is not None:
        last = -1
        for time, frame in chain((first,), frames):
            last = max(last + 1, round(time / _CLOCK))
            shaped = frame.reformat(width=video.width, height=video.height, format="yuv420p")
            shaped.pts, shaped.time_base = last, _CLOCK
            container.mux(video.encode(shaped))
        container.mux(video.encode(None))
    if len(samples):
        for start in range(0, len(samples), _AUDIO_FRAME):
            chunk = np.ascontiguousarray(samples[None, start : start + _AUDIO_FRAME])
            heard = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = _SAMPLE_RATE, start, Fraction(1, _SAMPLE_RATE)
            container.mux(audio.encode(heard))
        container.mux(audio.encode(None))


def _upright(info: MediaInfo) -> Iterator[tuple[float, av.VideoFrame]]:
    """Pictures in RGB with their times, turned as the file asks, with even sides (which yuv420p needs)."""
    for time, frame in pictures(info):
        scale = min(1.0, _WIDEST / frame.width)
        width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
        pixels = np.asarray(frame.reformat(width=width, height=height, format="rgb24").to_ndarray(), np.uint8)
        turned = np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
        yield time, av.VideoFrame.from_ndarray(turned, format="rgb24")


def _samples(info: MediaInfo) -> NDArray[np.float32]:
    """All of the sound, float32 [n], silence where it has holes."""
    chunks = list(sound(info, _SAMPLE_RATE))
    samples = np.zeros(max((place + len(chunk) for place, chunk in chunks), default=0), np.float32)
    for place, chunk in chunks:
        begin = max(place, 0)
        samples[begin : place + len(chunk)] = chunk[begin - place :]
    return samples
