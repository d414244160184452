"""One answer to many sinks."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from mosear.runtime.capture.stream import LinkStatus
from mosear.runtime.results import Emotion
from mosear.runtime.sinks import SinkLost
from mosear.runtime.sinks.outbox import BOUND, Outbox, SinkOpener
from mosear.runtime.sinks.specs import LinesSpec, MqttSpec, SinkSpec, WebSocketSpec, parse_sinks


class Fanout:
    """Sinks that each get every answer, each at its own pace."""

    def __init__(self, outboxes: Sequence[Outbox]) -> None:
        self._outboxes = list(outboxes)

    def publish(self, emotion: Emotion) -> None:
        """Queue an answer for every sink. Never blocks and never raises."""
        for each in self._outboxes:
            each.put(emotion)

    def status(self) -> list[LinkStatus]:
        """How it stands with each sink, in the order in which they were named."""
        return [each.status() for each in self._outboxes]

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what is queued, to all sinks at once, in ``timeout`` seconds; then give up. May be called twice."""
        until = time.monotonic() + timeout
        for each in self._outboxes:
            each.end()
        for each in self._outboxes:
            each.close(until - time.monotonic())


def open_sinks(
    texts: Sequence[str], labels: Sequence[str], environment: Mapping[str, str] = os.environ, bound: int = BOUND
) -> Fanout:
    """Start what delivers answers to the sinks that ``texts`` name; none is fine.

    A sink that can't be reached now is tried again in the background. What no patience mends is an error here.

    Args:
        texts: see ``mosear.runtime.sinks.specs``.
        labels: the model's.
        environment: where passwords and tokens come from.
        bound: answers that may wait for each sink.

    Raises:
        UsageError: a text means nothing, or a sink is named twice.
        BadInput: a file of a sink is of another kind, in use or out of reach, or a mapping does not fit the labels.
        Failed: a library is missing.
    """
    specs = parse_sinks(texts, environment)
    openers = [(spec.name, opener(spec, labels)) for spec in specs]
    return Fanout([Outbox(name, each, bound) for name, each in openers])


def opener(spec: SinkSpec, labels: Sequence[str]) -> SinkOpener:
    """What opens a sink. Raises as ``open_sinks``."""
    if isinstance(spec, LinesSpec):
        from mosear.runtime.sinks.lines import Lines

        def open_lines() -> Lines:
            return Lines(spec, labels)

        # A full disk may have room later, and is no reason not to start.
        with contextlib.suppress(SinkLost):
            open_lines().close()
        return open_lines
    if isinstance(spec, MqttSpec):
        from mosear.runtime.sinks.mqtt import Mqtt

        return lambda: Mqtt(spec, labels)
    if isinstance(spec, WebSocketSpec):
        from mosear.runtime.sinks.websocket import WebSocket

        return lambda: WebSocket(spec)
    from mosear.runtime.sinks.expressions import mapping_for
    from mosear.runtime.sinks.ros import Rosbridge

    mapping = mapping_for(labels, spec.mapping)
    return lambda: Rosbridge(spec, mapping)
