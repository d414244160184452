"""What a user may call a sink → what is opened. Nothing that names a sink to others holds a secret."""

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mosear.runtime.errors import BadInput, UsageError

FORMS = (
    "jsonl:PATH, csv:PATH, ws://HOST[:PORT]/PATH, wss://…, mqtt://[USER@]HOST[:PORT]/BASE_TOPIC, mqtts://…, "
    "or rosbridge://HOST[:PORT]/TOPIC"
)
PASSWORD = "MOSEAR_MQTT_PASSWORD"
PASSWORD_FILE = "MOSEAR_MQTT_PASSWORD_FILE"
TOKEN = "MOSEAR_WS_TOKEN"

_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_ROSBRIDGE_PORT = 9090
_NODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROS_TOPIC = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


@dataclass(frozen=True)
class LinesSpec:
    """A file of JSON lines (``form`` jsonl) or of CSV (csv)."""

    name: str
    form: str
    path: Path


@dataclass(frozen=True)
class WebSocketSpec:
    """A WebSocket server; ``url`` is all that the user gave, ``token`` goes with it as a Bearer token."""

    name: str
    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class MqttSpec:
    """A broker, and the topics below ``base``; ``discovery`` is Home Assistant's prefix, None for none of it."""

    name: str
    host: str
    port: int
    tls: bool
    base: str
    node: str
    discovery: str | None
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class RosSpec:
    """A rosbridge server and a topic of ``hri_msgs/msg/Expression``; ``frame`` is the header's ``frame_id``."""

    name: str
    url: str
    topic: str
    frame: str
    mapping: Path | None


SinkSpec = LinesSpec | WebSocketSpec | MqttSpec | RosSpec


def parse_sinks(texts: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[SinkSpec]:
    """Each text as ``parse_sink`` reads it.

    Raises:
        UsageError: as ``parse_sink``, or one sink is named twice.
    """
    specs: list[SinkSpec] = []
    for text in texts:
        spec = parse_sink(text, environment)
        if spec.name in [each.name for each in specs]:
            raise UsageError(f"the sink {spec.name} is named twice", "name each sink once")
        specs.append(spec)
    return specs


def parse_sink(text: str, environment: Mapping[str, str] = os.environ) -> SinkSpec:
    """What a sink's text means. Secrets come from ``environment``: see ``docs/sinks.md``.

    Raises:
        UsageError: it means nothing, or holds a password.
        BadInput: the file of the password can't be read.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in ("jsonl", "csv"):
        if not rest:
            raise UsageError(f"the sink {scheme}: names no file", f"write {scheme}:PATH")
        path = Path(rest).expanduser()
        return LinesSpec(f"{scheme}:{path}", scheme, path)
    reader = _readers().get(scheme)
    if reader is None or not rest.startswith("//"):
        # A secret may be anywhere in a text that nobody understands, so no more than its beginning is shown.
        shown = scheme if re.fullmatch(r"[A-Za-z0-9+.-]{1,20}", scheme) else "the text"
        raise UsageError(f"{shown} is no sink", f"use {FORMS}")
    return reader(_split(text, scheme), environment)


def _readers() -> dict[str, Callable[[SplitResult, Mapping[str, str]], SinkSpec]]:
    return {"ws": _websocket, "wss": _websocket, "mqtt": _mqtt, "mqtts": _mqtt, "rosbridge": _rosbridge}


def _split(text: str, scheme: str) -> SplitResult:
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise UsageError(f"the {scheme} sink is no valid address", f"use {FORMS}") from error
    if url.password is not None:
        raise UsageError(
            f"the {scheme} sink has a password in it, where other users of this machine can read it",
            f"leave it out and set {PASSWORD}, or {PASSWORD_FILE} to a file that holds it"
            if scheme in _MQTT_PORTS
            else f"leave it out; for ws and wss set {TOKEN}",
        )
    if not host:
        raise UsageError(f"the {scheme} sink names no host", f"use {FORMS}")
    if url.username is not None and scheme not in _MQTT_PORTS:
        raise UsageError(f"a {scheme} sink takes no user", f"leave it out; for ws and wss set {TOKEN}")
    if url.fragment:
        raise UsageError(f"the {scheme} sink has a # in it", "write %23 for it, or leave it out")
    return url


def _address(url: SplitResult) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else f"{url.hostname}"
    return host if url.port is None else f"{host}:{url.port}"


def _websocket(url: SplitResult, environment: Mapping[str, str]) -> WebSocketSpec:
    return WebSocketSpec(f"{url.scheme}://{_address(url)}{url.path}", url.geturl(), environment.get(TOKEN) or None)


def _mqtt(url: SplitResult, environment: Mapping[str, str]) -> MqttSpec:
    options = _options(url, ("discovery", "node"))
    base = unquote(url.path).removeprefix("/")
    if not base or set(base) & set("+#\0") or base.startswith("$") or "" in base.split("/"):
        raise UsageError(
            "the base topic of the mqtt sink is missing or can't be published to",
            "write mqtt://HOST/BASE_TOPIC, such as mqtt://broker/kiosk1/mosear, without +, #, $ and empty levels",
        )
    node = options.get("node", re.sub(r"[^A-Za-z0-9_-]", "_", base)[:64])
    if not _NODE.fullmatch(node):
        raise UsageError("node of the mqtt sink can't be used", "use up to 64 of letters, digits, _ and -")
    prefix = options.get("discovery", "homeassistant")
    if not prefix or set(prefix) & set("+#\0") or "" in prefix.split("/"):
        raise UsageError("discovery of the mqtt sink can't be used", "write discovery=homeassistant, or discovery=off")
    user = unquote(url.username) if url.username else None
    password = _password(environment)
    if password is not None and user is None:
        raise UsageError(
            "there is a password for MQTT, but the mqtt sink names no user", f"write mqtt://USER@…, or unset {PASSWORD}"
        )
    return MqttSpec(
        name=f"{url.scheme}://{_address(url)}/{base}",
        host=url.hostname or "",
        port=url.port or _MQTT_PORTS[url.scheme],
        tls=url.scheme == "mqtts",
        base=base,
        node=node,
        discovery=None if prefix == "off" else prefix,
        user=user,
        password=password,
    )


def _rosbridge(url: SplitResult, environment: Mapping[str, str]) -> RosSpec:
    options = _options(url, ("mapping", "frame"))
    if not _ROS_TOPIC.fullmatch(url.path):
        raise UsageError(
            "the topic of the rosbridge sink is missing or no ROS name",
            "write rosbridge://HOST[:PORT]/TOPIC, such as rosbridge://robot/humans/faces/f1/expression",
        )
    mapping = Path(options["mapping"]).expanduser() if "mapping" in options else None
    address = _address(url) if url.port else f"{_address(url)}:{_ROSBRIDGE_PORT}"
    name = f"rosbridge://{address}{url.path}"
    return RosSpec(name, f"ws://{address}/", url.path, options.get("frame", ""), mapping)


def _options(url: SplitResult, allowed: Sequence[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError as error:
        raise UsageError(
            f"what follows ? in the {url.scheme} sink is not NAME=VALUE", _allowed(url, allowed)
        ) from error
    options = dict(pairs)
    for name in options:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"the {url.scheme} sink has no option of that name", hint + _allowed(url, allowed))
    if len(options) < len(pairs):
        raise UsageError(f"the {url.scheme} sink has an option twice", _allowed(url, allowed))
    return options


def _allowed(url: SplitResult, allowed: Sequence[str]) -> str:
    return f"{url.scheme} takes " + " and ".join(f"{name}=…" for name in allowed) + ", joined by &"


def _password(environment: Mapping[str, str]) -> str | None:
    given, file = environment.get(PASSWORD), environment.get(PASSWORD_FILE)
    if given and file:
        raise UsageError(f"both {PASSWORD} and {PASSWORD_FILE} are set", "unset one of them")
    if not file:
        return given or None
    try:
        password = Path(file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the file that {PASSWORD_FILE} names can't be read", "give the path of a text file") from error
    if not password:
        raise BadInput(f"the file that {PASSWORD_FILE} names is empty", "write the password into it, and nothing else")
    return password
