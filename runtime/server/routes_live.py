"""``/v1/live`` and ``/v1/events``: the live source, if there is one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.websockets import WebSocket, WebSocketDisconnect

from mosear.runtime.errors import MosearError
from mosear.runtime.server.errors import Refused, encoded, refuse
from mosear.runtime.server.events import Follower
from mosear.runtime.server.responses import errors
from mosear.runtime.server.routes_clip import check_can_reason
from mosear.runtime.server.security import SUBPROTOCOL
from mosear.runtime.server.service import LiveSource, Service

_JPEG = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_GUARDED = (401, 403, 421)


class ModelBody(BaseModel):
    """The model that answers."""

    name: str
    labels: list[str]
    layers: int
    heads: int
    reallocating_layers: list[int]
    temperature: float
    precision: str
    target: str


class LinkBody(BaseModel):
    """How it stands with one source or sink."""

    kind: str
    name: str
    condition: str
    reconnects: int
    error: str | None
    delivered: int
    dropped: int


class StatusBody(BaseModel):
    """How the live run is doing."""

    model_config = ConfigDict(extra="allow")

    running: bool
    answers: int
    dropped: int
    sources: list[LinkBody]
    sinks: list[LinkBody]


class About(BaseModel):
    """What the server runs; ``status`` is null without a live source."""

    model: ModelBody
    notice: str
    intended_use: str
    window_s: float
    hop_s: float
    picture_allowed: bool
    status: StatusBody | None


class Accepted(BaseModel):
    """The next live answer will have a reason."""

    accepted: bool


def live_routes(service: Service) -> APIRouter:
    """The routes but for the events."""
    router = APIRouter(tags=["live"])

    @router.get("/v1/live", summary="What runs here", response_model=About, responses=errors(*_GUARDED, 500, 503))
    async def live() -> Response:
        """The model, the notice for the people in view, and how the live source is doing."""
        return _json(service.about())

    @router.get(
        "/v1/live/picture",
        summary="The newest picture of the camera",
        response_class=Response,
        responses={200: {"content": _JPEG, "description": "A JPEG."}, **errors(*_GUARDED, 404, 500, 503)},
    )
    async def picture() -> Response:
        """Only on a server that was started with `--allow-picture`; 403 elsewhere."""
        if not service.settings.allow_picture:
            raise Refused(403, "pictures are not shown here", "start the server with --allow-picture")
        source = _source(service)
        data = await asyncio.get_running_loop().run_in_executor(None, source.newest_picture)
        if data is None:
            raise Refused(404, "there is no picture at the moment", "try again when the camera is back")
        return Response(data, media_type="image/jpeg")

    @router.post(
        "/v1/live/reason",
        summary="Ask for a reason",
        status_code=202,
        response_model=Accepted,
        responses=errors(*_GUARDED, 404, 409, 500, 503),
    )
    async def reason() -> Response:
        """The next live answer carries the model's words under `reason`."""
        check_can_reason(service)
        _source(service).ask_reason()
        return _json({"accepted": True}, 202)

    return router


def event_routes(service: Service) -> APIRouter:
    """The same path as server-sent events and as a WebSocket."""
    router = APIRouter(tags=["live"])

    @router.get(
        "/v1/events",
        summary="Follow the live source",
        response_class=StreamingResponse,
        responses={200: {"content": _STREAM, "description": "Events as JSON."}, **errors(*_GUARDED, 429, 500, 503)},
    )
    async def events() -> Response:
        """Server-sent events: `{"type": "emotion", "emotion": …}` for every answer, and
        `{"type": "status", "status": …}` on connecting and every two seconds. As a WebSocket, the same path gives the
        same objects."""
        service.check_ready()
        follower = service.hub.follow()
        return StreamingResponse(_framed(service, follower), media_type="text/event-stream")

    @router.websocket("/v1/events")
    async def socket(websocket: WebSocket) -> None:
        try:
            service.check_ready()
            follower = service.hub.follow()
        except MosearError as error:
            await refuse(websocket.scope, websocket.receive, websocket.send, error)
            return
        try:
            offered = websocket.scope["subprotocols"]
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await _talk(service, follower, websocket)
        finally:
            follower.close()

    return router


async def _talk(service: Service, follower: Follower, websocket: WebSocket) -> None:
    """Send events until the client goes or the server stops. What the client says is not listened to."""

    async def hear() -> None:
        while True:
            if (await websocket.receive())["type"] == "websocket.disconnect":
                return

    async def tell() -> None:
        async for event in _events(service, follower):
            await websocket.send_text(event.decode())
        await websocket.close(1012, "the server is stopping")

    tasks = {asyncio.ensure_future(hear()), asyncio.ensure_future(tell())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in tasks:
            each.cancel()
        for each in tasks:
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, OSError):
                await each


async def _framed(service: Service, follower: Follower) -> AsyncIterator[bytes]:
    try:
        async for event in _events(service, follower):
            yield b"data: " + event + b"\n\n"
    finally:
        follower.close()


async def _events(service: Service, follower: Follower) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not follower.ended:
        if loop.time() >= due:
            due = loop.time() + service.settings.status_s
            yield encoded({"type": "status", "status": None if service.live is None else service.live.status()})
        event = await follower.next(due - loop.time())
        if event is not None:
            yield event


def _source(service: Service) -> LiveSource:
    if service.live is None:
        raise Refused(404, "there is no live source here", "start the server with --camera or --mic")
    return service.live


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False, allow_nan=False), status, media_type="application/json")
