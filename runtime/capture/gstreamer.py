"""Cameras that only a GStreamer pipeline reaches, such as CSI cameras of a Jetson, through the system's OpenCV."""

import threading
from collections.abc import Generator, Iterator
from typing import Any

import av

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.pump import Pump, newest
from mosear.runtime.capture.stream import Lost, Picture
from mosear.runtime.capture.timeline import Timeline
from mosear.runtime.errors import Failed, one_line

_REMEDY = "use the system's OpenCV (Debian, JetPack: python3-opencv, seen by a venv with --system-site-packages)"


def opencv() -> Any:
    """The module ``cv2``.

    Raises:
        Failed: it can't be imported, or was built without GStreamer, as those of the package index are.
    """
    try:
        import cv2
    except ImportError as error:
        raise Failed(f"OpenCV can't be imported ({one_line(error)})", _REMEDY) from error
    # What getBackends lists is what this version knows of, not what it has.
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise Failed("this OpenCV was built without GStreamer", _REMEDY)
    return cv2


class PipelineCamera:
    """A pipeline that ends in ``appsink``.

    Args:
        pipeline: as for ``gst-launch-1.0``, with BGR frames at the end.
        clock: what the pictures' times are on.

    Raises:
        Failed: see ``opencv``.
    """

    def __init__(self, pipeline: str, clock: Clock) -> None:
        self._cv2 = opencv()
        self._pipeline, self._clock = pipeline, clock
        self._timeline = Timeline()
        self._pump = Pump("mosear-gstreamer", self._read, newest)

    @property
    def released(self) -> bool:
        """Whether the camera is no longer held."""
        return self._pump.released

    def __iter__(self) -> Iterator[Picture]:
        """Pictures as they come; see ``Device``."""
        yield from self._pump

    def close(self) -> None:
        """Release the camera; see ``Device``."""
        self._pump.close()

    def _read(self, closing: threading.Event) -> Generator[Picture, None, None]:
        capture = self._cv2.VideoCapture(self._pipeline, self._cv2.CAP_GSTREAMER)
        try:
            if not capture.isOpened():
                raise Lost("the pipeline does not start")
            while not closing.is_set():
                there, pixels = capture.read()
                if not there:
                    raise Lost("the pipeline gives no picture any more")
                arrival, stamp = self._clock.now(), capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
                # A pipeline whose buffers carry no time stamps says 0 for each of them.
                time = self._timeline.map(stamp, arrival) if stamp > 0 else arrival
                if pixels.ndim != 3:
                    raise Lost("its frames are not BGR; end it with: videoconvert ! video/x-raw,format=BGR ! appsink")
                yield Picture(time, av.VideoFrame.from_ndarray(pixels, format="bgr24"))
        finally:
            capture.release()
