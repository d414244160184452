"""HTTP/1.1 as uvicorn speaks it, with an end to heads that never end, and refusals in the form of all others."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mosear.runtime.server.errors import encoded, error_of
from mosear.runtime.server.security import AnswerHeaders


def line_protocol(header_s: float, read_s: float, most: int) -> type[H11Protocol]:
    """A protocol for ``uvicorn.Config``.

    Args:
        header_s: seconds that a client may take over the head of a request.
        read_s: seconds that a client may take to read what waits for it.
        most: connections at once; further ones are closed at once.
    """

    class Line(_Line):
        _header_s = header_s
        _read_s = read_s
        _most = most

    return Line


class _Line(H11Protocol):
    _header_s: float
    _read_s: float
    _most: int
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _upgraded = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.abort()
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        # A client that asks and does not read would keep its place for good; closing would wait for it, too.
        self._read_timer = asyncio.get_running_loop().call_later(self._read_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_waiting()
        super().resume_writing()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch_head()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._upgraded = True
        self._stop_watching()
        super().handle_websocket_upgrade(event)

    def _watch_head(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if not idle or self._upgraded or self.transport.is_closing():
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = asyncio.get_running_loop().call_later(self._header_s, self._too_slow)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_waiting(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408, "the head of the request comes too slowly", "send it in one go")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not HTTP/1.1, or its head is too long", "see RFC 9112")

    def _refuse(self, status: int, what: str, fix: str) -> None:
        self._stop_watching()
        body = encoded(error_of(what, fix))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *AnswerHeaders.always,
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(status_code=status, headers=headers, reason=b"")
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
