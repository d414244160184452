"""Runs → samples, by hand."""

from __future__ import annotations

import math

import pytest

from mosear.runtime.profiling.clock import Clock
from mosear.runtime.profiling.contender import Run
from mosear.runtime.profiling.record import END_TO_END
from mosear.runtime.profiling.samples import DETAILED, samples_of, spans_of, units_of
from mosear.runtime.spans import TEXT_PREFILL, Stretch


def _run(began: float, *spans: tuple[str, float, float], ended: float = 9.0) -> Run:
    moved = tuple(Stretch(name, began + start, began + end) for name, start, end in spans)
    return Run(began, began + 1.0, began + 3.0, began + ended, 2.0, moved)


SPANS = (
    ("capture", 0.0, 0.25),
    ("media_decode", 0.25, 0.5),
    ("capture", 0.5, 0.625),
    ("vision", 1.0, 2.0),
    ("prefill", 2.0, 2.5),
    (TEXT_PREFILL, 3.0, 3.5),
    (TEXT_PREFILL, 3.5, 4.0),
    ("token_decode", 4.0, 5.0),
    ("token_decode", 5.25, 5.5),
)


def test_every_metric_by_hand() -> None:
    samples = samples_of([_run(100.0, *SPANS)])
    assert samples == {
        "capture": [375.0],
        "media_decode": [250.0],
        "vision": [1000.0],
        "prefill": [500.0],
        "token_decode": [1250.0],
        TEXT_PREFILL: [1000.0],
        "end_to_end": [3000.0],
        "time_to_first_token": [3000.0],  # at hand at 101, first token with the end of the text's prompt at 104
        "inter_token_latency": [1000.0, 500.0],
        "output_token_throughput": [pytest.approx(2 / 1.5)],
        "real_time_factor": [1.5],
    }
    units = units_of(samples)
    assert units["output_token_throughput"] == "tokens/s"
    assert units["real_time_factor"] == "ratio"
    assert set(units.values()) == {"ms", "tokens/s", "ratio"}


def test_a_run_without_a_stage_keeps_its_place() -> None:
    samples = samples_of([_run(0.0, *SPANS), _run(10.0, ("audio", 1.0, 1.5)), _run(20.0, *SPANS)])
    assert samples["vision"][::2] == [1000.0, 1000.0]
    assert math.isnan(samples["vision"][1])
    assert math.isnan(samples["audio"][0])
    assert samples["audio"][1] == 500.0
    assert [math.isnan(each) for each in samples["time_to_first_token"]] == [False, True, False]
    assert samples["inter_token_latency"] == [1000.0, 500.0, 1000.0, 500.0]
    assert samples["end_to_end"] == [3000.0] * 3


def test_without_text_its_metrics_are_missing() -> None:
    assert set(samples_of([_run(0.0, *SPANS[:5])])) == {
        *("capture", "media_decode", "vision", "prefill", "end_to_end", "real_time_factor")
    }


def test_a_text_of_one_token_has_a_first_token_and_no_speed() -> None:
    samples = samples_of([_run(0.0, *SPANS[:7])])
    assert samples["time_to_first_token"] == [3000.0]
    assert "inter_token_latency" not in samples
    assert "output_token_throughput" not in samples


def test_spans_are_on_the_profiles_clock_and_bounded() -> None:
    clock = Clock()
    began = clock._began
    runs = [_run(began + 10.0 * number, *SPANS) for number in range(DETAILED + 5)]
    found = spans_of(runs, clock, -2)
    whole = [each for each in found if each.name == END_TO_END]
    assert [each.run for each in whole] == list(range(-2, DETAILED + 3))
    assert [each.start for each in whole] == pytest.approx([10.0 * number for number in range(DETAILED + 5)])
    assert [each.duration for each in whole] == pytest.approx([3.0] * len(whole))
    assert {each.run for each in found if each.name == "vision"} == set(range(-2, DETAILED))
    first = [(each.name, each.start, each.duration) for each in found if each.run == -2][1:]
    assert [name for name, _, _ in first] == [name for name, _, _ in SPANS]
    assert [start for _, start, _ in first] == pytest.approx([start for _, start, _ in SPANS])
