"""The MQTT sink against a real mosquitto, seen through mosquitto_sub."""

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sinks_fakes import DEADLINE_S, answer, free_port, until

from mosear.runtime.capture.stream import Condition
from mosear.runtime.modality import LABELS
from mosear.runtime.sinks import SinkLost, mqtt
from mosear.runtime.sinks.discovery import entities
from mosear.runtime.sinks.fanout import open_sinks
from mosear.runtime.sinks.mqtt import Mqtt, differs, state_of
from mosear.runtime.sinks.specs import parse_sink

HERE = Path(__file__).parent
BROKER = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
LISTENER = shutil.which("mosquitto_sub")
PASSWORDS = shutil.which("mosquitto_passwd")
SECRET = "hunter2s"

needs_broker = pytest.mark.skipif(not (BROKER and LISTENER), reason="mosquitto and mosquitto_sub are not installed")


class Broker:
    """A mosquitto on a free port of the loopback; what it retains is gone when it is killed."""

    def __init__(self, folder: Path, port: int | None = None, user: str | None = None, tls: bool = False) -> None:
        self.port = port or free_port()
        self._access = ["-u", user, "-P", SECRET] if user else []
        lines = [f"listener {self.port} 127.0.0.1", "persistence false"]
        if tls:
            lines += [f"cafile {folder}/ca.pem", f"certfile {folder}/ca.pem", f"keyfile {folder}/key.pem"]
            self._access = ["--cafile", f"{folder}/ca.pem"]
        if user:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            subprocess.run([PASSWORDS, "-b", passwords, user, SECRET], check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines += ["allow_anonymous true"]
        configuration = folder / "mosquitto.conf"
        configuration.write_text("\n".join([*lines, "user root", ""]))
        self._log = folder / "mosquitto.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([BROKER, "-c", configuration], stderr=log)
        try:
            until(self._answers, "the start of mosquitto")
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def read(self, topic: str, count: int, seconds: float = DEADLINE_S) -> list[tuple[str, str, str]]:
        """The next ``count`` messages for a subscriber that comes now: topic, whether it was retained, content."""
        command = [LISTENER, "-h", "127.0.0.1", "-p", str(self.port), *self._access, "-t", topic, "-q", "1"]
        options = ["-C", str(count), "-W", str(int(seconds)), "-F", "%t\t%r\t%p"]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        return [tuple(line.split("\t", 2)) for line in done.stdout.splitlines()]

    def retained(self, topic: str) -> str | None:
        found = self.read(topic, 1, 1)
        return found[0][2] if found and found[0][1] == "1" else None


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    started: list[Broker] = []
    yield started
    for each in started:
        each.kill()


def start(brokers: list[Broker], folder: Path, **options) -> Broker:
    brokers.append(Broker(folder, **options))
    return brokers[-1]


@needs_broker
def test_who_comes_late_finds_state_availability_and_discovery(brokers, tmp_path: Path) -> None:
    broker = start(brokers, tmp_path)
    fanout = open_sinks([f"mqtt://127.0.0.1:{broker.port}/hall/kiosk1?node=kiosk1"], LABELS, {})
    fanout.publish(answer(3, "sad", conflict=0.31234))
    until(lambda: fanout.status()[0].delivered == 1)
    found = {topic: (retained, json_of(text)) for topic, retained, text in broker.read("#", 6)}
    state = {
        "label": "sad",
        "confidence": 0.75,
        "conflict": 0.312,
        "in_view": True,
        "states": ["no_speech"],
        "time": "2026-11-24T10:00:03.250Z",
    }
    assert found.pop("hall/kiosk1/state") == ("1", state)
    assert found.pop("hall/kiosk1/availability") == ("1", "online")
    assert set(found) == {
        "homeassistant/sensor/mosear_kiosk1/label/config",
        "homeassistant/sensor/mosear_kiosk1/confidence/config",
        "homeassistant/sensor/mosear_kiosk1/conflict/config",
        "homeassistant/binary_sensor/mosear_kiosk1/in_view/config",
    }
    for retained, entity in found.values():
        assert retained == "1"
        assert entity["state_topic"] == "hall/kiosk1/state"
        assert entity["availability_topic"] == "hall/kiosk1/availability"
        assert entity["device"]["identifiers"] == ["mosear_kiosk1"]
    identities = [entity["unique_id"] for _, entity in found.values()]
    assert len(set(identities)) == 4
    label = found["homeassistant/sensor/mosear_kiosk1/label/config"][1]
    assert (label["device_class"], label["options"]) == ("enum", list(LABELS))
    assert not {"state_class", "unit_of_measurement"} & set(label)  # Home Assistant refuses them beside an enum
    fanout.close(5)
    assert broker.retained("hall/kiosk1/availability") == "offline"


def json_of(text: str):
    return json.loads(text) if text.startswith("{") else text


@needs_broker
def test_every_answer_is_published_whole_and_not_retained(brokers, tmp_path: Path) -> None:
    broker = start(brokers, tmp_path)
    got: list = []
    listener = threading.Thread(target=lambda: got.extend(broker.read("b/emotion", 3)))
    listener.start()
    fanout = open_sinks([f"mqtt://127.0.0.1:{broker.port}/b?discovery=off"], LABELS, {})
    number = 0
    while listener.is_alive():  # QoS 0: what was sent before somebody listened is not seen
        number += 1
        fanout.publish(answer(number))
        listener.join(0.05)
    assert len(got) == 3
    first = json.loads(got[0][2])
    assert first == answer(first["live"]["sequence"]).to_dict()
    assert [text[1] for text in got] == ["0"] * 3
    fanout.close(5)
    assert broker.retained("b/emotion") is None
    assert {topic for topic, _, _ in broker.read("#", 9, 1)} == {"b/state", "b/availability"}  # no discovery


@needs_broker
def test_the_state_is_published_when_it_changes_and_when_it_is_old(brokers, tmp_path: Path, monkeypatch) -> None:
    broker = start(brokers, tmp_path)
    sent: list[str] = []
    real = Mqtt._publish

    def publish(self, topic: str, *rest, **more) -> None:
        sent.append(topic)
        real(self, topic, *rest, **more)

    monkeypatch.setattr(Mqtt, "_publish", publish)
    sink = Mqtt(parse_sink(f"mqtt://127.0.0.1:{broker.port}/b?discovery=off", {}), LABELS)
    for number, sure in ((1, 0.75), (2, 0.75), (3, 0.76), (4, 0.9)):
        sink.write(answer(number, sure=sure))
    assert sent == ["b/availability", "b/emotion", "b/state", *["b/emotion"] * 3, "b/state"]
    monkeypatch.setattr(mqtt, "REFRESH_S", 0.0)
    sink.write(answer(5, sure=0.9))
    assert sent[-2:] == ["b/emotion", "b/state"]
    assert json.loads(broker.retained("b/state"))["time"] == "2026-11-24T10:00:05.250Z"
    sink.close()


@needs_broker
@pytest.mark.skipif(not PASSWORDS, reason="mosquitto_passwd is not installed")
def test_user_and_password(brokers, tmp_path: Path, caplog) -> None:
    broker = start(brokers, tmp_path, user="eve")
    address = f"127.0.0.1:{broker.port}/b"
    fanout = open_sinks([f"mqtt://eve@{address}"], LABELS, {"MOSEAR_MQTT_PASSWORD": SECRET})
    until(lambda: fanout.status()[0].condition is Condition.live)
    assert broker.retained("b/availability") == "online"
    fanout.close(5)
    for user, environment in (("eve@", {"MOSEAR_MQTT_PASSWORD": SECRET + "x"}), ("", {})):
        fanout = open_sinks([f"mqtt://{user}{address}"], LABELS, environment)
        until(lambda fanout=fanout: fanout.status()[0].condition is Condition.lost)
        (status,) = fanout.status()
        fanout.close(0.2)
        assert status.error == "the broker refuses: Not authorized"
        assert SECRET not in str(status)
    assert SECRET not in caplog.text


CLIENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from sinks_fakes import answer
from mosear.runtime.modality import LABELS
from mosear.runtime.sinks.fanout import open_sinks
fanout = open_sinks([sys.argv[2]], LABELS, {})
while True:
    fanout.publish(answer(1))
    time.sleep(0.05)
"""


@needs_broker
def test_a_client_that_is_killed_leaves_its_will(brokers, tmp_path: Path) -> None:
    broker = start(brokers, tmp_path)
    sink = f"mqtt://127.0.0.1:{broker.port}/b"
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(HERE), sink])
    try:
        until(lambda: broker.retained("b/availability") == "online", "coming online")
        until(lambda: broker.retained("b/state"), "the state")
        client.send_signal(signal.SIGKILL)
        client.wait()
        until(lambda: broker.retained("b/availability") == "offline", "the will")
    finally:
        client.kill()
        client.wait()


@needs_broker
def test_a_broker_that_is_killed_and_started_again_is_told_all_again(brokers, tmp_path: Path) -> None:
    broker = start(brokers, tmp_path)
    fanout = open_sinks([f"mqtt://127.0.0.1:{broker.port}/b?node=n"], LABELS, {})
    fanout.publish(answer(1))
    until(lambda: fanout.status()[0].delivered == 1)
    broker.kill()
    until(lambda: fanout.status()[0].condition is Condition.lost)
    for number in (2, 3):
        fanout.publish(answer(number, "angry"))
    again = start(brokers, tmp_path, port=broker.port)
    until(lambda: fanout.status()[0].delivered == 3)
    assert fanout.status()[0].reconnects >= 1
    found = {topic: text for topic, _, text in again.read("#", 6)}
    assert found["b/availability"] == "online"
    assert json.loads(found["b/state"])["label"] == "angry"
    assert "homeassistant/sensor/mosear_n/label/config" in found
    fanout.close(5)


@needs_broker
def test_a_broker_that_is_lost_while_there_is_nothing_to_say_is_found_again(brokers, tmp_path: Path) -> None:
    broker = start(brokers, tmp_path)
    fanout = open_sinks([f"mqtt://127.0.0.1:{broker.port}/b"], LABELS, {})
    until(lambda: fanout.status()[0].condition is Condition.live)
    broker.kill()
    until(lambda: fanout.status()[0].condition is Condition.lost)
    again = start(brokers, tmp_path, port=broker.port)
    until(lambda: again.retained("b/availability") == "online")
    fanout.close(5)


@needs_broker
def test_a_broker_that_hangs_is_lost_in_time_and_connections_leave_nothing_open(brokers, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mqtt, "SEND_S", 0.3)
    broker = start(brokers, tmp_path)
    spec = parse_sink(f"mqtt://127.0.0.1:{broker.port}/b", {})
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()  # what only a collection would close is a leak for as long as there is none
    try:
        for _ in range(20):
            Mqtt(spec, LABELS).close()
        assert len(os.listdir("/proc/self/fd")) <= before
    finally:
        gc.enable()
    sink = Mqtt(spec, LABELS)
    os.kill(broker._process.pid, signal.SIGSTOP)
    with pytest.raises(SinkLost, match="takes no messages"):
        sink.write(answer(1))
    sink.close()
    os.kill(broker._process.pid, signal.SIGCONT)


def test_a_broker_that_takes_the_connection_and_never_answers_stops_nobody(monkeypatch) -> None:
    monkeypatch.setattr(mqtt, "OPEN_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fanout = open_sinks([f"mqtt://127.0.0.1:{listener.getsockname()[1]}/b"], LABELS, {}, bound=10)
        connection, _ = listener.accept()
        assert connection.recv(1) == b"\x10"  # it waits for the answer to its CONNECT
        for number in range(1000):
            fanout.publish(answer(number))
        assert fanout.status()[0].dropped == 990
        until(lambda: fanout.status()[0].condition is Condition.lost)
        assert fanout.status()[0].error == "the broker does not answer"
        fanout.close(0.1)
        connection.close()


def test_nobody_there_is_lost_and_says_so() -> None:
    with pytest.raises(SinkLost, match="refused"):
        Mqtt(parse_sink(f"mqtt://127.0.0.1:{free_port()}/b", {}), LABELS)


@needs_broker
@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_tls_with_a_certificate_that_is_trusted_and_one_that_is_not(brokers, tmp_path: Path, monkeypatch) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "ca.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    broker = start(brokers, tmp_path, tls=True)
    spec = parse_sink(f"mqtts://127.0.0.1:{broker.port}/b", {})
    with pytest.raises(SinkLost, match="not trusted"):
        Mqtt(spec, LABELS)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    sink = Mqtt(spec, LABELS)
    sink.write(answer(1))
    assert json.loads(broker.retained("b/state"))["label"] == "happy"
    sink.close()


@pytest.mark.parametrize(
    ("emotion", "said"),
    [
        (answer(1, conflict=0.5), ("happy", "0.75", "0.5", "True")),
        (answer(1, states=["no_face"]), ("happy", "0.75", "None", "False")),
        (answer(1, "unknown", states=["no_video", "no_audio"]), ("None", "None", "None", "None")),
    ],
)
def test_home_assistant_reads_the_state_with_its_templates(emotion, said: tuple[str, ...]) -> None:
    jinja2 = pytest.importorskip("jinja2")
    state = json.loads(json.dumps(state_of(emotion)))
    found = {}
    for entity in entities("homeassistant", "n", "b", LABELS).values():
        text = jinja2.Template(entity["value_template"]).render(value_json=state)
        found[entity["unique_id"]] = text
        allowed = entity.get("options") or [entity[name] for name in ("payload_on", "payload_off") if name in entity]
        assert text == "None" or not allowed or text in allowed
    assert tuple(found[f"mosear_n_{name}"] for name in ("label", "confidence", "conflict", "in_view")) == said


@pytest.mark.parametrize(
    ("states", "in_view"),
    [
        ([], True),
        (["no_speech"], True),
        (["no_face"], False),
        (["no_face", "whole_frame"], False),
        (["whole_frame"], None),
        (["no_video"], None),
        (["dark"], None),
        (["covered", "no_audio"], None),
    ],
)
def test_someone_in_view_is_said_only_when_it_is_known(states: list[str], in_view: bool | None) -> None:
    assert state_of(answer(1, states=states))["in_view"] is in_view


def test_an_unknown_label_has_no_confidence() -> None:
    state = state_of(answer(1, "unknown"))
    assert (state["label"], state["confidence"]) == ("unknown", None)


def test_a_state_differs_when_it_says_something_else() -> None:
    base = state_of(answer(1, conflict=0.5))
    assert not differs(base, state_of(answer(2, conflict=0.52)))
    for other in (
        answer(1, "sad", conflict=0.5),
        answer(1, conflict=0.56),
        answer(1, conflict=None),
        answer(1, sure=0.81, conflict=0.5),
        answer(1, conflict=0.5, states=["no_face"]),
    ):
        assert differs(base, state_of(other))
