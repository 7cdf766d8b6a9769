"""Two writers at once: one wins, the other is told, nothing is lost or done twice."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.contract.conftest import Blocked
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
from opentsm.tsm.domain.device import EnrolmentCode
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.kernel.ids import DeviceId
from opentsm.tsm.ports.unit_of_work import UnitOfWork

Act = Callable[[UnitOfWork], Awaitable[object]]

SECURE_ELEMENT, OPERATION, INSTANCE = a_secure_element(), an_operation(), an_instance()
ORDER, SEGMENT = an_order(new_se_id(), 1), a_segment(new_tenant_id())


async def in_transaction(storage: PostgresStorage, act: Act) -> object:
    async with storage.transaction() as work:
        result = await act(work)
        await work.commit()
    return result


async def race(storage: PostgresStorage, act: Act, blocked: Blocked) -> list[object]:
    """Let two transactions do the same, the second while the first has not committed."""
    async with storage.transaction() as first:
        result = await act(first)
        second = asyncio.create_task(in_transaction(storage, act))
        await blocked(second)  # it waits for the row
        await first.commit()
    return [result, (await asyncio.gather(second, return_exceptions=True))[0]]


RACES: dict[str, tuple[Act, Act]] = {
    "secure element": (
        lambda work: work.secure_elements.add(SECURE_ELEMENT),
        lambda work: work.secure_elements.save(SECURE_ELEMENT),
    ),
    "operation": (
        lambda work: work.operations.add(OPERATION),
        lambda work: work.operations.save(OPERATION),
    ),
    "instance": (lambda work: work.instances.add(INSTANCE), lambda work: work.instances.save(INSTANCE)),
    "order": (lambda work: work.orders.add(ORDER), lambda work: work.orders.save(ORDER)),
    "segment": (lambda work: work.segments.add(SEGMENT), lambda work: work.segments.save(SEGMENT)),
}


@pytest.mark.parametrize("record", RACES)
async def test_save_when_two_writers_then_one_wins_and_the_other_is_stale(
    storage: PostgresStorage, record: str, blocked: Blocked
) -> None:
    add, save = RACES[record]
    await in_transaction(storage, add)
    winner, loser = await race(storage, save, blocked)
    assert getattr(winner, "version", None) == 1
    assert isinstance(loser, StaleVersionError)


async def test_save_when_all_writers_try_again_then_no_change_is_lost(storage: PostgresStorage) -> None:
    operation = an_operation()
    await in_transaction(storage, lambda work: work.operations.add(operation))

    async def count(work: UnitOfWork) -> None:
        stored = await work.operations.get(operation.id)
        assert stored is not None
        await work.operations.save(replace(stored, attempts=stored.attempts + 1))

    async def persist() -> None:
        while True:
            try:
                await in_transaction(storage, count)
            except StaleVersionError:
                continue
            return

    await asyncio.gather(*(persist() for _ in range(12)))
    final = await in_transaction(storage, lambda work: work.operations.get(operation.id))
    assert final == replace(operation, attempts=12, version=12)


async def test_code_when_two_take_it_then_one_gets_it(storage: PostgresStorage, blocked: Blocked) -> None:
    code = EnrolmentCode(digest=new_id().encode(), tenant_id=new_tenant_id(), expires_at=NOW)
    await in_transaction(storage, lambda work: work.devices.add_code(code))
    earlier = NOW - timedelta(seconds=1)
    taken = await race(storage, lambda work: work.devices.take_code(code.digest, earlier), blocked)
    assert taken == [code, None]


async def test_assertion_when_used_twice_at_once_then_one_is_accepted(
    storage: PostgresStorage, blocked: Blocked
) -> None:
    device_id = DeviceId(new_id())
    results = await race(
        storage, lambda work: work.devices.remember_assertion(device_id, "jti", NOW), blocked
    )
    assert results == [True, False]


async def test_idempotency_key_when_twin_requests_then_the_slower_is_told_to_look_again(
    storage: PostgresStorage, blocked: Blocked
) -> None:
    tenant_id = new_tenant_id()
    winner, loser = await race(
        storage, lambda work: work.idempotency.put(tenant_id, "key", b"digest", 201, b"{}"), blocked
    )
    assert winner is None
    assert isinstance(loser, StaleVersionError)
