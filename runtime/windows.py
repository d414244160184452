"""A stream of pictures and sound → windows, each of which gets one answer."""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mosear.runtime.errors import UsageError
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media.file import NO_LIMITS, MediaInfo, probe
from mosear.runtime.media.opening import Limits
from mosear.runtime.media.sampling import sample_frames, sample_sound

SHORTEST_WINDOW = 0.5
"""Seconds. A window may not be set shorter, and one that a short clip makes so is marked ``short``."""

_TINY = 1e-6
_LEAST_GAIN = 0.1


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of media.

    Attributes:
        start: seconds from the first picture or sound of the clip.
        end: seconds likewise.
        frames: uint8 [F, size, size, 3] RGB, evenly spaced over the window; None when there is no picture.
        samples: float32 [window_samples] mono, zero-padded at the end; None when there is no sound, or only silence.
        transcript: what is said in the clip, or None.
        states: what is out of the ordinary: ``no_video``, ``no_audio``, ``no_speech`` (silence), ``short``,
            ``truncated`` (the file breaks off in this window). Live windows have more, see
            ``mosear.runtime.live.assembly``.
        frame_keys: one for each frame, equal exactly for the same frame of a source; None when no other window will
            have it.
    """

    start: float
    end: float
    frames: np.ndarray | None
    samples: np.ndarray | None
    transcript: str | None = None
    states: tuple[str, ...] = ()
    frame_keys: tuple[Hashable, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """Start and end of every window over ``duration`` seconds, in order; see ``read_windows`` for the rules."""

    duration: float
    length: float
    hop: float

    def __iter__(self) -> Iterator[tuple[float, float]]:
        index, covered = 0, 0.0
        while index * self.hop + self.length <= self.duration + _TINY:
            covered = min(index * self.hop + self.length, self.duration)
            yield index * self.hop, covered
            index += 1
        rest = self.duration - index * self.hop
        if index == 0 or (self.duration - covered > _LEAST_GAIN and rest >= self.length / 2):
            yield index * self.hop, self.duration


def read_windows(
    path: str | Path,
    preprocessing: Preprocessing,
    window_s: float | None = None,
    hop_s: float | None = None,
    transcript: str | None = None,
    limits: Limits = NO_LIMITS,
) -> Iterator[Window]:
    """Read a clip as windows; memory is bounded by the length of a window, not of the clip.

    Args:
        path: a media file.
        preprocessing: the model's sizes and rates.
        window_s: length of a window in seconds, from 0.5 to the model's; the model's when left out.
        hop_s: seconds from the start of one window to the start of the next; the length when left out.
        transcript: what is said in the clip, given to every window.
        limits: how much of a file is taken.

    Returns:
        The windows in order. A clip shorter than one gives a single window over all of it. What remains after the
        last whole window is a window of its own when it is at least half as long and shows more than 0.1 s that no
        other does; it is left out otherwise.

    Raises:
        UsageError: ``window_s`` or ``hop_s`` is out of range.
        BadInput: the file is missing or is not media that can be decoded; ``OverLimit`` when it crosses a limit.
    """
    length, hop = lengths(preprocessing, window_s, hop_s)
    info = probe(path, limits)
    return _windows(info, preprocessing, Plan(info.duration, length, hop), transcript)


def lengths(
    preprocessing: Preprocessing, window_s: float | None = None, hop_s: float | None = None
) -> tuple[float, float]:
    """Length and hop of the windows in seconds, with what was left out filled in; see ``read_windows``.

    Raises:
        UsageError: one of them is out of range.
    """
    longest = preprocessing.window_s
    length = longest if window_s is None else window_s
    hop = length if hop_s is None else hop_s
    if window_s is not None and not SHORTEST_WINDOW <= window_s <= longest + _TINY:
        raise UsageError(
            f"a window of {window_s:g} s is out of range",
            f"choose {SHORTEST_WINDOW:g} to {longest:g} seconds: the model was made for no more",
        )
    if not (hop > 0 and math.isfinite(hop)):
        raise UsageError(f"a hop of {hop:g} s is out of range", "choose a hop above 0 seconds")
    return length, hop


def is_silent(samples: np.ndarray, silence_dbfs: float) -> bool:
    """Whether the RMS of ``samples`` [n] (full scale 1) lies below ``silence_dbfs``."""
    if samples.size == 0:
        return True
    rms = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    return rms < 10 ** (silence_dbfs / 20)


def _windows(info: MediaInfo, preprocessing: Preprocessing, spans: Plan, transcript: str | None) -> Iterator[Window]:
    rate = preprocessing.sample_rate
    frames = sample_frames(info, spans, preprocessing.frames, preprocessing.frame_size)
    sounds = sample_sound(info, spans, rate, preprocessing.window_samples)
    for (start, end), is_last in _marking_last(spans):
        seen, heard = next(frames), next(sounds)
        states = []
        if seen is None:
            states.append("no_video")
        if heard is None:
            states.append("no_audio")
        elif is_silent(heard[: round((end - start) * rate)], preprocessing.silence_dbfs):
            states.append("no_speech")
            heard = None
        if end - start < SHORTEST_WINDOW:
            states.append("short")
        if info.truncated and is_last:
            states.append("truncated")
        yield Window(start, end, seen, heard, transcript, tuple(states))


def _marking_last(spans: Plan) -> Iterator[tuple[tuple[float, float], bool]]:
    remaining = iter(spans)
    held = next(remaining)
    for span in remaining:
        yield held, False
        held = span
    yield held, True
