"""What the metrics ask of the storage: open operations by state, the age of the oldest due message."""

from datetime import timedelta

from tests.contract.storage_records import NOW, an_operation, new_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.operation import ENDED, OperationState

LONG_BEFORE = NOW - timedelta(days=10_000)


async def test_open_operations_then_counted_by_state_and_ended_ones_not(storage: PostgresStorage) -> None:
    async with storage.transaction() as work:
        before = await work.operations.count_open()
        for state in (OperationState.QUEUED, OperationState.QUEUED, OperationState.FAILED):
            await work.operations.add(an_operation(state=state))
        after = await work.operations.count_open()
    assert set(after) == set(OperationState) - ENDED
    assert after[OperationState.QUEUED] == before[OperationState.QUEUED] + 2
    assert sum(after.values()) == sum(before.values()) + 2


async def test_oldest_due_message_then_its_time_and_none_before_it(storage: PostgresStorage) -> None:
    async with storage.transaction() as work:
        assert await work.outbox.oldest_due(LONG_BEFORE) is None
        for minutes in (0, 5):
            due = LONG_BEFORE + timedelta(minutes=minutes)
            await work.outbox.publish("kind", new_id(), {}, not_before=due)
        assert await work.outbox.oldest_due(LONG_BEFORE - timedelta(seconds=1)) is None
        assert await work.outbox.oldest_due(LONG_BEFORE + timedelta(hours=1)) == LONG_BEFORE
