"""The WebSocket sink against a real server."""

import contextlib
import json
import logging
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sinks_fakes import answer, free_port, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from mosear.runtime.capture.stream import Condition
from mosear.runtime.modality import LABELS
from mosear.runtime.sinks import SinkLost, websocket
from mosear.runtime.sinks.fanout import open_sinks
from mosear.runtime.sinks.specs import parse_sink
from mosear.runtime.sinks.websocket import WebSocket

SECRET = "hunter2s"


class Server:
    """A WebSocket server that keeps what it gets; ``chatty`` makes it talk without end."""

    def __init__(
        self, port: int = 0, token: str | None = None, chatty: bool = False, deaf: bool = False, tls=None
    ) -> None:
        self.got: list[str] = []
        self.paths: list[str] = []
        self.closed = 0
        self.let_go = threading.Event()
        self._chatty, self._deaf, self._token = chatty, deaf, token
        self._server = serve(self._handle, "127.0.0.1", port, process_request=self._check, ping_interval=None, ssl=tls)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self._open: set[ServerConnection] = set()

    def _check(self, connection: ServerConnection, request):
        self.paths.append(request.path)
        if self._token and request.headers.get("Authorization") != f"Bearer {self._token}":
            return connection.respond(401, "no\n")
        return None

    def _handle(self, connection: ServerConnection) -> None:
        self._open.add(connection)
        with contextlib.suppress(ConnectionClosed):
            if self._chatty:
                for _ in range(200):
                    connection.send("x" * 1000)
            if self._deaf:
                self.let_go.wait(30)
            for message in connection:
                self.got.append(message)
        self._open.discard(connection)
        self.closed += 1

    def kill(self) -> None:
        """End without a word, as a server that is killed does."""
        self.let_go.set()
        self._server.shutdown()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for each in started:
        with contextlib.suppress(OSError):
            each.kill()


def test_each_answer_is_one_text_message_with_the_token(servers: list[Server]) -> None:
    server = Server(token=SECRET)
    servers.append(server)
    fanout = open_sinks([f"ws://127.0.0.1:{server.port}/live?a=b"], LABELS, {"MOSEAR_WS_TOKEN": SECRET})
    for number in range(3):
        fanout.publish(answer(number))
    fanout.close(10)
    until(lambda: len(server.got) == 3)
    assert [json.loads(text) for text in server.got] == [answer(number).to_dict() for number in range(3)]
    assert server.paths == ["/live?a=b"]
    until(lambda: server.closed == 1)


def test_a_wrong_token_says_so_and_does_not_show_it(servers: list[Server], caplog) -> None:
    server = Server(token="another")
    servers.append(server)
    with caplog.at_level(logging.DEBUG):
        text = f"ws://127.0.0.1:{server.port}/live?key={SECRET}"
        fanout = open_sinks([text], LABELS, {"MOSEAR_WS_TOKEN": SECRET})
        until(lambda: fanout.status()[0].condition is Condition.lost)
        (status,) = fanout.status()
        fanout.close(0.5)
    assert status.error == "the server answered 401; is MOSEAR_WS_TOKEN right?"
    # The test's own server logs, too, in this process.
    told = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")]
    assert told
    assert SECRET not in str(status) + "".join(told)


def test_a_server_that_was_killed_and_comes_back_gets_what_waited(servers: list[Server]) -> None:
    server = Server()
    servers.append(server)
    fanout = open_sinks([f"ws://127.0.0.1:{server.port}/"], LABELS, {})
    fanout.publish(answer(1))
    until(lambda: len(server.got) == 1)
    server.kill()
    until(lambda: fanout.status()[0].condition is Condition.lost)
    for number in (2, 3):
        fanout.publish(answer(number))
    again = Server(server.port)
    servers.append(again)
    until(lambda: len(again.got) == 2)
    assert [json.loads(text)["live"]["sequence"] for text in again.got] == [2, 3]
    assert fanout.status()[0].reconnects >= 1
    fanout.close(5)


def test_a_server_that_talks_without_end_does_not_stop_the_connection(servers: list[Server]) -> None:
    server = Server(chatty=True)
    servers.append(server)
    sink = WebSocket(parse_sink(f"ws://127.0.0.1:{server.port}/", {}))
    for number in range(20):
        sink.write(answer(number))
        sink.check()
    until(lambda: (sink.check(), len(server.got) == 20)[1])
    sink.close()


def test_a_server_that_never_answers_is_lost_in_time(monkeypatch) -> None:
    monkeypatch.setattr(websocket, "OPEN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SinkLost, match="does not answer"):
        WebSocket(parse_sink(f"ws://127.0.0.1:{listener.getsockname()[1]}/", {}))


def test_a_server_that_opens_and_then_never_reads_is_lost_in_time(servers: list[Server], monkeypatch) -> None:
    monkeypatch.setattr(websocket, "SEND_S", 1.0)
    server = Server(deaf=True)
    servers.append(server)
    sink = WebSocket(parse_sink(f"ws://127.0.0.1:{server.port}/", {}))
    words = secrets.token_hex(500_000)  # chance is not made small by compression

    def fill() -> None:
        for number in range(100):
            sink.write(answer(number, reason=words))

    with pytest.raises(SinkLost):
        fill()
    sink.close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_tls_with_a_certificate_that_is_trusted_and_one_that_is_not(servers, tmp_path: Path, monkeypatch) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "ca.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    server = Server(tls=context)
    servers.append(server)
    spec = parse_sink(f"wss://127.0.0.1:{server.port}/", {})
    with pytest.raises(SinkLost, match="not trusted"):
        WebSocket(spec)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    sink = WebSocket(spec)
    sink.write(answer(1))
    until(lambda: len(server.got) == 1)
    sink.close()


def test_nobody_there_is_lost_and_says_so() -> None:
    with pytest.raises(SinkLost, match="refused"):
        WebSocket(parse_sink(f"ws://127.0.0.1:{free_port()}/", {}))
