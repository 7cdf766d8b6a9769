"""What is told to others of a whole deployment and its end, written with the commits of the operation."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.machine.bench import Bench

from opentsm.tsm.domain.delivery import Delivery, SealedSecret, TargetKind, Webhook
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.service import EndReason, InstanceState
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.ids import OperationId, TenantId, WebhookId
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


async def test_card_when_its_issuer_retires_it_then_the_provider_is_told_of_the_end(bench: Bench) -> None:
    provider = bench.principal.tenant_id
    await listen(bench, provider)
    bench.catalogue.online = OnlineSystem(url="https://never.example/spos", certificate=b"")
    await bench.run((await bench.deploy()).id)
    sent, before = bench.device.sent, len(await told(bench, provider))
    await bench.onboarding().retire_secure_element(bench.issuer_principal, bench.se_id)
    instance = await bench.instance()
    assert (instance.state, instance.sealed_data) == (InstanceState.TERMINATED, b"")
    assert instance.end_reason is EndReason.SECURE_ELEMENT_RETIRED
    new = (await told(bench, provider))[before:]
    ended, done = (json.loads(one.body) for one in new if one.kind is TargetKind.WEBHOOK)
    assert (ended["type"], ended["data"]["reason"]) == ("instance.terminated", "secure_element_retired")
    assert (done["type"], done["data"]["type"]) == ("operation.succeeded", "TERMINATE")
    (result,) = (json.loads(one.body) for one in new if one.kind is TargetKind.SPOS)
    assert (result["processId"], result["requestedOperations"]) == (done["data"]["operation_id"], [40])
    assert (result["serviceStartState"], result["serviceEndState"]) == (21, 1)
    assert result["executionStatus"] == 0
    assert "out of use for good" in result["executionMessage"]
    operation = await bench.operation(OperationId(done["data"]["operation_id"]))
    assert (operation.tenant_id, operation.result) == (provider, {"reason": "secure_element_retired"})
    assert bench.device.sent == sent


async def test_card_when_its_issuer_is_wiped_then_the_online_system_hears_of_every_process(
    dsn: str, tmp_path: Path
) -> None:
    bench = Bench(dsn, tmp_path)
    bench.sandbox = True
    await bench.open()
    await bench.seed()
    bench.catalogue.online = OnlineSystem(url="https://never.example/spos", certificate=b"")
    await bench.run((await bench.deploy()).id)
    waiting = await bench.requests.change(bench.principal, bench.instance_id, OperationType.SUSPEND)
    operator = Principal(tenant_id=TenantId("the operator"), kind=TenantKind.OPERATOR)
    await bench.onboarding().wipe_party(operator, bench.issuer)
    results = [json.loads(one.body) for one in await told(bench, bench.provider)][1:]
    await bench.close()
    failed, ended = results
    assert (failed["processId"], failed["requestedOperations"]) == (waiting.id, [30])
    assert failed["executionStatus"] != 0
    assert (ended["requestedOperations"], ended["executionStatus"]) == ([40], 0)
    assert {one["serviceEndState"] for one in results} == {1}
