"""The rosbridge sink against a server that checks every message against the message's definition."""

import json
import math
import re
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from sinks_fakes import answer, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from mosear.runtime.capture.stream import Condition
from mosear.runtime.errors import BadInput, UsageError
from mosear.runtime.modality import LABELS
from mosear.runtime.sinks.expressions import DEFAULT, EXPRESSIONS, mapping_for, mean
from mosear.runtime.sinks.fanout import open_sinks
from mosear.runtime.sinks.ros import message, stamp

# hri_msgs/msg/Expression, from https://docs.ros.org/en/humble/p/hri_msgs/msg/Expression.html, its comments left out.
DEFINITION = """
std_msgs/Header header
string NEUTRAL="neutral"
string ANGRY="angry"
string SAD="sad"
string HAPPY="happy"
string SURPRISED="surprised"
string DISGUSTED="disgusted"
string SCARED="scared"
string PLEADING="pleading"
string VULNERABLE="vulnerable"
string DESPAIRED="despaired"
string GUILTY="guilty"
string DISAPPOINTED="disappointed"
string EMBARRASSED="embarrassed"
string HORRIFIED="horrified"
string SKEPTICAL="skeptical"
string ANNOYED="annoyed"
string FURIOUS="furious"
string SUSPICIOUS="suspicious"
string REJECTED="rejected"
string BORED="bored"
string TIRED="tired"
string ASLEEP="asleep"
string CONFUSED="confused"
string AMAZED="amazed"
string EXCITED="excited"
string expression
float32 valence
float32 arousal
float32 confidence
"""
CONSTANTS = re.findall(r'^string [A-Z]+="(\w+)"$', DEFINITION, re.MULTILINE)
FIELDS = dict(reversed(line.split()) for line in DEFINITION.split("\n") if line and "=" not in line)


def check(content: dict) -> None:
    """Fails unless ``content`` is the message with every field of its type and in its range."""
    assert set(content) == set(FIELDS)
    assert set(content["header"]) == {"stamp", "frame_id"}
    assert isinstance(content["header"]["frame_id"], str)
    when = content["header"]["stamp"]
    assert set(when) == {"sec", "nanosec"}
    assert all(type(each) is int for each in when.values())
    assert -(2**31) <= when["sec"] < 2**31
    assert 0 <= when["nanosec"] < 10**9
    assert content["expression"] in CONSTANTS
    for name, least in (("valence", -1), ("arousal", -1), ("confidence", 0)):
        assert FIELDS[name] == "float32"
        assert isinstance(content[name], float)
        assert math.isfinite(content[name])
        assert least <= content[name] <= 1


class Rosbridge:
    """Takes what the protocol allows, in the order that it allows; what it does not goes to ``faults``."""

    def __init__(self, port: int = 0, refuse: bool = False) -> None:
        self.advertised: list[tuple[str, str]] = []
        self.published: list[dict] = []
        self.withdrawn: list[str] = []
        self.faults: list[str] = []
        self._refuse = refuse
        self._server = serve(self._handle, "127.0.0.1", port, ping_interval=None)
        self.port = self._server.socket.getsockname()[1]
        self._open: list = []
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _handle(self, connection) -> None:
        self._open.append(connection)
        topics: set[str] = set()
        with suppress(ConnectionClosed):
            for text in connection:
                try:
                    self._take(connection, json.loads(text), topics)
                except Exception as error:
                    self.faults.append(f"{text}: {error!r}")

    def _take(self, connection, content: dict, topics: set[str]) -> None:
        if content["op"] == "advertise":
            assert set(content) == {"op", "topic", "type"}
            self.advertised.append((content["topic"], content["type"]))
            topics.add(content["topic"])
            with suppress(ConnectionClosed):  # a client that is already done does not wait for this
                if self._refuse:
                    problem = "Unable to load the manifest for package hri_msgs."
                    connection.send(json.dumps({"op": "status", "level": "error", "msg": problem}))
                connection.send(json.dumps({"op": "status", "level": "warning", "msg": "no matter"}))
        elif content["op"] == "publish":
            assert set(content) == {"op", "topic", "msg"}
            assert content["topic"] in topics
            check(content["msg"])
            self.published.append(content["msg"])
        else:
            assert content["op"] == "unadvertise"
            assert content["topic"] in topics
            self.withdrawn.append(content["topic"])

    def stop(self) -> None:
        self._server.shutdown()
        for each in self._open:
            with suppress(OSError):
                each.socket.shutdown(2)
        self._thread.join()


@pytest.fixture
def servers():
    started: list[Rosbridge] = []
    yield started
    for each in started:
        with suppress(OSError):
            each.stop()


def test_every_label_becomes_a_message_of_the_definition(servers: list[Rosbridge]) -> None:
    server = Rosbridge()
    servers.append(server)
    fanout = open_sinks([f"rosbridge://127.0.0.1:{server.port}/humans/faces/f1/expression?frame=camera"], LABELS, {})
    for number, label in enumerate((*LABELS, "unknown", "happy")):
        fanout.publish(answer(number, label, sure=0.6))
    fanout.close(10)
    until(lambda: server.withdrawn)
    assert server.faults == []
    assert server.advertised == [("/humans/faces/f1/expression", "hri_msgs/msg/Expression")]
    said = [each["expression"] for each in server.published]
    assert said == ["neutral", "angry", "happy", "sad", "scared", "surprised", "happy"]  # nothing for unknown
    assert {each["header"]["frame_id"] for each in server.published} == {"camera"}
    assert server.published[1]["header"]["stamp"] == {"sec": 1795514401, "nanosec": 250_000_000}
    assert {each["confidence"] for each in server.published} == {0.6}


def test_a_server_that_is_gone_and_back_gets_the_topic_advertised_again(servers: list[Rosbridge]) -> None:
    server = Rosbridge()
    servers.append(server)
    fanout = open_sinks([f"rosbridge://127.0.0.1:{server.port}/face"], LABELS, {})
    fanout.publish(answer(1))
    until(lambda: server.published)
    server.stop()
    until(lambda: fanout.status()[0].condition is Condition.lost)
    fanout.publish(answer(2, "sad"))
    again = Rosbridge(server.port)
    servers.append(again)
    until(lambda: again.published)
    fanout.close(5)
    assert again.advertised == [("/face", "hri_msgs/msg/Expression")]
    assert [each["expression"] for each in again.published] == ["sad"]
    assert server.faults == again.faults == []


def test_what_the_server_complains_of_is_in_the_status(servers: list[Rosbridge]) -> None:
    server = Rosbridge(refuse=True)
    servers.append(server)
    fanout = open_sinks([f"rosbridge://127.0.0.1:{server.port}/face"], LABELS, {})
    until(lambda: fanout.status()[0].condition is Condition.lost)
    error = fanout.status()[0].error
    fanout.close(0.1)
    assert error == "rosbridge says: Unable to load the manifest for package hri_msgs."


def test_the_words_are_those_of_the_definition() -> None:
    assert list(EXPRESSIONS) == CONSTANTS
    assert set(DEFAULT) == set(LABELS)
    assert {each.expression for each in DEFAULT.values()} <= set(CONSTANTS)


def test_time_is_exact() -> None:
    assert stamp("1970-01-01T00:00:00.001Z") == {"sec": 0, "nanosec": 1_000_000}
    assert stamp("2026-11-24T10:00:00.999+00:00") == {"sec": 1795514400, "nanosec": 999_000_000}
    assert stamp("2026-11-24T12:00:00.100+02:00") == {"sec": 1795514400, "nanosec": 100_000_000}
    for wrong in ("", "soon", "2026-11-24T10:00:00"):
        with pytest.raises(ValueError, match=r"time|Invalid"):
            stamp(wrong)


def test_valence_and_arousal_are_weighted_by_the_scores() -> None:
    mapping = mapping_for(LABELS, None)
    for label in LABELS:
        sure = {each: float(each == label) for each in LABELS}
        assert mean(sure, mapping) == (DEFAULT[label].valence, DEFAULT[label].arousal)
    half = {"happy": 0.25, "angry": 0.75}
    assert mean(half, mapping) == pytest.approx((0.25 * 0.8 - 0.75 * 0.6, 0.25 * 0.5 + 0.75 * 0.7))
    assert mean({"happy": 1, "angry": 3}, mapping) == pytest.approx(mean(half, mapping))
    assert mean({}, mapping) == mean({"happy": 0.0}, mapping) == (0.0, 0.0)


def test_the_smoothed_answer_is_sent() -> None:
    emotion = answer(1, "sad")
    content = message(emotion, mapping_for(LABELS, None))
    check(content)
    assert content["valence"] == pytest.approx(0.75 * -0.7 + 0.05 * (0.0 - 0.6 + 0.8 - 0.4 + 0.1), abs=1e-4)


ENTRY = {"expression": "tired", "valence": -0.2, "arousal": -1}


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_a_mapping_may_be_json_or_toml(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m.{ending}"
    if ending == "json":
        path.write_text(json.dumps({"calm": ENTRY, "upset": {**ENTRY, "expression": "furious"}}))
    else:
        rest = "valence = -0.2\narousal = -1\n"
        path.write_text(f'[calm]\nexpression = "tired"\n{rest}[upset]\nexpression = "furious"\n{rest}')
    mapping = mapping_for(["calm", "upset"], path)
    assert mapping["calm"].model_dump() == {"expression": "tired", "valence": -0.2, "arousal": -1.0}
    assert mapping["upset"].expression == "furious"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"calm": {**ENTRY, "expression": "suprised"}}, "did you mean surprised?"),
        ({"calm": {**ENTRY, "expression": "worried"}}, "no expression 'worried'"),
        ({"calm": {**ENTRY, "expression": "HAPPY"}}, "did you mean happy?"),
        ({"calm": {**ENTRY, "valence": 1.1}}, "calm.valence"),
        ({"calm": {**ENTRY, "arousal": float("nan")}}, "calm.arousal"),
        ({"calm": {**ENTRY, "arousal": True}}, "calm.arousal"),
        ({"calm": {**ENTRY, "arousal": "0.5"}}, "calm.arousal"),
        ({"calm": {**ENTRY, "dominance": 0}}, "calm.dominance"),
        ({"calm": {"expression": "sad"}}, "calm.valence"),
        ({"calm": "sad"}, "calm"),
        ({"clam": ENTRY}, "did you mean calm?"),
        ({"calm": ENTRY, "other": ENTRY}, "no label 'other'"),
        ({}, "does not map calm"),
        ([], "is no mapping"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(tmp_path: Path, content, says: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput) as caught:
        open_sinks([f"rosbridge://127.0.0.1/face?mapping={path}"], ["calm"], {})
    assert says in caught.value.what


def test_a_mapping_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("calm = {")
    (tmp_path / "m.json").write_text("{")
    (tmp_path / "n.json").write_bytes(b"\xff")
    for name in ("m.toml", "m.json", "n.json", "none.json"):
        with pytest.raises(BadInput):
            mapping_for(["calm"], tmp_path / name)
    with pytest.raises(UsageError, match="calm"):
        mapping_for(["calm", "happy"], None)
