"""The one way in which a picture gets to the size of the model, in training as on the device."""

import av
import numpy as np
from av.video.reformatter import Interpolation

# Area averaging with exact rounding and the same bits on every processor: a model meets on the device the very pixels
# that it was trained on. (The library has no names for the last two in its older versions.)
_ACCURATE_ROUNDING, _BIT_EXACT = 0x40000, 0x80000
_AREA = int(Interpolation.AREA) | _ACCURATE_ROUNDING | _BIT_EXACT

_MAX_ASPECT = 8
_MIN_SIDE = 2


def resize(frame: av.VideoFrame | np.ndarray, size: int) -> np.ndarray:
    """Scale the short side to ``size`` by area averaging (swscale), crop the centre square, turn it upright.

    The rotation that the file asks for (its display matrix) is applied in steps of 90 degrees.

    Args:
        frame: a decoded frame, or an array uint8 [height, width, 3] in RGB.
        size: side of the square in pixels, at least 1.

    Returns:
        uint8 [size, size, 3], RGB, contiguous.

    Raises:
        ValueError: ``frame`` is an array of another type or shape, or has no pixels.
    """
    turns = 0
    if isinstance(frame, np.ndarray):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
            raise ValueError(f"expected uint8 [height, width, 3], got {frame.dtype} {list(frame.shape)}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    else:
        picture = frame
        turns = round(frame.rotation / 90) % 4
    height, width = picture.height, picture.width
    if max(height, width) > _MAX_ASPECT * min(height, width) or min(height, width) < _MIN_SIDE:
        # A sliver would be scaled to a gigantic strip only to be cropped, and swscale refuses a side of one pixel.
        picture = _centre_of_sliver(picture)
        height, width = picture.height, picture.width
    short = min(height, width)
    scaled_height, scaled_width = round(height * size / short), round(width * size / short)
    scaled = picture.reformat(
        width=scaled_width, height=scaled_height, format="rgb24", interpolation=_AREA, threads=1
    ).to_ndarray()
    top, left = (scaled_height - size) // 2, (scaled_width - size) // 2
    square = scaled[top : top + size, left : left + size]
    return np.ascontiguousarray(np.rot90(square, turns))


def _centre_of_sliver(picture: av.VideoFrame) -> av.VideoFrame:
    """The centre square of ``picture`` at its own resolution, at least two pixels a side."""
    pixels = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side < _MIN_SIDE:
        square = np.repeat(np.repeat(square, _MIN_SIDE, axis=0), _MIN_SIDE, axis=1)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(square), format="rgb24")
