"""A media file as pictures and sound with time stamps, decoded as a stream: memory does not grow with its length."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import av
import numpy as np
from av.stream import Disposition

from mosear.runtime.errors import BadInput

# Only containers that hold the media themselves. Playlists (HLS, concat, SDP …) are left out, because they make the
# library open whatever files and addresses they name; so is tty, which takes any text file for a film.
_FORMATS = (
    "mov,mp4,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ivf,av1,obu,ogg,mxf,nut,gif,apng,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,mjpeg,yuv4mpegpipe,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_MAX_PIXELS = 8192 * 8192

# Their headers state a duration that was measured; others' is guessed from the bit rate or fitted to a cut file.
_STATE_DURATION = {"mov", "mp4", "matroska", "webm", "wav", "flac"}
_DURATION_SLACK = 0.25

_DEFAULT_PERIOD = 0.04
_GAP = 0.04

_MIX = {"FL": 0.707, "FR": 0.707, "FC": 1.0, "LFE": 0.0, "LFE2": 0.0}
_MIX_OTHERS = 0.5


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
    """

    path: Path
    video: Track | None
    audio: Track | None
    truncated: bool

    @property
    def origin(self) -> float:
        """Time of the first picture or sound on the file's clock: zero for everything that is read from it."""
        return min(track.start for track in (self.video, self.audio) if track)

    @property
    def duration(self) -> float:
        """Seconds from the first picture or sound to the end of the last."""
        return max(track.end for track in (self.video, self.audio) if track) - self.origin


def probe(path: str | Path) -> MediaInfo:
    """Find the tracks of a file, by reading all of its packets and decoding the first of each track.

    Raises:
        BadInput: the file is missing, empty, not media, or has neither a picture nor a sound that can be decoded.
    """
    path = Path(path)
    _check_is_file(path)
    extents, truncated = _scan(path)
    video = _first_track(path, "video", extents)
    audio = _first_track(path, "audio", extents)
    if video is None and audio is None:
        raise BadInput(
            f"{path} has neither a picture nor a sound that can be decoded",
            "give a video or sound file that plays in a media player",
        )
    return MediaInfo(path, video, audio, truncated)


def pictures(info: MediaInfo) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames of the video track with their times in seconds from ``info.origin``, in order of time."""
    if info.video is None:
        return
    with _open(info.path) as container:
        stream = container.streams.video[info.video.place]
        period = _period(stream)
        last = None
        for time, frame in _decode(container, stream):
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
    with _open(info.path) as container:
        stream = container.streams.audio[info.audio.place]
        resampler, layout = None, None
        place, expected = 0, info.audio.start - info.origin
        for stamp, frame in _decode(container, stream):
            time = expected if stamp is None else stamp - info.origin
            if resampler is None or abs(time - expected) > _GAP or layout != _layout(frame):
                for samples in _resample(resampler, None):
                    yield place, samples
                    place += len(samples)
                resampler, layout = av.AudioResampler(format="fltp", rate=rate), _layout(frame)
                place, expected = round(time * rate), time
            for samples in _resample(resampler, frame):
                yield place, samples
                place += len(samples)
            expected += frame.samples / frame.sample_rate
        for samples in _resample(resampler, None):
            yield place, samples
            place += len(samples)


def _check_is_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder", "name the media files in it")
        if not path.exists():
            raise BadInput(f"{path}: no such file", "check the spelling of the path")
        if not path.is_file():
            raise BadInput(f"{path} is not a regular file", "save the media to a file first")
        if path.stat().st_size == 0:
            raise BadInput(f"{path} is empty", "copy or record it again")
        if not os.access(path, os.R_OK):
            raise BadInput(f"{path} can't be read: permission denied", "change its permissions")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} can't be read ({error})", "check the path") from error


def _open(path: Path) -> av.container.InputContainer:
    try:
        kind = "jpeg_pipe" if _is_jpeg(path) else None
        # The prefix keeps a name with a colon from being taken for a protocol.
        return av.open(f"file:{path.absolute()}", format=kind, options=dict(_OPTIONS), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(
            f"{path} is not a media file that can be read ({reason})",
            "give a whole video or sound file; one that was cut while being written often lacks its index",
        ) from error


def _is_jpeg(path: Path) -> bool:
    """By its name alone a .jpg is taken for the first of a numbered series, which is not allowed here."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return False
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def _scan(path: Path) -> tuple[dict[int, float], bool]:
    """End time of every stream that has packets, by index, and whether the file is cut short."""
    ends: dict[int, float] = {}
    counts: dict[int, int] = {}
    broken = False
    with _open(path) as container:
        try:
            for packet in container.demux():
                if packet.size == 0:
                    continue
                stream = packet.stream
                index = stream.index
                counts[index] = counts.get(index, 0) + 1
                broken = broken or packet.is_corrupt
                start = packet.pts if packet.pts is not None else packet.dts
                period = _period(stream) if stream.type == "video" else 0.0
                begin = (counts[index] - 1) * period if start is None else float(start * packet.time_base)
                length = float(packet.duration * packet.time_base) if packet.duration else period
                ends[index] = max(ends.get(index, begin), begin + length)
        except (av.FFmpegError, OSError):
            broken = True
        names = set(container.format.name.split(","))
        if names & _STATE_DURATION and container.duration and ends:
            stated = (container.duration + (container.start_time or 0)) / av.time_base
            broken = broken or max(ends.values()) < stated - _DURATION_SLACK
    return ends, broken


def _first_track(path: Path, kind: Literal["video", "audio"], ends: dict[int, float]) -> Track | None:
    """The first stream of that kind with something that can be decoded."""
    with _open(path) as container:
        candidates = [
            place
            for place, stream in enumerate(_streams(container, kind))
            if stream.index in ends and not stream.disposition & Disposition.attached_pic
        ]
    for place in candidates:
        with _open(path) as container:
            stream = _streams(container, kind)[place]
            first = next(_decode(container, stream), None)
            if first is not None:
                time, frame = first
                start = 0.0 if time is None else time
                least = frame.samples / frame.sample_rate if isinstance(frame, av.AudioFrame) else _period(stream)
                return Track(place, start, max(ends[stream.index], start + least))
    return None


def _streams(
    container: av.container.InputContainer, kind: Literal["video", "audio"]
) -> tuple[av.VideoStream | av.AudioStream, ...]:
    return container.streams.video if kind == "video" else container.streams.audio


@overload
def _decode(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[float | None, av.VideoFrame]]: ...


@overload
def _decode(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[tuple[float | None, av.AudioFrame]]: ...


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream | av.AudioStream
) -> Iterator[tuple[float | None, av.VideoFrame | av.AudioFrame]]:
    """Frames of one stream with their times on the file's clock, where they have one.

    A packet that can't be decoded is left out; a file that breaks off ends there.
    """
    if stream.codec_context is None:
        return
    if isinstance(stream, av.VideoStream):
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
    # Frames that are flushed at the end carry no time base of their own.
    base = stream.time_base
    packets = container.demux(stream)
    flushed = False
    while not flushed:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            packet = None
        flushed = packet is None or packet.size == 0
        try:
            frames = stream.codec_context.decode(None if flushed else packet)
        except (av.FFmpegError, ValueError):
            continue
        for frame in frames:
            if getattr(frame, "width", 1) and getattr(frame, "samples", 1):
                yield None if frame.pts is None or base is None else float(frame.pts * base), frame


def _period(stream: av.stream.Stream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(1 / rate) if rate else _DEFAULT_PERIOD


def _layout(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resample(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    """Mono samples float32 [n] that come out of the resampler for one more frame; None flushes it."""
    if resampler is None:
        return
    try:
        out = resampler.resample(frame)
    except (av.FFmpegError, ValueError):
        return
    for piece in out:
        if piece.samples:
            # A sound file may hold floats that are no numbers; one of them would spoil the whole window.
            channels = np.nan_to_num(piece.to_ndarray(), nan=0.0, posinf=1.0, neginf=-1.0)
            yield (_mix(piece) @ channels).astype(np.float32)


def _mix(frame: av.AudioFrame) -> np.ndarray:
    """Weight of each channel, float32 [channels], summing to 1.

    The library's own mix to mono makes a pair of equal channels 3 dB louder than one, and lets the sum leave the range.
    Weights before normalizing are those of ITU-R BS.775: front 0.707, centre 1, surround 0.5, no low-frequency effects.
    """
    weights = np.array([_MIX.get(channel.name, _MIX_OTHERS) for channel in frame.layout.channels], np.float32)
    if not weights.any():
        weights = np.ones_like(weights)
    return weights / weights.sum()
