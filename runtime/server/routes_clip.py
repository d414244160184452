"""``/v1/emotion`` and ``/v1/reason``: a clip's bytes → its answers."""

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from mosear.runtime.server.clip_answers import Asked
from mosear.runtime.server.clip_response import ANSWERS_SCHEMA, ClipResponse, Form
from mosear.runtime.server.errors import Refused
from mosear.runtime.server.responses import EmotionBody, errors
from mosear.runtime.server.service import Service
from mosear.runtime.windows import SHORTEST_WINDOW

LEAST_HOP = 0.1
"""Seconds. Together with the length of a clip it bounds how many windows a request can ask for."""

_TRANSCRIPT_BYTES = 4096
_HEX = "[0-9A-Fa-f]"
_MORE = f"%[89ABab]{_HEX}"
# The bytes that are UTF-8 (RFC 3629, 4), percent-encoded, so that what the document allows is what is taken.
_PERCENT_ENCODED = "^(?:{})*$".format(
    "|".join(
        (
            "[!-$&-~ \\t]",
            f"%[0-7]{_HEX}",
            f"%(?:[Cc][2-9A-Fa-f]|[Dd]{_HEX}){_MORE}",
            f"%[Ee](?:0%[ABab]{_HEX}|[Dd]%[89]{_HEX}|[1-9A-Ca-cEeFf]{_MORE}){_MORE}",
            f"%[Ff](?:0%[9ABab]{_HEX}|4%8{_HEX}|[1-3]{_MORE}){_MORE}{_MORE}",
        )
    )
)
_ERRORS = (400, 401, 403, 408, 413, 415, 421, 422, 429, 500, 503, 507)
_BODY = {
    "required": True,
    "description": "The bytes of a video, sound or picture file. Its Content-Type is not looked at.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_STREAMS = {
    Form.lines: "An answer a line. An error after the first answer is the last line.",
    Form.events: "Events of the kinds emotion and error.",
}


class Answers(BaseModel):
    """The answers to a clip."""

    schema_: str = Field(alias="schema", examples=[ANSWERS_SCHEMA])
    emotions: list[EmotionBody]


def clip_routes(service: Service) -> APIRouter:
    """The routes, with the model's own bounds in their documentation."""
    router = APIRouter(tags=["clips"])
    longest = service.manifest.preprocessing.window_s
    window_query = Query(
        ge=min(SHORTEST_WINDOW, longest),
        le=longest,
        allow_inf_nan=False,
        description="Seconds a window; the longest by default.",
    )
    hop_query = Query(
        ge=LEAST_HOP,
        le=600,
        allow_inf_nan=False,
        description="Seconds between starts of windows; the window by default.",
    )
    transcript_header = Header(
        alias="Mosear-Transcript",
        max_length=_TRANSCRIPT_BYTES,
        pattern=_PERCENT_ENCODED,
        description="What is said in the clip, as percent-encoded UTF-8. Never in the query, which servers log.",
    )

    @router.post(
        "/v1/emotion",
        summary="Answer a clip",
        response_model=None,
        responses={
            200: {**_streamed(Form.lines), "model": Answers},
            **errors(*_ERRORS),
        },
        openapi_extra={"requestBody": _BODY},
    )
    async def emotion(
        window: Annotated[float | None, window_query] = None,
        hop: Annotated[float | None, hop_query] = None,
        transcript: Annotated[str | None, transcript_header] = None,
        accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        """How the expression in each window reads. Ask for `application/x-ndjson` to get one answer a line as they
        come."""
        form = chosen(accept, (Form.json, Form.lines))
        return ClipResponse(service, Asked(window, hop, decoded(transcript), False), form)

    @router.post(
        "/v1/reason",
        summary="Answer a clip with the model's reasons",
        response_model=None,
        responses={
            200: _streamed(Form.lines, Form.events),
            **errors(*_ERRORS, 409),
        },
        openapi_extra={"requestBody": _BODY},
    )
    async def reason(
        window: Annotated[float | None, window_query] = None,
        hop: Annotated[float | None, hop_query] = None,
        transcript: Annotated[str | None, transcript_header] = None,
        accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        """The same with the model's words under `reason`, streamed: one answer a line, or as server-sent events for
        `text/event-stream`."""
        check_can_reason(service)
        form = chosen(accept, (Form.lines, Form.events))
        return ClipResponse(service, Asked(window, hop, decoded(transcript), True), form)

    return router


def check_can_reason(service: Service) -> None:
    """Raise ``Refused`` when the model has no task for giving reasons."""
    if not service.can_reason:
        raise Refused(409, "this model can't give reasons", "ask for /v1/emotion, or serve a bundle that can")


def chosen(accept: str | None, forms: tuple[Form, ...]) -> Form:
    """The form that an Accept header names first; the first of ``forms`` when it names none of them."""
    for part in (accept or "").split(","):
        for form in forms:
            if part.partition(";")[0].strip().lower() == form.value:
                return form
    return forms[0]


def decoded(transcript: str | None) -> str | None:
    """The text of a percent-encoded header, None when it is blank."""
    return unquote_to_bytes(transcript or "").decode().strip() or None


def _streamed(*forms: Form) -> dict[str, Any]:
    content = {form.value: {"schema": {"type": "string", "description": _STREAMS[form]}} for form in forms}
    return {"description": "The answers, in the order of the windows.", "content": content}
