"""Accuracy on each subset of CA-MER, and the gap between them (Han et al., MM 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mosear.evaluation.metrics.bootstrap import Figures

VIDEO_ALIGNED, AUDIO_ALIGNED = "video_aligned", "audio_aligned"
GAP = "modality_gap"

Array = NDArray[np.float64]


def gap_figures(subsets: Sequence[str | None], right: NDArray[np.bool_], rows: NDArray[np.int64]) -> Figures | None:
    """The modality gap, accuracy(audio-aligned) − accuracy(video-aligned), to be resampled within each subset.

    Above zero, a model answers better where only the voice tells the truth: it leans on the sound.

    Args:
        subsets: [n], of each clip; clips of others, and those without one, don't count.
        right: [n], whether its answer is right.
        rows: [n], which clips of a run they are.

    Returns:
        None unless both subsets are there.
    """
    sides = [np.array([subset == name for subset in subsets], bool) for name in (AUDIO_ALIGNED, VIDEO_ALIGNED)]
    if not all(side.any() for side in sides):
        return None
    kept = sides[0] | sides[1]
    features = np.stack([column for side in sides for column in (side & right, side)], axis=-1).astype(np.float64)

    def of(sums: Array) -> Array:
        with np.errstate(invalid="ignore"):
            shares = sums[..., ::2] / sums[..., 1::2]
        return shares[..., :1] - shares[..., 1:]

    return Figures((GAP,), features[kept], of, rows[kept], sides[0][kept].astype(np.int64))


def places_by_subset(subsets: Sequence[str | None]) -> dict[str, NDArray[np.int64]]:
    """By subset, in order of appearance, the places of its clips; clips without a subset are in none."""
    found = dict.fromkeys(subset for subset in subsets if subset is not None)
    return {name: np.flatnonzero([subset == name for subset in subsets]) for name in found}
