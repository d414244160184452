"""Answers to an MQTT broker: each answer, a retained state, and whether we are there at all."""

import hashlib
import json
import ssl
import time
from collections.abc import Sequence
from typing import Any

from mosear.runtime.errors import Failed
from mosear.runtime.results import UNKNOWN, Emotion
from mosear.runtime.sinks import SinkLost, live_of
from mosear.runtime.sinks.discovery import entities
from mosear.runtime.sinks.specs import MqttSpec

try:
    from paho.mqtt.client import Client, MQTTMessageInfo
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
except ImportError as error:
    raise Failed(f"paho-mqtt can't be imported ({error})", "pip install 'mosear[sinks]'") from error

OPEN_S = 10.0
SEND_S = 10.0
REFRESH_S = 60.0
STEP = 0.05
"""A change of confidence or conflict by less does not make a new state."""

_CLOSE_S = 2.0
_KEEPALIVE_S = 15
_NOT_SEEN = {"no_video", "dark", "covered", "whole_frame"}


def state_of(emotion: Emotion) -> dict[str, Any]:
    """The compact state: what a screen or an automation needs of a live answer.

    ``confidence`` is the smoothed score of the smoothed label. ``in_view`` says whether there is a face; None where
    that is not known: there is no picture, nothing can be seen on it, or nobody looks for faces.
    """
    live = live_of(emotion)
    seen = set(emotion.states)
    if "no_face" in seen:
        in_view: bool | None = False
    else:
        in_view = None if seen & _NOT_SEEN else True
    confidence = live.smoothed_scores.get(live.smoothed_label) if live.smoothed_label != UNKNOWN else None
    return {
        "label": live.smoothed_label,
        "confidence": None if confidence is None else round(confidence, 3),
        "conflict": None if emotion.conflict is None else round(emotion.conflict, 3),
        "in_view": in_view,
        "states": emotion.states,
        "time": live.time,
    }


def differs(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a state says something else than the one before, its time and small steps of numbers left aside."""
    if any(old[name] != new[name] for name in ("label", "in_view", "states")):
        return True
    for name in ("confidence", "conflict"):
        before, after = old[name], new[name]
        if (before is None) != (after is None) or (after is not None and abs(after - before) >= STEP):
            return True
    return False


class Mqtt:
    """An open connection to a broker. There is no thread in it: ``write`` and ``check`` move its bytes.

    Args:
        spec: where to.
        labels: the model's, for Home Assistant.

    Raises:
        SinkLost: the broker can't be reached, refuses or does not answer.
    """

    def __init__(self, spec: MqttSpec, labels: Sequence[str]) -> None:
        self.name = spec.name
        self._base = spec.base
        self._state: dict[str, Any] | None = None
        self._state_at = 0.0
        self._connack: Any = None
        # One identity a node: a broker then ends a connection that hangs as soon as the next is there, and its will
        # does not come late, over our being online.
        identity = "mosear-" + hashlib.sha256(f"{spec.base}\0{spec.node}".encode()).hexdigest()[:12]
        self._client = Client(CallbackAPIVersion.VERSION2, identity, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.connect_timeout = OPEN_S
        self._client.on_connect = self._on_connect
        self._client.will_set(f"{spec.base}/availability", "offline", qos=1, retain=True)
        if spec.user is not None:
            self._client.username_pw_set(spec.user, spec.password)
        if spec.tls:
            self._client.tls_set_context(ssl.create_default_context())
        try:
            self._connect(spec)
            if spec.discovery is not None:
                for topic, entity in entities(spec.discovery, spec.node, spec.base, labels).items():
                    self._publish(topic, json.dumps(entity), qos=1, retain=True)
            self._publish(f"{spec.base}/availability", "online", qos=1, retain=True)
        except BaseException:
            self._drop()
            raise

    def write(self, emotion: Emotion) -> None:
        """Publish an answer, and the state when it changed or is a minute old. Raises ``SinkLost``."""
        state = state_of(emotion)
        self._publish(f"{self._base}/emotion", emotion.to_json(), qos=0, retain=False)
        old = time.monotonic() - self._state_at >= REFRESH_S
        if self._state is None or old or differs(self._state, state):
            self._publish(f"{self._base}/state", json.dumps(state), qos=1, retain=True)
            self._state, self._state_at = state, time.monotonic()

    def check(self) -> None:
        """Keep the connection alive. Raises ``SinkLost``."""
        self._move(0.0)

    def close(self) -> None:
        """Say that we are gone, and end the connection."""
        try:
            self._publish(f"{self._base}/availability", "offline", qos=1, retain=True, limit=_CLOSE_S)
        except SinkLost:
            self._drop()  # the broker publishes the will
            return
        self._client.disconnect()
        self._drop()

    def _connect(self, spec: MqttSpec) -> None:
        try:
            self._client.connect(spec.host, spec.port, keepalive=_KEEPALIVE_S)
        except TimeoutError as error:
            raise SinkLost("the broker does not answer") from error
        except ssl.SSLCertVerificationError as error:
            raise SinkLost(f"the broker's certificate is not trusted: {error.verify_message}") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise SinkLost(f"the broker can't be reached: {why}") from error
        until = time.monotonic() + OPEN_S
        while self._connack is None:
            if time.monotonic() >= until:
                raise SinkLost("the broker does not answer")
            self._move(0.1)
        self._check_connack()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connack = reason

    def _check_connack(self) -> None:
        if self._connack is not None and self._connack.is_failure:
            raise SinkLost(f"the broker refuses: {self._connack}")

    def _publish(self, topic: str, text: str, qos: int, retain: bool, limit: float | None = None) -> None:
        """Publish, and wait until it is sent (QoS 0) or taken (QoS 1)."""
        until = time.monotonic() + (SEND_S if limit is None else limit)
        info: MQTTMessageInfo = self._client.publish(topic, text, qos, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise SinkLost("the connection to the broker ended")
        while not self._sent(info):
            if time.monotonic() >= until:
                raise SinkLost("the broker takes no messages")
            self._move(0.1)

    def _sent(self, info: MQTTMessageInfo) -> bool:
        try:
            return info.is_published()
        except (RuntimeError, ValueError) as error:
            raise SinkLost("the connection to the broker ended") from error

    def _move(self, seconds: float) -> None:
        """Receive and send what is due; waits up to ``seconds`` for it."""
        result = self._client.loop(seconds)
        self._check_connack()
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise SinkLost("the connection to the broker ended")

    def _drop(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        # The client closes what else it holds when nothing refers to it; its callback refers to us, and we to it.
        self._client.on_connect = None
