"""Windows at a fixed rate, on a clock that is turned by hand."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mosear.runtime.profiling.clock import Clock
from mosear.runtime.profiling.contender import Run
from mosear.runtime.profiling.scenario import Answered, at_fixed_rate


class Hand(Clock):
    """Waiting takes no time, and work as long as it is told to."""

    def __init__(self, began: float = 0.0) -> None:
        self.time = began

    def now(self) -> float:
        return self.time

    def at(self, moment: float) -> float:
        return moment

    def sleep_until(self, until: float) -> None:
        self.time = max(self.time, until)


def _answers(durations: list[float], hop: float, texts: list[float] | None = None) -> list[Answered]:
    clock = Hand(began=1000.0)
    left = iter(zip(durations, texts or [0.0] * len(durations), strict=True))

    def run() -> Run:
        took, text = next(left)
        began = clock.time
        clock.time += took + text
        return Run(began, began, began + took, clock.time, 1.0, ())

    return list(at_fixed_rate(run, len(durations), hop, clock))


def test_a_fast_model_answers_every_window_when_it_comes() -> None:
    found = _answers([0.25, 0.5, 0.25], 1.0)
    assert [(each.run.began, each.latency_s, each.dropped) for each in found] == [
        (1000.0, 0.25, 0),
        (1001.0, 0.5, 0),
        (1002.0, 0.25, 0),
    ]


def test_a_slow_model_answers_the_newest_and_drops_those_before() -> None:
    # It is free again at 2.5, when windows came at 1 and 2, and at 5.0, when they came at 3, 4 and 5.
    found = _answers([2.5, 2.5, 0.5], 1.0)
    assert [(each.run.began - 1000, each.latency_s, each.dropped) for each in found] == [
        (0.0, 2.5, 0),
        (2.5, 3.0, 1),
        (5.0, 0.5, 2),
    ]


def test_text_behind_the_answer_keeps_the_model_busy_but_is_not_in_the_latency() -> None:
    found = _answers([0.5, 0.5], 1.0, texts=[2.0, 0.0])
    assert [(each.latency_s, each.dropped) for each in found] == [(0.5, 0), (1.0, 1)]


# Eighths of a second are exact as binary fractions.
eighths = st.integers(1, 80).map(lambda count: count / 8)


@given(st.lists(eighths, min_size=1, max_size=20), eighths)
def test_the_live_loops_policy_written_another_way(durations: list[float], hop: float) -> None:
    """Windows are numbered by their arrivals; a free model takes the newest that it has not seen, or waits for one."""
    free, seen, dropped, truth = 0.0, -1, 0, []
    for took in durations:
        newest = math.floor(free / hop)
        take = newest if newest > seen else seen + 1
        begin = max(free, take * hop)
        free = begin + took
        truth.append((free - take * hop, take - seen - 1))
        dropped += take - seen - 1
        seen = take
    found = _answers(durations, hop)
    assert [(each.latency_s, each.dropped) for each in found] == truth
    assert seen + 1 == len(found) + sum(each.dropped for each in found)
    assert all(each.latency_s < hop + took for each, took in zip(found, durations, strict=True))
