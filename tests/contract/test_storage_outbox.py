"""The outbox: at least once, one waiting message a key, leases, no lost wake-up."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.contract.conftest import Blocked
from tests.contract.storage_records import NOW, new_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.exchange import OutboxMessage

# messages of different tests share the table: each test looks at its own kind only
SECOND = timedelta(seconds=1)
MANY = 10_000


async def publish(
    storage: PostgresStorage, kind: str, key: str = "key", *, not_before: datetime = NOW, **body: str
) -> None:
    async with storage.transaction() as work:
        await work.outbox.publish(kind, key, body, not_before=not_before)
        await work.commit()


async def claim(
    storage: PostgresStorage, kind: str, *, now: datetime = NOW, lease_s: float = 10
) -> Sequence[OutboxMessage]:
    async with storage.transaction() as work:
        messages = await work.outbox.claim(now, lease_s=lease_s, limit=MANY)
        await work.commit()
    return [message for message in messages if message.kind == kind]


async def test_message_when_published_then_claimed_once(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind, text="body")
    (message,) = await claim(storage, kind)
    assert (message.kind, message.key, message.body, message.attempts) == (kind, "key", {"text": "body"}, 1)
    assert await claim(storage, kind) == []


async def test_message_when_published_without_a_time_then_due_at_once(storage: PostgresStorage) -> None:
    kind = new_id()
    async with storage.transaction() as work:
        await work.outbox.publish(kind, "key", {})
        await work.commit()
    assert len(await claim(storage, kind, now=NOW + timedelta(days=99_999))) == 1


async def test_message_when_not_yet_due_then_left(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind, not_before=NOW + SECOND)
    assert await claim(storage, kind) == []
    assert len(await claim(storage, kind, now=NOW + SECOND)) == 1


async def test_message_when_one_of_the_key_waits_then_not_added_but_due_at_the_earlier_time(
    storage: PostgresStorage,
) -> None:
    kind = new_id()
    await publish(storage, kind, not_before=NOW + 60 * SECOND, number="1")
    await publish(storage, kind, number="2")
    await publish(storage, kind, "other")
    messages = await claim(storage, kind)
    assert sorted(message.key for message in messages) == ["key", "other"]
    assert await claim(storage, kind, now=NOW + SECOND) == []


async def test_message_when_one_of_the_key_is_claimed_then_added(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind)
    (first,) = await claim(storage, kind)
    await publish(storage, kind)
    (second,) = await claim(storage, kind)
    assert first.id != second.id


async def test_message_when_its_lease_is_over_then_claimed_again(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind)
    (first,) = await claim(storage, kind, lease_s=5)
    assert await claim(storage, kind, now=NOW + 4 * SECOND) == []
    (again,) = await claim(storage, kind, now=NOW + 5 * SECOND)
    assert (again.id, again.attempts) == (first.id, 2)


async def test_messages_when_their_leases_are_released_then_due_at_once_and_waiting_ones_stay(
    storage: PostgresStorage,
) -> None:
    kind = new_id()
    await publish(storage, kind)
    await publish(storage, kind, "waiting", not_before=NOW + 60 * SECOND)
    (leased,) = await claim(storage, kind)
    async with storage.transaction() as work:
        assert await work.outbox.release(NOW + SECOND) >= 1
        await work.commit()
    assert await claim(storage, kind) == []
    (again,) = await claim(storage, kind, now=NOW + SECOND)
    assert again.id == leased.id


async def test_message_when_done_then_gone_for_ever(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind)
    (message,) = await claim(storage, kind)
    async with storage.transaction() as work:
        await work.outbox.done(message.id)
        await work.commit()
    assert await claim(storage, kind, now=NOW + 3600 * SECOND) == []


async def test_message_when_retried_then_waits_until_its_time(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind)
    (message,) = await claim(storage, kind)
    async with storage.transaction() as work:
        await work.outbox.retry(message.id, NOW + 30 * SECOND, "no route")
        await work.commit()
    assert await claim(storage, kind, now=NOW + 29 * SECOND) == []
    (again,) = await claim(storage, kind, now=NOW + 30 * SECOND)
    assert (again.id, again.attempts) == (message.id, 2)


async def test_message_when_retried_and_a_newer_one_waits_then_the_newer_stands_for_it(
    storage: PostgresStorage,
) -> None:
    kind = new_id()
    await publish(storage, kind)
    (old,) = await claim(storage, kind)
    await publish(storage, kind)
    async with storage.transaction() as work:
        await work.outbox.retry(old.id, NOW, "no route")
        await work.commit()
    (new,) = await claim(storage, kind, now=NOW + 3600 * SECOND)
    assert new.id != old.id


async def test_messages_when_two_workers_claim_then_each_goes_to_one(
    storage: PostgresStorage,
) -> None:
    kind = new_id()
    for number in range(10):
        await publish(storage, kind, str(number))
    async with storage.transaction() as one, storage.transaction() as other:
        first = await one.outbox.claim(NOW, lease_s=10, limit=4)
        second = await other.outbox.claim(NOW, lease_s=10, limit=MANY)  # skips, does not wait
        await one.commit()
        await other.commit()
    claimed = [message.id for message in (*first, *second) if message.kind == kind]
    assert len(claimed) == len(set(claimed)) == 10


async def test_messages_when_the_claimer_does_not_commit_then_still_due(storage: PostgresStorage) -> None:
    kind = new_id()
    await publish(storage, kind)
    async with storage.transaction() as work:
        await work.outbox.claim(NOW, lease_s=10, limit=MANY)
    assert len(await claim(storage, kind)) == 1


async def test_message_when_published_on_top_of_a_waiting_one_then_not_claimed_before_the_commit(
    storage: PostgresStorage,
) -> None:
    """The claimer would act on the state from before this publication, and nothing would wake it again."""
    kind = new_id()
    await publish(storage, kind)
    async with storage.transaction() as work:
        await work.outbox.publish(kind, "key", {})
        assert await claim(storage, kind) == []
        await work.commit()
    assert len(await claim(storage, kind)) == 1


async def test_message_when_published_while_it_is_being_claimed_then_added_after(
    storage: PostgresStorage, blocked: Blocked
) -> None:
    kind = new_id()
    await publish(storage, kind)
    async with storage.transaction() as work:
        await work.outbox.claim(NOW, lease_s=10, limit=MANY)
        publishing = asyncio.create_task(publish(storage, kind))
        await blocked(publishing)  # it waits for the claim to end
        await work.commit()
    await publishing
    assert len(await claim(storage, kind)) == 1


async def test_messages_when_many_publish_one_key_at_once_then_one_waits(storage: PostgresStorage) -> None:
    kind = new_id()
    await asyncio.gather(*(publish(storage, kind) for _ in range(20)))
    assert len(await claim(storage, kind)) == 1
