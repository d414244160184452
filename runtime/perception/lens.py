"""Whether a camera sees anything at all: its picture is black, or something lies on the lens.

What tells a covered lens from a dim or a plain room is structure. It is measured on block means, in two ways:

- Over 8 by 8 blocks: what the cubic surface that fits best leaves over, less the noise that neighbouring pixels show.
  A smooth slope (a vignette, a finger that glows red on one side) and noise are no structure. On the example clips, at
  192 and 64 pixels a side, this is at least 6 % of the mean brightness whatever the exposure, and 2.7 % when blurred
  over a tenth of the picture; grey with noise of 12 levels has 0.4 % at most, a glowing finger 1.7 %. Hence 2 %. In the
  dark, where a share means little, it is 0.35 levels: the clips at a twentieth of their exposure have 0.39 and more.
- Over 16 by 16 blocks: how sharply the brightness bends along rows or columns. A wall and a floor that differ a little
  have little structure in the first sense, but an edge; nothing that lies on a lens is sharp. Hence 4 % of the mean
  for the sharpest twentieth of the bends, and three times what noise alone makes.

One picture can't tell a bare wall without an edge or a shadow from a sheet of paper on the lens: both are covered.
"""

from typing import Literal

import numpy as np

_GRID, _FINE_GRID = 8, 16
_LARGEST = 160
_LEAST_SHARE, _LEAST_LEVELS = 0.02, 0.35
_EDGE_SHARE, _EDGE_LEVELS, _EDGE_OVER_NOISE = 0.04, 1.0, 3.0
_DARK_BELOW = 24.0
# Grey by BT.601, which is what a camera's luma is.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_AXIS = np.linspace(-1.0, 1.0, _GRID)
_SURFACE = np.stack(
    [np.multiply.outer(_AXIS**down, _AXIS**across).ravel() for down in range(4) for across in range(4 - down)],
    axis=1,
)
_FREEDOM = (_GRID**2 - _SURFACE.shape[1]) / _GRID**2
# Takes a picture's blocks to what no cubic surface explains.
_REST = np.eye(_GRID**2) - _SURFACE @ np.linalg.pinv(_SURFACE)


def lens_state(picture: np.ndarray) -> Literal["dark", "covered"] | None:
    """What is wrong with a picture as a whole, or None.

    Args:
        picture: uint8 [h, w, 3] RGB, full range, at least 16 pixels a side (None for a smaller one).

    Returns:
        ``dark``: black, but for noise. ``covered``: light, with hardly any structure. A dim room is neither.
    """
    if min(picture.shape[:2]) < _FINE_GRID:
        return None
    step = max(1, min(picture.shape[:2]) // _LARGEST)
    grey = picture[::step, ::step].astype(np.float32) @ _LUMA
    mean, noise = float(grey.mean()), _noise(grey)
    if _structure(grey, noise) >= max(_LEAST_SHARE * mean, _LEAST_LEVELS):
        return None
    edge, from_noise = _sharpest(grey, noise)
    if edge >= max(_EDGE_SHARE * mean, _EDGE_LEVELS, _EDGE_OVER_NOISE * from_noise):
        return None
    return "dark" if mean < _DARK_BELOW else "covered"


def _noise(grey: np.ndarray) -> float:
    """Standard deviation of white noise on each pixel, in levels: half the mean square of differences of neighbours."""
    return float(np.sqrt(np.mean(np.square(np.diff(grey, axis=1))) / 2))


def _blocks(grey: np.ndarray, grid: int) -> tuple[np.ndarray, int]:
    """Means of ``grid`` by ``grid`` blocks of [h, w], and how many pixels each is the mean of."""
    height, width = (side // grid for side in grey.shape)
    whole = grey[: height * grid, : width * grid].reshape(grid, height, grid, width)
    return whole.mean(axis=(1, 3), dtype=np.float64), height * width


def _structure(grey: np.ndarray, noise: float) -> float:
    """The first measure that the module describes, in levels."""
    blocks, pixels = _blocks(grey, _GRID)
    rest = float(np.mean(np.square(_REST @ blocks.ravel()))) / _FREEDOM
    return float(np.sqrt(max(rest - 2 * noise**2 / pixels, 0.0)))


def _sharpest(grey: np.ndarray, noise: float) -> tuple[float, float]:
    """The second measure, in levels, and the standard deviation that noise alone gives it."""
    blocks, pixels = _blocks(grey, _FINE_GRID)
    bends = [np.abs(np.diff(blocks, n=2, axis=axis)) for axis in (0, 1)]
    # A second difference is a - 2b + c: six times the variance of one mean.
    return max(float(np.quantile(each, 0.95)) for each in bends), float(np.sqrt(6 / pixels)) * noise
