"""Lists by any filter, in both orders, page by page: what the storage port says about them."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from tests.contract.storage_records import an_instance, an_operation, new_se_id, new_tenant_id

from opentsm.card.codec.aid import Aid
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.domain.card_content import ApplicationSpecification
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.kernel.ids import OperationId, TenantId
from opentsm.tsm.ports.repositories import InstanceFilter, OperationFilter, Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork

ONE, OTHER = Aid.from_hex("F04F54534D0901"), Aid.from_hex("F04F54534D0902")


async def operations_of(work: UnitOfWork, page: Page, **wanted: Any) -> list[Operation]:
    return list(await work.operations.list(page, OperationFilter(**wanted)))


async def instances_of(work: UnitOfWork, page: Page, **wanted: Any) -> list[ServiceInstance]:
    return list(await work.instances.list(page, InstanceFilter(**wanted)))


def described(instance: ServiceInstance, *applications: Aid, **changes: str) -> ServiceInstance:
    """Change what an instance is made of."""
    specifications = tuple(
        ApplicationSpecification(instance_aid=aid, load_file=ONE, module=ONE) for aid in applications
    )
    changed = replace(instance.description, applications=specifications, **changes)
    return replace(instance, description=changed)


@pytest.mark.parametrize("by", ["tenant_id", "se_id", "state", "tenant_id and state"])
@pytest.mark.parametrize("descending", [False, True])
async def test_operations_when_paged_in_either_order_then_each_comes_once(
    storage: PostgresStorage, by: str, descending: bool
) -> None:
    se_id, tenant_id, state = new_se_id(), new_tenant_id(), OperationState.IN_DOUBT
    all_of_them = {"tenant_id": tenant_id, "se_id": se_id, "state": state}
    wanted = {name: all_of_them[name] for name in by.split(" and ")}
    async with storage.transaction() as work:
        added = [an_operation(se_id, tenant_id=tenant_id, state=state) for _ in range(5)]
        for operation in added:
            await work.operations.add(operation)
        found: list[Operation] = []
        after: str | None = None
        while True:
            page = await operations_of(work, Page(limit=2, after=after, descending=descending), **wanted)
            found += page
            if len(page) < 2 or len(found) > 1000:
                break
            after = page[-1].id
    mine = [operation for operation in found if operation.se_id == se_id]
    assert mine == sorted(added, key=lambda one: one.id, reverse=descending)


async def test_operations_when_their_state_or_type_is_asked_for_then_only_those(
    storage: PostgresStorage,
) -> None:
    tenant_id = new_tenant_id()
    failed = an_operation(tenant_id=tenant_id, state=OperationState.FAILED)
    audit = replace(an_operation(tenant_id=tenant_id), type=OperationType.AUDIT)
    both = replace(an_operation(tenant_id=tenant_id, state=OperationState.FAILED), type=OperationType.AUDIT)
    page = Page(limit=200, descending=True)
    async with storage.transaction() as work:
        for operation in (failed, audit, both):
            await work.operations.add(operation)
        mine = {"tenant_id": tenant_id}
        assert await operations_of(work, page, **mine, state=OperationState.FAILED) == [both, failed]
        assert await operations_of(work, page, **mine, type=OperationType.AUDIT) == [both, audit]
        assert await operations_of(
            work, page, **mine, state=OperationState.FAILED, type=OperationType.AUDIT
        ) == [both]
        assert await operations_of(work, page, **mine, state=OperationState.CANCELLED) == []
        moved = await work.operations.save(replace(failed, state=OperationState.CANCELLED))
        assert await operations_of(work, page, **mine, state=OperationState.CANCELLED) == [moved]


@pytest.mark.parametrize("descending", [False, True])
async def test_lists_when_a_time_is_asked_for_then_its_bounds_count_to_the_microsecond(
    storage: PostgresStorage, descending: bool
) -> None:
    world, tenant_id = SystemWorld(), new_tenant_id()
    moment, tick = world.now(), timedelta(microseconds=1)
    page = Page(limit=200, descending=descending)
    made = [moment - tick, moment, moment + tick]
    async with storage.transaction() as work:
        for at in made:
            await work.operations.add(replace(an_operation(tenant_id=tenant_id), created_at=at))
            await work.instances.add(replace(an_instance(provider_id=tenant_id), created_at=at))
        for list_, owner in ((operations_of, "tenant_id"), (instances_of, "provider_id")):

            async def times(list_: Any = list_, owner: str = owner, **bounds: Any) -> list[Any]:
                found = await list_(work, page, **{owner: tenant_id}, **bounds)
                return sorted(one.created_at for one in found)

            assert await times(created_from=moment) == made[1:]
            assert await times(created_before=moment) == made[:1]
            assert await times(created_from=moment, created_before=moment + tick) == [moment]
            assert await times(created_from=moment + 2 * tick) == []


async def test_page_when_a_cursor_lies_outside_the_times_then_the_narrower_counts(
    storage: PostgresStorage,
) -> None:
    now = SystemWorld().now()
    operation = replace(an_operation(), created_at=now)
    day = timedelta(days=1)
    early, late = OperationId("00" + operation.id[2:]), OperationId("f" + operation.id[1:])
    async with storage.transaction() as work:
        await work.operations.add(operation)
        se = {"se_id": operation.se_id}
        for page in (Page(after=early), Page(after=late, descending=True)):
            assert await operations_of(work, page, **se, created_from=now - day) == [operation]
            assert await operations_of(work, page, **se, created_before=now - day) == []
            assert await operations_of(work, page, **se, created_from=now + day) == []
        for page in (Page(after=late), Page(after=early, descending=True)):
            assert await operations_of(work, page, **se) == []


SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({}, "abc"),
    ({"service_id": "bus"}, "ab"),
    ({"service_id": "bus", "version_tag": "2.0.0"}, "b"),
    ({"version_tag": "2.0.0"}, "b"),
    ({"flavor_id": "red"}, "ac"),
    ({"flavor_id": "red", "service_id": "door"}, "c"),
    ({"state": InstanceState.IN_ERROR}, "b"),
    ({"state": InstanceState.IN_ERROR, "flavor_id": "red"}, ""),
    ({"application": ONE}, "ab"),
    ({"application": OTHER}, "b"),
    ({"application": ONE, "version_tag": "2.0.0"}, "b"),
    ({"application": ONE, "state": InstanceState.SUSPENDED}, ""),
    ({"application": Aid.from_hex("F04F54534D0903")}, ""),
]


@pytest.mark.parametrize(("wanted", "expected"), SEARCHES)
@pytest.mark.parametrize("on_se", [False, True])
async def test_instances_when_searched_then_every_filter_counts_and_others_are_not_found(
    storage: PostgresStorage, wanted: dict[str, Any], expected: str, on_se: bool
) -> None:
    se_id, provider_id = new_se_id(), new_tenant_id()

    def three(provider: TenantId) -> dict[str, ServiceInstance]:
        made = {name: an_instance(se_id, provider_id=provider) for name in "abc"}
        return {
            "a": described(made["a"], ONE, service_id="bus", version_tag="1.0.0", flavor_id="red"),
            "b": replace(
                described(made["b"], ONE, OTHER, service_id="bus", version_tag="2.0.0", flavor_id="blue"),
                state=InstanceState.IN_ERROR,
            ),
            "c": described(made["c"], service_id="door", version_tag="1.0.0", flavor_id="red"),
        }

    mine = three(provider_id)
    async with storage.transaction() as work:
        for instance in (*mine.values(), *three(new_tenant_id()).values()):
            await work.instances.add(instance)
        both = {**wanted, **({"se_id": se_id} if on_se else {})}
        found = await instances_of(work, Page(), provider_id=provider_id, **both)
        backwards = await instances_of(work, Page(descending=True), provider_id=provider_id, **both)
    assert found == [mine[name] for name in expected]
    assert backwards == list(reversed(found))


async def test_instance_when_it_gets_other_applications_then_found_by_those_only(
    storage: PostgresStorage,
) -> None:
    provider_id = new_tenant_id()
    instance = described(an_instance(provider_id=provider_id), ONE)
    async with storage.transaction() as work:
        await work.instances.add(instance)
        changed = await work.instances.save(described(instance, OTHER))
        by_one = await instances_of(work, Page(), provider_id=provider_id, application=ONE)
        by_other = await instances_of(work, Page(), provider_id=provider_id, application=OTHER)
    assert (by_one, by_other) == ([], [changed])
