"""What goes wrong around a loop in months: devices, sinks, media, the system clock, and a model that hangs.

The loop, what makes its windows, the pipeline, the feeds and the sinks are the real ones; what fails is a stand-in.
"""

import contextlib
import gc
import itertools
import json
import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import runtime_media
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from mosear.runtime.bundle import Bundle
from mosear.runtime.capture.clock import Clock
from mosear.runtime.capture.feed import Backoff, Feed
from mosear.runtime.capture.stream import Condition, Lost, Opener, Picture
from mosear.runtime.live.assembly import Assembly
from mosear.runtime.live.looking import looker
from mosear.runtime.live.loop import LiveLoop, LoopSettings
from mosear.runtime.live.opening import LiveRun, open_live
from mosear.runtime.live.options import LiveOptions
from mosear.runtime.live.plan import plan_live
from mosear.runtime.live.sightings import Sightings
from mosear.runtime.live.smoothing import Smoother
from mosear.runtime.pipeline import Pipeline
from mosear.runtime.results import Emotion, Live
from mosear.runtime.sinks.fanout import Fanout, open_sinks
from mosear.runtime.windows import Window

DEADLINE_S = 40.0
SPEED = 20.0


@pytest.fixture(scope="module")
def pipeline(toy_bundle: Path) -> Pipeline:
    return Pipeline(Bundle.open(toy_bundle), threads=1)


def until(true: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come about in time"
        time.sleep(0.005)


def live_of(emotion: Emotion) -> Live:
    assert emotion.live is not None
    return emotion.live


def noise(index: int) -> av.VideoFrame:
    """A frame that is neither dark nor covered."""
    pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


class Run:
    """A loop in a thread of its own, and what it published."""

    def __init__(self, loop: LiveLoop) -> None:
        self.loop = loop
        self.stop = threading.Event()
        self.thread = threading.Thread(target=loop.run, args=(self.stop,))

    def __enter__(self) -> "Run":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


def run_of(
    opener: Callable[[Clock], Opener],
    pipeline: Pipeline,
    publish: Callable[[Emotion], None],
    answer: Callable[[Window, str, bool], Emotion] | None = None,
    tick: Callable[[], None] = lambda: None,
    sinks: Fanout | None = None,
) -> Run:
    """A camera's loop with windows of a second every half a second, ``SPEED`` times as fast as real time."""
    clock = Clock(SPEED)
    preprocessing = pipeline.bundle.manifest.preprocessing
    sightings = Sightings(1.0, preprocessing.frames, looker(preprocessing.frame_size, None))
    assembly = Assembly(preprocessing, 1.0, sightings, None)
    feed = Feed("camera", "stand-in", opener(clock), assembly.take, clock, Backoff(first=0.2, most=0.2))
    smoother = Smoother(pipeline.labels, 2.0, 0.1, 5.0)
    return Run(
        LiveLoop(
            LoopSettings("stand-in", 0.5),
            clock,
            [feed],
            assembly,
            answer or pipeline.analyse,
            smoother,
            publish,
            tick,
            sinks.status if sinks else list,
        )
    )


class Unplugged:
    """A camera that is lost as soon as a window showed something, and comes back when one showed that it is gone.

    Each device holds a descriptor, a thread and 4 MB until it is closed.
    """

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.opened = self.open_now = self.most_open = self.refused = 0
        self.devices: weakref.WeakSet[Unplugged.Device] = weakref.WeakSet()
        self.is_there = True
        self.states: list[frozenset[str]] = []
        self.at: list[tuple[int, int, int]] = []

    def publish(self, emotion: Emotion) -> None:
        self.states.append(frozenset(emotion.states))
        is_seen = "no_video" not in emotion.states
        if self.is_there and is_seen and self.losses:
            self.losses -= 1
            self.is_there = False
        elif not self.is_there and not is_seen:
            # Before it can be opened again, or what is open now and then would be counted.
            self.at.append((psutil.Process().num_fds(), threading.active_count(), psutil.Process().memory_info().rss))
            self.is_there = True

    def opener(self, clock: Clock) -> Opener:
        def open_device() -> Unplugged.Device:
            if not self.is_there:
                self.refused += 1
                raise Lost("no such device")
            return Unplugged.Device(self, clock)

        return open_device

    class Device:
        def __init__(self, camera: "Unplugged", clock: Clock) -> None:
            self.camera, self.clock = camera, clock
            self.closed = threading.Event()
            self.file = os.open(os.devnull, os.O_RDONLY)
            self.memory = np.ones(500_000)
            self.thread = threading.Thread(target=self.closed.wait)
            self.thread.start()
            camera.devices.add(self)
            camera.opened += 1
            camera.open_now += 1
            camera.most_open = max(camera.most_open, camera.open_now)

        def __iter__(self) -> Iterator[Picture]:
            for index in itertools.count():
                if self.clock.wait(self.clock.now() + 0.1, self.closed):
                    return
                if not self.camera.is_there:
                    raise Lost("unplugged")
                yield Picture(self.clock.now(), noise(index % 5))

        def close(self) -> None:
            if not self.closed.is_set():
                self.closed.set()
                self.thread.join()
                os.close(self.file)
                self.camera.open_now -= 1


def test_a_camera_that_is_gone_and_back_fifty_times(pipeline: Pipeline) -> None:
    camera = Unplugged(50)
    before = threading.active_count(), psutil.Process().num_fds()
    with run_of(camera.opener, pipeline, camera.publish) as run:
        until(lambda: len(camera.at) == 50, "the camera's last return")
        until(lambda: "no_video" not in camera.states[-1], "a picture after it")
        (source,) = run.loop.status().sources
        assert source.condition is Condition.live
        assert source.reconnects == 50
        assert source.error is None
        assert run.loop.status().failures == 0
    assert camera.opened == 51
    assert camera.most_open == 1
    assert camera.open_now == 0
    assert camera.refused >= 50
    runs = [gone for gone, _ in itertools.groupby("no_video" in states for states in camera.states)]
    assert runs.count(True) >= 50
    assert runs.count(False) >= 51
    assert (threading.active_count(), psutil.Process().num_fds()) == before
    gc.collect()
    assert len(camera.devices) == 0
    descriptors, threads, memory = zip(*camera.at, strict=True)
    assert max(descriptors[10:]) <= max(descriptors[:10])
    assert max(threads[10:]) <= max(threads[:10])
    # Fifty devices that stayed would be 200 MB.
    assert memory[-1] - memory[9] < 20e6


class Steady:
    """A camera that never fails."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.closed = clock, threading.Event()

    def __iter__(self) -> Iterator[Picture]:
        for index in itertools.count():
            if self.clock.wait(self.clock.now() + 0.1, self.closed):
                return
            yield Picture(self.clock.now(), noise(index % 5))

    def close(self) -> None:
        self.closed.set()

    @staticmethod
    def opener(clock: Clock) -> Opener:
        return lambda: Steady(clock)


class Listener:
    """A WebSocket server that can be killed and started again on its port."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        self.connections: list[Any] = []
        self.server = serve(self._take, "127.0.0.1", self.port)
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def _take(self, connection: Any) -> None:
        self.connections.append(connection)
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                self.got.append(json.loads(message)["live"]["sequence"])

    def kill(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        self.server.shutdown()
        self.thread.join()


def test_a_sink_that_is_gone_and_back_while_answers_go_on(pipeline: Pipeline, tmp_path: Path) -> None:
    there = Listener()
    specs = [f"ws://127.0.0.1:{there.port}/x", f"jsonl:{tmp_path / 'a.jsonl'}"]
    sinks = open_sinks(specs, pipeline.labels, bound=10_000)
    published: list[Emotion] = []

    def publish(emotion: Emotion) -> None:
        sinks.publish(emotion)
        published.append(emotion)

    try:
        with run_of(Steady.opener, pipeline, publish, sinks=sinks) as run:
            for reconnects in (1, 2):
                until(lambda: len(there.got) > 10 and there.got[-1] > len(published) - 10, "answers in the sink")
                there.kill()
                gone = len(published)
                until(lambda: run.loop.status().sinks[0].condition is Condition.lost, "the loss")
                until(lambda: len(published) > gone + 30, "answers without the sink")  # noqa: B023
                there.start()
                until(lambda: there.got[-1] > gone + 30, "what waited")  # noqa: B023
                assert run.loop.status().sinks[0].reconnects == reconnects
        sinks.close(10)
    finally:
        sinks.close(0)
        there.kill()
    assert [live_of(each).sequence for each in published] == list(range(1, len(published) + 1))
    # What was under way in the moment of the loss may have been lost with the connection; nothing comes out of order.
    assert there.got == sorted(there.got)
    assert there.got[-1] == len(published)
    assert len(set(there.got)) >= len(published) - 2 * 10
    assert [status.dropped for status in sinks.status()] == [0, 0]
    kept = [json.loads(line)["live"]["sequence"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert kept == list(range(1, len(published) + 1))


def test_a_model_call_that_hangs_feeds_no_watchdog(pipeline: Pipeline) -> None:
    hanging, release = threading.Event(), threading.Event()
    ticks = itertools.count()
    published: list[Emotion] = []
    count = 0

    def tick() -> None:
        nonlocal count
        count = next(ticks) + 1

    def answer(window: Window, clip: str, reason: bool) -> Emotion:
        if len(published) == 3 and not release.is_set():
            hanging.set()
            release.wait(DEADLINE_S)
        return pipeline.analyse(window, clip, reason)

    with run_of(Steady.opener, pipeline, published.append, answer, tick) as run:
        assert hanging.wait(DEADLINE_S)
        fed, delivered = count, run.loop.status().sources[0].delivered
        # In as long as a loop that waits is fed many times, and the camera brought hundreds of pictures.
        until(lambda: run.loop.status().sources[0].delivered > delivered + 100, "pictures")
        assert count == fed > 3
        assert run.loop.status().running
        assert run.loop.status().answers == len(published) == 3
        release.set()
        until(lambda: len(published) > 6, "answers after it")
        assert count > fed
    # What was left out while it hung is told with the first answer after the one that hung.
    assert live_of(published[4]).dropped > 5
    assert live_of(published[5]).dropped <= live_of(published[4]).dropped


def film(path: Path, seconds: float = 8.0) -> Path:
    """Pictures that differ, at 10 a second, with a tone."""

    def frame(index: int) -> np.ndarray:
        return np.asarray(noise(index).to_ndarray(format="rgb24"))

    return runtime_media.write(path, seconds, fps=10, frames=frame)


def damaged(whole: Path, path: Path, first: float, last: float) -> int:
    """A copy whose packets of pictures and sound between two times hold nothing but noise; how many those are."""
    data = bytearray(whole.read_bytes())
    random = np.random.default_rng(1)
    count = 0
    with av.open(str(whole)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.pos is not None and first <= packet.pts * packet.time_base < last:
                data[packet.pos : packet.pos + packet.size] = random.bytes(packet.size)
                count += packet.size > 0
    path.write_bytes(data)
    return count


def played(pipeline: Pipeline, publish: Callable[[Emotion], None], **options: Any) -> LiveRun:
    told = LiveOptions(**{"hop": 0.5, "window": 1.0, "voice_activity": False, "speed": 8.0, **options})
    manifest = pipeline.bundle.manifest
    return open_live(plan_live(told, manifest), manifest.preprocessing, pipeline.analyse, publish)


def test_damaged_packets_in_the_middle_of_a_film(pipeline: Pipeline, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4")
    assert damaged(whole, tmp_path / "torn.mp4", 3.0, 5.0) > 40
    published: list[Emotion] = []
    run = played(pipeline, published.append, camera=str(tmp_path / "torn.mp4"))
    run.loop.run(threading.Event())
    run.close()
    assert run.loop.status().failures == 0
    (source,) = run.loop.status().sources
    assert source.condition is Condition.ended
    assert published[-1].end > 7.5
    steps = np.diff([0.0, *(each.end for each in published[:-1])])
    assert steps == pytest.approx([0.5 * (1 + live_of(each).dropped) for each in published[:-1]], abs=0.01)
    before = [each for each in published if each.end < 2.9]
    after = [each for each in published if each.end > 6.6]
    assert before
    assert after
    assert all(each.states == ["whole_frame"] for each in before + after)


def test_a_damaged_stream_over_the_network(pipeline: Pipeline, tmp_path: Path) -> None:
    data = bytearray(film(tmp_path / "whole.ts", 10.0).read_bytes())
    random = np.random.default_rng(2)
    for place in random.integers(len(data) // 8, len(data) // 4, 200):
        data[place] = random.integers(256)
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def camera() -> None:
        with listening, contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
                for place in range(0, len(data), len(data) // 200):
                    connection.sendall(data[place : place + len(data) // 200])
                    over.wait(10.0 / 200)
                over.wait(DEADLINE_S)

    thread = threading.Thread(target=camera)
    thread.start()
    published: list[Emotion] = []
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/a.ts"
    opened = played(pipeline, published.append, camera=address, microphone="none", speed=1.0)
    try:
        with Run(opened.loop) as run:
            until(lambda: run.loop.status().sources[0].delivered > 30, "pictures")
            # 30 pictures are 3 s or more of the stream, and the damage ends after 2.5 s.
            count = len(published)
            until(lambda: len(published) > count + 2, "windows after the damage")
            assert published[-1].states == ["whole_frame", "no_audio"]
            assert run.loop.status().sources[0].reconnects == 0
            assert run.loop.status().failures == 0
    finally:
        over.set()
        opened.close()
        thread.join()


def test_a_system_clock_that_jumps_moves_nothing_but_the_stated_time(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    jumps = [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jumps[-1])
    published: list[tuple[Emotion, float, float]] = []

    def publish(emotion: Emotion) -> None:
        published.append((emotion, jumps[-1], real()))
        jumps.append({6: 5 * 3600.0, 12: -26 * 3600.0, 18: 0.0}.get(len(published), jumps[-1]))

    run = played(pipeline, publish, camera=str(film(tmp_path / "film.mp4", 12.0)))
    run.loop.run(threading.Event())
    run.close()
    told = [each for each, _, _ in published]
    assert len(told) > 18
    assert told[-1].end == pytest.approx(12.0, abs=0.15)
    steps = np.diff([0.0, *(each.end for each in told)])
    assert steps[:-1] == pytest.approx([0.5 * (1 + live_of(each).dropped) for each in told[:-1]], abs=0.01)
    assert sum(1 + live_of(each).dropped for each in told) == pytest.approx(24, abs=1)
    smoothed: dict[str, float] = {}
    for each, step in zip(told, steps, strict=True):
        share = 1.0 if not smoothed else 1 - math.exp(-step / 2.0)
        smoothed = {name: (1 - share) * smoothed.get(name, 0.0) + share * each.scores[name] for name in each.scores}
        assert live_of(each).smoothed_scores == pytest.approx(smoothed, abs=1e-3)
        assert 0 < live_of(each).latency_ms < 10_000
    for each, jump, when in published:
        stated = datetime.fromisoformat(live_of(each).time.replace("Z", "+00:00"))
        assert stated.timestamp() - jump == pytest.approx(when, abs=10.0)
        assert stated.tzinfo == timezone.utc
    assert {jump for _, jump, _ in published} == {0.0, 5 * 3600.0, -26 * 3600.0}
