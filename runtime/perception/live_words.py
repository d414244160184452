"""The words of live sound, by a thread of its own: whoever feeds it or asks it never waits for the recognizer."""

import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mosear.runtime.capture.stream import Sound
from mosear.runtime.errors import MosearError, one_line
from mosear.runtime.perception.words import Transcriber

_LOG = logging.getLogger("mosear")

_WAITING = 500
_HOLE_S = 0.1
_PIECE_S = 0.1
_PAUSE_S = 0.4
_LONGEST_S = 6.0
_SHORTEST_S = 0.2
_PAUSE_DBFS = -45.0


@dataclass
class _Utterance:
    """What is being said: pieces of sound without a pause in between."""

    start: float
    pieces: list[np.ndarray] = field(default_factory=list)
    heard: int = 0
    quiet: int = 0


class LiveWords:
    """Cuts sound into utterances (at pauses of 0.4 s, after 6 s at the latest) and transcribes each one once.

    Sound waits in a bounded queue: when the recognizer can't keep up the oldest is left out, and ``dropped`` counts it.

    Args:
        transcriber: used by this object's thread alone.
        rate: samples a second of the sounds.
        is_speech: whether samples, float32 [n], are worth transcribing (recognizers invent words for noise); called on
            this object's thread.
        keep: seconds of words that can be asked for.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        rate: int,
        is_speech: Callable[[np.ndarray], bool] = lambda _: True,
        keep: float = 30.0,
    ) -> None:
        self._transcriber = transcriber
        self._rate = rate
        self._is_speech = is_speech
        self._keep = keep
        self._queue: queue.Queue[Sound | None] = queue.Queue(_WAITING)
        self._lock = threading.Lock()
        self._said: deque[tuple[float, float, str]] = deque()
        self._stopping = threading.Event()
        self._now: _Utterance | None = None
        self._fed_to = -math.inf
        self._thread = threading.Thread(target=self._work, name="mosear-words", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread, and wait up to ``timeout`` seconds for it; what waits is not transcribed any more."""
        self._stopping.set()
        self._put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def feed(self, sound: Sound) -> None:
        """Hand over the sound that comes next; never blocks."""
        self._put(sound)

    def words(self, start: float, end: float) -> str | None:
        """What was said in a stretch: the utterances that lie in it with at least half their length, or half of it.

        Args:
            start: in the seconds of the sounds that were fed.
            end: likewise.

        Returns:
            Their words in order, or None when none are known (an utterance is, some time after the pause behind it).
        """
        with self._lock:
            said = [
                text
                for first, last, text in self._said
                if 2 * (min(last, end) - max(first, start)) >= min(last - first, end - start)
            ]
        return " ".join(said) or None

    def _put(self, item: Sound | None) -> None:
        while True:
            try:
                self._queue.put_nowait(item)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self.dropped += 1
                except queue.Empty:
                    continue

    def _work(self) -> None:
        while not self._stopping.is_set():
            sound = self._queue.get()
            if sound is None:
                return
            if abs(sound.time - self._fed_to) > _HOLE_S:
                self._finish()
            self._fed_to = sound.time + len(sound.samples) / self._rate
            size = max(1, round(_PIECE_S * self._rate))
            for begin in range(0, len(sound.samples), size):
                self._hear(sound.time + begin / self._rate, sound.samples[begin : begin + size])

    def _hear(self, time: float, piece: np.ndarray) -> None:
        level = float(np.mean(np.square(piece, dtype=np.float64)))
        is_quiet = level < 10 ** (_PAUSE_DBFS / 10)
        if self._now is None:
            if is_quiet:
                return
            self._now = _Utterance(time)
        self._now.pieces.append(piece)
        self._now.heard += len(piece)
        self._now.quiet = self._now.quiet + len(piece) if is_quiet else 0
        if self._now.quiet >= _PAUSE_S * self._rate or self._now.heard >= _LONGEST_S * self._rate:
            self._finish()

    def _finish(self) -> None:
        """Transcribe what has been said so far as an utterance."""
        now, self._now = self._now, None
        if now is None or now.heard - now.quiet < _SHORTEST_S * self._rate:
            return
        samples = np.concatenate(now.pieces)
        try:
            text = self._transcriber.transcribe(samples, self._rate) if self._is_speech(samples) else ""
        except MosearError as error:
            _LOG.warning("words: %s", one_line(error.what))
            return
        end = now.start + (now.heard - now.quiet) / self._rate
        with self._lock:
            if text:
                self._said.append((now.start, end, text))
            while self._said and self._said[0][1] < end - self._keep:
                self._said.popleft()
