"""What is in a media stream: frames with their times, and sound as mono samples."""

from collections.abc import Iterator
from typing import Literal, overload

import av
import numpy as np

from mosear.runtime.media.opening import MAX_PIXELS
from mosear.runtime.spans import span

_DEFAULT_PERIOD = 0.04

_MIX = {"FL": 0.707, "FR": 0.707, "FC": 1.0, "LFE": 0.0, "LFE2": 0.0}
_MIX_OTHERS = 0.5


def streams_of(
    container: av.container.InputContainer, kind: Literal["video", "audio"]
) -> tuple[av.VideoStream | av.AudioStream, ...]:
    """The streams of one kind."""
    return container.streams.video if kind == "video" else container.streams.audio


@overload
def decode(
    container: av.container.InputContainer, stream: av.VideoStream, largest: int = MAX_PIXELS
) -> Iterator[tuple[float | None, av.VideoFrame]]: ...


@overload
def decode(
    container: av.container.InputContainer, stream: av.AudioStream, largest: int = MAX_PIXELS
) -> Iterator[tuple[float | None, av.AudioFrame]]: ...


def decode(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream, largest: int = MAX_PIXELS
) -> Iterator[tuple[float | None, av.VideoFrame | av.AudioFrame]]:
    """Frames of one stream with their times on the file's clock, where they have one.

    A packet that can't be decoded, or a picture of more than ``largest`` pixels, is left out; a file that breaks off
    ends there.
    """
    if stream.codec_context is None:
        return
    if isinstance(stream, av.VideoStream):
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(largest)}
    # Frames that are flushed at the end carry no time base of their own.
    base = stream.time_base
    packets = container.demux(stream)
    flushed = False
    while not flushed:
        try:
            with span("capture"):
                packet = next(packets, None)
        except (av.FFmpegError, OSError):
            packet = None
        flushed = packet is None or packet.size == 0
        try:
            with span("media_decode"):
                frames = stream.codec_context.decode(None if flushed else packet)
        except (av.FFmpegError, ValueError):
            continue
        for frame in frames:
            if getattr(frame, "width", 1) and getattr(frame, "samples", 1):
                yield None if frame.pts is None or base is None else float(frame.pts * base), frame


def period_of(stream: av.stream.Stream) -> float:
    """Seconds from picture to picture, by the stream's own word."""
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else _DEFAULT_PERIOD


def layout_of(frame: av.AudioFrame) -> tuple[str, str, int]:
    """What a resampler is made for: format, channels and rate."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def resampled(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    """Mono samples, float32 [n], that come out of the resampler for one more frame; None flushes it."""
    if resampler is None:
        return
    try:
        with span("preprocess"):
            out = resampler.resample(frame)
    except (av.FFmpegError, ValueError):
        return
    for piece in out:
        if piece.samples:
            with span("preprocess"):
                # A sound file may hold floats that are no numbers; one of them would spoil the whole window.
                channels = np.nan_to_num(piece.to_ndarray(), nan=0.0, posinf=1.0, neginf=-1.0)
                mixed = (_mix(piece) @ channels).astype(np.float32)
            yield mixed


def _mix(frame: av.AudioFrame) -> np.ndarray:
    """Weight of each channel, float32 [channels], summing to 1.

    The library's own mix to mono makes a pair of equal channels 3 dB louder than one, and lets the sum leave the range.
    Weights before normalizing are those of ITU-R BS.775: front 0.707, centre 1, surround 0.5, no low-frequency effects.
    """
    weights = np.array([_MIX.get(channel.name, _MIX_OTHERS) for channel in frame.layout.channels], np.float32)
    if not weights.any():
        weights = np.ones_like(weights)
    return weights / weights.sum()
