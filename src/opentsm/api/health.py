"""Is it alive, is it ready, what does it count."""

from datetime import datetime
from typing import Any

import msgspec
import structlog
from litestar import Request, Response, get, head
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from opentsm.api.container import ApiContainer, Services
from opentsm.api.drain import Waits
from opentsm.api.metrics import Metrics
from opentsm.api.problems import PROBLEM_TYPE, Problem, request_id_of
from opentsm.tsm.ports.repositories import Page

Counters = NamedDependency[SkipValidation[Metrics]]
_TAG = ["health"]
_log = structlog.get_logger(__name__)


class Health(msgspec.Struct, frozen=True):
    """The state of the server."""

    status: str


@get("/healthz", tags=_TAG, security=[], summary="Alive")
async def healthz() -> Health:
    """Answer as long as the process runs."""
    return Health("alive")


@head("/healthz", tags=_TAG, security=[], summary="Alive, without a body")
async def healthz_head() -> None:
    """Answer load balancers that ask without wanting to read."""


@get("/readyz", tags=_TAG, security=[], summary="Ready for requests")
async def readyz(
    request: Request[Any, Any, Any], container: Services, drain: Waits
) -> Response[Health] | Response[Problem]:
    """Answer 200 when the database can be read and the server is not stopping, else 503."""
    detail = "The server is stopping." if drain.begun else await _database(container)
    if detail is None:
        return Response(Health("ready"))
    problem = Problem(
        type="urn:opentsm:problem:not_ready",
        title="The server is not ready.",
        status=503,
        detail=detail,
        code="not_ready",
        request_id=request_id_of(request.scope),
    )
    return Response(problem, status_code=503, media_type=PROBLEM_TYPE, headers={"Retry-After": "1"})


@get("/metrics", tags=_TAG, security=[], summary="Metrics for Prometheus", media_type="text/plain")
async def show_metrics(container: Services, drain: Waits, metrics: Counters) -> Response[bytes]:
    """Return the counters of this process, and the database's, in the text format of Prometheus."""
    metrics.held(drain.held)
    await _count_stored(container, metrics)
    return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _count_stored(container: ApiContainer, metrics: Metrics) -> None:
    now = container.world.now()
    try:
        async with container.storage.transaction() as tx:
            operations = await tx.operations.count_open()
            due = await tx.outbox.oldest_due(now)
            pending = await tx.deliveries.count_pending()
            ready = await tx.deliveries.oldest_ready(now)
    except Exception as error:  # the process's own counters are still worth having
        _log.warning("database.away", error=type(error).__name__)
        metrics.unknown()
        return
    metrics.stored(operations, _lag_s(now, due))
    metrics.deliveries(pending, _lag_s(now, ready))


def _lag_s(now: datetime, due: datetime | None) -> float:
    return 0.0 if due is None else max(0.0, (now - due).total_seconds())


async def _database(container: ApiContainer) -> str | None:
    try:
        async with container.storage.transaction() as tx:
            await tx.tenants.list(Page(limit=1))
    except Exception as error:  # whatever it is, the server is not ready
        _log.warning("database.away", error=type(error).__name__)
        return "The database cannot be read."
    return None
