"""What users type."""

import contextlib
import sys
from pathlib import Path

import pytest
import runtime_media
from hypothesis import given, settings
from hypothesis import strategies as st

from mosear.runtime.capture import sources
from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.names import shown_pipeline, shown_url, without_credentials
from mosear.runtime.capture.sources import (
    CameraSound,
    GStreamerPipeline,
    MediaFile,
    Nothing,
    SoundDevice,
    StreamUrl,
    VideoDevice,
    default_microphone,
    open_feeds,
    parse_camera,
    parse_microphone,
)
from mosear.runtime.errors import BadInput, Failed, UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", VideoDevice("/dev/video0")),
        ("12", VideoDevice("/dev/video12")),
        ("/dev/video2", VideoDevice("/dev/video2")),
        ("/dev/v4l/by-id/usb-cam-index0", VideoDevice("/dev/v4l/by-id/usb-cam-index0")),
        ("rtsp://a/b", StreamUrl("rtsp://a/b")),
        ("RTSP://a:554/b?c=d", StreamUrl("rtsp://a:554/b?c=d")),
        ("https://u:p@a/b", StreamUrl("https://u:p@a/b")),
        ("http://[::1]:80/x", StreamUrl("http://[::1]:80/x")),
        ("gst:videotestsrc ! appsink", GStreamerPipeline("videotestsrc ! appsink")),
        ("file:a b.mp4", MediaFile(Path("a b.mp4"))),
        ("file:/x/0", MediaFile(Path("/x/0"))),
        ("clip.mp4", MediaFile(Path("clip.mp4"))),
        ("./clip", MediaFile(Path("clip"))),
        ("none", Nothing()),
    ],
)
def test_cameras(text: str, expected: object) -> None:
    assert parse_camera(text) == expected


MALFORMED = (
    *("", " 0", "-1", "+1", "０", "1e", "99999", "front", "a\nb.mp4", "\0.mp4"),
    *("http:", "http://", "http:/a", "http://a:99999/", "http://a:x/", "http://a:0/", "http://[::1/", "http://a b/"),
    *("rtsp://", "rtsp://:554/x", "rtsp:x", "ftp://a/b", "udp://a:1", "concat:a", "pipe:0"),
    *("file:", "gst:", "gst: "),
)


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_cameras(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_camera(text)
    assert "/dev/videoN" in error.value.remedy
    assert "gst:" in error.value.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("default", SoundDevice(None)),
        ("3", SoundDevice(3)),
        ("USB Audio", SoundDevice("USB Audio")),
        ("hw:1,0", SoundDevice("hw:1,0")),
        ("camera", CameraSound()),
        ("file:a.wav", MediaFile(Path("a.wav"))),
        ("none", Nothing()),
    ],
)
def test_microphones(text: str, expected: object) -> None:
    assert parse_microphone(text) == expected


@pytest.mark.parametrize("text", ["", " ", " x", "file:", "rtsp://a/b", "-1", "99999", "a\tb", "a\0"])
def test_malformed_microphones(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_microphone(text)
    assert "default" in error.value.remedy


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_camera, parse_microphone):
        with contextlib.suppress(UsageError):
            assert parse(text).name


def test_a_file_in_the_folder_goes_before_other_meanings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clip", "http:x"):
        Path(name).write_bytes(b"x")
        assert parse_camera(name) == MediaFile(Path(name))
    Path("0").write_bytes(b"x")
    assert parse_camera("0") == VideoDevice("/dev/video0")


@pytest.mark.parametrize(
    "camera",
    [
        "http://u:sec@ret@h/x",
        "rtsp://sec:ret@h/x?pwd=secret",
        "gst:rtspsrc user-pw=sec location=rtsp://sec:ret@h ! appsink",
    ],
)
def test_names_and_reprs_hold_no_secret(camera: str) -> None:
    spec = parse_camera(camera)
    for text in (spec.name, repr(spec), str(spec)):
        assert "sec" not in text
        assert "ret" not in text
    with pytest.raises(UsageError) as error:
        parse_camera("xyz://sec:ret@host")
    assert "ret" not in str(error.value) + error.value.remedy


def test_names() -> None:
    assert shown_url("rtsp://u:p@cam.local:554/a?user=x&pwd=y#z") == "rtsp://cam.local:554/a?…"
    assert shown_url("http://[::1]:80/a") == "http://[::1]:80/a"
    assert shown_pipeline("rtspsrc location=rtsp://u:p@h ! queue! video/x-raw,format=BGR ! appsink") == (
        "rtspsrc ! queue ! video/x-raw,format ! appsink"
    )
    assert (
        without_credentials("Refused: 'rtsp://u:p@w@h/x' and http://h/y@z") == "Refused: 'rtsp://h/x' and http://h/y@z"
    )


def test_default_microphones() -> None:
    assert default_microphone(MediaFile(Path("a"))) == CameraSound()
    assert default_microphone(StreamUrl("http://a")) == CameraSound()
    assert default_microphone(VideoDevice("/dev/video0")) == SoundDevice(None)
    assert default_microphone(GStreamerPipeline("x")) == SoundDevice(None)
    assert default_microphone(Nothing()) == SoundDevice(None)


def _open(camera, microphone, loop: bool = False):
    return open_feeds(camera, microphone, 16000, Clock(), lambda item: None, loop)


@pytest.mark.parametrize(
    ("camera", "microphone", "loop"),
    [
        (Nothing(), Nothing(), False),
        (Nothing(), CameraSound(), False),
        (VideoDevice("/dev/video0"), CameraSound(), False),
        (GStreamerPipeline("x"), CameraSound(), False),
        (VideoDevice("/dev/video0"), Nothing(), True),
        (StreamUrl("http://a/"), CameraSound(), True),
    ],
)
def test_what_can_not_be_meant(camera, microphone, loop: bool) -> None:
    with pytest.raises(UsageError):
        _open(camera, microphone, loop)


def test_files_are_looked_at_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no media")
    seen = runtime_media.write(tmp_path / "seen.mkv", 0.5, audio=False)
    heard = runtime_media.write(tmp_path / "heard.wav", 0.5, video=False, audio_codec="pcm_s16le")
    for camera, microphone in [
        (MediaFile(tmp_path / "missing.mp4"), CameraSound()),
        (MediaFile(tmp_path / "text.mp4"), CameraSound()),
        (MediaFile(tmp_path), Nothing()),
        (MediaFile(heard), CameraSound()),
        (VideoDevice("/dev/video0"), MediaFile(tmp_path / "missing.wav")),
        (VideoDevice("/dev/video0"), MediaFile(seen)),
    ]:
        with pytest.raises(BadInput):
            _open(camera, microphone)
    assert len(_open(MediaFile(seen), CameraSound())) == 1


def test_missing_live_devices_are_no_error_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "sounddevice", lambda: None)
    feeds = _open(VideoDevice("/dev/video77"), SoundDevice(99))
    assert [(feed.kind, feed.name) for feed in feeds] == [("camera", "/dev/video77"), ("microphone", "99")]
    (feed,) = _open(StreamUrl("rtsp://u:p@h/x"), CameraSound())
    assert (feed.kind, feed.name) == ("camera", "rtsp://h/x")


def test_a_missing_library_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(Failed) as error:
        _open(Nothing(), SoundDevice(None))
    assert error.value.remedy == "pip install 'mosear[live]'"
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(Failed, match="OpenCV"):
        _open(GStreamerPipeline("x"), Nothing())
