"""What a server is told, and what it refuses to be told."""

import logging
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from mosear.runtime.errors import BadInput, UsageError

DEFAULT_PORT = 8461
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
TOKEN_VARIABLE = "MOSEAR_TOKEN"

_log = logging.getLogger("mosear")

_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 1024


@dataclass(frozen=True)
class ServerSettings:
    """How a server works. Times are in seconds.

    Attributes:
        host, port: where it listens; port 0 lets the system choose.
        token: what clients must know; None only on loopback.
        allow_hosts: names beside the loopback ones that clients may call it by, each with or without a port.
        queue: how many requests are taken on at once; further ones are sent away with 429.
        max_batch: how many waiting windows the model is given at once.
        max_upload_bytes: of one clip.
        max_seconds: of one clip.
        max_pixels: of one picture of a clip.
        decode_s: what decoding one clip may take.
        decoders: how many clips are decoded at once, each in a process of its own.
        decode_memory_mb: of one such process, in MiB.
        allow_picture: whether the live picture may be asked for.
        grace_s: how long what is running may take when the server stops.
        event_clients: how many may follow the events at once.
        event_backlog: events kept for a slow one of them; beyond, it loses the oldest.
        heartbeat_s: between two pings of a WebSocket; one that does not answer is closed.
        status_s: between two events of the kind ``status``.
        requests: how many requests of any kind are served at once.
        header_s: what a client may take to send the head of a request.
        read_s: what a client may take to read what waits for it.
        body_slack_s, body_rate: a clip must arrive within the slack plus its bytes over the rate, in bytes a second.

    Raises:
        UsageError: one of them is out of range, or the server would be open to others without a token.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    queue: int = 16
    max_batch: int = 1
    max_upload_bytes: int = 64 << 20
    max_seconds: float = 60.0
    max_pixels: int = 10_000_000
    decode_s: float = 30.0
    decoders: int = 2
    decode_memory_mb: int = 1024
    allow_picture: bool = False
    grace_s: float = 20.0
    event_clients: int = 32
    event_backlog: int = 64
    heartbeat_s: float = 15.0
    status_s: float = 2.0
    requests: int = 256
    header_s: float = 10.0
    read_s: float = 30.0
    body_slack_s: float = 10.0
    body_rate: int = 32 << 10

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port {self.port} is out of range", "choose one from 1 to 65535, or 0 for any")
        if not self.host:
            raise UsageError("the host to listen on is empty", "name an address, such as 127.0.0.1")
        for name in _POSITIVE:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name.replace('_', ' ')} of {value} is out of range", "choose a number above 0")
        if not (math.isfinite(self.grace_s) and self.grace_s >= 0):
            raise UsageError(f"a grace of {self.grace_s} s is out of range", "choose 0 or more seconds")
        for name in self.allow_hosts:
            _check_host_name(name)
        if self.token is not None:
            check_token(self.token)
        elif not is_loopback(self.host):
            raise UsageError(
                f"{self.host} can be reached by others, and there is no token",
                f"give --token-file or {TOKEN_VARIABLE}, or listen on 127.0.0.1",
            )


_POSITIVE = (
    "queue",
    "max_batch",
    "max_upload_bytes",
    "max_seconds",
    "max_pixels",
    "decode_s",
    "decoders",
    "decode_memory_mb",
    "event_clients",
    "event_backlog",
    "heartbeat_s",
    "status_s",
    "requests",
    "header_s",
    "read_s",
    "body_slack_s",
    "body_rate",
)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``. Of names, ``localhost`` alone is taken to be so."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_token(token: str) -> None:
    """Raise UsageError unless ``token`` is one that can be sent in a header and is hard to guess."""
    if not (_SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN):
        raise UsageError(
            f"the token has {len(token)} characters where {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} are needed",
            "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    # The characters of a token in RFC 9110, which a WebSocket's subprotocol can carry too.
    if not all(c.isascii() and (c.isalnum() or c in "-._~+") for c in token):
        raise UsageError("the token holds a character that a header can't carry", "use letters, digits and -._~+ only")


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token from a file, else from the environment, else None.

    Raises:
        BadInput: the file can't be read.
        UsageError: it is no good as a token.
    """
    if file is None:
        token = environment.get(TOKEN_VARIABLE, "").strip() or None
    else:
        try:
            with file.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                token = opened.read(_LONGEST_TOKEN + 2).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"the token's file {file} can't be read ({error})", "check its path and permissions") from (
                error
            )
        if stat.S_ISREG(mode) and mode & stat.S_IROTH:
            # No error: secrets are mounted so in containers, where there are no others.
            _log.warning("others on this machine can read %s; chmod o= it", file)
    if token is not None:
        check_token(token)
    return token


def _check_host_name(name: str) -> None:
    host, _, port = name.removeprefix("[").replace("]", "").rpartition(":") if ":" in name else (name, "", "")
    plain = name and all(c.isascii() and (c.isalnum() or c in "-._:[]") for c in name)
    if not plain or (port and not port.isdigit() and not _is_address(name)) or (":" in name and not host):
        raise UsageError(f"{name!r} is not a host name", "give a name such as robot.local, or robot.local:8461")


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
