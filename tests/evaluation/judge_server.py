"""A judge's HTTP server on this machine that behaves as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[[BaseHTTPRequestHandler], None]


class JudgeServer(ThreadingHTTPServer):
    """Does one act a request, the last one again and again.

    Attributes:
        acts: what to do.
        asked: (path, headers, body) of each request.
    """

    daemon_threads = True

    def __init__(self, *acts: Act) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.acts = list(acts)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def prompt(self, place: int = -1) -> str:
        return str(self.asked[place][2]["messages"][0]["content"])


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            act = self.server.acts.pop(0) if len(self.server.acts) > 1 else self.server.acts[0]
        act(self)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(*acts: Act) -> Iterator[JudgeServer]:
    """A server in a thread of its own."""
    server = JudgeServer(*acts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(code: int, **headers: str) -> Act:
    """An answer that is only a status."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return act


def body(content: bytes) -> Act:
    """These bytes with status 200."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return act


def says(text: Any) -> Act:
    """A chat completion with this content."""
    return body(json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())


def drips(seconds: float) -> Act:
    """A byte at a time, for as long."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.02)

    return act


def hangs(gone: threading.Event) -> Act:
    """No answer before the test is over."""
    return lambda handler: gone.wait(10) and None


def breaks_off(handler: BaseHTTPRequestHandler) -> None:
    """Half an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True
