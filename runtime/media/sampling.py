"""Pictures and sound of a file at the times that a run of windows asks for, in one pass and with bounded memory."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from mosear.runtime.media.file import MediaInfo, Track, pictures, sound
from mosear.runtime.media.resize import resize
from mosear.runtime.spans import span

_LEAST_OVERLAP = 0.02

# Matroska keeps times in whole milliseconds: a frame whose time was rounded up still counts as being there.
_ROUNDING = 1e-3

Span = tuple[float, float]
"""Start and end in seconds from the first picture or sound of the file."""


def sample_times(start: float, end: float, count: int) -> list[float]:
    """``count`` times evenly spaced in the span: the middles of its equal parts."""
    return [start + (i + 0.5) * (end - start) / count for i in range(count)]


def sample_frames(info: MediaInfo, spans: Iterable[Span], count: int, size: int) -> Iterator[np.ndarray | None]:
    """Frames of each span: at each sampling time the newest frame that is not later, else the first there is.

    Frames that no span asks for are decoded, since later ones may build on them, but never scaled.

    Args:
        info: the file.
        spans: in order of their starts and of their last sampling times; iterated twice, side by side.
        count: frames a span.
        size: side of a frame in pixels.

    Yields:
        uint8 [count, size, size, 3] for each span, or None where the file has no picture at that time.
    """
    stream = pictures(info)
    current = next(stream, None)
    if current is None or info.video is None:
        yield from (None for _ in spans)
        return
    upcoming = next(stream, None)
    small: np.ndarray | None = None
    chosen: dict[int, list[np.ndarray]] = {}
    answered = iter(spans)
    for time, index in _requests(spans, count):
        while upcoming is not None and upcoming[0] <= time + _ROUNDING:
            current, upcoming, small = upcoming, next(stream, None), None
        if small is None:
            with span("preprocess"):
                small = resize(current[1], size)
        frames = chosen.setdefault(index, [])
        frames.append(small)
        if len(frames) == count:
            there = _touches(info.video, info.origin, next(answered))
            frames = chosen.pop(index)
            yield np.stack(frames) if there else None


def sample_sound(info: MediaInfo, spans: Iterable[Span], rate: int, width: int) -> Iterator[np.ndarray | None]:
    """Sound of each span, cut at the sample and zero-padded at the end.

    Args:
        info: the file.
        spans: in order of their starts.
        rate: samples a second.
        width: samples of an answer; a span is no longer than that.

    Yields:
        float32 [width] for each span, or None where the file has no sound at that time.
    """
    stream = sound(info, rate)
    chunks: deque[tuple[int, np.ndarray]] = deque()
    exhausted = False
    for start, end in spans:
        first = round(start * rate)
        last = min(round(end * rate), first + width)
        while chunks and chunks[0][0] + len(chunks[0][1]) <= first:
            chunks.popleft()
        while not exhausted and not (chunks and chunks[-1][0] + len(chunks[-1][1]) >= last):
            chunk = next(stream, None)
            exhausted = chunk is None
            if chunk is not None and chunk[0] + len(chunk[1]) > first:
                chunks.append(chunk)
        if info.audio is None or not _touches(info.audio, info.origin, (start, end)):
            yield None
            continue
        heard = np.zeros(width, np.float32)
        for place, samples in chunks:
            begin, stop = max(place, first), min(place + len(samples), last)
            if begin < stop:
                heard[begin - first : stop - first] = samples[begin - place : stop - place]
        yield heard


def _touches(track: Track, origin: float, span: Span) -> bool:
    """Whether the track has more than a sliver of the span: the end of a track is known to half a frame only."""
    overlap = min(track.end - origin, span[1]) - max(track.start - origin, span[0])
    return overlap >= min(_LEAST_OVERLAP, (span[1] - span[0]) / 2)


def _requests(spans: Iterable[Span], count: int) -> Iterator[tuple[float, int]]:
    """Sampling times of all spans in order of time, each with the index of its span."""
    waiting: list[tuple[float, int]] = []
    for index, (start, end) in enumerate(spans):
        while waiting and waiting[0][0] < start:
            yield heapq.heappop(waiting)
        for time in sample_times(start, end, count):
            heapq.heappush(waiting, (time, index))
    while waiting:
        yield heapq.heappop(waiting)
