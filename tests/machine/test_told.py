"""What is told to others of a whole deployment and its end, written with the commits of the operation."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.machine.bench import Bench

from opentsm.tsm.domain.delivery import Delivery, SealedSecret, TargetKind, Webhook
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.kernel.ids import TenantId, WebhookId
from opentsm.tsm.ports.peer import OnlineSystem
from opentsm.tsm.ports.repositories import Page


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def listen(bench: Bench, tenant_id: TenantId) -> None:
    """Register an endpoint for all events."""
    webhook = Webhook(
        id=WebhookId(bench.world.new_id()),
        tenant_id=tenant_id,
        url="https://never.example/",
        events=("instance.*", "operation.*", "secure-element.*"),
        secrets=(SealedSecret(sealed=b"sealed"),),
        created_at=datetime.now(UTC),
    )
    async with bench.storage.transaction() as tx:
        await tx.webhooks.add(webhook)
        await tx.commit()


async def told(bench: Bench, tenant_id: TenantId) -> list[Delivery]:
    """Return what is told to a party, in the order in which it happened."""
    async with bench.storage.transaction() as tx:
        listed = await tx.deliveries.list(tenant_id, Page(limit=200))
        found = [await tx.deliveries.get(one.id) for one in listed]
    return [one for one in found if one is not None]


async def test_service_when_deployed_and_terminated_then_each_party_is_told_its_part(bench: Bench) -> None:
    provider, issuer = bench.principal.tenant_id, bench.issuer_principal.tenant_id
    await listen(bench, provider)
    await listen(bench, issuer)
    bench.catalogue.online = OnlineSystem(url="https://never.example/spos", certificate=b"")
    deployment = await bench.run((await bench.deploy()).id)
    end = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    await bench.run(end.id)
    hooks = [one for one in await told(bench, provider) if one.kind is TargetKind.WEBHOOK]
    events = [one.event for one in hooks]
    assert events.count("operation.succeeded") == 2
    assert events.index("instance.operational") < events.index("instance.terminated")
    assert {one.instance_id for one in hooks} == {bench.instance_id}
    assert "secure-element.verified" not in events
    assert "secure-element.verified" in [one.event for one in await told(bench, issuer)]
    first, last = (json.loads(one.body) for one in await told(bench, provider) if one.kind is TargetKind.SPOS)
    assert first["processId"] == deployment.id
    assert (first["executionStatus"], first["executionMessage"]) == (0, "")
    assert first["requestedOperations"] in ([10, 12], [10, 11, 12])
    assert (first["serviceStartState"], first["serviceEndState"]) == (1, 21)
    assert (last["processId"], last["requestedOperations"]) == (end.id, [40])
    assert (last["serviceStartState"], last["serviceEndState"]) == (21, 1)
