"""Units of work: all or nothing, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.contract.storage_records import a_tenant, an_operation, new_id, new_tenant_id

from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.domain.tenant import Tenant
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, InvariantError, StaleVersionError
from opentsm.tsm.kernel.ids import OperationId, TenantId
from opentsm.tsm.ports.notifier import OUTBOX_TOPIC
from opentsm.tsm.ports.repositories import Page


async def stored(storage: PostgresStorage, tenant: Tenant) -> bool:
    async with storage.transaction() as work:
        return await work.tenants.get(tenant.id) is not None


@pytest.fixture
async def administrator(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def end_other_connections(administrator: "asyncpg.Connection[asyncpg.Record]") -> None:
    await administrator.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'opentsm' AND pid <> pg_backend_pid()"
    )


async def test_transaction_when_committed_then_another_connection_sees_it(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        assert not await stored(storage, tenant)
        await work.commit()
    assert await stored(storage, tenant)


async def test_transaction_when_left_without_commit_then_nothing_changed(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        await work.outbox.publish("kind", tenant.id, {})
        await work.audit.append(tenant.id, actor="x", action="y", subject="z")
    assert not await stored(storage, tenant)
    async with storage.transaction() as work:
        assert await work.audit.verify(tenant.id, 0) == 0


async def test_transaction_when_left_by_an_error_then_nothing_changed(storage: PostgresStorage) -> None:
    tenant = a_tenant()
    with pytest.raises(RuntimeError):
        async with storage.transaction() as work:
            await work.tenants.add(tenant)
            raise RuntimeError
    assert not await stored(storage, tenant)


async def test_transaction_when_nothing_is_asked_then_no_connection_is_used(dsn: str) -> None:
    storage = PostgresStorage(dsn, world=SystemWorld(), max_connections=1, acquire_timeout_s=60)
    await storage.open()
    async with storage.transaction() as idle:
        assert not await stored(storage, a_tenant())
        await idle.commit()
    await storage.close()


async def test_transaction_when_committed_then_it_takes_no_more(storage: PostgresStorage) -> None:
    async with storage.transaction() as work:
        await work.tenants.add(a_tenant())
        await work.commit()
        with pytest.raises(InvariantError):
            await work.tenants.add(a_tenant())


async def test_transaction_when_a_refusal_is_ignored_then_commit_refuses(storage: PostgresStorage) -> None:
    tenant, other = a_tenant(), a_tenant()
    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        await work.commit()
    async with storage.transaction() as work:
        await work.tenants.add(other)
        with pytest.raises(ConflictError):
            await work.tenants.add(tenant)
        with pytest.raises(InvariantError):
            await work.commit()
    assert not await stored(storage, other)


async def test_save_when_the_version_moved_then_stale_and_commit_refuses(storage: PostgresStorage) -> None:
    operation = an_operation()
    async with storage.transaction() as work:
        await work.operations.add(operation)
        await work.operations.save(operation)
        await work.commit()
    async with storage.transaction() as work:
        with pytest.raises(StaleVersionError):
            await work.operations.save(operation)
        with pytest.raises(InvariantError):
            await work.commit()


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
async def test_query_when_a_text_cannot_be_stored_then_the_caller_is_told(
    storage: PostgresStorage, text: str
) -> None:
    with pytest.raises(InvalidInputError):
        async with storage.transaction() as work:
            await work.tenants.get(TenantId(text))


async def test_query_when_a_number_is_out_of_range_then_the_caller_is_told(storage: PostgresStorage) -> None:
    with pytest.raises(InvalidInputError):
        async with storage.transaction() as work:
            await work.operations.add(an_operation(priority=1 << 40))


async def test_connection_when_lost_before_commit_then_stale_and_nothing_changed(
    storage: PostgresStorage, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    tenant = a_tenant()
    with pytest.raises(StaleVersionError):
        async with storage.transaction() as work:
            await work.tenants.add(tenant)
            await end_other_connections(administrator)
            await work.commit()
    assert not await stored(storage, tenant)


async def test_connection_when_lost_in_a_query_then_stale_and_the_next_transaction_works(
    storage: PostgresStorage, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    tenant = a_tenant()
    with pytest.raises(StaleVersionError):
        async with storage.transaction() as work:
            await work.tenants.add(tenant)
            await end_other_connections(administrator)
            await work.tenants.get(tenant.id)
    assert not await stored(storage, tenant)


async def test_connection_when_lost_while_idle_then_at_most_one_transaction_is_stale(
    storage: PostgresStorage, administrator: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    tenant = a_tenant()
    await stored(storage, tenant)
    await end_other_connections(administrator)
    try:
        await stored(storage, tenant)
    except StaleVersionError:
        assert not await stored(storage, tenant)


async def test_connection_when_refused_then_stale(dsn: str) -> None:
    storage = PostgresStorage(dsn, world=SystemWorld(), max_connections=1, acquire_timeout_s=60)
    await storage.open()
    async with storage.transaction() as work:
        await work.tenants.get(new_tenant_id())
        storage._acquire_timeout_s = 0.001  # from now on; the pool has no second connection
        with pytest.raises(StaleVersionError):
            await stored(storage, a_tenant())
    await storage.close()


async def test_transaction_when_its_task_is_cancelled_then_the_connection_serves_again(dsn: str) -> None:
    storage = PostgresStorage(dsn, world=SystemWorld(), max_connections=2, acquire_timeout_s=60)
    await storage.open()
    tenant = a_tenant()
    waiting = asyncio.Event()

    async def blocked() -> None:
        async with storage.transaction() as work:
            await work.tenants.get(tenant.id)
            waiting.set()
            await work.tenants.add(tenant)

    async with storage.transaction() as work:
        await work.tenants.add(tenant)
        task = asyncio.create_task(blocked())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await stored(storage, tenant)
        await work.commit()
    assert await stored(storage, tenant)
    await storage.close()


async def test_transactions_when_they_wait_for_each_other_then_one_is_stale(storage: PostgresStorage) -> None:
    first, second = an_operation(), an_operation()
    async with storage.transaction() as work:
        await work.operations.add(first)
        await work.operations.add(second)
        await work.commit()
    both = asyncio.Barrier(2)

    async def save(one: OperationId, other: OperationId) -> None:
        operations = {first.id: first, second.id: second}
        async with storage.transaction() as work:
            await work.operations.save(operations[one])
            await both.wait()
            await work.operations.save(operations[other])
            await work.commit()

    results = await asyncio.gather(
        save(first.id, second.id), save(second.id, first.id), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "StaleVersionError"]


async def test_transaction_when_the_storage_is_not_open_then_refused(dsn: str) -> None:
    with pytest.raises(InvariantError):
        async with PostgresStorage(dsn, world=SystemWorld()).transaction():
            pass


async def test_storage_when_reopened_then_everything_committed_is_there(dsn: str) -> None:
    tenant = a_tenant()
    for attempt in range(2):
        storage = PostgresStorage(dsn, world=SystemWorld())
        await storage.open()
        async with storage.transaction() as work:
            if attempt == 0:
                await work.tenants.add(tenant)
                await work.audit.append(tenant.id, actor="x", action="y", subject="z")
                await work.commit()
            else:
                assert await work.tenants.get(tenant.id) == tenant
                assert len(await work.audit.list(tenant.id, Page())) == 1
        await storage.close()


async def test_commit_when_messages_were_published_then_the_notifier_is_told_after_it(dsn: str) -> None:
    told: list[str] = []

    class Recorder(LocalNotifier):
        def notify(self, topic: str) -> None:
            told.append(topic)

    storage = PostgresStorage(dsn, world=SystemWorld(), notifier=Recorder())
    await storage.open()
    async with storage.transaction() as work:
        await work.outbox.publish("kind", new_id(), {})
    async with storage.transaction() as work:
        await work.tenants.add(a_tenant())
        await work.commit()
    assert told == []
    async with storage.transaction() as work:
        await work.outbox.publish("kind", new_id(), {})
        assert told == []
        await work.commit()
    assert told == [OUTBOX_TOPIC]
    await storage.close()


async def test_storage_repr_then_shows_no_password(dsn: str) -> None:
    storage = PostgresStorage(dsn, world=SystemWorld())
    assert dsn not in repr(storage)
