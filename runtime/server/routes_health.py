"""``/v2/health`` as KServe has it, and ``/metrics``."""

from fastapi import APIRouter, Response
from pydantic import BaseModel

from mosear.runtime.server.errors import Refused
from mosear.runtime.server.metrics import CONTENT_TYPE
from mosear.runtime.server.responses import errors
from mosear.runtime.server.service import Service

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_RETRY_S = "2"


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Requests are taken."""

    ready: bool


def health_routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["operation"])

    @router.get("/v2/health/live", summary="Is the process alive?", response_model=Live, responses=errors(403, 421))
    async def live() -> Live:
        return Live(live=True)

    @router.get(
        "/v2/health/ready", summary="Are requests taken?", response_model=Ready, responses=errors(403, 421, 503)
    )
    async def ready() -> Ready:
        """503 when the model's thread has ended, or the server is stopping."""
        if not service.ready:
            why = "the server is stopping" if service.stopping else "the model is not running"
            raise Refused(503, why, "wait until it is started again", {"Retry-After": _RETRY_S})
        return Ready(ready=True)

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": _TEXT, "description": "Prometheus' text form."}, **errors(401, 403, 421, 500, 503)},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return router
