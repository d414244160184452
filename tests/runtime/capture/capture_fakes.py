"""Devices and servers for the tests of capture, whose content and failures are known exactly."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np

from mosear.runtime.capture.stream import Item, Lost, Picture

Serve = Callable[[socket.socket, threading.Event], None]
"""Answers a connection until the event is set."""


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Poll; fails when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("mosear"))


def picture(time: float, grey: int = 0) -> Picture:
    return Picture(time, av.VideoFrame.from_ndarray(np.full((16, 16, 3), grey, np.uint8), format="rgb24"))


class FakeCamera:
    """Devices that give ``items`` pictures each and then are lost; counts how many are open at once.

    Every device holds a real file descriptor and a real thread until it is closed.
    """

    def __init__(self, items: int = 3, hang: bool = False) -> None:
        self.items, self.hang = items, hang
        self.opens = self.open_now = self.most_open = 0
        self.lock = threading.Lock()

    def __call__(self) -> "FakeDevice":
        with self.lock:
            self.opens += 1
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        return FakeDevice(self)


class FakeDevice:
    def __init__(self, camera: FakeCamera) -> None:
        self.camera = camera
        self.closed = threading.Event()
        self.file = os.open(os.devnull, os.O_RDONLY)
        self.thread = threading.Thread(target=self.closed.wait, name="mosear-fake")
        self.thread.start()

    def __iter__(self) -> Iterator[Item]:
        for index in range(self.camera.items):
            yield picture(index)
        if self.camera.hang:
            self.closed.wait()
            return
        raise Lost("unplugged")

    def close(self) -> None:
        with self.camera.lock:
            if self.closed.is_set():
                return
            self.closed.set()
            self.camera.open_now -= 1
        os.close(self.file)
        self.thread.join()


class Server:
    """A TCP server on 127.0.0.1, a thread a connection, that can be killed and started on the same port."""

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self._serve = serve
        self._killed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port), reuse_port=True)
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def kill(self) -> None:
        self._killed.set()
        for connection in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._killed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            self._serve(connection, self._killed)
        except OSError:
            pass
        finally:
            connection.close()


def http_stream(
    data: bytes, seconds: float, kind: str = "video/mp2t"
) -> Callable[[socket.socket, threading.Event], None]:
    """Serves ``data`` evenly over ``seconds``, then keeps the connection open and silent."""

    def serve(connection: socket.socket, killed: threading.Event) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
        began, sent = time.monotonic(), 0
        while sent < len(data) and not killed.wait(0.01):
            due = min(len(data), int(len(data) * (time.monotonic() - began) / seconds) + 1)
            connection.sendall(data[sent:due])
            sent = due
        killed.wait()

    return serve


def h264_units(count: int, fps: int) -> list[bytes]:
    """Annex B data of ``count`` frames of grey 0, 8, 16 …, each decodable at once."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = 64, 48, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, fps), Fraction(fps)
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "x264-params": "keyint=5:slices=1"}
    units = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 8 % 256, np.uint8), format="rgb24")
        frame.pts = index
        units.append(b"".join(bytes(packet) for packet in codec.encode(frame)))
    return units


def rtsp_camera(fps: int = 20, count: int = 200) -> Serve:
    """An RTSP camera over TCP: H.264 pictures and µ-law sound, whose time stamps begin at odd values."""
    units = h264_units(count, fps)
    sdp = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
        "m=audio 0 RTP/AVP 0\r\na=control:audio\r\n"
    )

    def reply(connection: socket.socket, request: str) -> bool:
        method, number = request.split()[0], request.lower().split("cseq:")[1].split()[0]
        extra, body = "", ""
        if method == "DESCRIBE":
            extra, body = "Content-Type: application/sdp\r\n", sdp
        elif method == "SETUP":
            assert "RTP/AVP/TCP" in request
            channels = request.split("interleaved=")[1].split()[0].split(";")[0]
            extra = f"Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\nSession: 7\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        return method == "PLAY"

    def rtp(channel: int, kind: int, sequence: int, stamp: int, marker: bool, payload: bytes) -> bytes:
        head = bytes([0x80, kind | (0x80 if marker else 0)]) + (sequence % 65536).to_bytes(2, "big")
        packet = head + (stamp % 2**32).to_bytes(4, "big") + b"\0\0\0\1" + payload
        return b"$" + bytes([channel]) + len(packet).to_bytes(2, "big") + packet

    def serve(connection: socket.socket, killed: threading.Event) -> None:
        data = b""
        playing = False
        while not playing:
            received = connection.recv(4096)
            if not received:
                return
            data += received
            while b"\r\n\r\n" in data:
                request, _, data = data.partition(b"\r\n\r\n")
                playing = reply(connection, request.decode()) or playing
        began, sequence = time.monotonic(), 0
        silence = b"\xff" * (8000 // fps)
        for index, unit in enumerate(units):
            if killed.wait(max(0.0, began + index / fps - time.monotonic())):
                return
            parts = [part for part in unit.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if part]
            for place, part in enumerate(parts):
                stamp = 123456 + index * 90000 // fps
                connection.sendall(rtp(0, 96, sequence, stamp, place == len(parts) - 1, part))
                sequence += 1
            connection.sendall(rtp(2, 0, index, 777 + index * 8000 // fps, False, silence))
        killed.wait()

    return serve
