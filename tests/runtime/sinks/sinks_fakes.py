"""Answers to send, and ways to wait for what comes of them."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace

from mosear.runtime.modality import LABELS
from mosear.runtime.results import Emotion, Live
from mosear.runtime.sinks import SinkLost

DEADLINE_S = 20.0


def answer(sequence: int = 1, label: str = "happy", sure: float = 0.75, **changes) -> Emotion:
    """A live answer; ``sequence`` tells one from another."""
    known = label in LABELS
    scores = {each: sure if each == label else (1 - sure) / 5 for each in LABELS} if known else {}
    live = Live(f"2026-11-24T10:00:{sequence % 60:02d}.250Z", sequence, 41.2, 0, label, scores)
    emotion = Emotion(
        clip="camera 0",
        start=float(sequence),
        end=sequence + 3.0,
        label=label,
        scores=scores,
        by_modality={"visual": scores or None, "audio": None},
        conflict=None,
        reliance={"visual": 0.2, "audio": 0.5, "text": 0.3},
        reallocated_heads=[[0, 1]],
        states=["no_speech"],
        timings_ms={"total": 2.0},
        live=live,
    )
    return replace(emotion, **changes)


def until(true: Callable[[], object], what: str = "it") -> None:
    """Wait until ``true()``; the test fails when it never is."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Recorder:
    """A sink that keeps what it gets, and is lost whenever ``broken`` is true."""

    name = "recorder"

    def __init__(self) -> None:
        self.got: list[int] = []
        self.broken = False
        self.opens = self.closes = self.checks = 0
        self.open_now = 0

    def open(self) -> "Recorder":
        if self.broken:
            raise SinkLost("nobody there")
        assert self.open_now == 0, "opened twice"
        self.opens += 1
        self.open_now += 1
        return self

    def write(self, emotion: Emotion) -> None:
        if self.broken:
            raise SinkLost("gone")
        self.got.append(emotion.live.sequence)

    def check(self) -> None:
        self.checks += 1
        if self.broken:
            raise SinkLost("gone while idle")

    def close(self) -> None:
        self.closes += 1
        self.open_now -= 1
