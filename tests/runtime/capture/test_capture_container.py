"""Network streams and V4L2 cameras: real sockets for the first, the call to the library for the second."""

import gc
import itertools
import threading
import time
from collections import deque
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import capture_fakes
import numpy as np
import pytest
import runtime_media
from capture_fakes import Server, http_stream, until

from mosear.runtime.capture import container as container_module
from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.container import Address, LiveContainer, network, video4linux
from mosear.runtime.capture.feed import Backoff, Feed
from mosear.runtime.capture.pump import OneAtATime
from mosear.runtime.capture.stream import Condition, Item, Lost, Picture, Sound

RATE = 16000


def _transport_stream(path: Path, seconds: float = 4.0, **settings) -> bytes:
    settings = {"options": {}, "fps": 20, **settings}
    return runtime_media.write(path, seconds, **settings).read_bytes()


@pytest.fixture
def servers():
    running: list[Server] = []
    yield running
    for server in running:
        server.kill()
    until(lambda: not capture_fakes.threads())


def _grey(picture: Picture) -> float:
    return float(picture.frame.to_ndarray(format="rgb24").mean())


def test_a_stream_is_timed_by_its_stamps(tmp_path: Path, servers: list[Server]) -> None:
    """A step of grey and a click lie 1.5 s into the stream: they come at one time of the clock."""
    data = _transport_stream(
        tmp_path / "a.ts",
        frames=lambda index: runtime_media.flat((64, 48), 200 if index >= 30 else 20),
        sound=runtime_media.click(4.0, 48000, 1.5),
    )
    servers.append(Server(http_stream(data, 4.0)))
    clock = Clock()
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/live"), RATE, clock)
    pictures: list[Picture] = []
    sounds: list[Sound] = []
    for item in device:
        assert item.time <= clock.now() + 0.011
        (pictures if isinstance(item, Picture) else sounds).append(item)
        if len(pictures) >= 50:
            break
    device.close()
    times = [picture.time for picture in pictures]
    assert times == sorted(times)
    late = np.diff(times[20:])
    assert abs(np.median(late) - 0.05) < 0.005
    step = next(picture.time for picture in pictures if _grey(picture) > 100)
    for last, sound in itertools.pairwise(sounds):
        assert sound.time >= last.time + len(last.samples) / RATE - 1e-6
    loudest = max(sounds, key=lambda sound: np.abs(sound.samples).max())
    click = loudest.time + int(np.abs(loudest.samples).argmax()) / RATE
    assert abs(click - step) < 0.06
    assert max(np.abs(sound.samples).max() for sound in sounds) > 0.1


def test_stamps_that_begin_again(tmp_path: Path, servers: list[Server]) -> None:
    """A camera that restarts its clock and not its connection, twice."""
    data = _transport_stream(tmp_path / "a.ts", 1.5)
    servers.append(Server(http_stream(data * 3, 4.5)))
    clock = Clock()
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, clock, patience=1.0)
    late, items = [], []

    def listen() -> None:
        for item in device:
            items.append(item)
            late.append(clock.now() - item.time)

    with pytest.raises(Lost, match="nothing came"):
        listen()
    device.close()
    for kind in (Picture, Sound):
        times = [item.time for item in items if isinstance(item, kind)]
        assert times == sorted(times)
        assert max(np.diff(times)) < 1.4
    assert min(late) > -0.06
    assert max(late) < 1.4  # less than the length of a piece, by which its stamps fall back
    assert max(late[-10:]) < 0.7
    assert sum(isinstance(item, Picture) for item in items) > 80


def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, servers: list[Server]) -> None:
    data = _transport_stream(tmp_path / "a.ts")
    servers.append(Server(http_stream(data, 4.0)))
    port = servers[0].port
    clock = Clock()
    items: list[Item] = []
    opener = OneAtATime(lambda: LiveContainer(network(f"http://me:secret@127.0.0.1:{port}/live"), RATE, clock))
    feed = Feed("camera", "x", opener, items.append, clock, Backoff(first=0.1, most=0.2))
    feed.start()
    for comebacks in range(3):
        until(lambda: feed.status().condition is Condition.live)
        seen = len(items)
        until(lambda seen=seen: len(items) > seen + 10)
        assert feed.status().reconnects == comebacks
        servers.pop().kill()
        until(lambda: feed.status().condition is Condition.lost)
        error = feed.status().error
        assert error
        assert "secret" not in error
        servers.append(Server(http_stream(data, 4.0), port))
    until(lambda: feed.status().reconnects == 3)
    assert feed.stop(5)
    times = [item.time for item in items if isinstance(item, Picture)]
    assert times == sorted(times)


def test_a_stream_that_ends_is_lost(tmp_path: Path, servers: list[Server]) -> None:
    data = _transport_stream(tmp_path / "a.ts", 1.0)

    def serve(connection, killed) -> None:
        connection.recv(4096)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    servers.append(Server(serve))
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, Clock())
    items = []
    with pytest.raises(Lost, match="ended"):
        items.extend(device)
    device.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"HTTP/1.1 404 Not Found\r\n\r\n", "404"), (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "broke off")],
)
def test_an_address_without_a_stream_is_lost(servers: list[Server], answer: bytes, reason: str) -> None:
    def serve(connection, killed) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    servers.append(Server(serve))
    device = LiveContainer(network(f"http://u:secret@127.0.0.1:{servers[0].port}/"), RATE, Clock())
    with pytest.raises(Lost) as lost:
        list(device)
    device.close()
    assert reason in str(lost.value)
    assert "secret" not in str(lost.value)
    assert "127.0.0.1" not in str(lost.value)


def test_a_playlist_from_the_network_opens_no_file(tmp_path: Path, servers: list[Server]) -> None:
    clip = runtime_media.write(tmp_path / "a.ts", 1.0)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nfile://{clip}\n#EXT-X-ENDLIST\n".encode()

    def serve(connection, killed) -> None:
        connection.recv(4096)
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nContent-Length: {len(playlist)}\r\n\r\n"
        )
        connection.sendall(head.encode() + playlist)

    servers.append(Server(serve))
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/a.m3u8"), RATE, Clock())
    items: list[Item] = []
    with pytest.raises(Lost):
        items.extend(device)
    device.close()
    assert not items


def test_damaged_packets_are_left_out(tmp_path: Path, servers: list[Server]) -> None:
    data = bytearray(_transport_stream(tmp_path / "a.ts", 3.0, size=(160, 120), frames=_noise))
    damage = np.random.default_rng(0)
    for _ in range(300):
        data[damage.integers(len(data) // 4, len(data) // 2)] = damage.integers(256)
    servers.append(Server(http_stream(bytes(data), 3.0)))
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, Clock(), patience=1.0)
    items: list[Item] = []
    with pytest.raises(Lost):
        items.extend(device)
    device.close()
    pictures = [item.time for item in items if isinstance(item, Picture)]
    assert pictures == sorted(pictures)
    assert pictures[-1] > 2.5  # long after the damage, which lies between 0.75 and 1.5 s
    assert device.undecodable > 0


def _noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (120, 160, 3), np.uint8)


def test_nothing_but_damage_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets go on coming and none can be decoded."""
    stop = threading.Event()

    class Codec:
        type = "video"
        codec = SimpleNamespace(intra_only=False)

        def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
            raise av.error.InvalidDataError(1, "broken")

    def read(self, closing):
        track = container_module._Track(Codec(), 1.0, True)
        while not closing.wait(0.01) and not stop.is_set():
            packet = av.Packet(3)
            packet.is_keyframe = True
            yield container_module._Coded(packet, self._clock.now(), track)

    monkeypatch.setattr(LiveContainer, "_read", read)
    device = LiveContainer(network("http://x/"), RATE, Clock(), patience=0.3)
    with pytest.raises(Lost, match="no picture could be decoded"):
        list(device)
    device.close()
    assert device.released
    assert device.undecodable > 5


def test_a_server_that_falls_silent_is_lost_and_closing_is_prompt(tmp_path: Path, servers: list[Server]) -> None:
    data = _transport_stream(tmp_path / "a.ts", 2.0)
    servers.append(Server(http_stream(data, 0.5)))
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, Clock(), patience=1.0)
    with pytest.raises(Lost, match="nothing came for 1 s"):
        list(device)
    began = time.monotonic()
    device.close()
    device.close()
    assert time.monotonic() - began < 4  # and not the library's 5 s
    servers[0].kill()
    until(lambda: device.released)


@pytest.mark.parametrize("speaks", [False, True], ids=["opening", "playing"])
def test_close_from_another_thread_ends_the_iteration(tmp_path: Path, servers: list[Server], speaks: bool) -> None:
    """A server that accepts and says nothing, and one that stops speaking in the middle."""
    data = _transport_stream(tmp_path / "a.ts", 2.0) if speaks else b""

    def serve(connection, killed) -> None:
        if speaks:
            http_stream(data, 0.2)(connection, killed)
        killed.wait()

    servers.append(Server(serve))
    opener = OneAtATime(
        lambda: LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, Clock(), patience=30)
    )
    device = opener()
    items: list[Item] = []
    ended = threading.Event()

    def listen() -> None:
        items.extend(device)
        ended.set()

    threading.Thread(target=listen).start()
    until(lambda: servers[0].connections and (not speaks or len(items) > 5))
    device.close()
    assert ended.wait(5.0)  # the library's own limits are 10 s
    # What still holds the connection keeps it from being opened twice.
    if not device.released:
        with pytest.raises(Lost, match="still held"):
            opener()
    assert servers[0].connections == 1
    servers[0].kill()
    until(lambda: device.released)


def test_rtsp_over_tcp(servers: list[Server]) -> None:
    servers.append(Server(capture_fakes.rtsp_camera()))
    clock = Clock()
    device = LiveContainer(network(f"rtsp://127.0.0.1:{servers[0].port}/cam"), RATE, clock)
    pictures: list[Picture] = []
    sounds: list[Sound] = []
    for item in device:
        assert item.time <= clock.now() + 0.011
        (pictures if isinstance(item, Picture) else sounds).append(item)
        if len(pictures) >= 40 and len(sounds) >= 20:
            break
    device.close()
    assert abs(np.median(np.diff([picture.time for picture in pictures[15:]])) - 0.05) < 0.005
    assert abs(pictures[-1].time - (sounds[-1].time + len(sounds[-1].samples) / RATE)) < 0.3
    assert all(np.abs(sound.samples).max() < 0.01 for sound in sounds)


def test_motion_jpeg_has_no_stamps_and_is_timed_by_its_arrival(servers: list[Server]) -> None:
    """ffmpeg would take it for 25 pictures a second, whatever it is."""
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, "yuvj420p", Fraction(1, 10)
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24").reformat(format="yuvj420p")
    jpeg = bytes(codec.encode(frame)[0])

    def serve(connection, killed) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n")
        while not killed.wait(0.1):
            head = f"--b\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            connection.sendall(head.encode() + jpeg + b"\r\n")

    servers.append(Server(serve))
    clock = Clock()
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, clock)
    times = []
    for item in device:
        times.append((item.time, clock.now()))
        if len(times) == 30:
            break
    device.close()
    last = times[-10:]
    assert all(now - time < 0.5 for time, now in last)
    assert 0.07 < (last[-1][0] - last[0][0]) / 9 < 0.2


def test_pictures_that_are_not_taken_are_skipped_and_not_kept(tmp_path: Path, servers: list[Server]) -> None:
    data = _transport_stream(tmp_path / "a.ts", 10.0, audio=False)
    servers.append(Server(http_stream(data, 5.0)))
    clock = Clock()
    device = LiveContainer(network(f"http://127.0.0.1:{servers[0].port}/"), RATE, clock)
    iterator = iter(device)
    next(iterator)
    waiting = device._pump._waiting
    until(lambda: servers[0].connections and len(waiting) > 20)
    deadline = time.monotonic() + 3.5
    while time.monotonic() < deadline:
        if len(waiting) > 1:
            with device._pump._changed:
                assert waiting[-1].arrival - waiting[0].arrival <= 3.1
        time.sleep(0.05)
    device.close()


@pytest.mark.parametrize("intra", [True, False])
def test_backlog(intra: bool) -> None:
    """The newest stays, nothing is older than three seconds, and after a skip pictures go on with a key picture."""
    track = container_module._Track(SimpleNamespace(codec=SimpleNamespace(intra_only=intra)), 1.0, True)
    speech = container_module._Track(SimpleNamespace(codec=SimpleNamespace(intra_only=False)), 1.0, False)
    trim, waiting = container_module._Backlog(), deque()
    for index in range(1000):
        packet = av.Packet(3)
        packet.is_keyframe = intra or index % 70 == 0
        packet.pts = index
        waiting.append(container_module._Coded(packet, index * 0.04, track))
        trim(waiting)
        waiting.append(container_module._Coded(av.Packet(3), index * 0.04, speech))
        trim(waiting)
        assert waiting[-1].arrival - waiting[0].arrival <= 3.05
        pictures = [coded for coded in waiting if coded.track is track]
        assert len(pictures) <= (2 if intra else 76)
        if index > 100 and pictures:
            assert pictures[0].packet.is_keyframe
            stamps = [coded.packet.pts for coded in pictures]
            assert stamps == list(range(stamps[0], stamps[0] + len(stamps)))
    assert sum(coded.track is speech for coded in waiting) > 50


def test_a_v4l2_camera_is_asked_for_and_its_memory_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clip = runtime_media.write(tmp_path / "a.mkv", 1.0, audio=False)
    asked = {}
    real = av.open

    def fake(name: str, **settings):
        asked.update(settings, name=name)
        return real(str(clip))

    monkeypatch.setattr(container_module.av, "open", fake)
    lent: list[av.Packet] = []
    real_own = container_module._own

    def own(packet: av.Packet) -> av.Packet:
        copy = real_own(packet)
        assert bytes(copy) == bytes(packet)
        assert (copy.pts, copy.is_keyframe) == (packet.pts, packet.is_keyframe)
        assert copy.buffer_ptr != packet.buffer_ptr
        lent.append(copy)
        return copy

    monkeypatch.setattr(container_module, "_own", own)
    device = LiveContainer(video4linux("/dev/video3"), RATE, Clock(), sounds=False)
    items = []
    with pytest.raises(Lost, match="ended"):
        items.extend(device)
    device.close()
    assert asked["name"] == "/dev/video3"
    assert asked["format"] == "v4l2"
    assert asked["timeout"] == (container_module.OPEN_TIMEOUT, container_module.READ_TIMEOUT)
    assert items
    assert len(lent) == 16


def test_a_camera_that_is_not_there_is_lost() -> None:
    device = LiveContainer(video4linux("/dev/video77"), RATE, Clock())
    with pytest.raises(Lost, match="No such file"):
        list(device)
    device.close()


def test_network_reads_time_out_and_know_no_files() -> None:
    address = network("rtsp://x/")
    assert "file" not in address.options["protocol_whitelist"].split(",")
    assert address.options["rtsp_transport"] == "tcp"
    assert int(address.options["rw_timeout"]) > 1e6


def test_opened_and_closed_fifty_times_nothing_is_left(tmp_path: Path, servers: list[Server]) -> None:
    clip = runtime_media.write(tmp_path / "a.ts", 0.5)
    gc.collect()
    before = capture_fakes.descriptors()
    for _ in range(50):
        device = LiveContainer(Address(str(clip), None, {}), RATE, Clock())
        with pytest.raises(Lost, match="ended"):
            list(device)
        device.close()
        assert device.released
    gc.collect()
    assert capture_fakes.descriptors() <= before
    assert not capture_fakes.threads()
