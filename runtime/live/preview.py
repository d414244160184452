"""The newest picture as JPEG, for the person who sets up a camera. Nothing of it is kept."""

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation

from mosear.runtime.capture.stream import Picture

_WIDTH = 480
_QUALITY = "5"


def jpeg(picture: Picture) -> bytes:
    """The picture, upright, at most 480 pixels a side, as a JPEG file without any metadata."""
    frame = picture.frame
    scale = min(1.0, _WIDTH / max(frame.width, frame.height))
    # The encoder takes even sides only.
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    small = frame.reformat(width=width, height=height, format="rgb24", interpolation=Interpolation.AREA, threads=1)
    pixels = np.asarray(small.to_ndarray(), np.uint8)
    upright = np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = upright.shape[:2]
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": _QUALITY, "qmax": _QUALITY}
    still = av.VideoFrame.from_ndarray(upright, format="rgb24").reformat(format="yuvj420p", threads=1)
    return b"".join(bytes(packet) for packet in [*encoder.encode(still), *encoder.encode(None)])
