"""Errors as answers: a status, what is wrong, and what to do about it."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.types import Message, Receive, Scope, Send

from mosear.runtime.errors import BadInput, MosearError, UsageError, one_line

Headers = Mapping[str, str]


class What(BaseModel):
    """What is wrong and what to do about it, one line each."""

    what: str = Field(description="What is wrong.")
    fix: str = Field(description="What to do about it.")


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: What


class Refused(MosearError):
    """A request that is not served.

    Args:
        status: the HTTP status.
        what, remedy: see ``MosearError``.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, what: str, remedy: str, headers: Headers | None = None) -> None:
        super().__init__(what, remedy)
        self.status = status
        self.headers = dict(headers or {})


class Busy(Refused):
    """All places are taken; ``retry_after`` is in whole seconds."""

    def __init__(self, what: str, retry_after: int, status: int = 429) -> None:
        super().__init__(status, what, f"try again in {retry_after} s", {"Retry-After": str(retry_after)})
        self.retry_after = retry_after


class Stopping(Busy):
    """The server is about to end."""

    def __init__(self, retry_after: int = 5) -> None:
        super().__init__("the server is stopping", retry_after, 503)


def status_of(error: MosearError) -> int:
    """The HTTP status of an error that a request ended on."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status
    if isinstance(error, UsageError):
        return 400
    return 422 if isinstance(error, BadInput) else 500


def headers_of(error: MosearError) -> dict[str, str]:
    """The headers that go with it."""
    headers = dict(getattr(error, "headers", {}))
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers.setdefault("Retry-After", str(retry_after))
    return headers


def error_of(what: str, fix: str) -> dict[str, dict[str, str]]:
    """The body of an answer that is an error."""
    return {"error": {"what": one_line(what), "fix": one_line(fix)}}


def body_of(error: MosearError) -> dict[str, dict[str, str]]:
    """The same for an error that was raised."""
    return error_of(error.what, error.remedy)


def encoded(value: object) -> bytes:
    """JSON, as it goes over the line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def raw_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def refuse(scope: Scope, receive: Receive, send: Send, error: MosearError) -> None:
    """Answer a request or the opening of a WebSocket with ``error``."""
    body = encoded(body_of(error))
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers_of(error)}
    kind = "http"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": one_line(error.what, 100)})
            return
        kind = "websocket.http"
        await receive()  # what opens it
    start: Message = {"type": f"{kind}.response.start", "status": status_of(error)}
    await send({**start, "headers": raw_headers(headers.items())})
    await send({"type": f"{kind}.response.body", "body": body})


def phrase(status: int) -> str:
    """What a status is called."""
    return HTTPStatus(status).phrase.lower()
