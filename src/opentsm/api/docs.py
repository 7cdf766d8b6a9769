"""`/openapi.json` and `/docs`: one page of our own, without script, that loads nothing from elsewhere."""

from functools import lru_cache
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.handlers import HTTPRouteHandler

from opentsm.api.docs_page import render
from opentsm.api.openapi import describe, document

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


@lru_cache(maxsize=4)
def _document(app: Litestar) -> bytes:
    return document(app)


@lru_cache(maxsize=4)
def _page(app: Litestar) -> str:
    return render(describe(app))


@get("/openapi.json", include_in_schema=False, media_type="application/json")
async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI document."""
    return Response(_document(request.app), media_type="application/json")


@get("/docs", include_in_schema=False, media_type="text/html")
async def docs(request: Request[Any, Any, Any]) -> Response[str]:
    """Return the API's reference for people."""
    return Response(_page(request.app), media_type="text/html", headers={"Content-Security-Policy": POLICY})


def docs_routes() -> list[HTTPRouteHandler]:
    """Return the routes of the documentation."""
    return [openapi_json, docs]
