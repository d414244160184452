"""Energy of a run from readings of power: means by the trapezoidal rule over the readings' own times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mosear.runtime.board.rails import Total
from mosear.runtime.board.records import Energy, Reading

_FEWEST = 3
_GAP = 5.0
_MOST_MISSING = 0.2

Span = tuple[float, float]
"""Begin and end, in seconds on the readings' clock."""


def energy(
    readings: Sequence[Reading], total: Total, idle: Span, busy: Span, seconds_a_run: float, method: str
) -> tuple[Energy | None, str]:
    """Energy of a run, or None and why there is none.

    Args:
        readings: in the order of their times.
        total: the rail, or the sum, that stands for the whole.
        idle: when nothing ran, the model loaded.
        busy: from the beginning of the first measured run to the end of the last.
        seconds_a_run: the mean time of a run.
        method: how power was read, in one line.

    Returns:
        The energy, and an empty line; or None, and what is missing. Energy above idle may be below zero where noise is
        larger than the work.
    """
    means = []
    for what, span in (("while idle", idle), ("during the runs", busy)):
        power, why = mean_power(readings, total.rails, span)
        if power is None:
            return None, f"{total.name} {what}: {why}"
        means.append(power)
    names = {name for reading in readings for name in reading.power_w}
    rails = {name: mean_power(readings, (name,), busy)[0] for name in sorted(names)}
    idle_w, busy_w = means
    return Energy(
        rail=total.name,
        method=method,
        idle_w=idle_w,
        busy_w=busy_w,
        joules_a_run=busy_w * seconds_a_run,
        joules_a_run_above_idle=(busy_w - idle_w) * seconds_a_run,
        rails_w={name: power for name, power in rails.items() if power is not None},
    ), ""


def mean_power(readings: Sequence[Reading], rails: Sequence[str], span: Span) -> tuple[float | None, str]:
    """Mean power of the sum of ``rails`` over ``span`` in watts, and an empty line; or None, and why there is none.

    Readings that lack one of the rails are left out; the line between their neighbours stands for them. At the ends
    of the span power is interpolated, and constant beyond the first and the last reading. With fewer than three
    readings inside, or where the readings leave more than a fifth of the span open, there is no mean: a gap is what is
    more than five times as long as their median distance.
    """
    begin, end = span
    points = [
        (each.time, sum(each.power_w[name] for name in rails))
        for each in readings
        if all(name in each.power_w for name in rails)
    ]
    times, watts = np.array(points, np.float64).reshape(-1, 2).T
    inside = (times >= begin) & (times <= end)
    if inside.sum() < _FEWEST:
        return None, f"{inside.sum()} readings within {end - begin:.2f} s, too few for a mean"
    steps = np.diff(np.concatenate([[begin], times[inside], [end]]))
    open_s = float(steps[steps > _GAP * np.median(np.diff(times))].sum())
    if open_s > _MOST_MISSING * (end - begin):
        return None, f"not read for {open_s:.2f} of {end - begin:.2f} s"
    at = np.concatenate([[begin], times[inside], [end]])
    values = np.interp(at, times, watts)
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(at)) / (end - begin)), ""
