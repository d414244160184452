"""GStreamer cameras up to OpenCV, which is played by the test."""

import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from capture_fakes import until

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.gstreamer import PipelineCamera, opencv
from mosear.runtime.capture.stream import Lost
from mosear.runtime.errors import Failed


def _library(pictures: int = 10**9, starts: bool = True, stamped: bool = True, shape=(48, 64, 3)):
    """cv2 with a camera of 100 pictures a second whose blue grows by one a picture."""
    seen = SimpleNamespace(pipeline=None, released=0, hang=threading.Event(), began=time.monotonic())

    class VideoCapture:
        def __init__(self, pipeline: str, backend: int) -> None:
            assert backend == 1800
            seen.pipeline, self.count = pipeline, 0

        def isOpened(self) -> bool:
            return starts

        def read(self):
            if self.count >= pictures:
                return False, None
            seen.hang.wait(0.01)
            self.count += 1
            pixels = np.zeros(shape, np.uint8)
            pixels[..., 0] = self.count % 256
            return True, pixels

        def get(self, name: int) -> float:
            assert name == 0
            return (time.monotonic() - seen.began) * 1000 + 5e6 if stamped else 0.0

        def release(self) -> None:
            seen.released += 1

    return SimpleNamespace(
        VideoCapture=VideoCapture,
        CAP_GSTREAMER=1800,
        CAP_PROP_POS_MSEC=0,
        videoio_registry=SimpleNamespace(hasBackend=lambda name: name == 1800),
        seen=seen,
    )


@pytest.mark.parametrize("stamped", [True, False])
def test_pictures(monkeypatch: pytest.MonkeyPatch, stamped: bool) -> None:
    library = _library(stamped=stamped)
    monkeypatch.setitem(sys.modules, "cv2", library)
    clock = Clock()
    camera = PipelineCamera("videotestsrc ! appsink", clock)
    times = []
    for picture in camera:
        assert picture.time <= clock.now()
        assert clock.now() - picture.time < 1
        pixels = picture.frame.to_ndarray(format="bgr24")
        assert pixels[..., 0].any()
        assert not pixels[..., 1:].any()
        times.append(picture.time)
        if len(times) == 20:
            break
    camera.close()
    assert times == sorted(times)
    assert library.seen.pipeline == "videotestsrc ! appsink"
    until(lambda: camera.released)
    assert library.seen.released == 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"starts": False}, "does not start"),
        ({"pictures": 3}, "no picture any more"),
        ({"shape": (48, 64, 3, 1)}, "BGR"),
    ],
)
def test_losses(monkeypatch: pytest.MonkeyPatch, settings: dict, reason: str) -> None:
    library = _library(**settings)
    monkeypatch.setitem(sys.modules, "cv2", library)
    camera = PipelineCamera("x", Clock())
    with pytest.raises(Lost, match=reason):
        list(camera)
    camera.close()
    until(lambda: camera.released)
    assert library.seen.released == 1


def test_pictures_that_are_not_taken_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    library = _library()
    monkeypatch.setitem(sys.modules, "cv2", library)
    clock = Clock()
    camera = PipelineCamera("x", clock)
    pictures = iter(camera)
    next(pictures)
    began = clock.now()
    until(lambda: clock.now() > began + 0.5)
    next(pictures)
    next(pictures)
    assert next(pictures).time > began + 0.4
    camera.close()
    until(lambda: camera.released)


def test_an_open_cv_without_gstreamer() -> None:
    """The one from the package index, where it is installed."""
    cv2 = pytest.importorskip("cv2")
    if "GStreamer:                   NO" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(Failed, match="without GStreamer") as error:
        opencv()
    assert "python3-opencv" in error.value.remedy
