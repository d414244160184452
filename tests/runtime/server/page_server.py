"""A server that plays a script to the page: its files under a strict policy, and answers that a test makes."""

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mosear.runtime.server
from mosear.runtime.server.security import POLICY

PAGE = Path(mosear.runtime.server.__file__).parent / "page"
LABELS = ["neutral", "angry", "happy", "sad", "worried", "surprise"]
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# A valid GIF of one pixel: the page shows whatever image the server names.
PICTURE = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
CLOSED = object()


def link(kind: str, name: str, condition: str = "live", **more: Any) -> dict[str, Any]:
    """One LinkStatus as plain data."""
    blank = {"reconnects": 0, "error": None, "delivered": 0, "dropped": 0}
    return {"kind": kind, "name": name, "condition": condition, **blank, **more}


def status(**changes: Any) -> dict[str, Any]:
    """A LiveStatus as plain data."""
    sources = [link("camera", "camera 0", delivered=1200), link("microphone", "default", delivered=900)]
    sinks = [link("sink", "mqtt://broker:1883/mosear", delivered=17)]
    return {"running": True, "answers": 17, "dropped": 5, "sources": sources, "sinks": sinks, **changes}


def live(**changes: Any) -> dict[str, Any]:
    """What GET /v1/live answers."""
    model = {
        "name": "reference",
        "labels": LABELS,
        "layers": 4,
        "heads": 6,
        "reallocating_layers": [0, 1, 3],
        "temperature": 1.19,
        "precision": "int8",
        "target": "cpu",
    }
    notice = (
        "A camera and a microphone are in use here. A computer estimates how expressions and voices read, "
        "moment by moment. Nothing is recorded, and nobody is identified."
    )
    return {
        "model": model,
        "notice": notice,
        "intended_use": "demonstration",
        "window_s": 3.0,
        "hop_s": 1.0,
        "picture_allowed": False,
        "status": status(),
        **changes,
    }


def scores(top: str, share: float, labels: list[str] = LABELS) -> dict[str, float]:
    """Scores that sum to 1 with ``share`` on ``top``; the others differ from one another."""
    rest = [label for label in labels if label != top]
    weights = range(1, len(rest) + 1)
    return {
        label: share if label == top else round((1 - share) * (rest.index(label) + 1) / sum(weights), 6)
        for label in labels
    }


def emotion(sequence: int, **changes: Any) -> dict[str, Any]:
    """A live answer as plain data; keys of ``live`` may be changed by name too."""
    inner = {
        "time": "2026-11-24T10:00:00.000Z",
        "sequence": sequence,
        "latency_ms": 41.2,
        "dropped": 0,
        "smoothed_label": "happy",
        "smoothed_scores": scores("happy", 0.62),
    }
    inner.update({key: changes.pop(key) for key in list(changes) if key in inner})
    return {
        "schema": "mosear.emotion/1",
        "clip": "camera 0",
        "start": float(sequence),
        "end": sequence + 3.0,
        "label": "happy",
        "scores": scores("happy", 0.71),
        "by_modality": {"visual": scores("happy", 0.83), "audio": scores("neutral", 0.55)},
        "conflict": 0.31,
        "reliance": {"visual": 0.34, "audio": 0.45, "text": 0.21},
        "reallocated_heads": [[0, 0], [0, 3], [1, 2], [3, 5]],
        "states": [],
        "timings_ms": {"total": 40.0},
        "live": inner,
        **changes,
    }


class PageServer(ThreadingHTTPServer):
    """Serves the page and plays what a test tells it to.

    Attributes:
        live: what GET /v1/live answers.
        token: wanted as a bearer when not None.
        refusing: answer 503 to whatever the page asks for.
        asked: method, path and Authorization of each request under /v1/.
        silent: say nothing by itself on an open stream.
        can_reason: whether POST /v1/live/reason is accepted.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.live: dict[str, Any] = live()
        self.token: str | None = None
        self.refusing = False
        self.silent = False
        self.can_reason = True
        self.asked: list[tuple[str, str, str | None]] = []
        self.streams: list[queue.Queue[Any]] = []
        self.lock = threading.Lock()
        self.connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def emit(self, *emotions: dict[str, Any]) -> None:
        """Send answers to every stream that is open."""
        self.send(*({"type": "emotion", "emotion": each} for each in emotions))

    def send(self, *events: Any) -> None:
        """Send events; what is bytes goes out as it is."""
        with self.lock:
            for stream in self.streams:
                for event in events:
                    stream.put(event)

    def cut(self) -> None:
        """End every stream, as a restart would."""
        with self.lock:
            for stream in self.streams:
                stream.put(CLOSED)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection too, so that it can be broken."""
        self.connections.append(request)
        super().process_request(request, client_address)

    def vanish(self) -> None:
        """Break every connection: a thread of its own would go on answering on those that are kept alive."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PageServer

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/v1/"):
            if self._admitted():
                self._answer(path)
        elif path == "/":
            self._file(PAGE / "index.html")
        elif path.startswith("/page/") and (PAGE / path.removeprefix("/page/")).is_file():
            self._file(PAGE / path.removeprefix("/page/"))
        else:
            self._json(404, {"error": {"what": f"nothing at {path}", "fix": "ask for /"}})

    def do_POST(self) -> None:
        if not self._admitted():
            return
        if self.path == "/v1/live/reason" and self.server.can_reason:
            self._json(202, {})
        else:
            self._json(409, {"error": {"what": "this model can't give reasons", "fix": "use another bundle"}})

    def log_message(self, *arguments: Any) -> None:
        pass

    def _admitted(self) -> bool:
        sent = self.headers.get("Authorization")
        self.server.asked.append((self.command, self.path, sent))
        if self.server.refusing:
            self._json(503, {"error": {"what": "the server is stopping", "fix": "wait until it is back"}})
        elif self.server.token is not None and sent != f"Bearer {self.server.token}":
            self._json(401, {"error": {"what": "a token is needed", "fix": "send it as a bearer"}})
        else:
            return True
        return False

    def _answer(self, path: str) -> None:
        if path == "/v1/live":
            self._json(200, self.server.live)
        elif path == "/v1/events":
            self._stream()
        elif path == "/v1/live/picture" and self.server.live["picture_allowed"]:
            self._send(200, "image/gif", PICTURE)
        else:
            self._json(403, {"error": {"what": "pictures are not shown", "fix": "start with --allow-picture"}})

    def _stream(self) -> None:
        events: queue.Queue[Any] = queue.Queue()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        events.put({"type": "status", "status": self.server.live["status"]})
        with self.server.lock:
            self.server.streams.append(events)
        try:
            while True:
                try:
                    event = events.get(timeout=2)
                except queue.Empty:
                    if self.server.silent:
                        continue
                    event = {"type": "status", "status": self.server.live["status"]}
                if event is CLOSED:
                    break
                raw = event if isinstance(event, bytes) else f"data: {json.dumps(event)}\n\n".encode()
                self.wfile.write(raw)
        finally:
            with self.server.lock:
                self.server.streams.remove(events)
            self.close_connection = True

    def _file(self, path: Path) -> None:
        self._send(200, f"{TYPES[path.suffix]}; charset=utf-8", path.read_bytes())

    def _json(self, code: int, value: Any) -> None:
        self._send(code, "application/json", json.dumps(value).encode())

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(port: int = 0) -> Iterator[PageServer]:
    """A page server in a thread of its own, at a free port or at the one named."""
    server = PageServer(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.cut()
        server.shutdown()
        server.server_close()
        server.vanish()
        thread.join(5)
