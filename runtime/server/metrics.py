"""What Prometheus is told. Labels take few values: templates of routes, stages, and links by their configured names."""

import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mosear.runtime.results import Emotion

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WINDOW_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of a server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter("mosear_requests", "Requests answered.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "mosear_request_seconds",
            "From the head of a request to the end of its answer.",
            ["path"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._stages = Histogram(
            "mosear_window_seconds",
            "Seconds of a window by stage; service is all that the model does.",
            ["stage"],
            buckets=_WINDOW_BUCKETS,
            registry=registry,
        )
        self._windows = Counter("mosear_windows", "Windows answered, live and uploaded.", registry=registry)
        self._rejected = Counter("mosear_rejected", "Requests sent away for want of room.", registry=registry)
        info = Info("mosear_build", "Versions.", registry=registry)
        info.info({"version": _version(), "results": Emotion.schema})

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered; ``path`` is the route's template."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)
        if status in (429, 503):
            self._rejected.inc()

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage of a window took."""
        self._stages.labels(name).observe(seconds)

    def answered(self, emotion: Emotion) -> None:
        """Count a window that was answered, with the model's own stages."""
        self._windows.inc()
        for name, milliseconds in emotion.timings_ms.items():
            if name != "total":
                self.stage(name, milliseconds / 1000)

    def watch(self, depth: Callable[[], int], followers: Callable[[], int], lost_events: Callable[[], int]) -> None:
        """Read these whenever somebody asks."""
        registry = self.registry
        Gauge("mosear_queue_depth", "Requests that hold a place.", registry=registry).set_function(depth)
        Gauge("mosear_event_clients", "Clients that follow the events.", registry=registry).set_function(followers)
        registry.register(
            _Reading(lambda: [_counter("mosear_events_lost", "Events lost by slow clients.", lost_events())])
        )

    def watch_live(self, status: Callable[[], dict[str, Any]]) -> None:
        """Read a live run's status (``LiveStatus.to_dict``) whenever somebody asks."""
        self.registry.register(_Reading(lambda: _live(status())))

    def text(self) -> bytes:
        """All of it, in Prometheus' form."""
        return generate_latest(self.registry)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began


class _Reading(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()

    def describe(self) -> Iterable[Metric]:
        return []


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _live(status: dict[str, Any]) -> Iterable[Metric]:
    yield GaugeMetricFamily("mosear_live_running", "Whether live windows are answered.", value=bool(status["running"]))
    yield _counter("mosear_dropped_windows", "Live windows left out, the model being busy.", status["dropped"])
    up = GaugeMetricFamily("mosear_source_up", "Whether a source gives media.", labels=["kind", "name"])
    back = CounterMetricFamily("mosear_source_reconnects", "How often a source came back.", labels=["kind", "name"])
    for link in status["sources"]:
        up.add_metric([link["kind"], link["name"]], float(link["condition"] == "live"))
        back.add_metric([link["kind"], link["name"]], link["reconnects"])
    yield from (up, back)
    up = GaugeMetricFamily("mosear_sink_up", "Whether a sink takes answers.", labels=["name"])
    taken = CounterMetricFamily("mosear_sink_delivered", "Answers that a sink took.", labels=["name"])
    lost = CounterMetricFamily("mosear_sink_dropped", "Answers that a sink could not take.", labels=["name"])
    for link in status["sinks"]:
        up.add_metric([link["name"]], float(link["condition"] == "live"))
        taken.add_metric([link["name"]], link["delivered"])
        lost.add_metric([link["name"]], link["dropped"])
    yield from (up, taken, lost)


def _version() -> str:
    try:
        return version("mosear")
    except PackageNotFoundError:
        return "unknown"
