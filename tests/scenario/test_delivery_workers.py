"""Two workers at work at once, on servers of their own over one database: order, leases, no twins."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.scenario.api_bench import ApiBench
from tests.scenario.receivers import Receiver, receiving

from opentsm.tsm.domain.delivery import LANES, Lane
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.ids import TenantId, WebhookId
from opentsm.tsm.roles.hub.herald import Event, webhook_delivery
from opentsm.workers.deliveries import LEASE_S, DeliveryWorker

SUBJECTS, EACH = 12, 6
ALLOWED = {"deliveries__allowed_networks": "127.0.0.0/8", "deliveries__allow_http": "true"}


@pytest.fixture
async def servers(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[tuple[ApiBench, ApiBench]]:
    async with (
        ApiBench.open(scenario_dsn, tmp_path, **ALLOWED) as one,
        ApiBench.open(scenario_dsn, tmp_path, **ALLOWED) as two,
    ):
        await one.party("provider")
        yield one, two


async def written(api: ApiBench, receiver: Receiver) -> WebhookId:
    """Write deliveries of many subjects, with the number of each among its subject's."""
    owner = TenantId(api.ids["provider"])
    principal = Principal(tenant_id=owner, kind=TenantKind.SERVICE_PROVIDER)
    hook, _ = await api.container.webhooks.register(principal, url=receiver.url, events=["operation.*"])
    async with api.storage.transaction() as tx:
        for number in range(EACH):
            for subject in range(SUBJECTS):
                event = Event(
                    "operation.failed",
                    f"subject {subject}",
                    frozenset({owner}),
                    {"operation_id": str(subject), "type": str(number)},
                )
                await tx.deliveries.add(webhook_delivery(api.world, event, owner, hook.id))
        await tx.commit()
    return hook.id


async def until(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(60):
        for _ in range(count):
            await receiver.arrived.acquire()


async def test_workers_when_two_send_at_once_then_each_once_in_order_and_lanes_hold(
    servers: tuple[ApiBench, ApiBench],
) -> None:
    stop = asyncio.Event()
    sent: dict[int, int] = {0: 0, 1: 0}
    async with receiving() as receiver, asyncio.TaskGroup() as tasks:
        await written(servers[0], receiver)
        for number, api in enumerate(servers):

            def told(_: object, number: int = number) -> None:
                sent[number] += 1

            # little room: neither can take all lanes
            worker = DeliveryWorker(api.container.dispatch, api.notifier, told, room=LANES // 2)
            tasks.create_task(worker.run(stop))
        await until(receiver, SUBJECTS * EACH)
        stop.set()
    ids = [one.headers["webhook-id"] for one in receiver.received]
    assert len(ids) == len(set(ids)) == SUBJECTS * EACH
    order = defaultdict(list)
    for one in receiver.received:
        data = json.loads(one.body)["data"]
        order[data["operation_id"]].append(int(data["type"]))
    assert order == {str(subject): list(range(EACH)) for subject in range(SUBJECTS)}
    assert receiver.most_busy <= LANES
    assert min(sent.values()) > 0


async def test_worker_when_it_dies_with_leases_then_the_other_takes_its_lanes_over_in_order(
    servers: tuple[ApiBench, ApiBench],
) -> None:
    dying, living = servers
    stop = asyncio.Event()
    async with receiving() as receiver, asyncio.TaskGroup() as tasks:
        hook = await written(dying, receiver)
        leased = await lanes_of(dying, hook, 2)  # and nothing more comes of it
        lost = {await first_of(dying, lane) for lane in leased}
        worker = DeliveryWorker(living.container.dispatch, living.notifier)
        assert await worker.drain() > 0
        before = {one.headers["webhook-id"] for one in receiver.received}
        assert not before & lost
        living.world.shift += timedelta(seconds=LEASE_S + 1)
        tasks.create_task(worker.run(stop))
        await until(receiver, SUBJECTS * EACH)
        stop.set()
    ids = [one.headers["webhook-id"] for one in receiver.received]
    assert len(ids) == len(set(ids)) == SUBJECTS * EACH
    assert lost <= set(ids)
    seen = defaultdict(list)
    for one in receiver.received:
        data = json.loads(one.body)["data"]
        seen[data["operation_id"]].append(int(data["type"]))
    assert all(numbers == list(range(EACH)) for numbers in seen.values())


async def test_worker_when_it_comes_back_after_its_lease_then_it_lets_go_of_nothing(
    servers: tuple[ApiBench, ApiBench],
) -> None:
    slow, quick = servers
    async with receiving() as receiver:
        hook = await written(slow, receiver)
        (lane,) = await lanes_of(slow, hook, 1)
        quick.world.shift += timedelta(seconds=LEASE_S + 1)
        (taken,) = [one for one in await lanes_of(quick, hook, LANES) if one.number == lane.number]
        async with slow.storage.transaction() as tx:
            assert not await tx.deliveries.let_go(lane, failures=0, rest_until=slow.world.now())
            await tx.commit()
        assert await lanes_of(quick, hook, LANES) == []
        assert taken.lease_ends > lane.lease_ends


async def lanes_of(api: ApiBench, hook: WebhookId, limit: int) -> list[Lane]:
    """Lease lanes of an endpoint; whatever else is due in this database is let alone."""
    found = await api.container.dispatch.claim(lease_s=LEASE_S, limit=limit)
    assert all(lane.target_id == hook for lane in found)
    return found


async def first_of(api: ApiBench, lane: Lane) -> str:
    async with api.storage.transaction() as tx:
        found = await tx.deliveries.first_due(lane, api.world.now())
    assert found is not None
    return found.id
