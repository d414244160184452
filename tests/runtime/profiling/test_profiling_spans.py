"""Spans: next to nothing when nobody records, and parts of a whole when somebody does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mosear.runtime.spans as spans_module
from mosear.runtime.bundle import Bundle
from mosear.runtime.manifest import Preprocessing
from mosear.runtime.media import sampling
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.profiling import contender as contender_module
from mosear.runtime.profiling.contender import Contender
from mosear.runtime.profiling.record import STAGES
from mosear.runtime.profiling.source import Source
from mosear.runtime.spans import TEXT_PREFILL, recording, span
from mosear.runtime.windows import read_windows


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    clock = Hand()
    monkeypatch.setattr(spans_module, "perf_counter", clock)
    monkeypatch.setattr(contender_module, "perf_counter", clock)
    return clock


def test_nothing_is_made_where_nobody_records() -> None:
    assert span("vision") is span("audio")
    with span("vision"):
        pass
    with recording() as found:
        pass
    assert found == []


def test_work_inside_other_work_is_counted_once(hand: Hand) -> None:
    with recording() as found:
        hand.now = 1
        with span("capture"):
            hand.now = 3
            with span("media_decode"):
                hand.now = 7
            hand.now = 8
            with span("capture"):
                hand.now = 9
            hand.now = 10
        hand.now = 20
        with span("vision"):
            hand.now = 21
    assert found == [("capture", 1, 3), ("media_decode", 3, 7), ("capture", 7, 10), ("vision", 20, 21)]


def test_a_span_ends_when_its_work_fails(hand: Hand) -> None:
    def fail() -> None:
        with span("capture"), span("media_decode"):
            hand.now = 2
            raise OSError("gone")

    with recording() as found:
        with pytest.raises(OSError, match="gone"):
            fail()
        hand.now = 5
        with span("audio"):
            hand.now = 6
    assert [each for each in found if each.end > each.start] == [("media_decode", 0, 2), ("audio", 5, 6)]
    with span("audio"):
        pass
    assert found[-1] == ("audio", 5, 6)


# A name, seconds before what is inside, and what is inside.
trees = st.recursive(
    st.just([]), lambda inner: st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), inner), max_size=3)
)


@given(trees)
def test_stretches_never_overlap_and_add_up(tree: Any) -> None:
    hand = Hand()
    truth: dict[str, int] = {}

    def work(tree: Any) -> None:
        for name, seconds, inner in tree:
            with span(name):
                hand.now += seconds
                truth[name] = truth.get(name, 0) + seconds
                work(inner)
                hand.now += 1
                truth[name] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans_module, "perf_counter", hand)
        with recording() as found:
            work(tree)
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    sums: dict[str, float] = {}
    for name, start, end in found:
        sums[name] = sums.get(name, 0) + end - start
    assert sums == truth


def test_other_threads_are_not_recorded() -> None:
    inside: list[Any] = []

    def other() -> None:
        with span("capture"):
            inside.append(span("vision"))
        with recording() as own, span("audio"):
            pass
        inside.append([each.name for each in own])

    with recording() as found, span("prefill"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert [each.name for each in found] == ["prefill"]
    assert inside == [spans_module._UNRECORDED, ["audio"]]


def test_no_span_is_open_while_a_window_is_in_other_hands(clip: Path, preprocessing: Preprocessing, hand: Hand) -> None:
    with recording() as found:
        for _ in read_windows(clip, preprocessing, 1.0, 0.5):
            hand.now += 1000
    assert {each.name for each in found} == {"capture", "media_decode", "preprocess"}
    assert max(each.end - each.start for each in found) == 0


def _slow(hand: Hand, seconds: float, work: Callable[..., Any], told: list[float]) -> Callable[..., Any]:
    def slowed(*arguments: Any, **named: Any) -> Any:
        hand.now += seconds
        told.append(seconds)
        return work(*arguments, **named)

    return slowed


@pytest.fixture
def slowed(
    toy_bundle: Path, clip: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> tuple[Contender, dict[str, list[float]]]:
    """A contender whose every costly step takes a known time on the clock, and those times by stage."""
    told: dict[str, list[float]] = {name: [] for name in (*STAGES, TEXT_PREFILL)}
    bundle = Bundle.open(toy_bundle)
    pipeline = Pipeline(bundle)
    source = Source(clip, bundle.manifest.preprocessing)
    pipeline.write(source.next(), pipeline.forward(source.next()), "reason", 2)
    scorer, writer = pipeline._scorer, pipeline._writer
    assert scorer is writer
    monkeypatch.setattr(av, "open", _slow(hand, 1, av.open, told["capture"]))
    monkeypatch.setattr(sampling, "resize", _slow(hand, 2, sampling.resize, told["preprocess"]))
    monkeypatch.setattr(pipeline._vision, "run", _slow(hand, 4, pipeline._vision.run, told["vision"]))
    monkeypatch.setattr(pipeline._audio, "run", _slow(hand, 8, pipeline._audio.run, told["audio"]))
    monkeypatch.setattr(scorer, "score_labels", _slow(hand, 16, scorer.score_labels, told["label_scoring"]))
    session: Any = scorer._session
    prefills = itertools.cycle([told["prefill"], told[TEXT_PREFILL]])
    run = session.prefill

    def prefill(*arguments: Any) -> Any:
        return _slow(hand, 32, run, next(prefills))(*arguments)

    monkeypatch.setattr(session, "prefill", prefill)
    monkeypatch.setattr(session, "decode", _slow(hand, 64, session.decode, told["token_decode"]))
    return Contender(pipeline, source, 4), told


def test_every_costly_step_is_in_its_stage_and_the_stages_are_the_whole(
    slowed: tuple[Contender, dict[str, list[float]]],
) -> None:
    contender, told = slowed
    run = contender.run()
    sums = {name: sum(each.end - each.start for each in run.spans if each.name == name) for name in told}
    truth = {name: sum(seconds) for name, seconds in told.items()}
    assert sums == truth
    assert all(truth[name] for name in told if name != "media_decode")
    text = truth["token_decode"] + truth[TEXT_PREFILL]
    assert sum(truth.values()) - text == run.answered - run.began
    assert text == run.ended - run.answered
    assert [each.name for each in run.spans if each.end > each.start][-4:] == [TEXT_PREFILL, *["token_decode"] * 3]


def test_in_real_time_stages_lie_within_the_run_and_do_not_overlap(toy_bundle: Path, clip: Path) -> None:
    bundle = Bundle.open(toy_bundle)
    contender = Contender(Pipeline(bundle), Source(clip, bundle.manifest.preprocessing), 4)
    for _ in range(2):
        run = contender.run()
        assert {each.name for each in run.spans} == {*STAGES, TEXT_PREFILL}
        times = [run.began, *(time for each in run.spans for time in (each.start, each.end)), run.ended]
        assert times == sorted(times)
        assert run.at_hand <= min(each.start for each in run.spans if each.name == "vision")
        assert max(each.end for each in run.spans if each.name == "label_scoring") <= run.answered


def test_answers_are_the_same_when_somebody_records(toy_bundle: Path, clip: Path) -> None:
    pipeline = Pipeline(Bundle.open(toy_bundle))
    windows = list(read_windows(clip, pipeline.bundle.manifest.preprocessing))
    plain = pipeline.analyse(windows[0], "clip", reason=True)
    with recording():
        again = list(read_windows(clip, pipeline.bundle.manifest.preprocessing))
        recorded = pipeline.analyse(again[0], "clip", reason=True)
    assert windows[0].frames is not None
    np.testing.assert_array_equal(windows[0].frames, again[0].frames)
    np.testing.assert_array_equal(windows[0].samples, again[0].samples)
    assert {**plain.to_dict(), "timings_ms": None} == {**recorded.to_dict(), "timings_ms": None}
    assert list(plain.timings_ms) == list(recorded.timings_ms)
    assert list(plain.timings_ms) == ["vision", "audio", "prefill", "labels", "reason", "total"]
