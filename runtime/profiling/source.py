"""Windows to profile on, each read anew from the clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mosear.runtime.errors import BadInput
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media.file import probe
from mosear.runtime.spans import span
from mosear.runtime.windows import Plan, Window, lengths, read_windows

_SLACK = 1e-6


class Source:
    """A clip's windows one after another, as ``mosear run`` reads them, and again from the clip's start.

    What remains after the last whole window is left out, so that all runs have the same to do; a clip shorter than a
    window is one window. Opening the clip belongs to the first window after its start.

    Args:
        clip: a media file.
        preprocessing: the model's sizes and rates.
        window_s: seconds of a window; the model's when left out.
        transcript: what is said in the clip.

    Attributes:
        count: windows from the clip's start to its end.
        has_video: whether the clip has pictures.
        has_audio: whether the clip has sound.
        is_short: whether the clip is shorter than a window.

    Raises:
        UsageError, BadInput: as ``read_windows``.
    """

    def __init__(
        self, clip: Path, preprocessing: Preprocessing, window_s: float | None = None, transcript: str | None = None
    ) -> None:
        length, hop = lengths(preprocessing, window_s)
        info = probe(clip)
        spans = Plan(info.duration, length, hop)
        self.count = sum(end - start >= length - _SLACK for start, end in spans) or 1
        self.has_video, self.has_audio = info.video is not None, info.audio is not None
        self.is_short = info.duration < length - _SLACK
        self._clip = clip
        self._asked = (preprocessing, window_s, None, transcript)
        self._place = 0
        self._windows: Iterator[Window] = iter(())

    def next(self) -> Window:
        """The next window.

        Raises:
            BadInput: the clip changed since it was looked at, or the window has neither picture nor sound.
        """
        if self._place == 0:
            self._windows = read_windows(self._clip, *self._asked)
        window = next(self._windows, None)
        if window is None:
            raise BadInput(f"{self._clip} changed while it was read", "profile on a file that nobody writes to")
        if window.frames is None and window.samples is None:
            raise BadInput(
                f"{self._clip} has neither picture nor sound from {window.start:g} to {window.end:g} s, so that "
                "nothing of the model would run",
                "give a clip with picture or sound from its start to its end, or leave it out for the built-in one",
            )
        self._place = (self._place + 1) % self.count
        if self._place == 0:
            # What is left open would be closed in the next run, and charged to it.
            with span("capture"):
                self._windows = iter(())
        return window
