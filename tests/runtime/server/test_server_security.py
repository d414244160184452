"""Who may ask: tokens, names, origins, and requests that mean two things at once."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.sync.client as ws
from server_fakes import TOKEN, Running, head, serving
from websockets.exceptions import InvalidStatus

from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.server.settings import ServerSettings, read_token

GUARDED = ["/v1/live", "/v1/events", "/v1/live/picture", "/metrics", "/docs", "/openapi.json", "/nothing"]
OPEN = ["/", "/page/main.js", "/v2/health/live", "/v2/health/ready"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("open"), allow_hosts=("robot.local", "kiosk.local:9000")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("guarded"), token=TOKEN) as running:
        yield running


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-token-of-some-length"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN.upper()}"},
        {"Authorization": "Bearer"},
    ],
)
def test_without_the_token_there_is_nothing(guarded: Running, path: str, headers: dict[str, str]) -> None:
    answer = httpx.get(guarded.url + path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


def test_an_upload_without_the_token_is_not_kept(guarded: Running) -> None:
    assert httpx.post(f"{guarded.url}/v1/emotion", content=b"1").status_code == 401
    assert guarded.decoders.seen == []


def test_the_token_in_a_query_is_no_token(guarded: Running) -> None:
    assert httpx.get(f"{guarded.url}/v1/live", params={"token": TOKEN, "access_token": TOKEN}).status_code == 401


@pytest.mark.parametrize("path", OPEN)
def test_the_page_and_health_need_no_token(guarded: Running, path: str) -> None:
    assert httpx.get(guarded.url + path).status_code == 200


@pytest.mark.parametrize("path", ["/page/../v1/live", "/page/%2e%2e/v1/live", "/v2/health/../../metrics", "//v1/live"])
def test_no_path_looks_open_and_is_not(guarded: Running, path: str) -> None:
    status, _ = guarded.ask(head("GET", path))
    assert status in (401, 404)


def test_the_token_opens(guarded: Running) -> None:
    for scheme in ("Bearer", "bearer"):
        answer = httpx.get(f"{guarded.url}/v1/live", headers={"Authorization": f"{scheme} {TOKEN}"})
        assert answer.status_code == 200


def test_two_tokens_are_none(guarded: Running) -> None:
    status, _ = guarded.ask(
        head("GET", "/v1/live", f"Authorization: Bearer {TOKEN}", "Authorization: Bearer another-token-of-length")
    )
    assert status == 401


def events(server: Running, **settings: object) -> ws.ClientConnection:
    return ws.connect(f"ws://127.0.0.1:{server.port}/v1/events", **settings)  # type: ignore[arg-type]


def test_a_websocket_needs_the_token_too(guarded: Running) -> None:
    for settings in (
        {},
        {"subprotocols": ["mosear", "bearer.wrong-token-of-some-length"]},
        {"subprotocols": [f"bearer.{TOKEN}"]},
        {"additional_headers": {"Authorization": "Bearer nonsense"}},
    ):
        with pytest.raises(InvalidStatus) as refused:
            events(guarded, **settings)
        assert refused.value.response.status_code == 401
        assert b'"error"' in (refused.value.response.body or b"")
    with events(guarded, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as line:
        assert line.subprotocol is None
        assert '"status"' in line.recv(5)
    with events(guarded, subprotocols=["mosear", f"bearer.{TOKEN}"]) as line:
        assert line.subprotocol == "mosear"  # never the one that holds the token


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8461",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "192.168.0.7",
        "kiosk.local",
        "kiosk.local:9001",
        "[::1",
        "localhost:x",
        "2130706433",
        "",
    ],
)
def test_another_host_is_misdirected(server: Running, host: str) -> None:
    for path in ("/v1/live", "/", "/v2/health/live"):
        status, answer = server.ask(head("GET", path, host=host))
        assert status == 421, (host, path)
        assert b'"error"' in answer


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "127.0.0.1:8461", "[::1]:80", "robot.local", "Robot.Local:77", "kiosk.local:9000"],
)
def test_known_hosts_are_served(server: Running, host: str) -> None:
    assert server.ask(head("GET", "/v1/live", host=host))[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1", 200),
        ("http://robot.local", 200),
        ("http://kiosk.local:9000", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:3000", 403),
        ("http://localhost", 403),
        ("null", 403),
        ("file://", 403),
        ("http://127.0.0.1@evil.example", 403),
        ("127.0.0.1", 403),
        ("", 403),
    ],
)
def test_origins(server: Running, origin: str, status: int) -> None:
    got, answer = server.ask(head("GET", "/v1/live", f"Origin: {origin}"))
    assert got == status
    assert b"access-control" not in answer.lower()


def test_a_page_of_another_origin_gets_no_websocket(server: Running) -> None:
    for origin in ("http://evil.example", "http://127.0.0.1:3000"):
        with pytest.raises(InvalidStatus) as refused:
            events(server, origin=origin)
        assert refused.value.response.status_code == 403
    with events(server, origin=server.url) as line:
        assert '"status"' in line.recv(5)


def test_a_page_of_another_origin_can_t_send_a_simple_post(server: Running) -> None:
    before = len(server.decoders.seen)
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    assert httpx.post(f"{server.url}/v1/emotion", content=b"1", headers=headers).status_code == 403
    assert httpx.options(f"{server.url}/v1/emotion", headers=headers).status_code == 403
    assert len(server.decoders.seen) == before


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 1"),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
        ("Content-Length: 0x10",),
        ("Content-Length: +1",),
        ("Content-Length: 99999999999999999999999999",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Host: evil.example",),
        ("Mosear-Transcript: a\x00b",),
        (" folded: x",),
    ],
)
def test_requests_that_mean_two_things_are_refused_and_end_the_connection(
    server: Running, headers: tuple[str, ...]
) -> None:
    lines = ["POST /v1/emotion HTTP/1.1", "Host: localhost", *headers, "", ""]
    body = b"1\r\n1\r\n0\r\n\r\n" if "Transfer-Encoding: chunked" in headers else b"1"
    before = server.service.metrics.text()
    status, answer = server.ask("\r\n".join(lines).encode("latin-1") + body + SMUGGLED)
    assert status in (400, 413, 421, 501), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"error"' in answer
    assert b'path="other",status="404"' not in server.service.metrics.text().replace(before, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../pipeline.py",
        "/page/..%2f..%2fpipeline.py",
        "/page/%2e%2e/app.py",
        "/page/....//app.py",
        "/page/%2fetc%2fpasswd",
        "/page//etc/passwd",
        "/page/index.html%00.js",
        "/page/..\\app.py",
        "/page/",
        "/page",
        "/page/__init__.py",
    ],
)
def test_static_files_are_those_of_the_page_and_no_others(server: Running, path: str) -> None:
    status, answer = server.ask(head("GET", path))
    assert status in (400, 404)
    assert b"import" not in answer
    assert b"root:" not in answer


def test_a_token_file_is_read_and_judged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o640)
    assert read_token(file, {}) == TOKEN
    assert read_token(file, {"MOSEAR_TOKEN": "another-token-of-some-length"}) == TOKEN
    file.chmod(0o644)
    assert not caplog.text
    assert read_token(file, {}) == TOKEN
    assert "others" in caplog.text
    assert TOKEN not in caplog.text
    assert read_token(None, {"MOSEAR_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {"MOSEAR_TOKEN": " "}) is None
    with pytest.raises(BadInput):
        read_token(tmp_path / "missing", {})


@pytest.mark.parametrize("token", ["short", "x" * 15, "x" * 1025, "with a space in it here", "ünïcödé-tökën-löng", ""])
def test_bad_tokens_are_refused_and_not_repeated(tmp_path: Path, token: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    file.chmod(0o600)
    with pytest.raises(UsageError) as refused:
        read_token(file, {})
    assert not token or token not in refused.value.what + refused.value.remedy


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "robot.local", "127.0.0.1.nip.io"])
def test_others_are_let_in_with_a_token_only(host: str) -> None:
    with pytest.raises(UsageError, match="no token"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServerSettings(host=host).token is None


def test_settings_out_of_range_are_refused_and_the_token_is_not_shown() -> None:
    for changes in ({"port": 70000}, {"queue": 0}, {"max_seconds": float("nan")}, {"grace_s": -1}, {"decoders": 0}):
        with pytest.raises(UsageError):
            ServerSettings(**changes)  # type: ignore[arg-type]
    for name in ("http://x", "a b", "", "x:y", "*"):
        with pytest.raises(UsageError):
            ServerSettings(allow_hosts=(name,))
    assert TOKEN not in repr(ServerSettings(token=TOKEN))
