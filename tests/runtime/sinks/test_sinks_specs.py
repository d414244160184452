"""What a sink may be called, and that no secret leaks from it."""

from pathlib import Path

import pytest

from mosear.runtime.errors import BadInput, MosearError, UsageError
from mosear.runtime.sinks.specs import LinesSpec, MqttSpec, RosSpec, WebSocketSpec, parse_sink, parse_sinks

SECRET = "hunter2s"


def test_files() -> None:
    assert parse_sink("jsonl:/a/b c.jsonl", {}) == LinesSpec("jsonl:/a/b c.jsonl", "jsonl", Path("/a/b c.jsonl"))
    assert parse_sink("csv:out:1.csv", {}) == LinesSpec("csv:out:1.csv", "csv", Path("out:1.csv"))
    assert parse_sink("csv:~/x.csv", {}).path == Path.home() / "x.csv"


def test_websocket() -> None:
    spec = parse_sink(f"wss://host:8443/live?key={SECRET}", {"MOSEAR_WS_TOKEN": SECRET})
    assert isinstance(spec, WebSocketSpec)
    assert (spec.name, spec.token) == ("wss://host:8443/live", SECRET)
    assert spec.url == f"wss://host:8443/live?key={SECRET}"
    assert SECRET not in repr(spec)
    assert parse_sink("ws://[::1]:80/x", {}).name == "ws://[::1]:80/x"


def test_mqtt() -> None:
    spec = parse_sink("mqtt://eve@broker/hall/kiosk 1", {"MOSEAR_MQTT_PASSWORD": SECRET})
    assert isinstance(spec, MqttSpec)
    assert (spec.host, spec.port, spec.tls, spec.base) == ("broker", 1883, False, "hall/kiosk 1")
    assert (spec.user, spec.password, spec.node, spec.discovery) == ("eve", SECRET, "hall_kiosk_1", "homeassistant")
    assert "eve" not in spec.name
    assert SECRET not in repr(spec)
    other = parse_sink("mqtts://broker:9999/b?discovery=ha/sub&node=k-1", {})
    assert (other.port, other.tls, other.node, other.discovery) == (9999, True, "k-1", "ha/sub")
    assert parse_sink("mqtts://broker/b?discovery=off", {}).discovery is None
    assert parse_sink("mqtts://broker/b", {}).port == 8883


def test_the_password_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    assert parse_sink("mqtt://eve@b/t", {"MOSEAR_MQTT_PASSWORD_FILE": str(file)}).password == SECRET
    with pytest.raises(UsageError, match="both"):
        parse_sink("mqtt://eve@b/t", {"MOSEAR_MQTT_PASSWORD_FILE": str(file), "MOSEAR_MQTT_PASSWORD": "x"})
    with pytest.raises(BadInput, match="can't be read"):
        parse_sink("mqtt://eve@b/t", {"MOSEAR_MQTT_PASSWORD_FILE": str(tmp_path / "none")})
    file.write_text("\n")
    with pytest.raises(BadInput, match="empty"):
        parse_sink("mqtt://eve@b/t", {"MOSEAR_MQTT_PASSWORD_FILE": str(file)})


def test_rosbridge() -> None:
    spec = parse_sink("rosbridge://robot/humans/faces/f1/expression?mapping=m.toml&frame=camera_link", {})
    assert isinstance(spec, RosSpec)
    assert (spec.url, spec.topic) == ("ws://robot:9090/", "/humans/faces/f1/expression")
    assert (spec.frame, spec.mapping) == ("camera_link", Path("m.toml"))
    assert parse_sink("rosbridge://[::1]:1/t", {}).url == "ws://[::1]:1/"


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("", "jsonl:PATH"),
        ("answers.jsonl", "jsonl:PATH"),
        ("json:x", "jsonl:PATH"),
        ("http://host/x", "jsonl:PATH"),
        ("mqtt:host/x", "jsonl:PATH"),
        ("jsonl:", "jsonl:PATH"),
        ("csv:", "csv:PATH"),
        ("ws://", "jsonl:PATH"),
        ("ws:///path", "jsonl:PATH"),
        ("ws://host:99999/", "jsonl:PATH"),
        ("ws://[::1/x", "jsonl:PATH"),
        ("ws://host/x#y", "%23"),
        ("ws://eve@host/x", "MOSEAR_WS_TOKEN"),
        ("mqtt://host", "BASE_TOPIC"),
        ("mqtt://host/", "BASE_TOPIC"),
        ("mqtt://host/a/+/b", "BASE_TOPIC"),
        ("mqtt://host/a/%23", "BASE_TOPIC"),
        ("mqtt://host/$SYS/x", "BASE_TOPIC"),
        ("mqtt://host/a//b", "BASE_TOPIC"),
        ("mqtt://host/a/", "BASE_TOPIC"),
        ("mqtt://host/a?node=a/b", "letters"),
        ("mqtt://host/a?discovery=", "discovery=off"),
        ("mqtt://host/a?dicsovery=off", "did you mean discovery?"),
        ("mqtt://host/a?node=a&node=b", "node"),
        ("mqtt://host/a?node", "node"),
        ("rosbridge://robot", "TOPIC"),
        ("rosbridge://robot/", "TOPIC"),
        ("rosbridge://robot/1st", "TOPIC"),
        ("rosbridge://robot/a//b", "TOPIC"),
        ("rosbridge://robot/a-b", "TOPIC"),
        ("rosbridge://robot/t?maping=x", "did you mean mapping?"),
    ],
)
def test_what_means_nothing_is_refused_with_what_is_allowed(text: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sink(text, {})
    assert fix in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        f"mqtt://eve:{SECRET}@host/base",
        f"mqtts://eve:{SECRET}@host/base",
        f"ws://eve:{SECRET}@host/base",
        f"wss://:{SECRET}@host/base",
        f"rosbridge://eve:{SECRET}@host/base",
        f"mqtt:eve:{SECRET}@host/base",
        f"mqtt://eve:{SECRET}@host:99999/base",
        f"http://eve:{SECRET}@host/base",
        f"eve {SECRET}",
        f"mqtt://host/base?password={SECRET}",
        f"ws://host/x#{SECRET}",
    ],
)
def test_a_secret_in_a_sink_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(MosearError) as caught:
        parse_sink(text, {})
    assert SECRET not in caught.value.what + caught.value.remedy
    if "eve:" in text and text.startswith("mqtt") and ":99999" not in text and "//" in text:
        assert "MOSEAR_MQTT_PASSWORD" in caught.value.remedy


def test_a_password_without_a_user_would_do_nothing_and_is_refused() -> None:
    with pytest.raises(UsageError, match="names no user"):
        parse_sink("mqtt://host/base", {"MOSEAR_MQTT_PASSWORD": SECRET})


def test_a_sink_is_named_once() -> None:
    assert parse_sinks([], {}) == []
    with pytest.raises(UsageError, match="twice"):
        parse_sinks(["csv:a.csv", "jsonl:a.jsonl", "csv:a.csv"], {})
