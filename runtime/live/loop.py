"""The loop of live work: the newest window is answered, and what the model was too slow for is counted."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.feed import Feed
from mosear.runtime.capture.stream import Condition, LinkStatus
from mosear.runtime.errors import MosearError, one_line
from mosear.runtime.live.assembly import Assembly
from mosear.runtime.live.smoothing import Smoother
from mosear.runtime.live.status import LiveStatus
from mosear.runtime.results import Emotion, Live
from mosear.runtime.windows import SHORTEST_WINDOW, Window

SETTLE_S = 0.15
"""A window is put together so long after it ended: what was seen and heard in it has arrived by then."""

FAILURES_IN_A_ROW = 10
"""After so many windows in a row that could not be answered the loop gives up, and whoever runs it starts it anew."""

_LEAST_GAIN = 0.1
_PATIENCE_S = 0.25
_TINY = 1e-6

_log = logging.getLogger("mosear")

Answer = Callable[[Window, str, bool], Emotion]
"""Window, what the answer names as its clip, whether a reason is wanted → answer."""


class Reasons(str, Enum):
    """When the model is asked for its reasons."""

    never = "never"
    change = "change"
    always = "always"


@dataclass(frozen=True)
class LoopSettings:
    """How a loop works.

    Attributes:
        name: what answers name as their clip.
        hop: seconds from the end of a window to the end of the next.
        reasons: when the model is asked for its reasons; on ``ask_reason`` it is whatever this says.
    """

    name: str
    hop: float
    reasons: Reasons = Reasons.never


class LiveLoop:
    """Answers live windows until it is stopped, or until its sources have ended.

    Windows end at multiples of the hop from the first picture or sound. When the model takes longer than a hop, the
    newest window is answered next and those before it are dropped and counted.

    Args:
        settings: how it works.
        clock: the clock of the sources.
        feeds: the sources; this loop starts and stops them.
        assembly: makes windows of what they give.
        answer: the model.
        smoother: the filter over time.
        publish: takes every answer; it must not block.
        tick: called between windows as long as the loop is alive: a watchdog's food.
        sinks: how the sinks are doing, for ``status``.
    """

    def __init__(
        self,
        settings: LoopSettings,
        clock: Clock,
        feeds: Sequence[Feed],
        assembly: Assembly,
        answer: Answer,
        smoother: Smoother,
        publish: Callable[[Emotion], None],
        tick: Callable[[], None] = lambda: None,
        sinks: Callable[[], list[LinkStatus]] = list,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._feeds = list(feeds)
        self._assembly = assembly
        self._answer = answer
        self._smoother = smoother
        self._publish = publish
        self._tick = tick
        self._sinks = sinks
        self._asked = threading.Event()
        self._running = False
        self._answers = self._dropped = self._failures = self._in_a_row = 0
        self._label: str | None = None
        self._stop = threading.Event()
        self._origin: float | None = None

    def ask_reason(self) -> None:
        """Ask for the model's reason with the next window."""
        self._asked.set()

    def status(self) -> LiveStatus:
        """How it is doing; may be called from any thread."""
        sources = [feed.status() for feed in self._feeds]
        return LiveStatus(self._running, self._answers, self._dropped, self._failures, sources, self._sinks())

    def run(self, stop: threading.Event) -> None:
        """Answer windows until ``stop`` is set or all sources have ended.

        Raises:
            MosearError: ``FAILURES_IN_A_ROW`` windows could not be answered; it is the last one's error.
        """
        for feed in self._feeds:
            feed.start()
        self._running = True
        self._stop = stop
        try:
            self._run(stop)
        finally:
            self._running = False
            for feed in self._feeds:
                feed.stop()

    def _run(self, stop: threading.Event) -> None:
        hop = self._settings.hop
        began = self._clock.now()
        done = max(0, math.ceil(SHORTEST_WINDOW / hop - _TINY) - 1)
        while not stop.is_set():
            self._tick()
            if self._origin is None and (self._assembly.first is not None or self._clock.now() > began + hop):
                self._origin = began if self._assembly.first is None else self._assembly.first
            origin = began if self._origin is None else self._origin
            due = origin + (done + 1) * hop
            ended = self._ended()
            if ended and (self._assembly.last is None or due > self._assembly.last + _TINY):
                self._finish(origin + done * hop)
                return
            if not ended and self._clock.now() < due + SETTLE_S:
                # Not in one go: sources may end, and whoever watches the loop wants to hear from it.
                self._clock.wait(min(due + SETTLE_S, self._clock.now() + _PATIENCE_S * self._clock.speed), stop)
                continue
            late = 0 if ended else max(0, math.floor((self._clock.now() - SETTLE_S - due) / hop))
            self._one(due + late * hop, late)
            done += 1 + late

    def _ended(self) -> bool:
        return bool(self._feeds) and all(feed.status().condition is Condition.ended for feed in self._feeds)

    def _finish(self, covered: float) -> None:
        """The last window, up to the end of what the sources gave, if that shows anything new."""
        first, last = self._assembly.first, self._assembly.last
        if first is None or last is None:
            return
        if last - max(covered, first) > _LEAST_GAIN and last - first >= SHORTEST_WINDOW:
            self._one(last, 0)

    def _one(self, end: float, dropped: int) -> None:
        self._dropped += dropped
        origin = self._origin or 0.0
        window = self._assembly.window(end)
        window = replace(window, start=window.start - origin, end=window.end - origin)
        wanted = self._settings.reasons is Reasons.always or self._asked.is_set()
        try:
            emotion = self._answer(window, self._settings.name, wanted)
            label, scores = self._smoother.update(end, emotion.scores)
            if self._settings.reasons is Reasons.change and not wanted and label != self._label and emotion.scores:
                emotion = self._answer(window, self._settings.name, True)
                wanted = True
        except MosearError as error:
            self._fail(error)
            return
        if wanted and emotion.reason is not None:
            self._asked.clear()
        self._in_a_row = 0
        self._label = label
        self._answers += 1
        live = Live(
            time=self._clock.wall(end),
            sequence=self._answers,
            latency_ms=(self._clock.now() - end) / self._clock.speed * 1000,
            dropped=dropped,
            smoothed_label=label,
            smoothed_scores=scores,
        )
        self._publish(replace(emotion, live=live))

    def _fail(self, error: MosearError) -> None:
        if self._stop.is_set():
            # Whoever ends the loop may end the model first.
            return
        self._failures += 1
        self._in_a_row += 1
        _log.error("a window could not be answered: %s; %s", one_line(error.what), one_line(error.remedy))
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise error
