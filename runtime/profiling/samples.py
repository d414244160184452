"""Runs → a profile's samples and spans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from mosear.runtime.profiling.clock import Clock
from mosear.runtime.profiling.contender import Run
from mosear.runtime.profiling.record import END_TO_END, STAGES, Span
from mosear.runtime.spans import TEXT_PREFILL

DETAILED = 30
"""So many runs are kept with every span of theirs."""

_TOKEN = "token_decode"
_SPANS = (*STAGES, TEXT_PREFILL)
_UNITS = {"output_token_throughput": "tokens/s", "real_time_factor": "ratio"}


def samples_of(runs: Sequence[Run]) -> dict[str, list[float]]:
    """By metric one value a run, of tokens one value a token; metrics that no run has are left out.

    A stage is the sum of its spans in a run, and NaN in a run without any. The rest:

    - ``end_to_end``: from asking for the window to its answer.
    - ``real_time_factor``: that, over the length of the window.
    - ``time_to_first_token``: from the window at hand to the first token of text: both encoders, the labels' prompt
      and their scores (the answer comes first), and the text's own prompt, which takes the encoders' outputs again.
    - ``inter_token_latency``: from a token to the next; the step that ends the text is one of them.
    - ``output_token_throughput``: tokens after the first over the time from the first to the last.
    """
    made: dict[str, Callable[[Run], float]] = {name: _stage(name) for name in _SPANS}
    made |= {
        END_TO_END: lambda run: (run.answered - run.began) * 1000,
        "time_to_first_token": _first_token,
        "output_token_throughput": _throughput,
        "real_time_factor": lambda run: (run.answered - run.began) / run.window_s,
    }
    samples = {name: [value(run) for run in runs] for name, value in made.items()}
    samples["inter_token_latency"] = [latency * 1000 for run in runs for latency in _latencies(run)]
    return {name: values for name, values in samples.items() if any(math.isfinite(value) for value in values)}


def units_of(samples: dict[str, list[float]]) -> dict[str, str]:
    """The unit of each metric; milliseconds but for a few."""
    return {name: _UNITS.get(name, "ms") for name in samples}


def spans_of(runs: Sequence[Run], clock: Clock, first: int = 0) -> list[Span]:
    """Spans on the profile's clock; runs are numbered from ``first``.

    Each run has one for its ``end_to_end``, and those numbered below ``DETAILED`` all their work, which takes some
    hundreds of spans a run, one a packet.
    """
    found = []
    for number, run in enumerate(runs, first):
        found.append(Span(END_TO_END, number, clock.at(run.began), run.answered - run.began))
        if number < DETAILED:
            found += [Span(each.name, number, clock.at(each.start), each.end - each.start) for each in run.spans]
    return found


def _stage(name: str) -> Callable[[Run], float]:
    def milliseconds(run: Run) -> float:
        found = [each.end - each.start for each in run.spans if each.name == name]
        return sum(found) * 1000 if found else math.nan

    return milliseconds


def _tokens(run: Run) -> list[float]:
    """When each token of the text was there; the first one comes with the end of the text's prompt."""
    first = [each.end for each in run.spans if each.name == TEXT_PREFILL][-1:]
    return first + [each.end for each in run.spans if each.name == _TOKEN]


def _latencies(run: Run) -> list[float]:
    return [after - before for before, after in pairwise(_tokens(run))]


def _first_token(run: Run) -> float:
    times = _tokens(run)
    return (times[0] - run.at_hand) * 1000 if times else math.nan


def _throughput(run: Run) -> float:
    latencies = _latencies(run)
    return len(latencies) / sum(latencies) if latencies else math.nan
