"""Events of a live source, as server-sent events and over WebSockets."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client as ws
from server_fakes import PATIENCE_S, FakeLive, Running, emotion, head, serving, until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mosear.runtime.server.errors import Busy, Stopping
from mosear.runtime.server.events import Hub


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path, FakeLive(), event_clients=3, status_s=0.2) as running:
        yield running


def connect(server: Running) -> ws.ClientConnection:
    return ws.connect(f"ws://127.0.0.1:{server.port}/v1/events")


def closed_by(line: ws.ClientConnection) -> int | None:
    """The code that the server ended a WebSocket with."""
    while True:
        try:
            line.recv(PATIENCE_S)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


def sse(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_server_sent_events(server: Running) -> None:
    with httpx.stream("GET", f"{server.url}/v1/events", timeout=PATIENCE_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = sse(answer)
        status = {"type": "status", "status": FakeLive().status()}
        assert next(events) == status
        server.service.hub.publish(emotion(4.0))
        assert next(each for each in events if each["type"] == "emotion")["emotion"] == emotion(4.0).to_dict()
        assert next(events) == status  # again, by itself
    until(lambda: server.service.hub.followers == 0)


def test_websocket_events(server: Running) -> None:
    with connect(server) as line:
        assert json.loads(line.recv(PATIENCE_S))["type"] == "status"
        line.send("what a client says is not listened to")
        server.service.hub.publish(emotion(4.0))
        events = (json.loads(line.recv(PATIENCE_S)) for _ in range(100))
        assert next(each for each in events if each["type"] == "emotion")["emotion"] == emotion(4.0).to_dict()
    until(lambda: server.service.hub.followers == 0)


def test_everybody_gets_everything_in_order_from_any_thread(server: Running) -> None:
    with connect(server) as one, connect(server) as two:
        until(lambda: server.service.hub.followers == 2)
        for number in range(30):
            thread = threading.Thread(target=server.service.hub.publish, args=(emotion(float(number)),))
            thread.start()
            thread.join()
        for line in (one, two):
            starts = []
            while len(starts) < 30:
                event = json.loads(line.recv(PATIENCE_S))
                if event["type"] == "emotion":
                    starts.append(event["emotion"]["start"])
            assert starts == list(range(30))


def test_there_is_a_limit_to_followers(server: Running) -> None:
    with connect(server), connect(server), httpx.stream("GET", f"{server.url}/v1/events") as third:
        assert third.status_code == 200
        refused = httpx.get(f"{server.url}/v1/events")
        assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
        with pytest.raises(InvalidStatus) as also:
            connect(server)
        assert also.value.response.status_code == 429
    until(lambda: server.service.hub.followers == 0)
    with connect(server) as line:
        assert line.recv(PATIENCE_S)


def test_a_client_that_does_not_read_loses_events_and_holds_up_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, FakeLive(), event_backlog=5, status_s=60.0) as server:
        stuck = server.raw(head("GET", "/v1/events"))
        stuck.setsockopt(1, 8, 1024)  # SO_RCVBUF
        with connect(server) as reader:
            until(lambda: server.service.hub.followers == 2)
            reader.recv(PATIENCE_S)
            for number in range(4000):
                server.service.hub.publish(emotion(float(number), clip="x" * 2000))
                if number % 5 == 4:  # the reader keeps up, within the backlog
                    for _ in range(5):
                        event = json.loads(reader.recv(PATIENCE_S))
                assert event["emotion"]["start"] <= number if number >= 5 else True
            assert event["emotion"]["start"] == 3999
            assert server.service.hub.dropped > 100
            followers = list(server.service.hub._followers)
            assert max(len(each._waiting) for each in followers) <= 5
            assert sorted(each.dropped > 0 for each in followers) == [False, True]
        assert (
            f"mosear_events_lost_total {float(server.service.hub.dropped)}" in httpx.get(f"{server.url}/metrics").text
        )
        stuck.close()
        until(lambda: server.service.hub.followers == 0)


def test_streams_end_when_the_server_stops(server: Running) -> None:
    with connect(server) as line, httpx.stream("GET", f"{server.url}/v1/events", timeout=PATIENCE_S) as answer:
        until(lambda: server.service.hub.followers == 2)
        server.service.begin_stop()
        assert all(each["type"] == "status" for each in sse(answer))  # it ends
        assert closed_by(line) == 1012
    assert httpx.get(f"{server.url}/v1/events").status_code == 503


def test_a_message_that_is_too_long_ends_the_websocket_only(server: Running) -> None:
    with connect(server) as line:
        line.send("x" * 100_000)
        assert closed_by(line) == 1009
    assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200


def test_without_a_live_source_the_status_is_null(tmp_path: Path) -> None:
    with serving(tmp_path) as server, connect(server) as line:
        assert json.loads(line.recv(PATIENCE_S)) == {"type": "status", "status": None}


def test_the_hub_keeps_the_newest() -> None:
    async def run() -> list[float]:
        hub = Hub(1, 3)
        follower = hub.follow()
        with pytest.raises(Busy):
            hub.follow()
        for number in range(10):
            hub.publish(emotion(float(number)))
        await asyncio.sleep(0)
        kept = [await follower.next(PATIENCE_S) for _ in range(3)]
        assert await follower.next(0.01) is None
        assert follower.dropped == 7
        follower.close()
        follower.close()
        hub.follow().close()
        hub.close()
        with pytest.raises(Stopping):
            hub.follow()
        hub.publish(emotion())
        return [json.loads(each or b"")["emotion"]["start"] for each in kept]

    assert asyncio.run(run()) == [7.0, 8.0, 9.0]


def test_publishing_after_the_loop_has_ended_is_no_error() -> None:
    hub = Hub(1, 3)

    async def follow() -> None:
        hub.follow()

    asyncio.run(follow())
    hub.publish(emotion())
    hub.close()
