"""``/``: the page, its files, and the documentation of the endpoints. None of it asks for anything from outside."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Response

from mosear.runtime.server.docs_page import DOCS_POLICY, docs_page
from mosear.runtime.server.errors import Refused

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_INDEX = "index.html"


def page_routes(openapi: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes; ``openapi`` gives the document that ``/docs`` shows."""
    router = APIRouter(include_in_schema=False)
    # Read once, by their names in the package: a name from a request is looked up here, and never on the disk.
    served = {
        each.name: (each.read_bytes(), _TYPES["." + each.name.rpartition(".")[2]])
        for each in files("mosear.runtime.server").joinpath("page").iterdir()
        if each.is_file() and "." + each.name.rpartition(".")[2] in _TYPES
    }

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index() -> Response:
        return _served(served, _INDEX)

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def file(name: str) -> Response:
        return _served(served, name)

    @router.api_route("/docs", methods=["GET", "HEAD"])
    async def docs() -> Response:
        return Response(docs_page(openapi()), headers={"Content-Security-Policy": DOCS_POLICY}, media_type="text/html")

    return router


def _served(served: dict[str, tuple[bytes, str]], name: str) -> Response:
    if name not in served:
        raise Refused(404, "there is no such file", "ask for /")
    body, kind = served[name]
    return Response(body, headers={"Content-Type": kind, "Cache-Control": "no-cache"})
