"""Pictures and sound of the last seconds → one window for the model."""

from collections.abc import Callable

import numpy as np

from mosear.runtime.capture.stream import Item, Picture
from mosear.runtime.live.hearing import Hearing
from mosear.runtime.live.sightings import Sightings, spread
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.perception.speech import LEAST_SHARE, SpeechTrail
from mosear.runtime.windows import Window, is_silent

PICTURE_STATES = ("dark", "covered", "no_face", "whole_frame")
"""What a ``Look`` can say of a picture."""

_LEAST_SOUND = 0.2

Words = Callable[[float, float], str | None]
"""What was said from one time of the clock to another, or None."""


class Assembly:
    """What the sources gave lately, and the windows made of it.

    Args:
        preprocessing: the model's sizes and rates.
        length: seconds of a window.
        sightings: the camera's pictures; None without a camera.
        hearing: the microphone's sound; None without one.
        voice: tells speech from other sound; without it only silence counts as no speech.
        words: what was said, if anyone knows.

    Attributes:
        first, last: times of the clock between which there was something; None before there is.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        length: float,
        sightings: Sightings | None,
        hearing: Hearing | None,
        voice: SpeechTrail | None = None,
        words: Words | None = None,
    ) -> None:
        self._preprocessing = preprocessing
        self._length = length
        self._sightings = sightings
        self._hearing = hearing
        self._voice = voice
        self._words = words
        self.first: float | None = None
        self.last: float | None = None

    def take(self, item: Item) -> None:
        """A picture or a sound from a source."""
        if self.first is None or item.time < self.first:
            self.first = item.time
        ends = (
            item.time if isinstance(item, Picture) else item.time + len(item.samples) / self._preprocessing.sample_rate
        )
        self.last = ends if self.last is None else max(self.last, ends)
        if isinstance(item, Picture):
            if self._sightings is not None:
                self._sightings.take(item)
            return
        if self._hearing is not None:
            self._hearing.take(item)
        if self._voice is not None:
            self._voice.feed(item)

    def window(self, end: float) -> Window:
        """The window that ends at ``end`` of the clock; at the start of a run it is shorter than asked for.

        Its states: ``no_video`` (no camera, or it is lost), ``dark`` and ``covered`` (the lens), ``no_face``,
        ``whole_frame`` (nobody looked for a face), ``no_audio`` (no microphone, or it is lost) and ``no_speech``. A
        modality in which there is nothing to read is left out of the window, and the model goes by the other.
        """
        start = end - self._length if self.first is None else max(end - self._length, min(self.first, end))
        states: list[str] = []
        frames, keys = self._see(start, end, states)
        samples = self._hear(start, end, states)
        said = self._words(start, end) if self._words is not None else None
        return Window(start, end, frames, samples, said, tuple(states), keys)

    def _see(self, start: float, end: float, states: list[str]) -> tuple[np.ndarray | None, tuple[int, ...] | None]:
        count = self._preprocessing.frames
        seen = self._sightings.until(end) if self._sightings is not None else []
        if not seen or 2 * len(seen) < int((end - start) / self._length * count):
            states.append("no_video")
            return None, None
        useful = [each for each in seen if each.look.pixels is not None]
        enough = 2 * len(useful) >= len(seen)
        told = [each.look.states for each in (useful if enough else seen)]
        # A state holds for the window when it holds for half of what was looked at.
        states += [state for state in PICTURE_STATES if 2 * sum(state in each for each in told) >= len(told)]
        if not enough:
            return None, None
        chosen = spread(useful, count)
        frames = np.stack([each.look.pixels for each in chosen if each.look.pixels is not None])
        return frames, tuple(each.key for each in chosen)

    def _hear(self, start: float, end: float, states: list[str]) -> np.ndarray | None:
        heard, share = self._hearing.between(start, end) if self._hearing is not None else (np.zeros(0), 0.0)
        if share < _LEAST_SOUND:
            states.append("no_audio")
            return None
        speech = self._voice.share(start, end) if self._voice is not None else None
        silent = is_silent(heard, self._preprocessing.silence_dbfs)
        if silent or (speech is not None and speech < LEAST_SHARE):
            states.append("no_speech")
            return None
        padded = np.zeros(self._preprocessing.window_samples, np.float32)
        kept = heard[: len(padded)]
        padded[: len(kept)] = kept
        return padded
