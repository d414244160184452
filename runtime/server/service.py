"""What stands behind the endpoints: the model's worker, the decoders of uploads, the events, perhaps a live source."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mosear.runtime.manifest import Manifest
from mosear.runtime.results import Emotion
from mosear.runtime.server.decoding import DecodeLimits, DecoderPool
from mosear.runtime.server.errors import Stopping
from mosear.runtime.server.events import Hub
from mosear.runtime.server.metrics import Metrics
from mosear.runtime.server.settings import ServerSettings
from mosear.runtime.server.uploads import Uploads
from mosear.runtime.server.worker import Model, ModelWorker
from mosear.runtime.windows import Window

_REASON_TASK = "reason"


class Decoders(Protocol):
    """What makes windows of uploads. ``mosear.runtime.server.decoding.DecoderPool`` is one."""

    def start(self) -> None:
        """Get ready."""
        ...

    def stop(self) -> None:
        """End, whatever is under way."""
        ...

    def windows(
        self, path: Path, window_s: float | None = None, hop_s: float | None = None, transcript: str | None = None
    ) -> Iterator[Window]:
        """The windows of the upload at ``path``; called in a thread."""
        ...


class LiveSource(Protocol):
    """A live run as the endpoints see it. May be called from any thread; only ``stop`` waits."""

    def start(self) -> None:
        """Open the sources and answer windows."""
        ...

    def begin_stop(self) -> None:
        """Answer no further window."""
        ...

    def stop(self) -> None:
        """End the loop, and give everything back. May be called again."""
        ...

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        ...

    @property
    def hop_s(self) -> float:
        """Seconds from window to window."""
        ...

    def status(self) -> dict[str, Any]:
        """``LiveStatus.to_dict()``."""
        ...

    def newest_picture(self) -> bytes | None:
        """The camera's newest picture as JPEG; None when there is none."""
        ...

    def ask_reason(self) -> None:
        """Ask for the model's reason with the next answer."""
        ...


@dataclass(eq=False)
class Service:
    """All that the endpoints need. Made by ``open_service``.

    Attributes:
        manifest: of the bundle.
        settings: how the server works.
        worker: owns the model.
        decoders: make windows of uploads.
        uploads: where uploads lie.
        hub: the events; a live source publishes its answers there.
        metrics: what Prometheus is told.
        live: the live source, None without one; set by ``attach``.
    """

    manifest: Manifest
    settings: ServerSettings
    worker: ModelWorker
    decoders: Decoders
    uploads: Uploads
    hub: Hub
    metrics: Metrics
    live: LiveSource | None = None

    def __post_init__(self) -> None:
        self._notice = ""
        self._stopping = threading.Event()
        # Uploads wait for a decoder here and not in a thread, so that one whose client went away can leave.
        self.decoder_places = asyncio.Semaphore(self.settings.decoders)
        self.threads = ThreadPoolExecutor(self.settings.decoders, "mosear-upload")
        self.metrics.watch(lambda: self.worker.depth, lambda: self.hub.followers, lambda: self.hub.dropped)

    @property
    def can_reason(self) -> bool:
        """Whether the model has a task for giving reasons."""
        return _REASON_TASK in self.manifest.prompt.tasks

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.worker.ready and not self._stopping.is_set()

    @property
    def stopping(self) -> bool:
        """Whether ``begin_stop`` was called."""
        return self._stopping.is_set()

    def attach(self, live: LiveSource, notice: str = "") -> None:
        """Serve a live source too. Called once, before the server starts.

        Args:
            live: the source.
            notice: what the page tells the people in view, before what the bundle says of itself.
        """
        self.live = live
        self._notice = notice
        self.metrics.watch_live(live.status)

    def publish(self, emotion: Emotion) -> None:
        """Take an answer of the live source: it is counted, and goes to whoever follows the events."""
        self.metrics.answered(emotion)
        self.hub.publish(emotion)

    def start(self) -> None:
        """Start the worker, the decoders and the live source.

        Raises:
            Failed: there is no room for uploads, or the decoders don't start.
        """
        self.worker.start()
        try:
            self.decoders.start()
            if self.live is not None:
                self.live.start()
        except BaseException:
            self.stop(0.0)
            raise

    def check_ready(self) -> None:
        """Raise ``Stopping`` unless requests are taken."""
        if not self.ready:
            raise Stopping

    def begin_stop(self) -> None:
        """Take no more requests, and end the event streams; what runs goes on."""
        self._stopping.set()
        if self.live is not None:
            self.live.begin_stop()
        self.worker.refuse_new()
        self.hub.close()

    def stop(self, grace: float) -> None:
        """End everything; what runs has ``grace`` seconds. May be called again."""
        self.begin_stop()
        if self.live is not None:
            self.live.stop()
        self.worker.stop(finish=grace > 0, grace=grace)
        self.decoders.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.uploads.close()

    def about(self) -> dict[str, Any]:
        """What ``GET /v1/live`` answers."""
        manifest, live = self.manifest, self.live
        reallocation = manifest.reallocation
        window_s = manifest.preprocessing.window_s if live is None else live.window_s
        return {
            "model": {
                "name": manifest.name,
                "labels": [label.name for label in manifest.labels],
                "layers": manifest.decoder.layers,
                "heads": manifest.decoder.heads,
                "reallocating_layers": list(reallocation.layers) if reallocation else [],
                "temperature": manifest.temperature,
                "precision": manifest.precision,
                "target": manifest.target,
            },
            "notice": f"{self._notice} {manifest.notice}".strip(),
            "intended_use": manifest.intended_use,
            "window_s": window_s,
            "hop_s": window_s if live is None else live.hop_s,
            "picture_allowed": self.settings.allow_picture,
            "status": None if live is None else live.status(),
        }


def open_service(
    manifest: Manifest,
    model: Model,
    settings: ServerSettings,
    uploads: Uploads,
    tick: Callable[[], None] = lambda: None,
) -> Service:
    """A service around a model. Nothing runs before ``Service.start``.

    Args:
        manifest: of the model's bundle.
        model: see ``Model``; from now on the worker's own.
        settings: how the server works.
        uploads: where uploads lie; opened here, and closed with the service.
        tick: called by the model's thread as long as it is alive: a watchdog's food.

    Raises:
        Failed: there is no room for uploads.
    """
    metrics = Metrics()
    worker = ModelWorker(model, settings.queue, settings.max_batch, metrics.stage, tick)
    uploads.open()
    limits = DecodeLimits(settings.max_seconds, settings.max_pixels, settings.decode_s, settings.decode_memory_mb)
    decoders = DecoderPool(manifest.preprocessing, limits, settings.decoders, uploads.folder)
    hub = Hub(settings.event_clients, settings.event_backlog)
    return Service(manifest, settings, worker, decoders, uploads, hub, metrics)
