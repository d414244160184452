"""One file of kept media: picture and sound with their times."""

import io
import logging
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np

from mosear.runtime.capture.stream import Item, Picture, Sound

EARLY_S = 1.0
"""A file's tracks must be known before its first byte, so what comes in the first second waits."""

_BASE = Fraction(1, 1000)
_RATE = 25

# Best first. Every build of the library has the last two. One thread and no delay: what was taken is soon on the disk.
_ENCODERS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("libx264", "yuv420p", {"preset": "ultrafast", "crf": "28", "tune": "zerolatency", "g": "50"}),
    ("mpeg4", "yuv420p", {"qscale": "5", "g": "50"}),
    ("mjpeg", "yuvj420p", {"qmin": "5", "qmax": "5"}),
)
# Each packet goes to the disk: a program that is killed leaves a file that can be read up to there.
_CONTAINER = {"flush_packets": "1", "cluster_time_limit": "1000"}

_log = logging.getLogger("mosear")


class OtherTracks(Exception):
    """What comes does not fit the file under way: another kind, or pictures of another size."""


class MediaFile:
    """A Matroska file under way: H.264 and 16-bit PCM, at the times of what came.

    Args:
        number: descriptor to write to; it is closed with the file, and when this raises.
        rate: samples a second of the sound.

    Attributes:
        is_begun: whether something was written.
        skipped: pictures and sounds that were left out: their time was not after the last one's, or they came early
            and in another size.

    Raises:
        av.FFmpegError, OSError: it can't be begun.
    """

    def __init__(self, number: int, rate: int) -> None:
        self.skipped = 0
        self._raw = _Unbuffered(number, "r+b")
        try:
            self._container = av.open(self._raw, "w", format="matroska", container_options=_CONTAINER)
        except BaseException:
            self._raw.close()
            raise
        self._rate = rate
        self._early: list[Item] = []
        self._video: Any = None
        self._audio: Any = None
        self.is_begun = False
        self._origin = 0.0
        self._last = {Picture: -1, Sound: -1}

    def add(self, item: Item) -> None:
        """Write a picture or a sound.

        Raises:
            OtherTracks: it needs another file.
            av.FFmpegError, OSError: it can't be encoded or written.
        """
        if self.is_begun:
            self._write(item)
            return
        self._early.append(item)
        if item.time - self._early[0].time >= EARLY_S:
            self._begin()

    def close(self) -> None:
        """Write what waits and the end of the file; the descriptor is closed whatever happens."""
        try:
            try:
                if self._early:
                    self._begin()
                for stream in (self._video, self._audio):
                    if stream is not None:
                        self._container.mux(stream.encode(None))
            finally:
                self._container.close()
        finally:
            self._raw.close()

    def _begin(self) -> None:
        early, self._early = self._early, []
        self.is_begun = True
        self._origin = min(item.time for item in early)
        # The last: a camera that changes its size does so when it begins.
        shown = next((item.frame for item in reversed(early) if isinstance(item, Picture)), None)
        if shown is not None:
            name, pixels, options = encoder()
            self._video = self._container.add_stream(name, rate=_RATE, options=dict(options))
            self._video.width, self._video.height = _even(shown)
            self._video.pix_fmt = pixels
            self._video.codec_context.thread_count = 1
            self._video.codec_context.time_base = self._video.time_base = _BASE
        if any(isinstance(item, Sound) for item in early):
            self._audio = self._container.add_stream("pcm_s16le", rate=self._rate, layout="mono")
        for place, item in enumerate(early):
            try:
                self._write(item)
            except OtherTracks:
                self.skipped += 1
            except Exception:
                self.skipped += len(early) - place - 1  # whoever added the last counts that one
                raise

    def _write(self, item: Item) -> None:
        stream = self._video if isinstance(item, Picture) else self._audio
        if stream is None or (isinstance(item, Picture) and _even(item.frame) != (stream.width, stream.height)):
            raise OtherTracks
        stamp = round((item.time - self._origin) / _BASE)
        if stamp <= self._last[type(item)] or (isinstance(item, Sound) and not len(item.samples)):
            self.skipped += 1
            return
        frame = _picture(item.frame, stream) if isinstance(item, Picture) else _sound(item.samples, self._rate)
        frame.pts, frame.time_base = stamp, _BASE
        self._last[type(item)] = stamp
        self._container.mux(stream.encode(frame))


class _Unbuffered(io.FileIO):
    """Writes all of what it is given, or raises: a nearly full disk takes a part, and the library would not notice."""

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            left = left[super().write(left) or 0 :]
        return size


@cache
def encoder() -> tuple[str, str, dict[str, str]]:
    """Name, pixel format and options of the encoder of pictures; one that is second best is logged, once.

    Raises:
        av.FFmpegError: there is none.
    """
    for place, (name, pixels, options) in enumerate(_ENCODERS):
        try:
            av.Codec(name, "w")
        except ValueError:
            continue
        if place:
            _log.warning("pictures are kept as %s: this ffmpeg has no encoder %s", name, _ENCODERS[0][0])
        return name, pixels, options
    raise av.EncoderNotFoundError(0, "this ffmpeg has no encoder of pictures that mosear knows")


def _even(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height as the encoders take them."""
    return max(2, frame.width // 2 * 2), max(2, frame.height // 2 * 2)


def _picture(frame: av.VideoFrame, stream: Any) -> av.VideoFrame:
    """A frame of the stream's size and format that is nobody else's: others look at the camera's own meanwhile."""
    fitted = frame.reformat(width=stream.width, height=stream.height, format=stream.pix_fmt, threads=1)
    if fitted is frame:
        fitted = av.VideoFrame.from_ndarray(frame.to_ndarray(), format=stream.pix_fmt)
    # Else the encoder would follow the camera: a key picture each time, where the camera sends whole ones.
    fitted.pict_type = av.video.frame.PictureType.NONE
    return fitted


def _sound(samples: np.ndarray, rate: int) -> av.AudioFrame:
    whole = (np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
    frame.sample_rate = rate
    return frame
