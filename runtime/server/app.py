"""The application: endpoints, and around them the layers that every request passes."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from mosear.runtime.errors import MosearError
from mosear.runtime.server.errors import Refused, body_of, encoded, headers_of, phrase, status_of
from mosear.runtime.server.limits import BodyLimits, Crowd
from mosear.runtime.server.request_log import RequestLog
from mosear.runtime.server.routes_clip import clip_routes
from mosear.runtime.server.routes_health import health_routes
from mosear.runtime.server.routes_live import event_routes, live_routes
from mosear.runtime.server.routes_page import page_routes
from mosear.runtime.server.security import AnswerHeaders, Gate
from mosear.runtime.server.service import Service
from mosear.runtime.server.settings import ServerSettings

_DESCRIPTION = (
    "A clip, or a live camera, as estimates of how expressions and voices read. An estimate says nothing of what a "
    'person feels. Every error is `{"error": {"what": …, "fix": …}}`.'
)
_OUTSIDE_THE_DOCUMENT = ("/", "/docs", "/openapi.json")
_MEANT = {"string_pattern_mismatch": "is not percent-encoded UTF-8"}
"""What is said in place of the library's words."""

_OPEN = ("/v2/health/live", "/v2/health/ready")


def create_app(service: Service, settings: ServerSettings, debug: bool = False) -> FastAPI:
    """The application.

    Args:
        service: what stands behind it; whoever runs the server starts and stops it.
        settings: how the server works.
        debug: log traces of what goes wrong inside.
    """
    app = FastAPI(
        title="mosear",
        version=_version(),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi = lambda: _document(app, settings)  # type: ignore[method-assign]
    for routes in (clip_routes, live_routes, event_routes, health_routes):
        app.include_router(routes(service))
    app.include_router(page_routes(app.openapi))
    app.add_exception_handler(MosearError, _told)
    app.add_exception_handler(RequestValidationError, _misasked)
    app.add_exception_handler(HTTPException, _as_http_has_it)
    # The last one added is the outermost.
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Crowd, most=settings.requests)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(AnswerHeaders)
    paths = frozenset({*app.openapi()["paths"], *_OUTSIDE_THE_DOCUMENT})
    app.add_middleware(RequestLog, metrics=service.metrics, paths=paths, debug=debug)
    return app


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, MosearError)
    return _answer(error)


async def _misasked(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Where it is and what is expected there; never what was sent.
    wrong = [
        f"{' '.join(str(part) for part in each['loc'])}: {_MEANT.get(each['type'], each['msg'])}"
        for each in error.errors()
    ]
    return _answer(Refused(400, "; ".join(wrong), "see /docs for what is allowed"))


async def _as_http_has_it(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    fixes = {404: "see /docs for what there is", 405: "see the header Allow, or /docs"}
    fix = fixes.get(error.status_code, "see /docs")
    return _answer(Refused(error.status_code, phrase(error.status_code), fix, error.headers))


def _answer(error: MosearError) -> Response:
    return Response(encoded(body_of(error)), status_of(error), headers_of(error), media_type="application/json")


def _document(app: FastAPI, settings: ServerSettings) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        if settings.token:
            document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            for path, operations in document["paths"].items():
                if path not in _OPEN:
                    for operation in operations.values():
                        operation["security"] = [{"bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _version() -> str:
    try:
        return version("mosear")
    except PackageNotFoundError:
        return "unknown"
