"""Scores and label over time: a first-order exponential filter, and a margin against flicker.

With ``dt`` seconds since the last known answer, each smoothed score moves towards the new one by the share
``a = 1 - exp(-dt / tau)``. So after a change of the answers the smoothed scores have made 63 % of the way in ``tau``
seconds and 95 % in three times that, however irregularly answers come.

The smoothed label is the one before, unless another label's smoothed score leads the score of that by ``margin``.
"""

import math
from collections.abc import Mapping, Sequence

from mosear.runtime.errors import UsageError
from mosear.runtime.results import UNKNOWN


class Smoother:
    """The filter that the module describes, over the answers of one source.

    Args:
        labels: in the order in which the first wins a tie.
        tau: time constant in seconds; 0 turns the filter off, margin included: every answer is passed on as it is.
        margin: by how much another label must lead, 0 to 1.
        forget: seconds after the last known answer, from which the label is ``unknown`` and the filter starts over.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(self, labels: Sequence[str], tau: float, margin: float, forget: float) -> None:
        if not (tau >= 0 and math.isfinite(tau)):
            raise UsageError(f"a smoothing of {tau:g} s is out of range", "choose 0 seconds (off) or more")
        if not 0 <= margin < 1:
            raise UsageError(f"a margin of {margin:g} is out of range", "choose 0 to below 1: it is a share")
        if not forget > 0:
            raise UsageError(f"forgetting after {forget:g} s is out of range", "choose more than 0 seconds")
        self._labels = tuple(labels)
        self._tau = tau
        self._margin = margin
        self._forget = forget
        self._label = UNKNOWN
        self._scores: dict[str, float] = {}
        self._time = -math.inf

    def update(self, time: float, scores: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """Take in an answer, and give the smoothed one.

        Args:
            time: of the answer in seconds; one that lies before the last counts as the same time.
            scores: by label, summing to 1 (a label that is missing has 0); empty when the answer is unknown.

        Returns:
            The smoothed label and smoothed scores, which sum to 1. An unknown answer changes neither; without a known
            one in the last ``forget`` seconds they are ``unknown`` and empty.
        """
        if self._scores and time - self._time > self._forget:
            self._start_over()
        if scores:
            self._take_in(time, [float(scores.get(label, 0.0)) for label in self._labels])
        return self._label, dict(self._scores)

    def _take_in(self, time: float, known: list[float]) -> None:
        if not self._scores:
            share = 1.0
        else:
            past = max(time - self._time, 0.0)
            share = 1.0 if self._tau == 0 else -math.expm1(-past / self._tau)
        self._time = max(time, self._time)
        self._scores = {
            label: old + share * (new - old)
            for label, new, old in zip(self._labels, known, self._scores.values() or known, strict=True)
        }
        best = max(self._labels, key=self._scores.__getitem__)
        held = self._scores.get(self._label)
        lead = math.inf if held is None else self._scores[best] - held
        if lead > 0 and (self._tau == 0 or lead >= self._margin):
            self._label = best

    def _start_over(self) -> None:
        self._label = UNKNOWN
        self._scores = {}
        self._time = -math.inf
