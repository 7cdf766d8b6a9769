"""What is removed when its time is over, and what stays."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from tests.contract.storage_records import a_segment, an_operation, an_order, new_id, new_tenant_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.storage.records import first_id_at
from opentsm.tsm.domain.device import DeviceSession, EnrolmentCode
from opentsm.tsm.domain.exchange import OrderState, SegmentState
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.domain.tenant import AccessToken, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.ids import DeviceId, OperationId, SegmentId, SeId
from opentsm.tsm.ports.repositories import Expendable
from opentsm.tsm.roles.hub.retention import RetentionPolicy, count_due, prune

NOW = datetime.now(UTC)
LONG_AGO, LIMIT, RECENTLY = (NOW - timedelta(days=days) for days in (40, 30, 20))
OWNER = new_tenant_id()
POLICY = RetentionPolicy(exchange_days=30, idempotency_days=30, credential_days=30)


def id_at(moment: datetime) -> str:
    """Return a new id as it was made at a moment."""
    return first_id_at(moment) + new_id()[13:]


async def an_exchange(
    storage: PostgresStorage,
    moment: datetime,
    *,
    ended: bool = True,
    consumed: bool = True,
    segment: SegmentState = SegmentState.CHECKED,
) -> tuple[SeId, SegmentId]:
    """Store an operation requested at a moment, its order and its segment."""
    state = OperationState.SUCCEEDED if ended else OperationState.AWAITING_DEVICE
    operation = replace(an_operation(), id=OperationId(id_at(moment)), state=state)
    order = replace(
        an_order(operation.se_id, 1),
        operation_id=operation.id,
        state=OrderState.CONSUMED if consumed else OrderState.IN_FLIGHT,
    )
    sealed = replace(a_segment(OWNER), operation_id=operation.id, state=segment)
    async with storage.transaction() as work:
        await work.operations.add(operation)
        await work.orders.add(order)
        await work.segments.add(sealed)
        await work.commit()
    return operation.se_id, sealed.id


async def left(storage: PostgresStorage, exchange: tuple[SeId, SegmentId]) -> tuple[bool, bool]:
    """Return whether order and segment are there."""
    se_id, segment_id = exchange
    async with storage.transaction() as work:
        order = await work.orders.get(se_id, 1)
        segment = await work.segments.get(OWNER, segment_id)
    return order is not None, segment is not None


def test_first_id_when_of_a_moment_then_between_the_ids_before_and_after() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    before, after = (id_at(moment + timedelta(milliseconds=ms)) for ms in (-1, 0))
    assert before < first_id_at(moment) < after
    # RFC 9562, appendix A.6: the example UUID of version 7 is of 2022-02-22 14:22:22.00 GMT-05:00
    example = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    made = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    assert first_id_at(made) < example < first_id_at(made + timedelta(milliseconds=1))


@pytest.mark.parametrize("segment", list(SegmentState))
async def test_exchange_when_its_operation_ended_long_ago_then_removed_checked_or_not(
    storage: PostgresStorage, segment: SegmentState
) -> None:
    old = await an_exchange(storage, LONG_AGO, segment=segment)
    recent = await an_exchange(storage, RECENTLY, segment=segment)
    running = await an_exchange(storage, LONG_AGO, ended=False, segment=segment)
    await prune(storage, POLICY, NOW)
    assert await left(storage, old) == (False, False)
    assert await left(storage, recent) == (True, True)
    assert await left(storage, running) == (True, True)


@pytest.mark.parametrize(("moment", "stays"), [(LONG_AGO, False), (RECENTLY, True)], ids=["old", "recent"])
async def test_segment_when_its_operation_is_another_tsms_then_removed_by_its_age(
    storage: PostgresStorage, moment: datetime, stays: bool
) -> None:
    sealed = replace(a_segment(OWNER), operation_id=OperationId(id_at(moment)))
    async with storage.transaction() as work:
        await work.segments.add(sealed)
        await work.commit()
    await prune(storage, POLICY, NOW)
    async with storage.transaction() as work:
        assert (await work.segments.get(OWNER, sealed.id) is not None) is stays


async def test_order_when_not_consumed_then_stays(storage: PostgresStorage) -> None:
    exchange = await an_exchange(storage, LONG_AGO, consumed=False)
    await prune(storage, POLICY, NOW)
    assert await left(storage, exchange) == (True, False)


async def test_credentials_when_expired_long_ago_then_removed(storage: PostgresStorage) -> None:
    tenant = Tenant(id=new_tenant_id(), kind=TenantKind.SE_ISSUER, name=new_id(), created_at=NOW)
    digests = {moment: new_id().encode() for moment in (LONG_AGO, RECENTLY)}
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        for moment, digest in digests.items():
            await work.devices.add_code(EnrolmentCode(digest=digest, tenant_id=tenant.id, expires_at=moment))
            # one of another device: adding a session drops old ones of the same
            await work.devices.add_session(
                DeviceSession(
                    digest=digest,
                    device_id=DeviceId(new_id()),
                    tenant_id=tenant.id,
                    se_id=SeId(new_id()),
                    expires_at=moment,
                )
            )
            await work.devices.remember_assertion(DeviceId(new_id()), str(moment), moment)
            await work.tenants.add_token(
                AccessToken(
                    digest=digest,
                    tenant_id=tenant.id,
                    kind=TokenKind.DEVICE,
                    subject=new_id(),
                    expires_at=moment,
                )
            )
        endless = AccessToken(digest=new_id().encode(), tenant_id=tenant.id, kind=TokenKind.LONG_TERM)
        await work.tenants.add_token(endless)
        await work.commit()
    due = await count_due(storage, POLICY, NOW)
    removed = await prune(storage, POLICY, NOW)
    kinds = (
        Expendable.ENROLMENT_CODES,
        Expendable.DEVICE_SESSIONS,
        Expendable.DEVICE_ASSERTIONS,
        Expendable.ACCESS_TOKENS,
    )
    assert all(removed[kind] == due[kind] >= 1 for kind in kinds)
    async with storage.transaction() as work:
        old, recent = digests.values()
        assert await work.devices.session(old) is None
        assert await work.devices.session(recent) is not None
        assert await work.tenants.find_token(old) is None
        assert await work.tenants.find_token(recent) is not None
        assert await work.tenants.find_token(endless.digest) is not None
        assert await work.devices.take_code(recent, RECENTLY - timedelta(seconds=1)) is not None
        assert await work.devices.take_code(old, LONG_AGO - timedelta(seconds=1)) is None


async def test_idempotency_keys_when_old_then_removed(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    async with storage.transaction() as work:
        await work.idempotency.put(tenant_id, "key", b"d", 201, b"r")
        await work.commit()
    await prune(storage, POLICY, NOW)
    async with storage.transaction() as work:
        assert await work.idempotency.find(tenant_id, "key") is not None
    await prune(storage, POLICY, NOW + timedelta(days=31))
    async with storage.transaction() as work:
        assert await work.idempotency.find(tenant_id, "key") is None


async def test_dry_run_then_counts_what_is_removed_afterwards_and_removes_nothing(
    storage: PostgresStorage,
) -> None:
    await prune(storage, POLICY, NOW)
    exchanges = [await an_exchange(storage, LONG_AGO) for _ in range(3)]
    due = await count_due(storage, POLICY, NOW)
    assert (due[Expendable.ORDERS], due[Expendable.SEGMENTS]) == (3, 3)
    assert [await left(storage, exchange) for exchange in exchanges] == [(True, True)] * 3
    assert await prune(storage, POLICY, NOW) == due


async def test_prune_when_more_is_due_than_a_batch_then_goes_on_to_the_end(storage: PostgresStorage) -> None:
    await prune(storage, POLICY, NOW)
    for _ in range(5):
        await an_exchange(storage, LONG_AGO)
    removed = await prune(storage, POLICY, NOW, batch=2)
    assert (removed[Expendable.ORDERS], removed[Expendable.SEGMENTS]) == (5, 5)


async def test_prune_when_another_node_holds_rows_then_passes_them_and_waits_for_nobody(
    storage: PostgresStorage,
) -> None:
    await prune(storage, POLICY, NOW)
    for _ in range(4):
        await an_exchange(storage, LONG_AGO)
    async with storage.transaction() as node:
        assert await node.retention.prune(Expendable.ORDERS, LIMIT, 3) == 3
        async with asyncio.timeout(120), storage.transaction() as other:
            assert await other.retention.prune(Expendable.ORDERS, LIMIT, 10) == 1
            await other.commit()
    assert (await prune(storage, POLICY, NOW))[Expendable.ORDERS] == 3


async def test_prune_when_several_nodes_do_it_at_once_then_everything_goes_once(
    storage: PostgresStorage,
) -> None:
    await prune(storage, POLICY, NOW)
    for _ in range(12):
        await an_exchange(storage, LONG_AGO)
    results = await asyncio.gather(*(prune(storage, POLICY, NOW, batch=2) for _ in range(3)))
    assert sum(found[Expendable.ORDERS] for found in results) == 12
    assert sum(found[Expendable.SEGMENTS] for found in results) == 12
