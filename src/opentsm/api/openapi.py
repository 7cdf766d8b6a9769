"""The description of the API (OpenAPI 3.1), and the copy of it in `docs/reference/openapi.json`.

`python -m opentsm.api.openapi docs/reference/openapi.json` writes the copy.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme
from litestar.plugins import InitPlugin
from litestar.routes import HTTPRoute

from opentsm.api.idempotency import HEADER, MAX_KEY
from opentsm.api.problems import PROBLEM_TYPE, Problem

BEARER = "bearer"
DEVICE = "device"
SPTSM = "opentsm.api.sptsm"
DESCRIPTION = """\
Errors are problem documents (RFC 9457) with a stable `code` and a `request_id`. A POST that names an
`Idempotency-Key` below takes one: the same key and request give the same answer (`Idempotency-Replayed`),
another request with it gives 409. Members stand once; failed tokens and codes are answered with 429 after
a while (`Retry-After`). docs/reference/http.md has the rules.
Lists are pages: `limit` and `after` in, `items` and `next` out. Times are RFC 3339 in UTC.
Operations are answered with 202 and followed at `/v1/operations/{id}`.
"""

_WITH_ETAG = ("/v1/instances/", "/v1/operations/")
_LITESTARS_OWN = "/.openapi"
_PROBLEM = {
    "description": "A problem document",
    "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "the same key and request give the same answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "ETag of the instance or operation: 412 when it has changed",
    "schema": {"type": "string"},
}
_REPLAYED = {
    "description": "`true`: the request was carried out before, and this is its answer",
    "schema": {"type": "string", "enum": ["true"]},
}
_LOCATION = {
    "description": "path of what was made, or of the operation to follow",
    "required": True,
    "schema": {"type": "string", "format": "uri-reference"},
}


def config() -> OpenAPIConfig:
    """Return how the API describes itself; nothing is rendered by pages that load from elsewhere."""
    return OpenAPIConfig(
        title="OpenTSM",
        version=version("opentsm"),
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        components=Components(
            security_schemes={
                BEARER: SecurityScheme(
                    type="http",
                    scheme="bearer",
                    description="a party's or device's token; of the device API an app's access token",
                ),
                DEVICE: SecurityScheme(
                    type="apiKey",
                    security_scheme_in="header",
                    name="Device-Authorization",
                    description="`Bearer` and the device's own token",
                ),
            }
        ),
        use_handler_docstrings=True,
        render_plugins=[],
        path=_LITESTARS_OWN,
    )


class _WithoutRoutes(InitPlugin):
    """Takes away the routes by which Litestar would serve the description: `docs.py` has ours."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.route_handlers = [
            handler
            for handler in app_config.route_handlers
            if not (isinstance(handler, Router) and handler.path == _LITESTARS_OWN)
        ]
        return app_config


def unserved(app_config: AppConfig) -> AppConfig:
    """Keep Litestar from serving the description; goes into `on_app_init`, runs after its own plugin."""
    app_config.plugins.append(_WithoutRoutes())
    return app_config


def describe(app: Litestar) -> dict[str, Any]:
    """Return the description, with the errors and headers that every request has in common."""
    found = app.openapi_schema.to_schema()
    _, components = msgspec.json.schema_components([Problem], ref_template="#/components/schemas/{name}")
    found["components"]["schemas"] |= components
    for schema in found["components"]["schemas"].values():
        # Litestar leaves a member's default at the member's type, or not, as the routes happen to come
        schema.pop("default", None)
    options = _options(app)
    for path, item in found["paths"].items():
        for method, operation in item.items():
            operation["responses"] = {
                status: response for status, response in operation["responses"].items() if status < "400"
            }
            operation["responses"]["default"] = _PROBLEM
            _add_once(operation, options[path, method.upper()])
            if method == "post" and path.startswith(_WITH_ETAG):
                operation["parameters"].append(_IF_MATCH)
    _add_messaging(found)
    if app.state.get("sptsm"):
        _add_sptsm(found)
    return found


def _options(app: Litestar) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return what the handlers say about themselves, by path and method."""
    return {
        (route.path_format, str(method)): {
            **handler.opt,
            "once": _may_repeat(route.path_format, method, handler),
        }
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    }


def _may_repeat(path: str, method: str, handler: HTTPRouteHandler) -> bool:
    """Say whether the middleware for idempotency keys takes one."""
    callers, streamed = handler.opt.get("callers"), handler.opt.get("streamed")
    return method == "POST" and path.startswith("/v1/") and callers != "anybody" and not streamed


def _add_once(operation: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Add the key of a request that may be repeated, and the headers of its answer."""
    for status, answer in operation["responses"].items():
        headers: dict[str, object] = {}
        if status == "202" or (status == "201" and options.get("located")):
            headers["Location"] = _LOCATION
        if options["once"] and status != "default":
            headers["Idempotency-Replayed"] = _REPLAYED
        if headers:
            answer["headers"] = {**answer.get("headers", {}), **headers}
    if options["once"]:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)


def _add_messaging(found: dict[str, Any]) -> None:
    # it is imported late: the routes import this module's name of the security scheme
    description = import_module("opentsm.api.messaging.description")
    paths, schemas = description.describe("/v1/messaging", BEARER)
    found["paths"] |= paths
    found["components"]["schemas"] |= schemas


def _add_sptsm(found: dict[str, Any]) -> None:
    description = import_module(f"{SPTSM}.description")
    paths, schemas = description.describe()
    found["paths"] |= paths
    found["components"]["schemas"] |= schemas
    found["components"]["securitySchemes"] |= description.SECURITY_SCHEMES


def document(app: Litestar) -> bytes:
    """Return the description as JSON, indented and in a fixed order."""
    text = msgspec.json.encode(describe(app), order="sorted")
    return msgspec.json.format(text, indent=2) + b"\n"


def main(path: str) -> None:
    """Write the description."""
    from opentsm.api.app import create_app
    from opentsm.api.blank import BlankContainer

    Path(path).write_bytes(document(create_app(BlankContainer())))


if __name__ == "__main__":
    main(sys.argv[1])
