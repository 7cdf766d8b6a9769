"""The routes under /sptsm/1.0.4/, with tokens and errors of their own as TR-03165 has them."""

import re
from collections.abc import Iterable, Iterator

import msgspec
from litestar import Response, Router, post
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler

from opentsm.api.sptsm.exchange import (
    MAX_BODY_BYTES,
    AnyRequest,
    Catalogue,
    Provider,
    SpContainer,
    binary,
    general_error,
    provide_provider,
    proving_provider,
    read_json,
    read_upload,
    refuse_body,
)
from opentsm.api.sptsm.operations import OPERATIONS
from opentsm.api.sptsm.table import Answer, Body, Operation

PATH = "/sptsm/1.0.4"
_PARAMETER = re.compile(r"\{(\w+)\}")


@post("/auth", status_code=200)
async def create_access_token(request: AnyRequest, catalogue: Catalogue) -> Response[bytes]:
    """Exchange the long-term token for a short-term one; the answer is a JSON string (§4.1.6.1)."""
    authorization = request.headers.get("authorization")
    with proving_provider(request, authorization):
        token = await catalogue.access.exchange(authorization)
    body = msgspec.json.encode(token)  # a text would be sent without quotation marks
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def parameters(operation: Operation) -> list[str]:
    """Return the names of the path parameters in their order."""
    return _PARAMETER.findall(operation.path)


def router(container: SpContainer) -> Router:
    """Return the routes; `description.py` describes them, from the same table."""
    return Router(
        PATH,
        route_handlers=[create_access_token, *_allowing(OPERATIONS), *map(_handler, OPERATIONS)],
        dependencies={
            "catalogue": Provide(lambda: container.catalogue, sync_to_thread=False),
            "provider": Provide(provide_provider),
        },
        exception_handlers={Exception: general_error},
        request_max_body_size=MAX_BODY_BYTES,
        include_in_schema=False,
    )


def _route(path: str) -> str:
    return _PARAMETER.sub(r"{\1:str}", path)


def _allowing(operations: Iterable[Operation]) -> Iterator[HTTPRouteHandler]:
    """Return what answers OPTIONS with all methods of a path; Litestar's own knows the first handler only."""
    methods: dict[str, set[str]] = {}
    for operation in operations:
        methods.setdefault(operation.path, {"OPTIONS"}).add(operation.method)
    for path, allowed in methods.items():
        yield _options(path, ", ".join(sorted(allowed)))


def _options(path: str, allow: str) -> HTTPRouteHandler:
    async def answer() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allow})

    return HTTPRouteHandler(_route(path), http_method="OPTIONS", status_code=204)(answer)


def _handler(operation: Operation) -> HTTPRouteHandler:
    async def serve(request: AnyRequest, provider: Provider, catalogue: Catalogue) -> Response[object]:
        values = [request.path_params[name] for name in parameters(operation)]
        values += await _content(operation, request)
        found = await operation.use_case(catalogue)(provider, *values)
        if operation.answer is Answer.FILE:
            return binary(*found)
        if operation.answer is Answer.NOTHING:
            return Response(None, status_code=204)
        return Response(found)

    return HTTPRouteHandler(
        _route(operation.path), http_method=operation.method, status_code=200, name=operation.id
    )(serve)


async def _content(operation: Operation, request: AnyRequest) -> list[object]:
    """Return what the body brings to the use case."""
    if operation.body is Body.JSON:
        return [await read_json(request)]
    if operation.body is Body.NONE:
        await refuse_body(request)
        return []
    kind = operation.body.value
    upload = await read_upload(request, f"{kind}Filename", f"{kind}File")
    return [upload.name, upload.data]
