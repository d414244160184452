"""A line and a count for every request, and an answer for whatever else goes wrong.

Paths are told by their template, and queries, headers and bodies not at all: they may hold what somebody said.
"""

import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mosear.runtime.errors import Failed
from mosear.runtime.server.errors import refuse
from mosear.runtime.server.metrics import Metrics, Stopwatch

_log = logging.getLogger("mosear")

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
_QUIET = ("/v2/health/", "/metrics", "/page/", "/v1/live/picture")
_PAGE = "/page/"
_OTHER = "other"


class RequestLog:
    """The outermost layer of the application.

    Args:
        app: what it goes around.
        metrics: what is told of each request.
        paths: those that are told apart; all others are one.
        debug: log traces of what goes wrong.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str], debug: bool = False) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths
        self._debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        watch, status = Stopwatch(), 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, seen)
        except Exception as error:
            self._tell_of(error)
            if status:
                # The answer has begun: only breaking off can say that it is not whole.
                raise Broken from None
            failed = Failed("something went wrong inside mosear", "report what the server's log says")
            await refuse(scope, receive, seen, failed)
        finally:
            self._note(scope, status, watch.seconds)

    def _tell_of(self, error: Exception) -> None:
        # Not the text of the error, which may quote the request.
        _log.error("a request failed (%s)", type(error).__name__)
        if self._debug:
            _log.error("%s", "".join(traceback.format_tb(error.__traceback__)))

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        template = path if path in self._paths else _PAGE + "{name}" if path.startswith(_PAGE) else _OTHER
        # 499 is what nginx says of a client that went away before its answer.
        self._metrics.request(template, status or 499, seconds)
        method = "WS" if scope["type"] == "websocket" else scope["method"]
        level = logging.DEBUG if path.startswith(_QUIET) and status < 500 else logging.INFO
        shown = method if method in _METHODS or method == "WS" else "?"
        _log.log(level, "%s %s %d %.0f ms", shown, template, status or 499, seconds * 1000)


class Broken(Exception):
    """An answer broke off after its beginning; what it was is in the log."""
