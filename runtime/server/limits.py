"""What a request may cost before anybody looks at it: its body's bytes and pace, and how many there are at once."""

import asyncio
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mosear.runtime.server.errors import Busy, Refused, refuse
from mosear.runtime.server.settings import ServerSettings

_DRAINED_BYTES = 1 << 20
_DRAINED_S = 1.0
_HEALTH = "/v2/health/"


class Crowd:
    """Sends requests away with 503 when too many are being served; health checks always get through."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith(_HEALTH):
            await self._app(scope, receive, send)
            return
        if self._count >= self._most:
            await refuse(scope, receive, send, Busy("too many requests are being served", 1, 503))
            return
        self._count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._count -= 1


class BodyLimits:
    """Cuts off bodies that are too long or too slow, and ends answers to bodies that were not read to their end.

    A body that says its length is refused before it is read; one in chunks, as soon as it is too long. What the
    application sees of a refusal is ``Refused``, raised by ``receive``.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self._settings)
        try:
            length = body.announced()
            if length is not None and length > self._settings.max_upload_bytes:
                raise too_large(self._settings.max_upload_bytes)
        except Refused as error:
            await refuse(scope, body.receive, body.send, error)
            return
        await self._app(scope, body.receive, body.send)


def too_large(most: int) -> Refused:
    """What is said of a body of more than ``most`` bytes."""
    return Refused(413, f"the body has more than {most} bytes", "send a shorter clip, or start with --max-upload-mb")


class _Body:
    """One request's body on its way in, and the end of the answer on its way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: ServerSettings) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._settings = settings
        self._began = time.monotonic()
        self._bytes = 0
        names = {name for name, _ in scope["headers"]}
        self._ended = b"transfer-encoding" not in names and self.announced() in (None, 0)
        self._lingers = False

    def announced(self) -> int | None:
        """The Content-Length, None without one."""
        given = [value for name, value in self._scope["headers"] if name == b"content-length"]
        if not given:
            return None
        if len(set(given)) != 1 or not given[0].isdigit() or len(given[0]) > 18:
            raise Refused(400, "the Content-Length is no number of bytes", "send the number of bytes that follow")
        return int(given[0])

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        allowed = self._settings.body_slack_s + self._bytes / self._settings.body_rate
        left = allowed - (time.monotonic() - self._began)
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.0))
        except asyncio.TimeoutError:
            raise Refused(
                408,
                "the body comes too slowly",
                f"send at least {self._settings.body_rate} bytes a second",
            ) from None
        self._count(message)
        if self._bytes > self._settings.max_upload_bytes:
            raise too_large(self._settings.max_upload_bytes)
        return message

    def _count(self, message: Message) -> None:
        self._bytes += len(message.get("body", b""))
        self._ended = message["type"] == "http.disconnect" or not message.get("more_body", False)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._ended:
            # The rest of the body would be taken for the next request's head, or read without end.
            self._lingers = True
            headers = [pair for pair in message.get("headers", []) if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        if message["type"] == "http.response.body" and self._lingers and not message.get("more_body", False):
            # Closing on a client that still sends makes its system throw the answer away, so it is heard out a little.
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _drain(self) -> None:
        most = self._bytes + _DRAINED_BYTES
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drain_up_to(most), _DRAINED_S)

    async def _drain_up_to(self, most: int) -> None:
        while not self._ended and self._bytes < most:
            self._count(await self._receive())
