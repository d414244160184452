"""Sound as it comes from a device: mono, at the model's rate, without a seam."""

from collections.abc import Iterator

import av
import numpy as np

from mosear.runtime.capture.stream import Sound
from mosear.runtime.media.streams import layout_of, resampled

_HOLE = 0.04
_OVERLAP = 0.01


class SoundRun:
    """Puts chunks of sound one behind the other.

    A chunk's time is known to some milliseconds only. One that begins less than 40 ms after the end of the last, or 10
    ms before it, is taken to follow it without a gap. A later one leaves a hole; of an earlier one the part that was
    given already is cut off.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._end: float | None = None

    def place(self, time: float, samples: np.ndarray) -> Sound | None:
        """``samples`` float32 [n], the first heard at about ``time``; None when nothing of them is new."""
        if self._end is not None and time < self._end + _HOLE:
            if time < self._end - _OVERLAP:
                samples = samples[round((self._end - time) * self._rate) :]
            time = self._end
        if not len(samples):
            return None
        self._end = time + len(samples) / self._rate
        return Sound(time, samples)


class Listener:
    """Frames of sound in any format → ``Sound``.

    Args:
        rate: samples a second of what comes out.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._run = SoundRun(rate)
        self._resampler: av.AudioResampler | None = None
        self._layout: tuple[str, str, int] | None = None

    def hear(self, time: float, frame: av.AudioFrame) -> Iterator[Sound]:
        """Sound that is ready once ``frame``, whose first sample was heard at ``time``, is known."""
        layout = layout_of(frame)
        if self._resampler is None or layout != self._layout:
            self._resampler, self._layout = av.AudioResampler(format="fltp", rate=self._rate), layout
        for samples in resampled(self._resampler, frame):
            heard = self._run.place(time, samples)
            if heard is not None:
                yield heard
            time += len(samples) / self._rate
