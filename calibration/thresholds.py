"""Choosing the rate and the threshold of attention reallocation on validation clips.

The paper's aim is gains on video-aligned clips that don't cost audio-aligned ones, so that is the rule here: of all
settings whose audio-aligned loss stays within a bound, the one with the best accuracy on video-aligned clips.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

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
        model: its ``reallocation`` is restored at the end.
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

    def attempt(rate: float, threshold: float) -> Trial:
        model.reallocation = Reallocation(rate=rate, threshold=threshold) if rate else None
        predicted = score(model, transcripts, encoded)[0].argmax(-1).numpy()
        return Trial(rate, threshold, accuracy_by_subset(predicted, true, subsets))

    def merit(trial: Trial) -> tuple[float, float]:
        return trial.accuracy.video_aligned, trial.accuracy.audio_aligned

    before = model.reallocation
    try:
        without = attempt(0.0, 1.0)
        trials = [attempt(rate, threshold) for rate in rates for threshold in thresholds]
    finally:
        model.reallocation = before
    allowed = [t for t in trials if t.accuracy.audio_aligned >= without.accuracy.audio_aligned - max_audio_loss - 1e-9]
    best = max(allowed, key=merit, default=without)
    if best.accuracy.video_aligned <= without.accuracy.video_aligned:
        return None, [without, *trials]
    return Reallocation(rate=best.rate, threshold=best.threshold), [without, *trials]
