"""Live pictures and sound by way of PyAV: RTSP and HTTP addresses, and V4L2 cameras."""

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import av
from av.stream import Disposition

from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.listening import Listener
from mosear.runtime.capture.pump import Pump
from mosear.runtime.capture.stream import Item, Lost, Picture
from mosear.runtime.capture.timeline import Timeline
from mosear.runtime.media.opening import FORMATS, MAX_PIXELS

_log = logging.getLogger("mosear")

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 5.0

# Not "nobuffer": it throws away the key picture that was read to learn the format, and a camera's next is seconds away.
_LOW_LATENCY = {"flags": "low_delay", "analyzeduration": "1000000", "probesize": "2000000"}
# A stream may name further addresses (a playlist, an RTSP session), but never files of this machine.
_NETWORK = {
    "protocol_whitelist": "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtsps,srtp,crypto",
    "format_whitelist": f"{FORMATS},mpjpeg,hls,rtsp,sdp,rtp",
    # Without it half of the pictures are torn on a wireless network. The second name is that of ffmpeg before 5.
    "rtsp_transport": "tcp",
    "timeout": str(round(READ_TIMEOUT * 1e6)),
    "stimeout": str(round(READ_TIMEOUT * 1e6)),
    "rw_timeout": str(round(READ_TIMEOUT * 1e6)),
}

_BACKLOG_SECONDS = 3.0
_BACKLOG_PACKETS = 2000
_DAMAGED_IN_A_ROW = 100

# AVFMT_NOTIMESTAMPS, which the library names on another class only.
_NO_TIMESTAMPS = 0x0080


@dataclass(frozen=True)
class Address:
    """What PyAV is asked to open: its name, format and options, and whether its packets' memory is the driver's own."""

    url: str
    format: str | None
    options: dict[str, str]
    lends_memory: bool = False


def network(url: str) -> Address:
    """An RTSP or HTTP address."""
    return Address(url, None, {**_LOW_LATENCY, **_NETWORK})


def video4linux(path: str) -> Address:
    """A camera of this machine."""
    return Address(path, "v4l2", dict(_LOW_LATENCY), lends_memory=True)


@dataclass(frozen=True, eq=False)
class _Track:
    """What decodes a stream, seconds of a tick of its stamps (None: it has no stamps), and what it is."""

    codec: av.VideoCodecContext | av.AudioCodecContext
    tick: float | None
    is_picture: bool


@dataclass(frozen=True, eq=False)
class _Coded:
    """A packet and when it arrived."""

    packet: av.Packet
    arrival: float
    track: _Track


class _Backlog:
    """Keeps what waits to be decoded short; called with it after each addition."""

    def __init__(self) -> None:
        self._until_key = False

    def __call__(self, waiting: deque[_Coded]) -> None:
        newest = waiting[-1]
        if newest.track.is_picture and newest.track.codec.codec.intra_only:
            standing = [coded for coded in waiting if coded.track.is_picture]
            self._drop(waiting, standing[:-2])
        elif newest.track.is_picture and self._until_key and not newest.packet.is_keyframe:
            waiting.pop()
        else:
            self._until_key = self._until_key and not newest.track.is_picture
            if newest.arrival - waiting[0].arrival > _BACKLOG_SECONDS:
                self._skip_to_key(waiting)
        while len(waiting) > _BACKLOG_PACKETS:
            waiting.popleft()

    def _skip_to_key(self, waiting: deque[_Coded]) -> None:
        """Drop what is late. Pictures go on with the last key picture that waits, or with the next that comes."""
        pictures = [coded for coded in waiting if coded.track.is_picture]
        keys = [place for place, coded in enumerate(pictures) if coded.packet.is_keyframe]
        kept = keys[-1] if keys and pictures[keys[-1]] is not waiting[0] else len(pictures)
        self._until_key = bool(pictures) and kept == len(pictures)
        late = waiting[-1].arrival - _BACKLOG_SECONDS
        stale = [coded for coded in waiting if not coded.track.is_picture and coded.arrival < late]
        self._drop(waiting, pictures[:kept] + stale)

    @staticmethod
    def _drop(waiting: deque[_Coded], dropped: list[_Coded]) -> None:
        for coded in dropped:
            waiting.remove(coded)


class LiveContainer:
    """An open stream of pictures, sound, or both, on one timeline.

    Packets are read by a thread of their own and wait to be decoded by the one who iterates. Where that is too slow,
    pictures are skipped: all but the newest of a camera that sends each whole, else up to the next key picture. A
    packet that can't be decoded is left out and counted.

    Args:
        address: what to open.
        rate: samples a second of the sound that is given.
        clock: what the items' times are on.
        pictures: whether pictures are wanted; a stream without any is lost then.
        sounds: whether sound is wanted, where there is some.
        patience: seconds of nothing but damaged pictures, or of nothing, after which the stream is lost.
    """

    def __init__(
        self,
        address: Address,
        rate: int,
        clock: Clock,
        pictures: bool = True,
        sounds: bool = True,
        patience: float = READ_TIMEOUT,
    ) -> None:
        self.undecodable = 0
        self._address, self._clock = address, clock
        self._pictures, self._sounds = pictures, sounds
        self._patience = patience
        self._timeline = Timeline()
        self._listener = Listener(rate)
        self._pump = Pump("mosear-container", self._read, _Backlog(), patience, OPEN_TIMEOUT + READ_TIMEOUT)

    @property
    def released(self) -> bool:
        """Whether the stream is no longer held."""
        return self._pump.released

    def __iter__(self) -> Iterator[Item]:
        """Items as they come; see ``Device``."""
        seen, is_damaged = time.monotonic(), False
        for coded in self._pump:
            track = coded.track
            self._observe(coded)
            try:
                frames = track.codec.decode(coded.packet)
            except (av.FFmpegError, ValueError):
                self._note_undecodable()
                frames, is_damaged = [], is_damaged or track.is_picture
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    seen, is_damaged = time.monotonic(), False
                    yield Picture(self._time(coded, frame.pts), frame)
                elif frame.samples:
                    yield from self._listener.hear(self._time(coded, frame.pts), frame)
            if is_damaged and time.monotonic() - seen > self._patience:
                raise Lost(f"no picture could be decoded for {self._patience:g} s")

    def close(self) -> None:
        """Release the stream; see ``Device``."""
        self._pump.close()

    def _observe(self, coded: _Coded) -> None:
        tick, packet = coded.track.tick, coded.packet
        if tick is not None and packet.pts is not None:
            # Sound is sent when its last sample was heard, not its first.
            length = 0 if coded.track.is_picture else packet.duration or 0
            self._timeline.observe(packet.pts * tick, coded.arrival - length * tick, coded.track.codec.type)

    def _time(self, coded: _Coded, pts: int | None) -> float:
        track = coded.track
        if track.tick is None or pts is None:
            return self._timeline.unstamped(coded.arrival, track.codec.type)
        return self._timeline.place(pts * track.tick, track.codec.type)

    def _note_undecodable(self) -> None:
        self.undecodable += 1
        if self.undecodable == 1:
            _log.warning("camera: a packet can't be decoded; it and further ones are left out")

    def _read(self, closing: threading.Event) -> Generator[_Coded, None, None]:
        with _opened(self._address) as container:
            tracks = self._tracks(container)
            damaged = 0
            while damaged < _DAMAGED_IN_A_ROW:
                try:
                    for packet in container.demux(*tracks):
                        if packet.size:
                            track = tracks[packet.stream]
                            yield _Coded(
                                _own(packet) if self._address.lends_memory else packet, self._clock.now(), track
                            )
                            damaged = 0
                    break
                except av.error.InvalidDataError:
                    self._note_undecodable()
                    damaged += 1
                except (av.FFmpegError, OSError) as error:
                    raise Lost(_reason(error, READ_TIMEOUT)) from None
        raise Lost("the stream ended")

    def _tracks(self, container: av.container.InputContainer) -> dict[av.stream.Stream, _Track]:
        """The first stream of each kind that is wanted."""
        candidates: list[av.VideoStream | av.AudioStream] = []
        if self._pictures:
            moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not moving:
                raise Lost("it sends no pictures")
            candidates += moving[:1]
        if self._sounds:
            candidates += container.streams.audio[:1]
        has_stamps = not container.format.flags & _NO_TIMESTAMPS
        tracks: dict[av.stream.Stream, _Track] = {}
        for stream in candidates:
            codec = stream.codec_context
            if codec is None:
                raise Lost(f"its {stream.type} has a format that can't be decoded here")
            if isinstance(stream, av.VideoStream):
                # Decoding several frames at a time would hold each of them back.
                stream.thread_type = "SLICE"
                codec.options = {"max_pixels": str(MAX_PIXELS), "flags": "low_delay"}
            tick = float(stream.time_base) if has_stamps and stream.time_base else None
            tracks[stream] = _Track(codec, tick, isinstance(stream, av.VideoStream))
        return tracks


def _opened(address: Address) -> av.container.InputContainer:
    try:
        return av.open(
            address.url,
            format=address.format,
            options=dict(address.options),
            timeout=(OPEN_TIMEOUT, READ_TIMEOUT),
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Lost(_reason(error, OPEN_TIMEOUT)) from None


def _reason(error: Exception, timeout: float) -> str:
    """The library's reason without the address, which may hold a password."""
    if isinstance(error, av.error.ExitError):
        return f"no answer in {timeout:g} s"
    if getattr(error, "errno", None) == errno.EIO:
        return "the stream broke off"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _own(packet: av.Packet) -> av.Packet:
    """A copy. A V4L2 packet lies in memory of the driver that is gone when the camera is closed."""
    own = av.Packet(packet.size)
    own.update(bytes(packet))
    own.pts, own.dts, own.time_base = packet.pts, packet.dts, packet.time_base
    own.is_keyframe = packet.is_keyframe
    return own
