"""Anti-aliased drawing in head coordinates: the vector graphics layer under the face renderer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Points = NDArray[np.float64]

_SHIFT = 4
_SCALE = 1 << _SHIFT


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` moved by `share` (clipped to 0..1) towards `second`."""
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def oval(centre: tuple[float, float], radii: tuple[float, float], count: int = 28) -> Points:
    """[count, 2] points of an ellipse."""
    angle = np.linspace(0.0, 2.0 * math.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


class Canvas:
    """A square RGB picture with a head's coordinate system.

    Head coordinates: origin in the middle of the face, x to the right, y down, 1.0 = half the height of the face.
    Points near the front of the head move with its yaw; `depth` 0 leaves a point on the outline.
    """

    def __init__(
        self, picture: NDArray[np.uint8], centre: tuple[float, float], unit: float, roll: float, yaw: float
    ) -> None:
        self.picture = picture
        self.unit = unit
        turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
        self._matrix = turn * (unit * picture.shape[0] * _SCALE)
        self._offset = np.array(centre) * picture.shape[0] * _SCALE - _SCALE / 2
        self._cos, self._sin = math.cos(yaw), math.sin(yaw)

    def _pixels(self, points: Points, depth: float) -> NDArray[np.int32]:
        if depth:
            x, y = points[:, 0], points[:, 1]
            bulge = depth * np.sqrt(np.maximum(0.0, 1.0 - (x / 0.8) ** 2 - 0.25 * y * y))
            points = np.stack([x * self._cos + bulge * self._sin, y], axis=1)
        return np.rint(points @ self._matrix + self._offset).astype(np.int32)

    def fill(self, points: Points, colour: Colour, depth: float = 0.6) -> None:
        """Fill the polygon [n, 2]."""
        cv2.fillPoly(self.picture, [self._pixels(points, depth)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: Points | Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """Draw the open line [n, 2] as a band of `width` (head coordinates), thinner towards its ends."""
        path = np.asarray(points, dtype=np.float64)
        step = np.gradient(path, axis=0)
        normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
        taper = 0.5 * width * (0.35 + 0.65 * np.sin(np.linspace(0.0, math.pi, len(path))))[:, None]
        self.fill(np.concatenate([path + normal * taper, (path - normal * taper)[::-1]]), colour)


def curve(knots: Sequence[tuple[float, float]], count: int = 11) -> Points:
    """[count, 2] points of the quadratic curve through three knots (Lagrange, knots at 0, 1/2 and 1)."""
    (ax, ay), (bx, by), (cx, cy) = knots
    t = np.linspace(0.0, 1.0, count)
    first, middle, last = (2 * t - 1) * (t - 1), 4 * t * (1 - t), t * (2 * t - 1)
    return np.stack([ax * first + bx * middle + cx * last, ay * first + by * middle + cy * last], axis=1)
