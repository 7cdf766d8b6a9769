"""Processes: look, wait, follow as server-sent events, cancel."""

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import structlog
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from opentsm.api.container import ApiContainer, Services
from opentsm.api.device_api import messages as m
from opentsm.api.device_api import views
from opentsm.api.device_api.door import App
from opentsm.api.drain import MAX_WAIT_S, Drain, Waits
from opentsm.api.v1.operations import KEEP_ALIVE_S, changed
from opentsm.tsm.domain.operation import ENDED, Operation
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.roles.hub.device_reach import DeviceCaller

_TAG = ["device API"]
PATH = "/v1/device-api/processes"
Wait = Annotated[
    float,
    QueryParameter(ge=0, le=MAX_WAIT_S, description="seconds to wait until it has gone on or ended"),
]


async def shown(container: ApiContainer, app: DeviceCaller, operation: Operation) -> m.Process:
    """Return a process as the app sees it."""
    calls = container.device_calls
    se = await calls.secure_element(app, operation.se_id)
    return views.process(await calls.process_view(app, operation), app.caller_id, views.reader_of(se))


async def begun(container: ApiContainer, app: DeviceCaller, operation: Operation) -> Response[m.Process]:
    """Answer 202 with a process: this is the notice of its start."""
    structlog.contextvars.bind_contextvars(operation_id=operation.id)
    return Response(
        await shown(container, app, operation),
        status_code=202,
        headers={"Location": f"{PATH}/{operation.id}"},
    )


@get(
    "/processes/{process_id:str}",
    operation_id="getProcess",
    tags=_TAG,
    summary="Show a process, or wait for it",
)
async def show_process(
    app: App, container: Services, drain: Waits, process_id: FromPath[str], wait: Wait = 0
) -> m.Process:
    """Return a process; with `wait` when it has gone on or ended, at the latest when the time is over."""
    found = await container.device_calls.process(app, OperationId(process_id))
    structlog.contextvars.bind_contextvars(operation_id=found.id)
    if wait and found.state not in ENDED:
        found = await changed(container, drain, app.principal, found, wait)
    return await shown(container, app, found)


@get(
    "/processes/{process_id:str}/events",
    operation_id="followProcess",
    tags=_TAG,
    summary="Follow a process as server-sent events",
    media_type="text/event-stream",
)
async def follow_process(
    app: App, container: Services, drain: Waits, process_id: FromPath[str]
) -> ServerSentEvent:
    """Send `onProcessStart`, `onProcessProgress` at every change, and `onProcessResult` at the end."""
    found = await container.device_calls.process(app, OperationId(process_id))
    structlog.contextvars.bind_contextvars(operation_id=found.id)
    return ServerSentEvent(_events(container, drain, app, found))


@post(
    "/processes/{process_id:str}/cancellations",
    operation_id="cancelProcess",
    tags=_TAG,
    status_code=202,
    summary="Cancel a process",
)
async def cancel_process(
    app: App, container: Services, process_id: FromPath[str], data: JSONBody[m.Nothing]
) -> Response[m.Process]:
    """Cancel at once when nothing was sent to the card, else at the next safe point."""
    return await begun(container, app, await container.device_calls.cancel(app, OperationId(process_id)))


async def _events(
    container: ApiContainer, drain: Drain, app: DeviceCaller, found: Operation
) -> AsyncIterator[ServerSentEventMessage]:
    now = await shown(container, app, found)
    yield _event("onProcessStart", views.start(now))
    told: m.ProcessProgress | None = None
    while True:
        progress = views.progress(now)
        if progress != told and (told is None or progress.progress >= told.progress):
            yield _event("onProcessProgress", progress)
            told = progress
        if now.result is not None:
            yield _event("onProcessResult", now.result)
            return
        if drain.begun:
            return
        before = found.version
        found = await changed(container, drain, app.principal, found, KEEP_ALIVE_S)
        if found.version == before:
            yield ServerSentEventMessage(comment="still here")
        now = await shown(container, app, found)


def _event(name: str, document: msgspec.Struct) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, data=msgspec.json.encode(document).decode())
