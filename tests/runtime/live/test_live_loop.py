"""The loop on a clock that tests turn by hand, with sources and a model that do what they are told."""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import av
import numpy as np
import pytest

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.stream import Condition, LinkStatus, Picture, Sound
from mosear.runtime.errors import Failed
from mosear.runtime.live.assembly import Assembly
from mosear.runtime.live.hearing import Hearing
from mosear.runtime.live.loop import FAILURES_IN_A_ROW, LiveLoop, LoopSettings, Reasons
from mosear.runtime.live.sightings import Look, Sightings
from mosear.runtime.live.smoothing import Smoother
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.results import Emotion
from mosear.runtime.windows import Window

LABELS = ["neutral", "happy"]
RATE = 16000


class HandClock(Clock):
    """Time passes when somebody waits for it, and no sooner."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.wall_calls: list[float] = []
        self.on_wait: Callable[[float], None] = lambda until: None

    def now(self) -> float:
        return self.time

    def wait(self, until: float, stop: threading.Event) -> bool:
        self.on_wait(until)
        self.time = max(self.time, until)
        return stop.is_set()

    def wall(self, at: float) -> str:
        self.wall_calls.append(at)
        return "2026-01-01T00:00:00.000Z"


@dataclass
class HandFeed:
    condition: Condition = Condition.live
    started: int = 0
    stopped: int = 0

    def start(self) -> None:
        self.started += 1

    def stop(self, timeout: float = 5.0) -> bool:
        self.stopped += 1
        return True

    def status(self) -> LinkStatus:
        return LinkStatus("camera", "hand", self.condition)


@dataclass
class Scene:
    """A camera at 25 pictures a second and a microphone, both of which run until ``length``."""

    preprocessing: Preprocessing
    length: float = math.inf
    cost: float = 0.0
    scores: Callable[[Window], dict[str, float]] = lambda window: {"neutral": 0.9, "happy": 0.1}
    reasons: Reasons = Reasons.never
    hop: float = 1.0
    asked: list[tuple[float, float, bool]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    published: list[Emotion] = field(default_factory=list)
    ticks: int = 0
    fail: Callable[[int], bool] = lambda count: False

    def __post_init__(self) -> None:
        self.clock = HandClock()
        self.feed = HandFeed()
        self.stop = threading.Event()
        self.given = 0.0
        sightings = Sightings(3.0, 8, lambda frame: Look(np.asarray(frame.to_ndarray(format="rgb24"))))
        self.assembly = Assembly(self.preprocessing, 3.0, sightings, Hearing(3.0, RATE))
        self.clock.on_wait = self.give
        self.loop = LiveLoop(
            LoopSettings("scene", self.hop, self.reasons),
            self.clock,
            [self.feed],  # type: ignore[list-item]
            self.assembly,
            self.answer,
            Smoother(LABELS, 0.0, 0.0, 5.0),
            self.published.append,
            self.tick,
        )

    def give(self, until: float) -> None:
        """Everything up to ``until``, in steps of a picture."""
        while self.given + 0.04 <= min(until, self.length) + 1e-9:
            frame = np.full((64, 64, 3), int(self.given / 0.04) % 200, np.uint8)
            self.assembly.take(Picture(self.given, av.VideoFrame.from_ndarray(frame, format="rgb24")))
            self.assembly.take(Sound(self.given, np.full(640, 0.1, np.float32)))
            self.given = round((self.given / 0.04) + 1) * 0.04
        if until >= self.length:
            self.feed.condition = Condition.ended

    def answer(self, window: Window, clip: str, reason: bool) -> Emotion:
        self.windows.append(window)
        self.asked.append((window.start, window.end, reason))
        until = self.clock.time + self.cost
        self.give(until)
        self.clock.time = until
        if self.fail(len(self.asked)):
            raise Failed("the model is unwell", "wait")
        scores = self.scores(window)
        return Emotion(
            clip,
            window.start,
            window.end,
            max(scores, key=lambda name: scores[name]) if scores else "unknown",
            scores,
            {},
            None,
            None,
            [],
            list(window.states),
            "because" if reason else None,
        )

    def tick(self) -> None:
        self.ticks += 1
        if self.clock.time > 200:
            self.stop.set()

    def run(self) -> "Scene":
        self.loop.run(self.stop)
        return self


def ends(scene: Scene) -> list[float]:
    return [round(end, 6) for _, end, _ in scene.asked]


def test_windows_end_at_multiples_of_the_hop_and_grow_to_their_length(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, length=6.4).run()
    assert ends(scene) == [1, 2, 3, 4, 5, 6, 6.4]
    assert [round(start, 6) for start, _, _ in scene.asked] == [0, 0, 0, 1, 2, 3, 3.4]
    assert [each.live.sequence for each in scene.published if each.live] == list(range(1, 8))
    assert all(each.live is not None and each.live.dropped == 0 for each in scene.published)
    assert (scene.feed.started, scene.feed.stopped) == (1, 1)
    for window in scene.windows:
        assert window.frames is not None
        assert window.frames.shape == (8, 64, 64, 3)
        assert window.samples is not None
        assert window.samples.shape == (48000,)
        length = round((window.end - window.start) * RATE)
        assert np.count_nonzero(window.samples) == pytest.approx(min(length, 48000), abs=2)


def test_a_slow_model_answers_the_newest_window_and_counts_the_rest(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, length=30.0, cost=2.5).run()
    answered = ends(scene)
    assert len(answered) == len(set(answered))
    dropped = [each.live.dropped for each in scene.published if each.live]
    steps = np.diff([0.0, *answered]).round().astype(int)
    assert sum(dropped) > 10
    assert [step - 1 for step in steps[: len(dropped) - 2]] == dropped[: len(dropped) - 2]
    assert scene.loop.status().dropped == sum(dropped)
    # What is answered is the newest there was when the model was free: no older than a hop and what it takes to settle.
    for each in scene.published[2:-2]:
        assert each.live is not None
        assert each.live.latency_ms <= 1000 * (2.5 + 1.0 + 0.15) + 1


def test_a_short_hop_waits_for_half_a_second_of_media(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, length=2.0, hop=0.2).run()
    assert ends(scene) == pytest.approx([0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0])


def test_nothing_to_see_and_hear_is_answered_as_such(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing)
    scene.give = lambda until: None  # type: ignore[method-assign]
    scene.clock.on_wait = lambda until: scene.stop.set() if until > 5 else None
    scene.scores = lambda window: {}
    scene.run()
    assert len(scene.published) >= 3
    assert all(set(each.states) == {"no_video", "no_audio"} for each in scene.published)
    assert all(each.live is not None and each.live.smoothed_label == "unknown" for each in scene.published)


def test_reasons_come_when_the_label_changes_and_when_they_are_asked_for(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, length=10.0, reasons=Reasons.change)
    scene.scores = lambda window: {"neutral": 0.9, "happy": 0.1} if window.end < 4.5 else {"neutral": 0.1, "happy": 0.9}
    give = scene.clock.on_wait

    def ask_at_seven(until: float) -> None:
        give(until)
        if 7.2 < until < 7.6 and not any(end > 7 for end in ends(scene)):
            scene.loop.ask_reason()

    scene.clock.on_wait = ask_at_seven
    scene.run()
    told = [round(each.end) for each in scene.published if each.reason]
    assert told == [1, 5, 8]


def test_a_reason_that_was_asked_for_waits_for_a_window_that_can_have_one(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, length=5.0)
    real = scene.answer

    def mute_first(window: Window, clip: str, reason: bool) -> Emotion:
        emotion = real(window, clip, reason)
        if window.end < 2.5:
            return Emotion(clip, window.start, window.end, "unknown", {}, {}, None, None, [], ["unknown"])
        return emotion

    scene.loop._answer = mute_first
    scene.loop.ask_reason()
    scene.run()
    assert [round(each.end) for each in scene.published if each.reason] == [3]


def test_a_window_that_fails_is_counted_and_the_next_is_answered(
    preprocessing: Preprocessing, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(preprocessing, length=9.0, fail=lambda count: count in (2, 3))
    with caplog.at_level(logging.ERROR, "mosear"):
        scene.run()
    assert scene.loop.status().failures == 2
    assert len(scene.published) == 7
    assert [record.message for record in caplog.records] == [
        "a window could not be answered: the model is unwell; wait"
    ] * 2


def test_a_model_that_never_answers_ends_the_loop_and_lets_go_of_the_sources(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, fail=lambda count: True)
    with pytest.raises(Failed, match="unwell"):
        scene.run()
    assert len(scene.asked) == FAILURES_IN_A_ROW
    assert scene.feed.stopped == 1
    assert scene.loop.status().running is False


def test_the_watchdog_is_fed_while_the_loop_waits_too(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, length=20.0, hop=10.0).run()
    assert len(scene.asked) == 2
    assert scene.ticks > 40


def test_a_stop_between_windows_ends_at_once(preprocessing: Preprocessing) -> None:
    scene = Scene(preprocessing, hop=5.0)
    give = scene.clock.on_wait

    def stop_at_twelve(until: float) -> None:
        give(until)
        if until > 12:
            scene.stop.set()

    scene.clock.on_wait = stop_at_twelve
    scene.run()
    assert ends(scene) == [5, 10]
    assert scene.clock.time < 13
