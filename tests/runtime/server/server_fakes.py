"""A server with a model and decoders that do what a test tells them, and a raw line to it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import runtime_fakes

from mosear.runtime.errors import MosearError
from mosear.runtime.manifest import Manifest
from mosear.runtime.results import Emotion
from mosear.runtime.server.events import Hub
from mosear.runtime.server.job import Priority
from mosear.runtime.server.listening import open_sockets
from mosear.runtime.server.metrics import Metrics
from mosear.runtime.server.run import make_server
from mosear.runtime.server.service import Service
from mosear.runtime.server.settings import ServerSettings
from mosear.runtime.server.uploads import Uploads
from mosear.runtime.server.worker import ModelWorker
from mosear.runtime.windows import Window

PATIENCE_S = 30.0
TOKEN = "a-token-that-nobody-guesses"
SCORES = {"neutral": 0.5, "happy": 0.5}


def until(holds: Callable[[], Any], what: str = "it did not happen") -> Any:
    """Wait for ``holds`` to be true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return value


def window(start: float = 0.0, transcript: str | None = None) -> Window:
    return Window(start, start + 1.0, None, None, transcript)


def emotion(start: float = 0.0, clip: str = "", reason: str | None = None) -> Emotion:
    return Emotion(
        clip=clip,
        start=start,
        end=start + 1.0,
        label="happy",
        scores=SCORES,
        by_modality={"visual": None, "audio": None},
        conflict=None,
        reliance=None,
        reallocated_heads=[],
        states=[],
        reason=reason,
        timings_ms={"vision": 1.0, "total": 2.0},
    )


class FakeModel:
    """Answers at once, or one window for each ``allow()`` once ``hold`` was called. Says who was answered."""

    def __init__(self, batch_limit: int | None = None) -> None:
        self.batch_limit = batch_limit
        self.batches: list[list[tuple[str, float]]] = []
        self.transcripts: list[str | None] = []
        self.busy = threading.Event()
        self.fails: Callable[[Window], Exception | None] = lambda each: None
        self.clip_suffix = ""
        self._gate: threading.Semaphore | None = None

    def hold(self) -> None:
        self._gate = threading.Semaphore(0)

    def allow(self, count: int = 1) -> None:
        assert self._gate is not None
        self._gate.release(count)

    def analyse(self, window: Window, clip: str = "", reason: bool = False) -> Emotion:
        self._take([window], [clip])
        return emotion(window.start, clip + self.clip_suffix, "because" if reason else None)

    def analyse_many(self, windows: Sequence[Window], clips: Sequence[str]) -> list[Emotion]:
        self._take(windows, clips)
        return [emotion(each.start, clip) for each, clip in zip(windows, clips, strict=True)]

    @property
    def order(self) -> list[tuple[str, float]]:
        return [each for batch in self.batches for each in batch]

    def _take(self, windows: Sequence[Window], clips: Sequence[str]) -> None:
        self.busy.set()
        if self._gate is not None:
            assert self._gate.acquire(timeout=PATIENCE_S)
        self.busy.clear()
        self.batches.append([(clip, each.start) for each, clip in zip(windows, clips, strict=True)])
        self.transcripts += [each.transcript for each in windows]
        for each in windows:
            error = self.fails(each)
            if error is not None:
                raise error


class FakeDecoders:
    """Reads an upload such as b"3" as three windows; ``error`` is raised instead of the window with that number."""

    def __init__(self) -> None:
        self.error: MosearError | None = None
        self.error_at = 0
        self.open = 0
        self.seen: list[tuple[bytes, float | None, float | None, str | None]] = []

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def windows(
        self, path: Path, window_s: float | None = None, hop_s: float | None = None, transcript: str | None = None
    ) -> Iterator[Window]:
        data = path.read_bytes()
        self.seen.append((data, window_s, hop_s, transcript))
        self.open += 1
        try:
            for index in range(int(data) if data.isdigit() and len(data) < 4 else 1):
                if self.error is not None and index == self.error_at:
                    raise self.error
                yield window(float(index), transcript)
        finally:
            self.open -= 1


class FakeLive:
    """A live source that a test looks into."""

    window_s, hop_s = 3.0, 0.5

    def __init__(self) -> None:
        self.picture: bytes | None = b"\xff\xd8picture"
        self.asked = 0

    def status(self) -> dict[str, Any]:
        link = {"name": "camera 0", "reconnects": 2, "error": None, "delivered": 5, "dropped": 0}
        sink = {**link, "kind": "sink", "name": "jsonl:x", "condition": "lost", "dropped": 7}
        sources = [{**link, "kind": "camera", "condition": "live"}]
        return {"running": True, "answers": 4, "dropped": 3, "failures": 0, "sources": sources, "sinks": [sink]}

    def start(self) -> None:
        pass

    def begin_stop(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def newest_picture(self) -> bytes | None:
        return self.picture

    def ask_reason(self) -> None:
        self.asked += 1


class Running:
    """A server in a thread."""

    def __init__(self, service: Service, model: FakeModel, decoders: Any, port: int, folder: Path) -> None:
        self.service, self.model, self.decoders = service, model, decoders
        self.port, self.folder = port, folder
        self.url = f"http://127.0.0.1:{port}"

    def uploads(self) -> list[Path]:
        """The files of uploads that there are."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def at_rest(self) -> bool:
        return not self.uploads() and self.service.worker.depth == 0 and self.decoders.open == 0

    def raw(self, data: bytes = b"") -> socket.socket:
        """A connection that ``data`` was sent on."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        line.sendall(data)
        return line

    def ask(self, data: bytes) -> tuple[int, bytes]:
        """Status and all bytes of the answer to ``data``, up to the end of the connection."""
        with self.raw(data) as line:
            answer = read_all(line)
        return int(answer.split()[1]) if answer else 0, answer


def read_all(line: socket.socket) -> bytes:
    parts = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts)


def head(method: str, path: str, *headers: str, host: str = "127.0.0.1") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def make_service(
    settings: ServerSettings, folder: Path, live: FakeLive | None = None, manifest: Manifest | None = None
) -> tuple[Service, FakeModel, FakeDecoders]:
    """A service with fakes behind it."""
    model, decoders, metrics = FakeModel(), FakeDecoders(), Metrics()
    folder.mkdir(exist_ok=True)
    uploads = Uploads(folder)
    uploads.open()
    files = {
        name: {"sha256": "0" * 64, "size": 1}
        for name in (
            *(f"{each}.onnx" for each in ("vision", "audio", "decoder_prefill", "decoder_decode")),
            "embedding.npy",
            "tokenizer.json",
        )
    }
    manifest = manifest or Manifest.model_validate({**runtime_fakes.manifest_fields(), "files": files})
    worker = ModelWorker(model, settings.queue, settings.max_batch, metrics.stage)
    hub = Hub(settings.event_clients, settings.event_backlog)
    service = Service(manifest, settings, worker, decoders, uploads, hub, metrics)
    if live is not None:
        service.attach(live)
    return service, model, decoders


@contextmanager
def serving(folder: Path, live: FakeLive | None = None, pool: Any = None, **changes: Any) -> Iterator[Running]:
    """A server on a free port; ``changes`` are of its settings."""
    settings = replace(ServerSettings(port=0, grace_s=2.0), **changes)
    service, model, fakes = make_service(settings, folder / "uploads", live)
    service.decoders = pool or fakes
    sockets = open_sockets(settings, {})
    port = sockets[0].getsockname()[1]
    service.start()
    ready = threading.Event()
    server = make_server(service, settings, ready.set)
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        yield Running(service, model, service.decoders, port, folder / "uploads")
    finally:
        if model._gate is not None:
            model.allow(10_000)
        server.should_exit = True
        thread.join(PATIENCE_S)
        service.stop(1.0)
    assert not thread.is_alive()


def submit(
    worker: ModelWorker,
    windows: Sequence[Window],
    clip: str,
    reason: bool = False,
    priority: Priority = Priority.upload,
) -> "Future[list[Emotion]]":
    """Answer windows that are all there. Cancelling the future drops those whose turn has not come.

    Raises:
        Busy, Stopping: as ``open``.
    """
    job = worker.open(clip, reason, priority)
    whole: Future[list[Emotion]] = Future()
    parts = [job.feed(window) for window in windows]
    left, changed = [len(parts)], threading.Lock()

    def settle(part: "Future[Emotion]") -> None:
        with changed:
            left[0] -= 1
            error = None if part.cancelled() else part.exception()
            if whole.done() or (left[0] and error is None) or not whole.set_running_or_notify_cancel():
                return
        if error is not None:
            whole.set_exception(error)
        else:
            whole.set_result([each.result() for each in parts])

    whole.add_done_callback(lambda done: job.close())
    if not parts:
        whole.set_result([])
    for part in parts:
        part.add_done_callback(settle)
    return whole
