"""Operations, instances, orders, segments: what the storage port says about them."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.contract.storage_records import (
    NOW,
    a_secure_element,
    a_segment,
    an_instance,
    an_operation,
    an_order,
    new_id,
    new_se_id,
    new_tenant_id,
)

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.exchange import OrderState, SegmentState
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SegmentId
from opentsm.tsm.ports.repositories import InstanceFilter, OperationFilter, Page

ALL = Page(limit=200)


async def test_operation_when_added_then_read_back_whole(storage: PostgresStorage) -> None:
    operation = an_operation(instance_id=InstanceId(new_id()), valid_until=NOW)
    async with storage.transaction() as work:
        await work.operations.add(operation)
        assert await work.operations.get(operation.id) == operation
        assert await work.operations.get(OperationId(new_id())) is None
        with pytest.raises(ConflictError):
            await work.operations.add(operation)


async def test_operation_when_saved_then_the_version_moves(storage: PostgresStorage) -> None:
    operation = an_operation()
    changed = replace(operation, state=OperationState.SUCCEEDED, plan_document=b"", ended_at=NOW)
    async with storage.transaction() as work:
        await work.operations.add(operation)
        assert await work.operations.save(changed) == replace(changed, version=1)
        assert await work.operations.get(operation.id) == replace(changed, version=1)
        with pytest.raises(StaleVersionError):
            await work.operations.save(changed)


async def test_queue_when_asked_then_lowest_priority_number_first_and_then_oldest(
    storage: PostgresStorage,
) -> None:
    se_id = new_se_id()
    queued, requested = OperationState.QUEUED, OperationState.REQUESTED
    expected = [
        an_operation(se_id, priority=0, created_s=50),
        an_operation(se_id, priority=0, created_s=60, state=requested),
        an_operation(se_id, priority=100, created_s=1),
        an_operation(se_id, priority=100, created_s=2, state=queued),
    ]
    found: list[Operation | None] = []
    async with storage.transaction() as work:
        for operation in reversed(expected):
            await work.operations.add(operation)
        await work.operations.add(an_operation(priority=0))  # another secure element
        for _ in range(5):
            found.append(await work.operations.next_queued(se_id))
            if found[-1] is not None:
                await work.operations.save(replace(found[-1], state=OperationState.PREPARING))
    assert found == [*expected, None]


@pytest.mark.parametrize(
    "state", [s for s in OperationState if s not in {OperationState.REQUESTED, OperationState.QUEUED}]
)
async def test_queue_when_an_operation_does_not_wait_then_it_is_not_in_it(
    storage: PostgresStorage, state: OperationState
) -> None:
    operation = an_operation(state=state)
    async with storage.transaction() as work:
        await work.operations.add(operation)
        assert await work.operations.next_queued(operation.se_id) is None


async def test_operations_when_listed_then_every_filter_counts(storage: PostgresStorage) -> None:
    se = a_secure_element()
    tenant_id, instance_id = new_tenant_id(), InstanceId(new_id())
    mine = an_operation(se.id, tenant_id=tenant_id, instance_id=instance_id)
    same_se = an_operation(se.id)
    same_tenant = an_operation(tenant_id=tenant_id)
    no_tenant, no_se = new_tenant_id(), new_se_id()
    async with storage.transaction() as work:
        await work.secure_elements.add(se)
        for operation in (mine, same_se, same_tenant):
            await work.operations.add(operation)

        async def ids(**wanted: Any) -> set[str]:
            found = await work.operations.list(ALL, OperationFilter(**wanted))
            backwards = await work.operations.list(replace(ALL, descending=True), OperationFilter(**wanted))
            assert list(reversed(backwards)) == list(found)
            return {operation.id for operation in found}

        assert await ids(se_id=se.id) == {mine.id, same_se.id}
        assert await ids(tenant_id=tenant_id) == {mine.id, same_tenant.id}
        assert await ids(issuer_id=se.issuer_id) == {mine.id, same_se.id}
        assert await ids(instance_id=instance_id) == {mine.id}
        assert await ids(tenant_id=tenant_id, se_id=se.id) == {mine.id}
        assert await ids(tenant_id=tenant_id, issuer_id=se.issuer_id) == {mine.id}
        assert await ids(tenant_id=no_tenant, se_id=se.id) == set()
        assert await ids(issuer_id=no_tenant, se_id=se.id) == set()
        assert await ids(issuer_id=no_tenant, tenant_id=tenant_id) == set()
        assert await ids(tenant_id=no_tenant, instance_id=instance_id) == set()
        assert await ids(issuer_id=no_tenant, instance_id=instance_id) == set()
        assert await ids(se_id=no_se, instance_id=instance_id) == set()


async def test_operations_when_listed_in_pages_then_each_comes_once(storage: PostgresStorage) -> None:
    se_id = new_se_id()
    added = sorted((an_operation(se_id) for _ in range(5)), key=lambda operation: operation.id)
    async with storage.transaction() as work:
        for operation in added:
            await work.operations.add(operation)
        on_se = OperationFilter(se_id=se_id)
        first = await work.operations.list(Page(limit=3), on_se)
        rest = await work.operations.list(Page(limit=3, after=first[-1].id), on_se)
        everywhere = await work.operations.list(Page(limit=200, after=added[0].id), OperationFilter())
        too_many = await work.operations.list(Page(limit=100_000), on_se)
    assert [*first, *rest] == added
    assert [operation for operation in everywhere if operation.se_id == se_id] == added[1:]
    assert too_many == added


async def test_expired_when_asked_then_only_those_not_ended_and_over(storage: PostgresStorage) -> None:
    past, future = NOW - timedelta(days=10_000), NOW + timedelta(days=10_000)
    over = an_operation(valid_until=past)
    others = [an_operation(valid_until=past, state=state) for state in ENDED]
    others += [an_operation(valid_until=future), an_operation()]
    async with storage.transaction() as work:
        for operation in (over, *others):
            await work.operations.add(operation)
        expired = await work.operations.expired(NOW, 1000)
    assert [operation for operation in expired if operation in (over, *others)] == [over]


async def test_instance_when_saved_then_read_back_whole(storage: PostgresStorage) -> None:
    instance = an_instance()
    changed = replace(instance, state=InstanceState.OPERATIONAL, sealed_data=b"")
    async with storage.transaction() as work:
        await work.instances.add(instance)
        assert await work.instances.get(instance.id) == instance
        assert await work.instances.save(changed) == replace(changed, version=1)
        assert await work.instances.get(instance.id) == replace(changed, version=1)
        assert await work.instances.get(InstanceId(new_id())) is None
        with pytest.raises(StaleVersionError):
            await work.instances.save(changed)


async def test_instance_when_the_id_is_taken_then_conflict(storage: PostgresStorage) -> None:
    instance = an_instance()
    async with storage.transaction() as work:
        await work.instances.add(instance)
        with pytest.raises(ConflictError):
            await work.instances.add(instance)


async def test_instances_when_asked_for_a_secure_element_then_all_but_the_terminated(
    storage: PostgresStorage,
) -> None:
    se_id = new_se_id()
    added = [an_instance(se_id, state=state) for state in InstanceState]
    async with storage.transaction() as work:
        for instance in (*added, an_instance()):
            await work.instances.add(instance)
        live = await work.instances.on_secure_element(se_id)
    assert {instance.state for instance in live} == set(InstanceState) - {InstanceState.TERMINATED}
    assert {instance.se_id for instance in live} == {se_id}


async def test_instances_when_listed_then_every_filter_counts(storage: PostgresStorage) -> None:
    se_id, provider_id = new_se_id(), new_tenant_id()
    mine = an_instance(se_id, provider_id=provider_id, state=InstanceState.TERMINATED)
    same_se = an_instance(se_id)
    same_provider = an_instance(provider_id=provider_id)

    def ids(instances: list[ServiceInstance]) -> set[str]:
        return {instance.id for instance in instances}

    async with storage.transaction() as work:
        for instance in (mine, same_se, same_provider):
            await work.instances.add(instance)
        on_se = await work.instances.list(ALL, InstanceFilter(se_id=se_id))
        of_provider = await work.instances.list(ALL, InstanceFilter(provider_id=provider_id))
        both = await work.instances.list(ALL, InstanceFilter(provider_id=provider_id, se_id=se_id))
        page = await work.instances.list(Page(after=max(mine.id, same_se.id)), InstanceFilter(se_id=se_id))
        everywhere = await work.instances.list(Page(limit=200, after=mine.id[:-1]), InstanceFilter())
    assert ids(list(on_se)) == {mine.id, same_se.id}
    assert ids(list(of_provider)) == {mine.id, same_provider.id}
    assert ids(list(both)) == {mine.id}
    assert page == []
    assert {mine.id, same_se.id, same_provider.id} <= ids(list(everywhere))


async def test_order_when_saved_then_read_back_whole(storage: PostgresStorage) -> None:
    order = an_order(new_se_id(), 1)
    changed = replace(order, state=OrderState.ANSWERED, sealed_answer=bytes(5000), delivered=3)
    async with storage.transaction() as work:
        await work.orders.add(order)
        assert await work.orders.get(order.se_id, 1) == order
        assert await work.orders.save(changed) == replace(changed, version=1)
        assert await work.orders.get(order.se_id, 1) == replace(changed, version=1)
        assert await work.orders.get(order.se_id, 2) is None
        with pytest.raises(StaleVersionError):
            await work.orders.save(changed)


async def test_order_when_the_sequence_is_taken_then_conflict(storage: PostgresStorage) -> None:
    order = an_order(new_se_id(), 1)
    async with storage.transaction() as work:
        await work.orders.add(order)
        with pytest.raises(ConflictError):
            await work.orders.add(replace(order, state=OrderState.CONSUMED))


async def test_order_when_several_then_current_is_the_newest_not_consumed(storage: PostgresStorage) -> None:
    se_id = new_se_id()
    states = (OrderState.CONSUMED, OrderState.ANSWERED, OrderState.IN_FLIGHT, OrderState.CONSUMED)
    async with storage.transaction() as work:
        assert await work.orders.current(se_id) is None
        for sequence, state in enumerate(states, start=9):
            await work.orders.add(an_order(se_id, sequence, state=state))
        current = await work.orders.current(se_id)
    assert current is not None
    assert current.sequence == 11


async def test_segment_when_saved_then_read_back_by_its_owner_only(storage: PostgresStorage) -> None:
    segment = a_segment(new_tenant_id())
    changed = replace(segment, state=SegmentState.WRAPPED, sealed=b"")
    async with storage.transaction() as work:
        await work.segments.add(segment)
        assert await work.segments.get(segment.owner_id, segment.id) == segment
        assert await work.segments.get(new_tenant_id(), segment.id) is None
        assert await work.segments.get(segment.owner_id, SegmentId(new_id())) is None
        assert await work.segments.save(changed) == replace(changed, version=1)
        assert await work.segments.get(segment.owner_id, segment.id) == replace(changed, version=1)
        with pytest.raises(StaleVersionError):
            await work.segments.save(changed)


async def test_segment_when_the_id_is_taken_then_conflict(storage: PostgresStorage) -> None:
    segment = a_segment(new_tenant_id())
    async with storage.transaction() as work:
        await work.segments.add(segment)
        with pytest.raises(ConflictError):
            await work.segments.add(segment)
