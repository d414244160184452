"""When windows come: the next as soon as the last is answered, or one every hop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from mosear.runtime.profiling.clock import Clock
from mosear.runtime.profiling.contender import Run


class Scenario(str, Enum):
    """How windows come."""

    single_stream = "single-stream"
    fixed_rate = "fixed-rate"


@dataclass(frozen=True)
class Answered:
    """A run at a fixed rate.

    Attributes:
        run: what it took.
        latency_s: from the window's arrival to its answer.
        dropped: windows left out since the answer before, because the model was busy.
    """

    run: Run
    latency_s: float
    dropped: int


def at_fixed_rate(run: Callable[[], Run], count: int, hop: float, clock: Clock) -> Iterator[Answered]:
    """Answer ``count`` windows of those that arrive every ``hop`` seconds, the first at once.

    The policy is the live loop's: when the model took longer than a hop, the newest window is answered next, and those
    before it are dropped. Windows don't pile up, so latency stays below a hop and a run.

    Args:
        run: answers the next window.
        count: answers wanted.
        hop: seconds.
        clock: is waited on.
    """
    origin = clock.now()
    done = 0
    for _ in range(count):
        due = origin + done * hop
        clock.sleep_until(due)
        late = max(0, math.floor((clock.now() - due) / hop))
        arrived = due + late * hop
        result = run()
        yield Answered(result, clock.at(result.answered) - arrived, late)
        done += 1 + late
