"""Energy against integrals that were worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosear.runtime.board.energy import energy, mean_power
from mosear.runtime.board.rails import Total
from mosear.runtime.board.records import Reading

ONE = Total(("A",), "input of the module")


def _readings(*points: tuple[float, float | None]) -> list[Reading]:
    return [Reading(time, {} if watts is None else {"A": watts}) for time, watts in points]


def test_by_hand() -> None:
    # 0 to 4 s at 5 W; up to 15 W from 4 to 5 s; 15 W from 5 to 9 s.
    readings = _readings(*((float(time), 5.0 if time <= 4 else 15.0) for time in range(10)))
    found, why = energy(readings, ONE, (0.0, 4.0), (4.0, 9.0), 0.25, "a method")
    assert why == ""
    assert found is not None
    assert found.idle_w == pytest.approx(5.0)
    # A ramp of a second, (5 + 15) / 2 = 10 J, and four seconds of 15 W: 70 J within 5 s.
    assert found.busy_w == pytest.approx(14.0)
    assert found.joules_a_run == pytest.approx(3.5)
    assert found.joules_a_run_above_idle == pytest.approx(2.25)
    assert (found.rail, found.method, found.rails_w) == ("A", "a method", {"A": pytest.approx(14.0)})


def test_times_count_and_not_readings() -> None:
    # Ten readings in the first tenth of a second, which a plain mean would give as much weight as all the rest.
    points = [(0.01 * place, 100.0) for place in range(10)] + [(0.1 + 0.1 * place, 0.0) for place in range(1, 20)]
    found, why = mean_power(_readings(*points), ("A",), (0.0, 2.0))
    # 9 J at 100 W, and 5.5 J on the way from there to nothing.
    assert (found, why) == (pytest.approx(7.25), "")
    even = [(0.05 * place, 100.0 if place < 2 else 0.0) for place in range(41)]
    found, why = mean_power(_readings(*even), ("A",), (0.0, 2.0))
    # 100 W for 0.05 s and down to nothing within 0.05 s: 7.5 J in 2 s.
    assert (found, why) == (pytest.approx(3.75), "")


def test_the_ends_are_between_readings() -> None:
    ramp = _readings(*((float(time), 2.0 * time) for time in range(11)))
    # The mean of 2t from 2.5 to 7.5 is 10.
    assert mean_power(ramp, ("A",), (2.5, 7.5))[0] == pytest.approx(10.0)


@given(
    st.lists(st.floats(0.001, 0.1), min_size=8, max_size=60),
    st.floats(0, 200),
    st.floats(-3, 3),
)
def test_a_straight_line_is_met_exactly(steps: list[float], start: float, slope: float) -> None:
    times = [sum(steps[:place]) for place in range(len(steps) + 1)]
    readings = [Reading(time, {"A": start + slope * time}) for time in times]
    span = (times[1], times[-2])
    found, why = mean_power(readings, ("A",), span)
    middle = start + slope * (span[0] + span[1]) / 2
    if found is None:
        assert "few" in why or "not read" in why
    else:
        assert found == pytest.approx(middle, abs=1e-6)


def test_a_sum_takes_only_moments_at_which_all_were_read() -> None:
    readings = [Reading(float(time), {"A": 1.0, "B": 2.0} if time != 3 else {"A": 50.0}) for time in range(8)]
    found, why = energy(readings, Total(("A", "B"), ""), (0.0, 3.5), (3.5, 7.0), 1.0, "")
    assert (found is not None, why) == (True, "")
    assert found is not None
    assert (found.rail, found.idle_w, found.busy_w) == ("A + B", pytest.approx(3.0), pytest.approx(3.0))
    assert found.rails_w["B"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("readings", "says"),
    [
        ([], "0 readings within 5.00 s, too few for a mean"),
        (_readings((0, 1), (1, 1)), "too few"),
        ([Reading(float(time), {"B": 1.0}) for time in range(20)], "0 readings"),
        # Read for a while, then not at all.
        (_readings(*((0.1 * place, 1.0) for place in range(20))), "not read for 3.10 of 5.00 s"),
        # Nothing for the middle of it.
        (_readings(*((0.1 * place, None if 10 < place < 35 else 1.0) for place in range(51))), "not read for 2.50"),
    ],
)
def test_without_enough_readings_there_is_none(readings: list[Reading], says: str) -> None:
    found, why = energy(readings, ONE, (0.0, 5.0), (5.0, 10.0), 1.0, "")
    assert found is None
    assert why.startswith("A while idle: ")
    assert says in why


def test_single_readings_that_are_missing_are_bridged() -> None:
    readings = _readings(*((0.1 * place, None if place % 7 == 3 else 4.0) for place in range(101)))
    found, _ = energy(readings, ONE, (0.0, 5.0), (5.0, 10.0), 2.0, "")
    assert found is not None
    assert found.joules_a_run == pytest.approx(8.0)


def test_work_that_drowns_in_noise_is_reported_as_it_is() -> None:
    readings = _readings(*((0.1 * place, 5.0 if place < 50 else 4.9) for place in range(101)))
    found, _ = energy(readings, ONE, (0.0, 4.9), (5.0, 10.0), 1.0, "")
    assert found is not None
    assert found.joules_a_run_above_idle == pytest.approx(-0.1, abs=0.002)
    assert math.isfinite(found.busy_w)


def test_a_span_of_no_length() -> None:
    readings = _readings(*((0.1 * place, 1.0) for place in range(20)))
    assert mean_power(readings, ("A",), (1.0, 1.0))[0] is None
    assert mean_power(readings, ("A",), (1.5, 1.0))[0] is None
