"""The description of the API (OpenAPI 3.1), and the copy of it in `docs/reference/openapi.json`.

`python -m opentsm.api.openapi docs/reference/openapi.json` writes the copy.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, License, SecurityScheme
from litestar.plugins import InitPlugin

from opentsm.api.idempotency import HEADER, MAX_KEY
from opentsm.api.problems import PROBLEM_TYPE, Problem

BEARER = "bearer"
SPTSM = "opentsm.api.sptsm"
DESCRIPTION = """\
Errors are problem documents (RFC 9457) with a stable `code` and a `request_id`. Every POST takes an
`Idempotency-Key`: the same key and request give the same answer, another request with it gives 409.
Lists are pages: `limit` and `after` in, `items` and `next` out. Times are RFC 3339 in UTC.
Operations are answered with 202 and followed at `/v1/operations/{id}`.
"""

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
                    type="http", scheme="bearer", description="a party's or device's token"
                )
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
    found["components"]["schemas"]["Problem"] = components["Problem"]
    for path, item in found["paths"].items():
        for method, operation in item.items():
            operation["responses"] = {
                status: response for status, response in operation["responses"].items() if status < "400"
            }
            operation["responses"]["default"] = _PROBLEM
            if method == "post" and path.startswith("/v1/") and operation.get("security"):
                operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    if app.state.get("sptsm"):
        _add_sptsm(found)
    return found


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
