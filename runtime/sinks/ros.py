"""Answers to ROS 2: ``hri_msgs/msg/Expression`` by way of a rosbridge server, in the JSON of its version 2 protocol."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from mosear.runtime.errors import one_line
from mosear.runtime.results import UNKNOWN, Emotion
from mosear.runtime.sinks import SinkLost, live_of
from mosear.runtime.sinks.expressions import Expression, mean
from mosear.runtime.sinks.specs import RosSpec
from mosear.runtime.sinks.websocket import Wire

TYPE = "hri_msgs/msg/Expression"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def stamp(time: str) -> dict[str, int]:
    """RFC 3339 → ``builtin_interfaces/msg/Time``: seconds since 1970, and nanoseconds from 0 to 999,999,999.

    Raises:
        ValueError: it is no time, or has no time zone.
    """
    at = datetime.fromisoformat(time.replace("Z", "+00:00"))  # Python 3.10 does not know Z
    if at.tzinfo is None:
        raise ValueError("a time without a time zone")
    since = at - _EPOCH
    whole = since // timedelta(seconds=1)
    return {"sec": whole, "nanosec": (since - timedelta(seconds=whole)).microseconds * 1000}


def message(emotion: Emotion, mapping: Mapping[str, Expression], frame: str = "") -> dict[str, Any] | None:
    """The smoothed answer as a message; None when the label is ``unknown``, for which the message has no word."""
    live = live_of(emotion)
    if live.smoothed_label == UNKNOWN:
        return None
    valence, arousal = mean(live.smoothed_scores, mapping)
    confidence = live.smoothed_scores.get(live.smoothed_label, 0.0)
    return {
        "header": {"stamp": stamp(live.time), "frame_id": frame},
        "expression": mapping[live.smoothed_label].expression,
        "valence": round(valence, 4),
        "arousal": round(arousal, 4),
        "confidence": round(min(max(confidence, 0.0), 1.0), 4),
    }


class Rosbridge:
    """An open connection to a rosbridge server that has the topic advertised.

    Args:
        spec: where to.
        mapping: by label.

    Raises:
        SinkLost: the server can't be reached, or refuses the topic.
    """

    def __init__(self, spec: RosSpec, mapping: Mapping[str, Expression]) -> None:
        self.name = spec.name
        self._topic = spec.topic
        self._frame = spec.frame
        self._mapping = mapping
        self._wire = Wire(spec.url)
        try:
            self._send({"op": "advertise", "topic": spec.topic, "type": TYPE})
        except BaseException:
            self._wire.close()
            raise

    def write(self, emotion: Emotion) -> None:
        """Publish an answer whose label is known. Raises ``SinkLost``."""
        self.check()
        content = message(emotion, self._mapping, self._frame)
        if content is not None:
            self._send({"op": "publish", "topic": self._topic, "msg": content})

    def check(self) -> None:
        """Raises ``SinkLost`` when the connection is gone, or the server said that something is wrong."""
        for text in self._wire.received():
            complaint = _complaint(text)
            if complaint is not None:
                raise SinkLost(f"rosbridge says: {complaint}")

    def close(self) -> None:
        """Take the topic back, and end the connection."""
        try:
            self._send({"op": "unadvertise", "topic": self._topic})
        except SinkLost:
            pass
        finally:
            self._wire.close()

    def _send(self, content: dict[str, Any]) -> None:
        self._wire.send(json.dumps(content, allow_nan=False))


def _complaint(text: str) -> str | None:
    """What an error status of the server says, such as that it does not know the type; None for all else."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if isinstance(content, dict) and content.get("op") == "status" and content.get("level") == "error":
        return one_line(content.get("msg", ""), 200)
    return None
