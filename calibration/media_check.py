"""Whether a window's picture and sound could come from a person: not blank, not silent, not noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from mosear.runtime.windows import is_silent

LEAST_CONTRAST = 1.0
"""Standard deviation of a window's pixels, of 255, below which there is no picture."""

LEAST_CORRELATION = 0.3
"""Correlation of neighbouring pixels below which a picture is noise. Noise has about 0, faces have 0.8 and more."""

MOST_FLATNESS = 0.8
"""Spectral flatness above which a sound is noise. White noise has 0.99, and 0.94 after AAC; voices stay below 0.1."""

_SILENCE_DBFS = -60.0


def fault(frames: NDArray[np.uint8] | None, samples: NDArray[np.float32] | None) -> str | None:
    """Why a window can't be calibrated on, or None when it can.

    Args:
        frames: uint8 [F, H, W, 3], or None when there is no picture.
        samples: float32 [n], full scale 1, or None when there is no sound.
    """
    if frames is None and samples is None:
        return "without picture and sound"
    if frames is None:
        return "without a picture"
    if samples is None or is_silent(samples, _SILENCE_DBFS):
        return "without a sound"
    if float(frames.std()) < LEAST_CONTRAST:
        return "with a blank picture"
    if neighbour_correlation(frames) < LEAST_CORRELATION:
        return "with a picture of noise"
    if spectral_flatness(samples) > MOST_FLATNESS:
        return "with a sound of noise"
    return None


def neighbour_correlation(frames: NDArray[np.uint8]) -> float:
    """Correlation of each pixel's luminance with its neighbour's, along the axis where it is higher; -1 to 1.

    Args:
        frames: uint8 [F, H, W, 3].
    """
    light = frames.astype(np.float32).mean(-1)
    light -= light.mean((1, 2), keepdims=True)
    power = float(np.square(light).mean())
    if power == 0:
        return 1.0
    down, across = (light[:, 1:] * light[:, :-1]).mean(), (light[:, :, 1:] * light[:, :, :-1]).mean()
    return float(max(down, across)) / power


def spectral_flatness(samples: NDArray[np.float32]) -> float:
    """Geometric over arithmetic mean of the power spectrum, averaged over the window (Welch): 1 is white, 0 is a tone.

    Args:
        samples: float32 [n].
    """
    power = welch(samples, nperseg=min(512, len(samples)))[1].astype(np.float64) + 1e-20
    return float(np.exp(np.log(power).mean()) / power.mean())
