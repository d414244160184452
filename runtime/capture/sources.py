"""What a user calls a camera or microphone → the feeds that listen to it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.container import Address, LiveContainer, network, video4linux
from mosear.runtime.capture.feed import Feed
from mosear.runtime.capture.gstreamer import PipelineCamera, opencv
from mosear.runtime.capture.microphone import Microphone, sounddevice
from mosear.runtime.capture.names import shown_pipeline, shown_url
from mosear.runtime.capture.playback import FilePlayer, Start
from mosear.runtime.capture.pump import OneAtATime
from mosear.runtime.capture.stream import Item, Opener
from mosear.runtime.errors import BadInput, UsageError, one_line
from mosear.runtime.media.file import MediaInfo, probe

CAMERA_FORMS = (
    "a number or /dev/videoN, rtsp://…, http(s)://…, gst:PIPELINE, file:PATH or the path of a media file, or none"
)
MICROPHONE_FORMS = "default, a number or part of a name, camera (the sound of a file or URL), file:PATH, or none"

_SCHEMES = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)
_MOST_DIGITS = 4


@dataclass(frozen=True)
class Nothing:
    """No camera, or no microphone."""

    @property
    def name(self) -> str:
        """As the user called it."""
        return "none"


@dataclass(frozen=True)
class MediaFile:
    """A file in place of a device."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return self.path.name or str(self.path)


@dataclass(frozen=True)
class VideoDevice:
    """A V4L2 camera."""

    path: str

    @property
    def name(self) -> str:
        """Its path in /dev."""
        return self.path


@dataclass(frozen=True)
class StreamUrl:
    """An RTSP or HTTP address; it may hold a password, so it is not in the repr."""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """The address without secrets."""
        return shown_url(self.url)


@dataclass(frozen=True)
class GStreamerPipeline:
    """A pipeline that ends in ``appsink``; it may hold a password, so it is not in the repr."""

    pipeline: str = field(repr=False)

    @property
    def name(self) -> str:
        """The names of its elements."""
        return f"gst:{shown_pipeline(self.pipeline)}"


@dataclass(frozen=True)
class SoundDevice:
    """A microphone: PortAudio's index, part of its name, or None for the system's default."""

    device: int | str | None

    @property
    def name(self) -> str:
        """As the user called it."""
        return "default" if self.device is None else str(self.device)


@dataclass(frozen=True)
class CameraSound:
    """The sound that comes with the camera's file or URL."""

    @property
    def name(self) -> str:
        """As the user called it."""
        return "camera"


Camera = VideoDevice | StreamUrl | GStreamerPipeline | MediaFile | Nothing
MicrophoneSource = SoundDevice | CameraSound | MediaFile | Nothing


def parse_camera(text: str) -> Camera:
    """What ``text`` names. Whether it is there is found out when it is opened.

    Raises:
        UsageError: it names nothing that could be a camera.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise _no_camera(text)
    if text == "none":
        return Nothing()
    if _is_number(text):
        return VideoDevice(f"/dev/video{int(text)}")
    if text.startswith("/dev/"):
        return VideoDevice(text)
    scheme = _SCHEME.match(text)
    is_file = os.path.isfile(text)
    if scheme is not None and not is_file:
        return _parse_prefixed(text, scheme[1].lower())
    if is_file or Path(text).suffix or "/" in text:
        return MediaFile(Path(text))
    raise _no_camera(text)


def parse_microphone(text: str) -> MicrophoneSource:
    """What ``text`` names. Whether it is there is found out when it is opened.

    Raises:
        UsageError: it names nothing that could be a microphone.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise _no_microphone(text)
    if text == "none":
        return Nothing()
    if text == "camera":
        return CameraSound()
    if text == "default":
        return SoundDevice(None)
    if text.startswith("file:"):
        if not text[5:]:
            raise _no_microphone(text)
        return MediaFile(Path(text[5:]))
    if _is_number(text):
        return SoundDevice(int(text))
    if "://" in text or re.fullmatch(r"[+-]?\d+", text):
        raise _no_microphone(text)
    return SoundDevice(text)


def default_microphone(camera: Camera) -> MicrophoneSource:
    """The microphone that goes with a camera when none was named: a file's or URL's own sound, else the default one."""
    return CameraSound() if isinstance(camera, MediaFile | StreamUrl) else SoundDevice(None)


def open_feeds(
    camera: Camera,
    microphone: MicrophoneSource,
    rate: int,
    clock: Clock,
    take: Callable[[Item], None],
    loop: bool = False,
) -> list[Feed]:
    """The feeds of a camera and a microphone, not started; one that is both is one feed.

    A device that is not there is no error: its feed tries again until it comes.

    Args:
        camera: see ``parse_camera``.
        microphone: see ``parse_microphone``.
        rate: samples a second of the sound.
        clock: what the items' times are on; files are played at its speed.
        take: is given every item, by the threads of the feeds.
        loop: files begin again at their end, each with its own length.

    Raises:
        UsageError: both are none, the camera has no sound of its own to listen to, or ``loop`` without a file.
        BadInput: a file is missing, no media, or lacks the pictures or the sound that it was named for.
        Failed: a library that the device needs is not installed.
    """
    _check(camera, microphone, loop)
    start = Start(clock)
    feeds = []
    if not isinstance(camera, Nothing):
        opener = _camera_opener(camera, isinstance(microphone, CameraSound), rate, clock, start, loop)
        feeds.append(Feed("camera", camera.name, opener, take, clock))
    if isinstance(microphone, MediaFile):
        info = probe(microphone.path)
        if info.audio is None:
            raise BadInput(f"{microphone.path} has no sound", "name a file with sound as the microphone")
        opener = _file_opener(info, rate, clock, start, loop, pictures=False, sounds=True)
        feeds.append(Feed("microphone", microphone.name, opener, take, clock))
    elif isinstance(microphone, SoundDevice):
        sounddevice()
        device = microphone.device
        opener = OneAtATime(lambda: Microphone(device, rate, clock))
        feeds.append(Feed("microphone", microphone.name, opener, take, clock))
    return feeds


def _check(camera: Camera, microphone: MicrophoneSource, loop: bool) -> None:
    if isinstance(camera, Nothing) and isinstance(microphone, Nothing):
        raise UsageError("neither a camera nor a microphone", f"name a camera: {CAMERA_FORMS}")
    if isinstance(microphone, CameraSound) and not isinstance(camera, MediaFile | StreamUrl):
        raise UsageError(
            f"the camera {camera.name} has no sound of its own", f"name another microphone: {MICROPHONE_FORMS}"
        )
    if loop and not (isinstance(camera, MediaFile) or isinstance(microphone, MediaFile)):
        raise UsageError("only a file can be looped", "leave that out, or name a file as the camera or microphone")


def _camera_opener(camera: Camera, with_sound: bool, rate: int, clock: Clock, start: Start, loop: bool) -> Opener:
    if isinstance(camera, MediaFile):
        info = probe(camera.path)
        if info.video is None:
            raise BadInput(f"{camera.path} has no pictures", "name it as the microphone, with none as the camera")
        sounds = with_sound and info.audio is not None
        return _file_opener(info, rate, clock, start, loop, pictures=True, sounds=sounds)
    if isinstance(camera, GStreamerPipeline):
        opencv()
        pipeline = camera.pipeline
        return OneAtATime(lambda: PipelineCamera(pipeline, clock))
    address = _address(camera)
    return OneAtATime(lambda: LiveContainer(address, rate, clock, sounds=with_sound))


def _address(camera: Camera) -> Address:
    return network(camera.url) if isinstance(camera, StreamUrl) else video4linux(camera.name)


def _file_opener(
    info: MediaInfo, rate: int, clock: Clock, start: Start, loop: bool, pictures: bool, sounds: bool
) -> Opener:
    was_opened = False

    def open_file() -> FilePlayer:
        nonlocal was_opened
        begin = clock.now() if was_opened else start.first()
        was_opened = True
        return FilePlayer(info, rate, clock, begin, pictures, sounds, loop)

    return open_file


def _parse_prefixed(text: str, scheme: str) -> Camera:
    rest = text[len(scheme) + 1 :]
    if scheme == "gst" and rest.strip():
        return GStreamerPipeline(rest.strip())
    if scheme == "file" and rest:
        return MediaFile(Path(rest))
    if scheme in _SCHEMES and rest.startswith("//"):
        try:
            parts = urlsplit(text)
            is_whole = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_whole = False
        if is_whole and " " not in text:
            # The library knows its protocols in lower case only.
            return StreamUrl(scheme + text[len(scheme) :])
    raise _no_camera(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


def _shown(text: str) -> str:
    """``text`` as an error may show it: what is malformed may still hold a password."""
    return one_line(repr(text.partition("@")[0].partition(":")[0] + ":…" if "@" in text else text), 100)


def _no_camera(text: str) -> UsageError:
    return UsageError(f"{_shown(text)} is no camera", f"name {CAMERA_FORMS}")


def _no_microphone(text: str) -> UsageError:
    return UsageError(f"{_shown(text)} is no microphone", f"name {MICROPHONE_FORMS}")
