"""The temporal filter against its closed form, and what must hold for any answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosear.runtime.errors import UsageError
from mosear.runtime.live.smoothing import Smoother

LABELS = ("neutral", "angry", "happy")


def answer(*values: float) -> dict[str, float]:
    return dict(zip(LABELS, values, strict=True))


@st.composite
def answers(draw: st.DrawFn) -> list[tuple[float, dict[str, float]]]:
    """Answers at irregular times, now and then an unknown one."""
    time, made = 0.0, []
    for _ in range(draw(st.integers(1, 20))):
        time += draw(st.floats(0, 4))
        weights = [draw(st.floats(0.01, 1)) for _ in LABELS]
        made.append((time, {} if draw(st.integers(0, 4)) == 0 else answer(*(w / sum(weights) for w in weights))))
    return made


def test_a_step_follows_the_closed_form() -> None:
    smoother = Smoother(LABELS, tau=2.0, margin=0.0, forget=60)
    smoother.update(0.0, answer(1, 0, 0))
    for i in range(1, 40):
        time = 0.25 * i
        scores = smoother.update(time, answer(0, 1, 0))[1]
        assert scores["angry"] == pytest.approx(1 - math.exp(-time / 2.0), abs=1e-12)


def test_irregular_times_come_out_like_regular_ones() -> None:
    """What a constant input leads to depends on the time alone, not on how often it was looked at."""
    ends = []
    for times in (np.linspace(0.1, 3, 30), np.sort(np.random.default_rng(3).uniform(0, 3, 7)), [3.0]):
        smoother = Smoother(LABELS, tau=1.3, margin=0.1, forget=60)
        smoother.update(0.0, answer(0.2, 0.3, 0.5))
        for time in [*times, 3.0]:
            scores = smoother.update(float(time), answer(0.6, 0.4, 0.0))[1]
        ends.append([scores[label] for label in LABELS])
    np.testing.assert_allclose(ends, [ends[0]] * 3, atol=1e-12)


@given(answers(), st.floats(0.05, 5), st.floats(0, 0.5))
def test_any_answers_match_a_direct_weighted_mean(made, tau: float, margin: float) -> None:
    """The filter as a sum over all known answers, without recursion; sums to 1 and stays inside their hull."""
    smoother = Smoother(LABELS, tau, margin, forget=1000)
    known: list[tuple[float, np.ndarray]] = []
    for time, scores in made:
        label, smoothed = smoother.update(time, scores)
        if scores:
            known.append((time, np.array([scores[name] for name in LABELS])))
        if not known:
            assert (label, smoothed) == ("unknown", {})
            continue
        last = known[-1][0]
        weights, left = [], 1.0
        for (now, _), (before, _) in zip(known[:0:-1], known[-2::-1], strict=True):
            kept = math.exp(-(now - before) / tau)
            weights.append(left * (1 - kept))
            left *= kept
        weights = [left, *weights[::-1]]
        assert last == max(t for t, _ in known)
        values = np.array([each for _, each in known])
        got = np.array([smoothed[name] for name in LABELS])
        np.testing.assert_allclose(got, np.array(weights) @ values, atol=1e-9)
        assert got.sum() == pytest.approx(1, abs=1e-9)
        assert (got >= values.min(0) - 1e-9).all()
        assert (got <= values.max(0) + 1e-9).all()


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(-0.049, 0.049)), min_size=1, max_size=40), st.floats(0.01, 5))
def test_noise_below_the_margin_never_changes_the_label(steps, tau: float) -> None:
    smoother = Smoother(LABELS, tau, margin=0.1, forget=1000)
    first, _ = smoother.update(0.0, answer(0.41, 0.4, 0.19))
    time = 0.0
    for dt, noise in steps:
        time += dt
        label, _ = smoother.update(time, answer(0.4 + noise, 0.4 - noise, 0.2))
        assert label == first


def test_noise_above_the_margin_does_change_it() -> None:
    """So the test above could fail."""
    smoother = Smoother(LABELS, tau=0.1, margin=0.1, forget=1000)
    smoother.update(0.0, answer(0.41, 0.4, 0.19))
    assert smoother.update(5.0, answer(0.3, 0.5, 0.2))[0] == "angry"


def test_the_label_changes_when_the_lead_reaches_the_margin() -> None:
    smoother = Smoother(LABELS, tau=1.0, margin=0.2, forget=60)
    smoother.update(0.0, answer(1, 0, 0))
    # angry - neutral = 1 - 2 exp(-t) reaches 0.2 at t = ln 2.5 = 0.916 s.
    assert smoother.update(0.91, answer(0, 1, 0))[0] == "neutral"
    assert smoother.update(0.92, answer(0, 1, 0))[0] == "angry"


def test_zero_turns_it_off_margin_included() -> None:
    smoother = Smoother(LABELS, tau=0.0, margin=0.9, forget=60)
    smoother.update(0.0, answer(0.5, 0.4, 0.1))
    assert smoother.update(0.0, answer(0.4, 0.5, 0.1)) == ("angry", answer(0.4, 0.5, 0.1))


def test_unknown_answers_do_not_enter_and_are_forgotten_after_a_while() -> None:
    smoother = Smoother(LABELS, tau=1.0, margin=0.1, forget=5.0)
    assert smoother.update(0.0, {}) == ("unknown", {})
    assert smoother.update(1.0, answer(0, 0, 1)) == ("happy", answer(0, 0, 1))
    for time in (2.0, 4.0, 6.0):
        assert smoother.update(time, {}) == ("happy", answer(0, 0, 1))
    assert smoother.update(6.1, {}) == ("unknown", {})
    assert smoother.update(7.0, answer(1, 0, 0)) == ("neutral", answer(1, 0, 0)), "it starts over"


def test_a_known_answer_after_a_long_silence_starts_over_too() -> None:
    smoother = Smoother(LABELS, tau=100.0, margin=0.9, forget=5.0)
    smoother.update(0.0, answer(0, 0, 1))
    assert smoother.update(5.5, answer(1, 0, 0)) == ("neutral", answer(1, 0, 0))


def test_time_that_goes_back_counts_as_standing_still() -> None:
    smoother = Smoother(LABELS, tau=1.0, margin=0.1, forget=5.0)
    smoother.update(10.0, answer(0, 0, 1))
    assert smoother.update(4.0, answer(1, 0, 0)) == ("happy", answer(0, 0, 1))
    assert smoother.update(10.5, answer(1, 0, 0))[1]["neutral"] == pytest.approx(1 - math.exp(-0.5))


def test_the_caller_may_keep_what_it_got() -> None:
    smoother = Smoother(LABELS, tau=1.0, margin=0.1, forget=5.0)
    _, kept = smoother.update(0.0, answer(0, 0, 1))
    kept["happy"] = -5.0
    assert smoother.update(0.5, {})[1]["happy"] == 1.0


@pytest.mark.parametrize(
    "change", [{"tau": -1}, {"tau": math.nan}, {"tau": math.inf}, {"margin": -0.1}, {"margin": 1}, {"forget": 0}]
)
def test_numbers_out_of_range_are_refused(change) -> None:
    with pytest.raises(UsageError):
        Smoother(LABELS, **{"tau": 1.0, "margin": 0.1, "forget": 5.0, **change})
