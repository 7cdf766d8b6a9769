"""Webhooks from the database to their receivers, beside bare HTTP posts to the same receiver in the same run.

One worker in this process with a database of its own, one receiver in another process. The floor makes the
same number of posts of the same bytes, as many at once as there are lanes, each on a connection of its own:
what the network and the HTTP client cost without database, signatures and leases.
"""

import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx
import structlog

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import migrate_database
from opentsm.tsm.bootstrap import Container, container
from opentsm.tsm.config import load_settings
from opentsm.tsm.domain.delivery import LANES, Delivery, Webhook
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.hub.herald import Event, webhook_delivery
from opentsm.workers.deliveries import DeliveryWorker

_BATCH = 500
_ENDPOINTS_OF_A_PARTY = 10


@dataclass(frozen=True, slots=True)
class DeliveryFigures:
    """What was measured; rates are medians of the rounds.

    Attributes:
        deliveries: in each round.
        endpoints: that they go to.
        at_once: calls at most: the lanes of all endpoints.
        body_bytes: of one delivery.
        floor_per_s: bare posts a second.
        deliveries_per_s: deliveries a second, from the database to SENT in the database.
        share_of_floor: median of the ratios of each round.
        repeated: attempts beyond one for each delivery.
    """

    deliveries: int
    endpoints: int
    at_once: int
    body_bytes: int
    floor_per_s: float
    deliveries_per_s: float
    share_of_floor: float
    repeated: int


def measure(*, deliveries: int, endpoints: int, rounds: int) -> DeliveryFigures:
    """Measure floor and deliveries in turns.

    Args:
        deliveries: in each round.
        endpoints: that they go to, in turn.
        rounds: turns of each.
    """
    with _quiet():
        return asyncio.run(_measured(deliveries, endpoints, rounds))


async def _measured(count: int, endpoints: int, rounds: int) -> DeliveryFigures:
    async with _receiver() as port, _tsm() as parts:
        url = f"http://127.0.0.1:{port}/"
        hooks = await _endpoints(parts, url, endpoints)
        at_once = endpoints * LANES
        floor, sent, repeated = [], [], 0
        body = _worded(parts, hooks[0], 0).body
        for _ in range(rounds):
            floor.append(await _rate(count, _posts(url, body, count, at_once)))
            await _write(parts, hooks, count)
            attempts: list[int] = []
            sent.append(await _rate(count, partial(_send_all, parts, count, attempts)))
            repeated += sum(tries - 1 for tries in attempts)
    return DeliveryFigures(
        deliveries=count,
        endpoints=endpoints,
        at_once=at_once,
        body_bytes=len(body),
        floor_per_s=median(floor),
        deliveries_per_s=median(sent),
        share_of_floor=median(mine / bare for mine, bare in zip(sent, floor, strict=True)),
        repeated=repeated,
    )


async def _rate(count: int, work: Callable[[], Awaitable[None]]) -> float:
    start = perf_counter()
    await work()
    return count / (perf_counter() - start)


# --- the floor -----------------------------------------------------------------------------------


def _posts(url: str, body: bytes, count: int, at_once: int) -> Callable[[], Awaitable[None]]:
    """Return what makes bare posts, each on a connection of its own as a delivery has it."""

    async def some(number: int) -> None:
        for _ in range(number):
            async with httpx.AsyncClient(verify=False, trust_env=False) as client:  # noqa: S501  # no TLS here
                headers = {"Content-Type": "application/json", "Connection": "close"}
                (await client.post(url, content=body, headers=headers)).raise_for_status()

    async def work() -> None:
        await asyncio.gather(*(some(len(range(first, count, at_once))) for first in range(at_once)))

    return work


# --- the deliveries ------------------------------------------------------------------------------


async def _endpoints(parts: Container, url: str, count: int) -> list[Webhook]:
    operator = Principal(tenant_id=TenantId("bench"), kind=TenantKind.OPERATOR)
    hooks: list[Webhook] = []
    while len(hooks) < count:
        kind, name = TenantKind.SERVICE_PROVIDER, f"provider {len(hooks)}"
        party, _ = await parts.onboarding.register_party(operator, kind, name)
        principal = Principal(tenant_id=party.id, kind=kind)
        for _ in range(min(_ENDPOINTS_OF_A_PARTY, count - len(hooks))):
            hook, _ = await parts.webhooks.register(principal, url=url, events=["operation.*"])
            hooks.append(hook)
    return hooks


async def _write(parts: Container, hooks: Sequence[Webhook], count: int) -> None:
    for first in range(0, count, _BATCH):
        async with parts.storage.transaction() as tx:
            for number in range(first, min(first + _BATCH, count)):
                await tx.deliveries.add(_worded(parts, hooks[number % len(hooks)], number))
            await tx.commit()


def _worded(parts: Container, hook: Webhook, number: int) -> Delivery:
    """Word what a provider hears of one of many operations."""
    operation = parts.world.new_id()
    data: dict[str, str | dict[str, str | None] | None] = {
        "operation_id": operation,
        "type": "DEPLOY",
        "state": "SUCCEEDED",
        "secure_element_id": parts.world.new_id(),
        "instance_id": operation,
        "failure": None,
    }
    event = Event("operation.succeeded", f"{operation}/{number}", frozenset({hook.tenant_id}), data)
    return webhook_delivery(parts.world, event, hook.tenant_id, hook.id)


async def _send_all(parts: Container, count: int, attempts: list[int]) -> None:
    stop = asyncio.Event()

    def told(delivery: Delivery) -> None:
        if delivery.ended_at is not None:
            attempts.append(delivery.tries)
        if len(attempts) == count:
            stop.set()

    await DeliveryWorker(parts.dispatch, parts.notifier, told).run(stop)


# --- server and receiver -------------------------------------------------------------------------


@asynccontextmanager
async def _tsm() -> AsyncIterator[Container]:
    """Give a TSM with a database of its own, which ends with it."""
    directory = Path(tempfile.mkdtemp(prefix="opentsm-bench-"))
    directory.chmod(0o755)  # noqa: ASYNC240  # under root the database runs as another user, who must pass through
    database = EmbeddedPostgres(directory / "database")
    try:
        dsn = await database.start()
        await migrate_database(dsn)
        given = {"data_dir": str(directory / "data"), "deliveries.allow_http": "true"}
        given["deliveries.allowed_networks"] = "127.0.0.0/8"
        async with container(load_settings(given, environment={}), dsn) as parts:
            yield parts
    finally:
        await database.stop()
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


@asynccontextmanager
async def _receiver() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "opentsm.bench.receiver",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


@contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing below errors: a line for each delivery is the log's time, not the delivery's."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)
