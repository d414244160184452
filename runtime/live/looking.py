"""A camera's frame → what the model sees of it."""

from collections.abc import Callable

import av

from mosear.runtime.live.sightings import Look
from mosear.runtime.media.resize import resize
from mosear.runtime.perception.faces import FaceDetector
from mosear.runtime.perception.lens import lens_state


def looker(size: int, faces: FaceDetector | None) -> Callable[[av.VideoFrame], Look]:
    """What makes frames into looks.

    Args:
        size: side of the model's square frame in pixels.
        faces: finds the face that is cropped; without it the whole frame is used, and the look says so.
    """

    def look(frame: av.VideoFrame) -> Look:
        whole = resize(frame, size)
        blind = lens_state(whole)
        if blind is not None:
            return Look(None, frozenset({blind}))
        if faces is None:
            return Look(whole, frozenset({"whole_frame"}))
        crop = faces.crop(frame)
        if crop.picture is None:
            return Look(None, frozenset({"no_face"}))
        return Look(resize(crop.picture, size))

    return look
