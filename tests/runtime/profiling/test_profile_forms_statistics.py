"""Figures against NumPy, the statistics module, and numbers worked out by hand."""

from __future__ import annotations

import math
import statistics as truth

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosear.runtime.profiling.forms.statistics import PERCENTILES, statistics

SAMPLES = st.lists(st.floats(0.001, 1e6), min_size=2, max_size=60)


@given(SAMPLES)
def test_figures_are_those_of_the_standard_library_and_of_numpy(samples: list[float]) -> None:
    found = statistics(samples, "ms")
    assert found is not None
    assert found.avg == pytest.approx(truth.fmean(samples))
    assert found.std == pytest.approx(truth.stdev(samples), abs=1e-6)
    assert found.p50 == pytest.approx(truth.median(samples))
    assert (found.min, found.max, found.count) == (min(samples), max(samples), len(samples))
    for at in PERCENTILES:
        assert getattr(found, f"p{at}") == np.percentile(samples, at, method="linear")
    # The inclusive method of the standard library is the same interpolation, by another hand.
    hundredths = truth.quantiles(samples, n=100, method="inclusive")
    assert found.p99 == pytest.approx(hundredths[98])
    assert found.p1 == pytest.approx(hundredths[0])


def test_a_case_worked_by_hand() -> None:
    found = statistics([40, 10, 20, 30], "ms")
    assert found is not None
    # Ranks 0 to 3: p25 is at 0.75, p90 at 2.7; deviations -15, -5, 5, 15, squares 500, over 3.
    assert (found.avg, found.p25, found.p50, found.p90) == pytest.approx((25, 17.5, 25, 37))
    assert found.std == pytest.approx(math.sqrt(500 / 3))


def test_shape_is_that_of_aiperf() -> None:
    found = statistics([1.0, 2.0], "ms")
    assert found is not None
    names = "unit avg min max p1 p5 p10 p25 p50 p75 p90 p95 p99 std count"
    assert list(found.to_dict()) == names.split()


def test_of_one_sample_no_deviation_is_known() -> None:
    found = statistics([3.5], "ms")
    assert found is not None
    assert found.std is None
    assert "std" not in found.to_dict()
    assert (found.avg, found.p1, found.p99, found.count) == (3.5, 3.5, 3.5, 1)


def test_what_is_no_number_is_left_out_and_not_counted() -> None:
    found = statistics([1.0, math.nan, 3.0, math.inf, None], "ms")
    assert found is not None
    assert (found.avg, found.max, found.count) == (2.0, 3.0, 2)
    assert statistics([math.nan], "ms") is None
    assert statistics([], "ms") is None
