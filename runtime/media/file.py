"""A media file as pictures and sound with time stamps, decoded as a stream: memory does not grow with its length."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.stream import Disposition

from mosear.runtime.errors import BadInput
from mosear.runtime.media.opening import MAX_PIXELS, Limits, OverLimit, check_is_file, open_media
from mosear.runtime.media.streams import decode, layout_of, period_of, resampled, streams_of
from mosear.runtime.spans import span

# Their headers state a duration that was measured; others' is guessed from the bit rate or fitted to a cut file.
_STATE_DURATION = {"mov", "mp4", "matroska", "webm", "wav", "flac"}
_DURATION_SLACK = 0.25
_LENGTH_SLACK = 0.5

_GAP = 0.04

# A file of a few bytes may claim any rate, and resampling from a hundred million takes seconds.
_HIGHEST_RATE = 768_000


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Track:
    """One stream of a file: its place among those of its kind, its start and end in seconds on the file's own clock."""

    place: int
    start: float
    end: float


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds.

    Attributes:
        path: the file.
        video: the track of moving pictures (a cover picture is none), or None.
        audio: the track of sound, or None.
        truncated: the file ends before its header says that it does, or could not be read to its end.
        largest: pictures of more pixels are left out.
    """

    path: Path
    video: Track | None
    audio: Track | None
    truncated: bool
    largest: int = MAX_PIXELS

    @property
    def origin(self) -> float:
        """Time of the first picture or sound on the file's clock: zero for everything that is read from it."""
        return min(track.start for track in (self.video, self.audio) if track)

    @property
    def duration(self) -> float:
        """Seconds from the first picture or sound to the end of the last."""
        return max(track.end for track in (self.video, self.audio) if track) - self.origin


def probe(path: str | Path, limits: Limits = NO_LIMITS) -> MediaInfo:
    """Find the tracks of a file, by reading all of its packets and decoding the first of each track.

    Raises:
        OverLimit: the file crosses a limit; it is read no further than that.
        BadInput: the file is missing, empty, not media, or has neither a picture nor a sound that can be decoded.
    """
    path = Path(path)
    check_is_file(path)
    with span("capture"):
        extents, truncated = _scan(path, limits)
        video = _first_track(path, "video", extents, limits)
        audio = _first_track(path, "audio", extents, limits)
    if video is None and audio is None:
        raise BadInput(
            f"{path} has neither a picture nor a sound that can be decoded",
            "give a video or sound file that plays in a media player",
        )
    return MediaInfo(path, video, audio, truncated, limits.pixels)


def pictures(info: MediaInfo) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames of the video track with their times in seconds from ``info.origin``, in order of time."""
    if info.video is None:
        return
    with open_media(info.path) as container:
        stream = container.streams.video[info.video.place]
        period = period_of(stream)
        last = None
        for time, frame in decode(container, stream, info.largest):
            if time is not None:
                time -= info.origin
            if last is not None and (time is None or time < last):
                time = last + period
            last = time if time is not None else info.video.start - info.origin
            yield last, frame


def sound(info: MediaInfo, rate: int) -> Iterator[tuple[int, np.ndarray]]:
    """The audio track as mono at ``rate`` Hz.

    Yields:
        The place of the first sample, counted from ``info.origin``, and the samples, float32 [n]. A hole in the time
        stamps is a hole between two chunks.
    """
    if info.audio is None:
        return
    with open_media(info.path) as container:
        stream = container.streams.audio[info.audio.place]
        resampler, layout = None, None
        place, expected = 0, info.audio.start - info.origin
        for stamp, frame in decode(container, stream, info.largest):
            time = expected if stamp is None else stamp - info.origin
            if resampler is None or abs(time - expected) > _GAP or layout != layout_of(frame):
                for samples in resampled(resampler, None):
                    yield place, samples
                    place += len(samples)
                resampler, layout = av.AudioResampler(format="fltp", rate=rate), layout_of(frame)
                place, expected = round(time * rate), time
            for samples in resampled(resampler, frame):
                yield place, samples
                place += len(samples)
            expected += frame.samples / frame.sample_rate
        for samples in resampled(resampler, None):
            yield place, samples
            place += len(samples)


def _scan(path: Path, limits: Limits) -> tuple[dict[int, float], bool]:
    """End time of every stream that has packets, by index, and whether the file is cut short."""
    ends: dict[int, float] = {}
    counts: dict[int, int] = {}
    first = math.inf
    broken = False
    with open_media(path) as container:
        try:
            for packet in container.demux():
                if packet.size == 0:
                    continue
                stream = packet.stream
                index = stream.index
                counts[index] = counts.get(index, 0) + 1
                broken = broken or packet.is_corrupt
                start = packet.pts if packet.pts is not None else packet.dts
                period = period_of(stream) if stream.type == "video" else 0.0
                begin = (counts[index] - 1) * period if start is None else float(start * packet.time_base)
                length = float(packet.duration * packet.time_base) if packet.duration else period
                ends[index] = max(ends.get(index, begin), begin + length)
                first = min(first, begin)
                if ends[index] - first > limits.seconds + _LENGTH_SLACK:
                    raise OverLimit(path, "seconds", limits)
        except (av.FFmpegError, OSError):
            broken = True
        names = set(container.format.name.split(","))
        if names & _STATE_DURATION and container.duration and ends:
            stated = (container.duration + (container.start_time or 0)) / av.time_base
            broken = broken or max(ends.values()) < stated - _DURATION_SLACK
    return ends, broken


def _first_track(path: Path, kind: Literal["video", "audio"], ends: dict[int, float], limits: Limits) -> Track | None:
    """The first stream of that kind with something that can be decoded."""
    with open_media(path) as container:
        candidates = [
            place
            for place, stream in enumerate(streams_of(container, kind))
            if stream.index in ends and not stream.disposition & Disposition.attached_pic and _is_possible(stream)
        ]
        for picture in container.streams.video if kind == "video" else ():
            if picture.codec_context is not None and picture.width * picture.height > limits.pixels:
                raise OverLimit(path, "pixels", limits)
    for place in candidates:
        with open_media(path) as container:
            stream = streams_of(container, kind)[place]
            first = next(decode(container, stream, limits.pixels), None)
            if first is not None:
                time, frame = first
                start = 0.0 if time is None else time
                least = frame.samples / frame.sample_rate if isinstance(frame, av.AudioFrame) else period_of(stream)
                return Track(place, start, max(ends[stream.index], start + least))
    return None


def _is_possible(stream: av.VideoStream | av.AudioStream) -> bool:
    return not isinstance(stream, av.AudioStream) or (stream.sample_rate or 0) <= _HIGHEST_RATE
