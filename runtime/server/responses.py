"""Answers as OpenAPI describes them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mosear.runtime.server.errors import ErrorBody, phrase

_WHEN = {
    400: "the query or a header is wrong",
    401: "a token is needed, or it is not right",
    403: "not allowed, or the request comes from a page of another origin",
    404: "there is none",
    408: "the body came too slowly, or took too long to decode",
    409: "this model can't give reasons",
    413: "the clip is too large",
    415: "the body is no clip that can be decoded",
    421: "the Host header names another server",
    422: "the clip is too long, its pictures are too large, or it does not fit the model",
    429: "there is no room for another client; see Retry-After",
    500: "the server failed",
    503: "the server is stopping, or has too much to do; see Retry-After",
    507: "there is no room on the server's disk",
}


class LiveBody(BaseModel):
    """What a live answer has beside the answer."""

    time: str
    sequence: int
    latency_ms: float
    dropped: int
    smoothed_label: str
    smoothed_scores: dict[str, float]


class EmotionBody(BaseModel):
    """How the expression in a window reads: an estimate, not a statement of what a person feels."""

    model_config = ConfigDict(extra="allow")

    schema_: str = Field(alias="schema", examples=["mosear.emotion/1"])
    clip: str
    start: float
    end: float
    label: str
    scores: dict[str, float]
    by_modality: dict[str, dict[str, float] | None]
    conflict: float | None
    reliance: dict[str, float] | None
    reallocated_heads: list[list[int]]
    states: list[str]
    timings_ms: dict[str, float]
    reason: str | None = None
    live: LiveBody | None = None


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation that are errors."""
    return {status: error(status) for status in statuses}


def error(status: int) -> dict[str, Any]:
    """One of them."""
    described: dict[str, Any] = {"model": ErrorBody, "description": f"{phrase(status)}: {_WHEN[status]}".capitalize()}
    if status in (429, 503):
        described["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    return described
