"""Who may ask: the Host and Origin of a request, its token, and the headers that every answer carries."""

import hmac
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mosear.runtime.server.errors import Refused, raw_headers, refuse
from mosear.runtime.server.settings import LOOPBACK_NAMES, ServerSettings, is_loopback

SUBPROTOCOL = "mosear"
"""What a WebSocket that carries its token as a subprotocol is opened with, beside ``bearer.TOKEN``."""

POLICY = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

_ANSWER_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LONGEST_HEAD = 16 << 10
"""Bytes of a request before its body."""

_OPEN_PREFIXES = ("/v2/health/", "/page/")


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


def _split(authority: str) -> tuple[str, str]:
    """Host in lower case without brackets, and port ("" when there is none). Raises ValueError."""
    if not authority.isascii() or any(c.isspace() or c in "/@?#\\," for c in authority):
        raise ValueError(authority)
    if authority.startswith("["):
        host, closing, rest = authority[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise ValueError(authority)
        port = rest[1:]
        ip_address(host)
    else:
        host, _, port = authority.partition(":")
    if (port and not port.isdigit()) or not host:
        raise ValueError(authority)
    return host.lower().removesuffix("."), port


class Gate:
    """Lets a request or a WebSocket through when its Host, its Origin and its token are right.

    A name that is not known is refused even on loopback, so that no page on the web can have a browser ask this server
    under a name of its own (DNS rebinding). An address is known when the request came in on it: a browser that is told
    an address asks no name server.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._token = settings.token.encode() if settings.token else None
        self._names: set[str] = set(LOOPBACK_NAMES)
        self._exact: set[tuple[str, str]] = set()
        for name in settings.allow_hosts:
            host, port = _split(f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name)
            if port:
                self._exact.add((host, port))
            else:
                self._names.add(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check_framing(scope)
            self._check_host(scope)
            self._check_origin(scope)
            self._check_token(scope)
        except Refused as error:
            if scope["type"] == "http":
                # What follows on a connection of doubtful meaning is not looked at.
                error.headers["Connection"] = "close"
            await refuse(scope, receive, send, error)
            return
        await self._app(scope, receive, send)

    def _check_framing(self, scope: Scope) -> None:
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size + len(scope["path"]) + len(scope["query_string"]) > LONGEST_HEAD:
            raise Refused(431, "the head of the request is too long", f"send at most {LONGEST_HEAD} bytes")
        # Two readings of where a request ends let one be smuggled past a proxy (RFC 9112, 6.1).
        if _values(scope, b"transfer-encoding") and _values(scope, b"content-length"):
            raise Refused(
                400,
                "the request has both a Content-Length and a Transfer-Encoding",
                "send one of them",
            )

    def _check_host(self, scope: Scope) -> None:
        given = _values(scope, b"host")
        try:
            host, port = _split(given[0]) if len(given) == 1 else ("", "")
        except ValueError:
            host, port = "", ""
        known = host in self._names or (host, port) in self._exact or self._is_own_address(host, scope)
        if not host or not known:
            raise Refused(421, "the Host header names another server", "allow the name with --allow-host")

    def _is_own_address(self, host: str, scope: Scope) -> bool:
        own = (scope.get("server") or ("",))[0]
        try:
            return bool(host) and ip_address(host) == ip_address(own)
        except ValueError:
            return False

    def _check_origin(self, scope: Scope) -> None:
        given = _values(scope, b"origin")
        if not given:
            return
        scheme, separator, authority = given[0].partition("://")
        try:
            origin = _split(authority)
            asked = _split(_values(scope, b"host")[0])
        except ValueError:
            origin, asked = ("", ""), ("", "-")
        same = origin == asked or origin in self._exact or (origin[0] in self._names and not is_loopback(origin[0]))
        if len(given) != 1 or not separator or scheme not in ("http", "https") or not same:
            raise Refused(403, "the request comes from a page of another origin", "open the page of this server itself")

    def _check_token(self, scope: Scope) -> None:
        path = scope["path"]
        if self._token is None or path == "/" or path.startswith(_OPEN_PREFIXES):
            return
        offered = list(_tokens(scope))
        # One only: of several, something in between may have looked at another.
        if len(offered) != 1 or not hmac.compare_digest(offered[0], self._token):
            raise Refused(
                401,
                "a token is needed" if not offered else "the token is not right",
                "send it as Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="mosear"'},
            )


def _tokens(scope: Scope) -> Iterable[bytes]:
    for value in _values(scope, b"authorization"):
        scheme, _, token = value.partition(" ")
        yield token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
    if scope["type"] == "websocket" and SUBPROTOCOL in scope.get("subprotocols", ()):
        for name in scope["subprotocols"]:
            if name.startswith("bearer."):
                yield name.removeprefix("bearer.").encode("latin-1")


class AnswerHeaders:
    """Puts the headers that keep browsers strict on every answer that does not have its own."""

    always = raw_headers(_ANSWER_HEADERS.items())

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def strict(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                present = {name.lower() for name, _ in message.get("headers", [])}
                more = [pair for pair in self.always if pair[0] not in present]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self._app(scope, receive, strict)
