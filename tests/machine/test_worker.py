"""The worker when its database goes away, or its predecessor was killed: nothing waits for a lease."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.workers.outbox import LEASE_S, OutboxWorker

CEILING_S = 120


class StandingWorld(SystemWorld):
    """A clock that stands: no lease ever runs out."""

    def __init__(self) -> None:
        self._now = super().now()

    def now(self) -> datetime:
        return self._now


class LosableStorage:
    """A database that a test can take away."""

    def __init__(self, really: PostgresStorage) -> None:
        self._really = really
        self.away_for = 0  # transactions
        self.loses_answer = False
        self.missed = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        if self.away_for:
            self.away_for -= 1
            self.missed += 1
            raise StaleVersionError("The connection to the database was lost.")
        async with self._really.transaction() as tx:
            yield tx
            if self.loses_answer:
                self.loses_answer = False
                raise StaleVersionError("The commit may or may not have happened.")


class Bench:
    """A worker with one message of a kind of its own."""

    def __init__(self, storage: PostgresStorage, world: SystemWorld) -> None:
        self.storage, self.world = LosableStorage(storage), world
        self.kind = world.new_id()
        self.handled = 0
        self.worker = OutboxWorker(self.storage, {self.kind: self._handle}, world, LocalNotifier())

    async def publish(self) -> None:
        async with self.storage.transaction() as tx:
            await tx.outbox.publish(self.kind, "key", {})
            await tx.commit()

    async def left(self) -> bool:
        """Say whether the message is still there; it is leased by that."""
        far = self.world.now() + timedelta(seconds=2 * LEASE_S)
        async with self.storage.transaction() as tx:
            found = await tx.outbox.claim(far, lease_s=0, limit=1000)
        return any(message.kind == self.kind for message in found)

    async def _handle(self, _: dict[str, str]) -> None:
        self.handled += 1
        self.storage.away_for = 2


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[Bench]:
    world = StandingWorld()
    storage = PostgresStorage(dsn, world=world, max_connections=2)
    await storage.open()
    yield Bench(storage, world)
    await storage.close()


async def test_worker_when_the_database_is_away_for_a_moment_settles_the_message_then(bench: Bench) -> None:
    await bench.publish()
    async with asyncio.timeout(CEILING_S):
        await bench.worker.drain()
    assert bench.storage.missed == 2
    assert bench.handled == 1
    assert not await bench.left()


async def test_worker_when_its_predecessor_was_killed_takes_its_messages_at_once(bench: Bench) -> None:
    await bench.publish()
    async with bench.storage.transaction() as tx:
        await tx.outbox.claim(bench.world.now(), lease_s=LEASE_S, limit=1000)
        await tx.commit()
    assert await bench.worker.drain() == 0
    await bench.worker.release_leases()
    async with asyncio.timeout(CEILING_S):
        await bench.worker.drain()
    assert bench.handled == 1


async def test_worker_when_the_answer_to_its_claim_is_lost_handles_the_messages_all_the_same(
    bench: Bench,
) -> None:
    await bench.publish()
    bench.storage.loses_answer = True
    async with asyncio.timeout(CEILING_S):
        await bench.worker.drain()
    assert bench.handled == 1
    assert not await bench.left()
