"""Operations: list, look, wait, follow, cancel."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import structlog
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from opentsm.api.authentication import Caller
from opentsm.api.container import ApiContainer, Services
from opentsm.api.drain import MAX_WAIT_S, Drain, Waits
from opentsm.api.v1 import messages as m
from opentsm.api.v1 import views
from opentsm.api.v1.paging import After, CreatedAfter, CreatedBefore, Limit, Order, read_page
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState, OperationType
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId
from opentsm.tsm.ports.repositories import OperationFilter
from opentsm.tsm.roles.hub.services import operation_topic

LOOK_AGAIN_S = 1.0
KEEP_ALIVE_S = 15.0
_TAG = ["operations"]
Wait = Annotated[
    float,
    QueryParameter(ge=0, le=MAX_WAIT_S, description="seconds to wait until it has changed or ended"),
]
IfNoneMatch = Annotated[str | None, HeaderParameter(name="If-None-Match")]


def accepted(operation: Operation) -> Response[m.OperationAnswer]:
    """Answer 202 with the operation and where to find it."""
    structlog.contextvars.bind_contextvars(operation_id=operation.id)
    return Response(
        views.operation(operation),
        status_code=202,
        headers={"Location": f"/v1/operations/{operation.id}", "ETag": _etag(operation)},
    )


def deployed(instance: ServiceInstance, operation: Operation) -> Response[m.DeployedInstance]:
    """Answer 202 with an instance and the operation that deploys it."""
    structlog.contextvars.bind_contextvars(operation_id=operation.id)
    return Response(
        m.DeployedInstance(instance=views.instance(instance), operation=views.operation(operation)),
        status_code=202,
        headers={"Location": f"/v1/operations/{operation.id}"},
    )


@get("/operations", tags=_TAG, summary="List operations")
async def list_operations(
    *,
    principal: Caller,
    container: Services,
    se_id: FromQuery[str | None] = None,
    instance_id: FromQuery[str | None] = None,
    state_: Annotated[OperationState | None, QueryParameter(name="state")] = None,
    type_: Annotated[OperationType | None, QueryParameter(name="type")] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    order: Order = "asc",
    limit: Limit = 50,
    after: After = None,
) -> m.OperationPage:
    """Return the operations that the caller may see and that every given filter lets through."""
    wanted = OperationFilter(
        se_id=None if se_id is None else SeId(se_id),
        instance_id=None if instance_id is None else InstanceId(instance_id),
        state=state_,
        type=type_,
        created_from=created_after,
        created_before=created_before,
    )
    items, following = await read_page(
        lambda page: container.requests.operations(principal, page, wanted),
        lambda operation: operation.id,
        limit,
        after,
        order,
    )
    return m.OperationPage(items=[views.operation(operation) for operation in items], next=following)


@get("/operations/{operation_id:str}", tags=_TAG, summary="Show an operation, or wait for it")
async def show_operation(
    *,
    principal: Caller,
    container: Services,
    drain: Waits,
    operation_id: FromPath[str],
    if_none_match: IfNoneMatch = None,
    wait: Wait = 0,
) -> Response[m.OperationAnswer] | Response[None]:
    """Return an operation with its version as ETag.

    With `wait` the answer comes when the operation has ended, or has another version than `If-None-Match`
    names (without it: than it had when the request came), or when the time is over.
    """
    found = await container.requests.operation(principal, OperationId(operation_id))
    structlog.contextvars.bind_contextvars(operation_id=found.id)
    seen = if_none_match or _etag(found)
    if wait and found.state not in ENDED and _etag(found) == seen:
        found = await changed(container, drain, principal, found, wait)
    headers = {"ETag": _etag(found), "Cache-Control": "no-cache"}
    if if_none_match == _etag(found):
        return Response(None, status_code=304, headers=headers)
    return Response(views.operation(found), headers=headers)


@get(
    "/operations/{operation_id:str}/events",
    tags=_TAG,
    summary="Follow an operation as server-sent events",
    media_type="text/event-stream",
)
async def follow_operation(
    principal: Caller, container: Services, drain: Waits, operation_id: FromPath[str]
) -> ServerSentEvent:
    """Send the operation now and at every change, as events named `operation`, until it has ended."""
    found = await container.requests.operation(principal, OperationId(operation_id))
    structlog.contextvars.bind_contextvars(operation_id=found.id)
    return ServerSentEvent(_events(container, drain, principal, found))


@post(
    "/operations/{operation_id:str}/cancellations",
    tags=_TAG,
    status_code=202,
    summary="Cancel an operation",
)
async def cancel_operation(
    principal: Caller, container: Services, operation_id: FromPath[str]
) -> Response[m.OperationAnswer]:
    """Cancel at once when nothing was sent to the card, else at the next safe point."""
    return accepted(await container.requests.cancel(principal, OperationId(operation_id)))


async def _events(
    container: ApiContainer, drain: Drain, principal: Principal, found: Operation
) -> AsyncIterator[ServerSentEventMessage]:
    while True:
        data = msgspec.json.encode(views.operation(found)).decode()
        yield ServerSentEventMessage(event="operation", id=str(found.version), data=data)
        before = found.version
        while found.version == before:
            if found.state in ENDED or drain.begun:
                return
            found = await changed(container, drain, principal, found, KEEP_ALIVE_S)
            if found.version == before:
                yield ServerSentEventMessage(comment="still here")


async def changed(
    container: ApiContainer, drain: Drain, principal: Principal, seen: Operation, wait_s: float
) -> Operation:
    """Return the operation when its version has moved or it has ended, at the latest after `wait_s`."""
    topic = operation_topic(seen.id)
    loop = asyncio.get_running_loop()
    found = seen
    with drain.waiting(topic, wait_s) as limit_s:
        until = loop.time() + limit_s
        while found.version == seen.version and found.state not in ENDED:
            remaining = until - loop.time()
            if remaining <= 0 or drain.begun:
                break
            # the wait begins before the look, so that no hint falls in between
            hint = asyncio.ensure_future(container.notifier.wait(topic, min(remaining, LOOK_AGAIN_S)))
            try:
                await asyncio.sleep(0)
                found = await container.requests.operation(principal, seen.id)
                if found.version == seen.version:
                    await hint
            finally:
                hint.cancel()
    return found if found.version != seen.version else await container.requests.operation(principal, seen.id)


def _etag(operation: Operation) -> str:
    return f'"{operation.version}"'
