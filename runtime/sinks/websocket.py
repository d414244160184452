"""Answers to a WebSocket server, each a text message."""

import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping

from mosear.runtime.errors import Failed
from mosear.runtime.results import Emotion
from mosear.runtime.sinks import SinkLost
from mosear.runtime.sinks.specs import WebSocketSpec

try:
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect
except ImportError as error:
    raise Failed(f"websockets can't be imported ({error})", "pip install 'mosear[sinks]'") from error

OPEN_S = 10.0
SEND_S = 10.0
_CLOSE_S = 2.0
_PING_S = 15.0
_MAX_MESSAGE = 1 << 20

# The library logs the whole request, token and all, and its own traces. This logger is in nobody's configuration.
_quiet = logging.Logger("websockets", logging.CRITICAL + 1)


class Wire:
    """An open connection of text messages, used by one thread. The server is pinged, and lost when it does not answer.

    Args:
        url: ``ws://…`` or ``wss://…``.
        headers: of the opening request.

    Raises:
        SinkLost: the server can't be reached or refuses.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        with _trouble():
            self._connection = connect(
                url,
                additional_headers=dict(headers or {}),
                open_timeout=OPEN_S,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                close_timeout=_CLOSE_S,
                max_size=_MAX_MESSAGE,
                logger=_quiet,
            ).__enter__()
        # Sending has no time limit in the library, and a server that reads nothing would hold us for ever.
        limit = struct.pack("ll", int(SEND_S), 0)
        with contextlib.suppress(OSError):
            self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def send(self, text: str) -> None:
        """Send a message; blocks up to ``SEND_S`` seconds. Raises ``SinkLost``."""
        with _trouble():
            self._connection.send(text)

    def received(self) -> list[str]:
        """The text messages that came since the last call. Raises ``SinkLost`` when the connection is gone."""
        texts: list[str] = []
        with _trouble(), contextlib.suppress(TimeoutError):
            while True:
                message = self._connection.recv(timeout=0)
                if isinstance(message, str):
                    texts.append(message)
        return texts

    def close(self) -> None:
        """End the connection, within seconds."""
        self._connection.close()


class WebSocket:
    """An open WebSocket sink. What the server sends is read and thrown away.

    Args:
        spec: where to.

    Raises:
        SinkLost: as ``Wire``.
    """

    def __init__(self, spec: WebSocketSpec) -> None:
        self.name = spec.name
        self._wire = Wire(spec.url, {"Authorization": f"Bearer {spec.token}"} if spec.token else None)

    def write(self, emotion: Emotion) -> None:
        """Send the answer's JSON. Raises ``SinkLost``."""
        text = emotion.to_json()
        self._wire.received()
        self._wire.send(text)

    def check(self) -> None:
        """Raises ``SinkLost`` when the connection is gone."""
        self._wire.received()

    def close(self) -> None:
        """End the connection."""
        self._wire.close()


@contextlib.contextmanager
def _trouble() -> Iterator[None]:
    # The library's own words may hold the address with all that the user put into it.
    try:
        yield
    except InvalidStatus as error:
        status = error.response.status_code
        hint = "; is MOSEAR_WS_TOKEN right?" if status in (401, 403) else ""
        raise SinkLost(f"the server answered {status}{hint}") from None
    except WebSocketException as error:
        raise SinkLost(f"the connection failed or ended ({type(error).__name__})") from None
    except TimeoutError:
        raise SinkLost("the server does not answer") from None
    except ssl.SSLCertVerificationError as error:
        raise SinkLost(f"the server's certificate is not trusted: {error.verify_message}") from None
    except OSError as error:
        raise SinkLost(f"the connection failed: {error.strerror or type(error).__name__}") from None
