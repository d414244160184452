"""Ratios with their intervals: equal contenders seldom differ, and a gain is found."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from mosear.runtime.profiling.compare import (
    FASTER,
    FEWEST,
    LEVEL,
    RESAMPLES,
    SLOWER,
    UNSEEN,
    Contrast,
    contrast_apart,
    contrast_pairs,
    contrasts_of_pairs,
)

TRIALS = 300


def _simulated(seed: int, gain: float, drift: float, pairs: int = 30) -> list[tuple[float, float]]:
    """Pairs of a machine that drifts: each run has noise of its own, some are far too long, and a pair shares a state.

    gain: B's times are so many times A's.
    """
    random = np.random.default_rng(seed)
    shared = 40 * np.exp(random.normal(0, drift, pairs))
    own = random.lognormal(0, 0.04, (2, pairs)) * np.where(random.random((2, pairs)) < 0.05, 1.8, 1.0)
    return list(zip(shared * own[0], shared * own[1] * gain, strict=True))


def _verdicts(gain: float, drift: float) -> Counter[str]:
    found = (contrast_pairs("end_to_end", "ms", _simulated(seed, gain, drift), seed) for seed in range(TRIALS))
    return Counter(each.verdict for each in found if each is not None)


def test_equal_contenders_are_seldom_said_to_differ() -> None:
    found = _verdicts(1.0, drift=0.2)
    # 95 % of 300, give or take three standard deviations.
    assert abs(found[UNSEEN] - LEVEL * TRIALS) <= 3 * math.sqrt(LEVEL * (1 - LEVEL) * TRIALS)
    assert found[FASTER] > 0
    assert found[SLOWER] > 0


def test_five_percent_are_found_though_the_machine_drifts_by_twenty() -> None:
    assert _verdicts(0.95, drift=0.2)[FASTER] > 0.9 * TRIALS
    assert _verdicts(1 / 0.95, drift=0.2)[SLOWER] > 0.9 * TRIALS


def test_apart_equal_contenders_are_seldom_said_to_differ_and_drift_hides_five_percent() -> None:
    def verdicts(gain: float, drift: float) -> Counter[str]:
        found: Counter[str] = Counter()
        for seed in range(TRIALS):
            a = [one for one, _ in _simulated(2 * seed, 1.0, drift)]
            b = [other for _, other in _simulated(2 * seed + 1, gain, drift)]
            contrast = contrast_apart("end_to_end", "ms", a, b, seed)
            assert contrast is not None
            found[contrast.verdict] += 1
        return found

    assert verdicts(1.0, 0.0)[UNSEEN] > 0.91 * TRIALS
    assert verdicts(0.95, 0.0)[FASTER] > 0.9 * TRIALS
    assert verdicts(0.95, 0.2)[FASTER] < 0.5 * TRIALS


def test_the_interval_is_scipys() -> None:
    pairs = _simulated(3, 0.97, 0.1)
    ratios = np.array([b / a for a, b in pairs])
    truth = stats.bootstrap(
        (ratios,), np.median, method="percentile", confidence_level=LEVEL, n_resamples=20_000, rng=5
    ).confidence_interval
    found = contrast_pairs("end_to_end", "ms", pairs)
    assert found is not None
    assert found.ratio == np.median(ratios)
    assert (found.low, found.high) == (pytest.approx(truth.low, abs=0.004), pytest.approx(truth.high, abs=0.004))
    assert (found.a, found.b) == (np.median([a for a, _ in pairs]), np.median([b for _, b in pairs]))
    assert found.pairs == 30


def test_the_interval_of_what_was_measured_apart_is_scipys() -> None:
    a, b = (np.random.default_rng(seed).lognormal(3, 0.1, 40) for seed in (1, 2))

    def ratio(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(other, axis=axis) / np.median(one, axis=axis)

    truth = stats.bootstrap(
        (a, b), ratio, method="percentile", confidence_level=LEVEL, n_resamples=20_000, vectorized=True, rng=5
    ).confidence_interval
    found = contrast_apart("prefill", "ms", list(a), list(b))
    assert found is not None
    assert found.ratio == np.median(b) / np.median(a)
    assert (found.low, found.high) == (pytest.approx(truth.low, abs=0.01), pytest.approx(truth.high, abs=0.01))
    assert found.pairs is None


def test_more_tokens_a_second_are_faster() -> None:
    pairs = [(100.0 + step, 120.0 + step) for step in range(20)]
    rate, time = contrast_pairs("output_token_throughput", "tokens/s", pairs), contrast_pairs("prefill", "ms", pairs)
    assert rate is not None
    assert time is not None
    assert (rate.verdict, time.verdict) == (FASTER, SLOWER)
    assert rate.low is not None
    assert rate.low > 1


def test_the_same_seed_gives_the_same_interval() -> None:
    pairs = _simulated(1, 1.0, 0.1)
    assert contrast_pairs("audio", "ms", pairs, 4) == contrast_pairs("audio", "ms", pairs, 4)
    assert contrast_pairs("audio", "ms", pairs, 4) != contrast_pairs("audio", "ms", pairs, 5)


def test_too_few_values_have_no_interval_and_no_verdict() -> None:
    few = contrast_pairs("vision", "ms", [(10.0, 5.0)] * (FEWEST - 1))
    assert few == Contrast("vision", "ms", 10.0, 5.0, 0.5, None, None, FEWEST - 1, UNSEEN)
    enough = contrast_pairs("vision", "ms", [(10.0, 5.0)] * FEWEST)
    assert enough == Contrast("vision", "ms", 10.0, 5.0, 0.5, 0.5, 0.5, FEWEST, FASTER)
    apart = contrast_apart("vision", "ms", [10.0] * 50, [5.0] * (FEWEST - 1))
    assert apart is not None
    assert (apart.low, apart.verdict) == (None, UNSEEN)


def test_what_was_not_measured_is_left_out() -> None:
    nan, inf = math.nan, math.inf
    found = contrast_pairs("audio", "ms", [(nan, 1.0), (2.0, inf), (0.0, 1.0), (2.0, 3.0)])
    assert found is not None
    assert (found.pairs, found.ratio) == (1, 1.5)
    assert contrast_pairs("audio", "ms", [(nan, 1.0)]) is None
    assert contrast_pairs("audio", "ms", []) is None
    assert contrast_apart("audio", "ms", [nan], [1.0]) is None
    assert contrast_apart("audio", "ms", [1.0], []) is None
    shared = contrasts_of_pairs({"a": [1.0], "b": [2.0], "c": [1.0, 2.0]}, {"b": [3.0], "c": [1.0]}, {"b": "ms"})
    assert [each.name for each in shared] == ["b"]


def test_long_runs_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = _simulated(7, 1.0, 0.0, pairs=50)
    monkeypatch.setattr("mosear.runtime.profiling.compare._DRAWN_AT_ONCE", 50 * 7)
    parts = contrast_pairs("audio", "ms", pairs)
    assert parts is not None
    assert parts.low is not None
    assert parts.high is not None
    truth = stats.bootstrap(
        (np.array([b / a for a, b in pairs]),), np.median, method="percentile", n_resamples=20_000, rng=5
    ).confidence_interval
    assert (parts.low, parts.high) == (pytest.approx(truth.low, abs=0.005), pytest.approx(truth.high, abs=0.005))
    assert RESAMPLES % 7
