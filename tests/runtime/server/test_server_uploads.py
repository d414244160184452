"""Bodies on their way in: too long, too slow, broken off; and that nothing of them stays."""

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from server_fakes import PATIENCE_S, Running, head, read_all, serving, until

from mosear.runtime.errors import Failed
from mosear.runtime.server.uploads import Uploads

LIMIT = 100_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("small"), max_upload_bytes=LIMIT) as running:
        yield running


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Running]:
    """Wants bodies within 0.3 s and heads within 0.5 s."""
    with serving(tmp_path, body_slack_s=0.3, body_rate=1_000_000, header_s=0.5) as running:
        yield running


def chunked(data: bytes, size: int = 8192) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def cut(line: socket.socket) -> None:
    """End a connection as a client that is killed does."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


@pytest.mark.parametrize("over", [1, LIMIT, 100 * LIMIT])
def test_a_body_that_says_it_is_too_long_is_refused(small: Running, over: int) -> None:
    answer = httpx.post(f"{small.url}/v1/emotion", content=b"x" * (LIMIT + over))
    assert answer.status_code == 413
    assert str(LIMIT) in answer.json()["error"]["what"]
    assert small.at_rest()


@pytest.mark.parametrize("over", [1, LIMIT])
def test_so_is_one_in_chunks_that_turns_out_too_long(small: Running, over: int) -> None:
    assert httpx.post(f"{small.url}/v1/emotion", content=chunked(b"x" * (LIMIT + over))).status_code == 413
    until(small.at_rest)


def test_an_endless_body_is_cut_off(small: Running) -> None:
    with small.raw(head("POST", "/v1/emotion", "Transfer-Encoding: chunked")) as line:
        sent, deadline = 0, time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < deadline:
                line.sendall(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")
                sent += 0xFFFF
        except OSError:
            pass
        assert sent < 200_000_000, "the server went on reading"
    until(small.at_rest)


@pytest.mark.parametrize("path", ["/v1/live/reason", "/v1/live", "/nothing"])
def test_bodies_that_nobody_reads_have_the_same_limit(small: Running, path: str) -> None:
    status, _ = small.ask(head("POST", path, f"Content-Length: {LIMIT + 1}"))
    assert status == 413
    status, answer = small.ask(head("POST", path, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
    assert status in (404, 405)
    assert b"connection: close" in answer.lower()


def test_the_limit_itself_is_allowed_and_arrives_whole(small: Running) -> None:
    data = os.urandom(LIMIT)
    for content in (data, chunked(data)):
        assert httpx.post(f"{small.url}/v1/emotion", content=content).status_code == 200
        assert small.decoders.seen[-1][0] == data


def test_a_refusal_is_heard_by_a_client_that_goes_on_sending(small: Running) -> None:
    request = head("POST", "/v1/emotion", f"Content-Length: {5 * LIMIT}")
    for _ in range(10):
        status, answer = small.ask(request + b"x" * (5 * LIMIT))
        assert status == 413
        assert answer.endswith(b"}")


def test_a_connection_is_used_again_after_an_upload_and_not_after_half_of_one(small: Running) -> None:
    with httpx.Client(base_url=small.url) as client:
        for _ in range(3):
            assert client.post("/v1/emotion", content=b"1").status_code == 200
    request = b"POST /v1/emotion HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n"
    assert b"connection: close" in small.ask(request)[1].lower()


@pytest.mark.parametrize("framing", ["Content-Length: 50000", "Transfer-Encoding: chunked"])
def test_a_byte_at_a_time_is_cut_off(hasty: Running, framing: str) -> None:
    with hasty.raw(head("POST", "/v1/emotion", framing)) as line:
        piece = b"x" if "Length" in framing else b"1\r\nx\r\n"
        line.settimeout(0.05)
        answer, deadline = b"", time.monotonic() + PATIENCE_S
        while not answer:
            assert time.monotonic() < deadline
            try:
                line.sendall(piece)
                answer = line.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
    until(hasty.at_rest)


def test_a_head_that_never_ends_is_cut_off(hasty: Running) -> None:
    for start in (b"", b"G", b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nX: "):
        with hasty.raw(start) as line:
            answer = read_all(line)
            assert answer.startswith(b"HTTP/1.1 408 "), start
            assert answer.endswith(b"}")


def test_nor_is_a_second_one_on_a_connection_that_is_kept(hasty: Running) -> None:
    first = b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = hasty.ask(first + b"GET /v1/live HT")[1]
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 408 ") == 1


def test_slow_work_is_not_taken_for_a_slow_head(hasty: Running) -> None:
    hasty.model.hold()
    with hasty.raw(head("POST", "/v1/emotion", "Content-Length: 1") + b"1") as line:
        until(hasty.model.busy.is_set)
        line.settimeout(1.2)  # more than twice what a head may take
        with pytest.raises(socket.timeout):
            line.recv(1)
        hasty.model.allow()
        line.settimeout(PATIENCE_S)
        assert read_all(line).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_too_long_is_refused(small: Running) -> None:
    status, answer = small.ask(head("GET", "/v1/live", *(f"X-{i}: {'x' * 900}" for i in range(40))))
    assert status == 431
    assert b'"error"' in answer
    with small.raw(b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nX: ") as line:
        for _ in range(40):
            line.sendall(b"x" * 900)
        assert read_all(line).startswith(b"HTTP/1.1 400 ")


def test_what_is_not_http_is_refused(small: Running) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        status, answer = small.ask(data + b"\r\n\r\n")
        assert status in (400, 421), data
        assert b'"error"' in answer


def test_a_client_that_goes_away_while_it_uploads_leaves_nothing(small: Running) -> None:
    for framing in ("Content-Length: 50000", "Transfer-Encoding: chunked"):
        line = small.raw(head("POST", "/v1/emotion", framing) + b"fff\r\n")
        until(small.uploads)
        assert small.service.worker.depth == 1
        cut(line)
        until(small.at_rest)


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_a_client_that_goes_away_while_it_waits_leaves_nothing(tmp_path: Path, accept: str) -> None:
    with serving(tmp_path) as server:
        server.model.hold()
        line = server.raw(head("POST", "/v1/emotion", "Content-Length: 3", f"Accept: {accept}") + b"500")
        until(server.model.busy.is_set)
        cut(line)
        server.model.allow(2)  # the window under way, and at most one that was taken at that moment
        until(server.at_rest)
        assert len(server.model.order) <= 2
        server.model.allow(10)
        assert httpx.post(f"{server.url}/v1/emotion", content=b"1").status_code == 200


def test_a_client_that_goes_away_in_the_middle_of_a_stream_leaves_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.model.hold()
        server.model.allow(3)
        line = server.raw(head("POST", "/v1/reason", "Content-Length: 3") + b"500")
        assert b"HTTP/1.1 200 " in line.recv(65536)
        cut(line)
        server.model.allow(3)
        until(server.at_rest)
        assert len(server.model.order) < 20


def test_a_client_that_goes_away_while_others_wait_for_the_decoders(tmp_path: Path) -> None:
    with serving(tmp_path, decoders=1) as server:
        server.model.hold()
        request = head("POST", "/v1/emotion", "Content-Length: 1") + b"3"
        first = server.raw(request)
        until(server.model.busy.is_set)
        waiting = server.raw(request)
        until(lambda: server.service.worker.depth == 2)
        cut(waiting)
        until(lambda: server.service.worker.depth == 1)
        server.model.allow(10)
        assert b"200 OK" in read_all(first)
        first.close()
        until(server.at_rest)


def test_a_client_that_does_not_read_its_answer_loses_its_place(tmp_path: Path) -> None:
    with serving(tmp_path, read_s=0.3) as server:
        server.model.clip_suffix = "x" * 200_000
        line = server.raw(head("POST", "/v1/reason", "Content-Length: 3") + b"200")
        until(lambda: server.model.order)
        until(server.at_rest)
        assert 0 < len(server.model.order) < 200
        line.close()


def test_too_many_requests_at_once_are_sent_away_and_health_is_not(tmp_path: Path) -> None:
    with serving(tmp_path, requests=2) as server:
        held = [server.raw(head("GET", "/v1/events")) for _ in range(2)]
        until(lambda: server.service.hub.followers == 2)
        refused = httpx.get(f"{server.url}/v1/live")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200
        more = [server.raw(b"G") for _ in range(2)]
        with server.raw() as fifth:  # twice as many connections, and no more
            assert read_all(fifth) == b""
        for line in (*held, *more):
            line.close()
        until(lambda: server.service.hub.followers == 0)
        until(lambda: httpx.get(f"{server.url}/v1/live").status_code == 200)


def test_uploads_are_for_this_user_s_eyes_only(small: Running) -> None:
    with small.raw(head("POST", "/v1/emotion", "Content-Length: 50000") + b"abc") as line:
        path = until(small.uploads)[0]
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        cut(line)
    until(small.at_rest)


def test_the_folder_goes_with_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert [path.is_dir() for path in server.folder.iterdir()] == [True]
    assert list(server.folder.iterdir()) == []


def test_what_a_killed_server_left_is_deleted_and_a_running_one_s_is_not(tmp_path: Path) -> None:
    left = tmp_path / "mosear-uploads-left"
    left.mkdir()
    (left / "clip").write_bytes(b"x")
    other = tmp_path / "somebody-elses"
    other.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "mosear-uploads-link").symlink_to(outside)
    first, second = Uploads(tmp_path), Uploads(tmp_path)
    first.open()
    assert not left.exists()
    second.open()
    assert first.folder.exists()
    assert first.folder != second.folder
    assert other.exists()
    assert outside.exists()
    first.close()
    second.close()
    first.close()


def test_no_room_for_uploads(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="folder for uploads"):
        Uploads(tmp_path / "missing").open()


def test_a_full_disk_is_told(small: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr("mosear.runtime.server.uploads.open", lambda *arguments, **more: Full(), raising=False)
    answer = httpx.post(f"{small.url}/v1/emotion", content=b"1")
    assert answer.status_code == 507
    assert "No space left" in answer.json()["error"]["what"]
    monkeypatch.undo()
    until(small.at_rest)
