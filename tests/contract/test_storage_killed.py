"""The database is killed under writers: what was acknowledged is there, and errors are all of one kind."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace
from tests.contract.storage_records import an_operation

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.kernel.ids import OperationId

KILLS, WRITERS, CHANGES_BETWEEN_KILLS = 2, 6, 60


@pytest.fixture
def directory() -> Iterator[Path]:
    """Give a directory that the server's user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="opentsm-killed-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def server(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Give a migrated server of the test's own."""
    server = EmbeddedPostgres(directory)
    try:
        connection = await asyncpg.connect(await server.start())
        await apply_migrations(connection)
        await connection.close()
        yield server
    finally:
        await server.stop()


async def read(storage: PostgresStorage, id_: OperationId) -> Operation:
    async with storage.transaction() as work:
        found = await work.operations.get(id_)
    assert found is not None
    return found


async def count_up(storage: PostgresStorage, id_: OperationId) -> None:
    """Change one operation in one transaction, with its audit entry and message."""
    async with storage.transaction() as work:
        operation = await work.operations.get(id_)
        assert operation is not None
        await work.operations.save(replace(operation, attempts=operation.attempts + 1))
        await work.audit.append(operation.tenant_id, actor="test", action="count", subject=id_)
        await work.outbox.publish("count", id_, {})
        await work.commit()


async def test_storage_when_the_database_is_killed_then_no_acknowledged_change_is_lost(
    server: EmbeddedPostgres,
) -> None:
    storage = PostgresStorage(server.dsn, world=SystemWorld(), acquire_timeout_s=60)
    await storage.open()
    operations = [an_operation() for _ in range(WRITERS)]
    async with storage.transaction() as work:
        for operation in operations:
            await work.operations.add(operation)
        await work.commit()
    acknowledged, in_doubt = dict.fromkeys((o.id for o in operations), 0), 0
    enough = asyncio.Event()
    target = 0
    stop = False

    async def write(id_: OperationId) -> None:
        nonlocal in_doubt
        while not stop:
            try:
                await count_up(storage, id_)
            except StaleVersionError:
                in_doubt += 1
                await asyncio.sleep(0)  # the database comes up in another thread
                continue
            acknowledged[id_] += 1
            if sum(acknowledged.values()) >= target:
                enough.set()

    writers = [asyncio.create_task(write(operation.id)) for operation in operations]
    for _ in range(KILLS):
        target = sum(acknowledged.values()) + CHANGES_BETWEEN_KILLS
        enough.clear()
        await asyncio.wait_for(enough.wait(), 120)
        postmaster = int(server.pid_file.read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
    target = sum(acknowledged.values()) + CHANGES_BETWEEN_KILLS
    enough.clear()
    await asyncio.wait_for(enough.wait(), 120)
    stop = True
    await asyncio.gather(*writers)

    assert in_doubt > 0
    extra = 0
    for operation in operations:
        stored = await read(storage, operation.id)
        assert stored.attempts >= acknowledged[operation.id]
        extra += stored.attempts - acknowledged[operation.id]
    assert extra <= KILLS * WRITERS  # a commit whose answer was lost may have happened
    with suppress(StaleVersionError):
        await storage.close()
