"""Choosing the rate and the threshold of attention reallocation on validation clips, by the modality gap.

The gap is accuracy on audio-aligned clips minus accuracy on video-aligned ones. A setting closes it in two ways: the
second accuracy rises, or the first falls. The paper's aim is the first way only, so of all settings whose audio-aligned
loss stays within a bound, the one is chosen that leaves the smallest gap when that loss does not count as closing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mosear.model.modeling import Mosear
from mosear.model.reallocation import Reallocation
from mosear.model.scoring import score

RATES = (0.05, 0.075, 0.1, 0.15, 0.2)
THRESHOLDS = (0.35, 0.5)


@dataclass(frozen=True)
class Accuracy:
    """Share of right labels by subset, 0 to 1."""

    video_aligned: float
    audio_aligned: float
    consistent: float

    @property
    def gap(self) -> float:
        """The modality gap: accuracy on audio-aligned minus accuracy on video-aligned clips."""
        return self.audio_aligned - self.video_aligned


def accuracy_by_subset(predicted: NDArray[np.int64], true: NDArray[np.int64], subsets: NDArray[np.str_]) -> Accuracy:
    """Accuracy of label indices [N] on each subset."""
    right = predicted == true
    return Accuracy(**{name: float(right[subsets == name].mean()) for name in Accuracy.__dataclass_fields__})


@dataclass(frozen=True)
class Trial:
    """One setting that was tried; rate 0 is no reallocation."""

    rate: float
    threshold: float
    accuracy: Accuracy

    def row(self) -> dict[str, float]:
        """Flat, for a report."""
        return {"rate": self.rate, "threshold": self.threshold, **asdict(self.accuracy), "gap": self.accuracy.gap}


def choose_reallocation(
    model: Mosear,
    transcripts: list[str | None],
    encoded: tuple[Tensor, Tensor],
    true: NDArray[np.int64],
    subsets: NDArray[np.str_],
    max_audio_loss: float = 0.01,
    rates: Iterable[float] = RATES,
    thresholds: Iterable[float] = THRESHOLDS,
) -> tuple[Reallocation | None, list[Trial]]:
    """Try every pair of rate and threshold.

    Args:
        model: its ``reallocation`` says which rows and layers act; it is restored at the end.
        transcripts: one a clip.
        encoded: encoder outputs, [N, Nv, Cv] and [N, Na, Ca].
        true: index of each clip's label, [N].
        subsets: each clip's subset, [N].
        max_audio_loss: how much accuracy on audio-aligned clips may fall, 0 to 1.
        rates: values of γ.
        thresholds: values of τ.

    Returns:
        The best setting within the bound, or None when none helps video-aligned clips; and all trials, the one without
        reallocation first.
    """

    before = model.reallocation
    base = before or Reallocation(rate=0.0, threshold=1.0)

    def attempt(rate: float, threshold: float) -> Trial:
        model.reallocation = replace(base, rate=rate, threshold=threshold) if rate else None
        predicted = score(model, transcripts, encoded)[0].argmax(-1).numpy()
        return Trial(rate, threshold, accuracy_by_subset(predicted, true, subsets))

    try:
        without = attempt(0.0, 1.0)
        trials = [attempt(rate, threshold) for rate in rates for threshold in thresholds]
    finally:
        model.reallocation = before
    best = best_trial(without, trials, max_audio_loss)
    chosen = None if best is without else replace(base, rate=best.rate, threshold=best.threshold)
    return chosen, [without, *trials]


def best_trial(without: Trial, trials: Iterable[Trial], max_audio_loss: float) -> Trial:
    """The setting that leaves the smallest gap within the bound, or ``without`` when none helps video-aligned clips.

    The gap that counts is audio-aligned accuracy *without* reallocation minus video-aligned accuracy with it, and 0
    when that is negative: a closed gap. Among equals the one that is right more often, then the gentlest rate.

    Args:
        without: no reallocation.
        trials: the settings that were tried.
        max_audio_loss: how much accuracy on audio-aligned clips may fall, 0 to 1.
    """

    def merit(trial: Trial) -> tuple[float, float, float]:
        gap = max(0.0, without.accuracy.audio_aligned - trial.accuracy.video_aligned)
        return -gap, trial.accuracy.audio_aligned + trial.accuracy.video_aligned, -trial.rate

    least = without.accuracy.audio_aligned - max_audio_loss - 1e-9
    gains = [t for t in trials if t.accuracy.video_aligned > without.accuracy.video_aligned]
    return max((t for t in gains if t.accuracy.audio_aligned >= least), key=merit, default=without)
