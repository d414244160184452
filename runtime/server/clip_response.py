"""The answer to an upload: takes the body in, and sends what the model says, as one object or as it comes."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, suppress
from enum import Enum
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mosear.runtime.errors import MosearError
from mosear.runtime.results import Emotion
from mosear.runtime.server.clip_answers import CLIP, Asked, answers
from mosear.runtime.server.errors import body_of, encoded, raw_headers
from mosear.runtime.server.service import Service
from mosear.runtime.server.uploads import Gone, receive_body

ANSWERS_SCHEMA = "mosear.answers/1"


class Form(str, Enum):
    """The forms of an answer, by their media types."""

    json = "application/json"
    lines = "application/x-ndjson"
    events = "text/event-stream"


class ClipResponse(Response):
    """Runs a request with a clip to its end.

    The place at the model is taken before the body is read, so that nobody uploads in vain, and so that the folder of
    uploads holds no more clips than there are places. When the client goes away, its windows are dropped.

    Args:
        service: what serves it.
        asked: what is asked of the clip.
        form: the form of the answer.
    """

    def __init__(self, service: Service, asked: Asked, form: Form) -> None:
        super().__init__()
        self._service = service
        self._asked = asked
        self._form = form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        service.check_ready()
        with service.worker.job(CLIP, self._asked.reason) as job, service.uploads.file() as (path, file):
            try:
                await receive_body(receive, file)
                async with aclosing(answers(service, job, path, self._asked)) as stream:
                    await _while_there(receive, self._send_all(stream, send))
            except Gone:
                return

    async def _send_all(self, stream: AsyncIterator[Emotion], send: Send) -> None:
        if self._form is Form.json:
            emotions = [each.to_dict() async for each in stream]
            body = encoded({"schema": ANSWERS_SCHEMA, "emotions": emotions})
            await self._start(send, [("Content-Length", str(len(body)))])
            await send({"type": "http.response.body", "body": body})
            return
        # The first answer is waited for, so that a clip that can't be decoded gets a status that says so.
        first = await anext(stream, None)
        await self._start(send, [("X-Accel-Buffering", "no")])
        try:
            if first is not None:
                await self._part(send, "emotion", first.to_dict())
            async for each in stream:
                await self._part(send, "emotion", each.to_dict())
        except MosearError as error:
            # The status is gone by now: the stream ends with the error instead.
            await self._part(send, "error", body_of(error))
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, send: Send, more: list[tuple[str, str]]) -> None:
        headers = raw_headers([("Content-Type", self._form.value), *more])
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _part(self, send: Send, kind: str, value: object) -> None:
        line = encoded(value) + b"\n"
        if self._form is Form.events:
            line = b"event: " + kind.encode() + b"\ndata: " + line + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it ends or the client goes away; raises ``Gone`` then."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        else:
            raise Gone
    finally:
        for each in (task, watch):
            each.cancel()
        for each in (task, watch):
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
