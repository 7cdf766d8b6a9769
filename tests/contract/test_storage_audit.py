"""The audit log: chains without gaps, and every change shows."""

import asyncio

import asyncpg
import pytest
from tests.contract.storage_records import new_id, new_tenant_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.audit import GENESIS, AuditEntry, shard_of
from opentsm.tsm.kernel.errors import InvalidInputError, InvariantError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page

SUBJECT = "operation-1"
SHARD = shard_of(SUBJECT)


async def append(storage: PostgresStorage, tenant_id: TenantId, *subjects: str) -> None:
    async with storage.transaction() as work:
        for subject in subjects:
            await work.audit.append(
                tenant_id, actor="token:x", action="deploy", subject=subject, details={"sw": "6A84", "n": 3}
            )
        await work.commit()


async def listed(
    storage: PostgresStorage, tenant_id: TenantId, page: Page, *, subject: str | None = None
) -> list[AuditEntry]:
    async with storage.transaction() as work:
        return list(await work.audit.list(tenant_id, page, subject=subject))


async def verify(storage: PostgresStorage, tenant_id: TenantId, shard: int = SHARD) -> int:
    async with storage.transaction() as work:
        return await work.audit.verify(tenant_id, shard)


async def test_entries_when_appended_then_chained_from_the_beginning(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    await append(storage, tenant_id, SUBJECT, SUBJECT)
    await append(storage, tenant_id, SUBJECT)
    entries = await listed(storage, tenant_id, Page(), subject=SUBJECT)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.previous for entry in entries] == [GENESIS, entries[0].digest(), entries[1].digest()]
    assert entries[0].details == {"sw": "6A84", "n": 3}
    assert await verify(storage, tenant_id) == 3


async def test_chain_when_empty_then_verified_with_length_0(storage: PostgresStorage) -> None:
    assert await verify(storage, new_tenant_id()) == 0


async def test_entries_when_of_many_subjects_then_every_chain_verifies(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    subjects = [new_id() for _ in range(30)]
    await append(storage, tenant_id, *subjects)
    await append(storage, new_tenant_id(), *subjects)
    lengths = [await verify(storage, tenant_id, shard) for shard in {shard_of(s) for s in subjects}]
    assert sum(lengths) == 30


async def test_entries_when_asked_for_in_the_same_transaction_then_there(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    async with storage.transaction() as work:
        await work.audit.append(tenant_id, actor="a", action="b", subject=SUBJECT)
        assert await work.audit.verify(tenant_id, SHARD) == 1
        assert len(await work.audit.list(tenant_id, Page())) == 1
        await work.audit.append(tenant_id, actor="a", action="b", subject=SUBJECT)
        await work.commit()
    assert await verify(storage, tenant_id) == 2


async def test_entries_when_listed_in_pages_then_each_comes_once(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    for _ in range(3):
        await append(storage, tenant_id, SUBJECT, "another", "third")
    for subject, count in ((None, 9), (SUBJECT, 3)):
        seen: list[AuditEntry] = []
        after: str | None = None
        while page := await listed(storage, tenant_id, Page(limit=2, after=after), subject=subject):
            seen += page
            after = f"{page[-1].shard}.{page[-1].number}"
        assert len(seen) == len({(entry.shard, entry.number) for entry in seen}) == count
        assert [entry.at for entry in seen] == sorted(entry.at for entry in seen)


@pytest.mark.parametrize("after", ["x", "1", "1.x", "-1.2", "1.2.3"])
async def test_entries_when_the_cursor_is_malformed_then_refused(
    storage: PostgresStorage, after: str
) -> None:
    with pytest.raises(InvalidInputError):
        await listed(storage, new_tenant_id(), Page(after=after))


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_entries SET details = '{}' WHERE tenant_id = $1 AND number = 2",
        "UPDATE audit_entries SET details = '{}' WHERE tenant_id = $1 AND number = 3",
        "UPDATE audit_entries SET actor = 'somebody else' WHERE tenant_id = $1 AND number = 1",
        "UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE tenant_id = $1 AND number = 3",
        "UPDATE audit_entries SET previous = decode(repeat('00', 32), 'hex')"
        " WHERE tenant_id = $1 AND number = 2",
        "DELETE FROM audit_entries WHERE tenant_id = $1 AND number = 1",
        "DELETE FROM audit_entries WHERE tenant_id = $1 AND number = 2",
        "DELETE FROM audit_entries WHERE tenant_id = $1 AND number = 3",
        "DELETE FROM audit_entries WHERE tenant_id = $1",
        "DELETE FROM audit_heads WHERE tenant_id = $1",
        "UPDATE audit_heads SET number = 2 WHERE tenant_id = $1",
        "INSERT INTO audit_entries SELECT tenant_id, shard, 4, at, actor, action, subject, details, previous"
        " FROM audit_entries WHERE tenant_id = $1 AND number = 3",
    ],
)
async def test_chain_when_tampered_with_then_broken(
    storage: PostgresStorage, dsn: str, tampering: str
) -> None:
    tenant_id = new_tenant_id()
    await append(storage, tenant_id, SUBJECT, SUBJECT, SUBJECT)
    connection = await asyncpg.connect(dsn)
    await connection.execute(tampering, tenant_id)
    await connection.close()
    with pytest.raises(InvariantError):
        await verify(storage, tenant_id)


async def test_chain_when_longer_than_one_batch_then_verified_whole(storage: PostgresStorage) -> None:
    tenant_id = new_tenant_id()
    await append(storage, tenant_id, *[SUBJECT] * 2001)
    assert await verify(storage, tenant_id) == 2001


async def test_chains_when_many_write_at_once_then_no_gap_no_fork_no_deadlock(
    storage: PostgresStorage,
) -> None:
    tenant_id = new_tenant_id()
    subjects = [new_id() for _ in range(6)]
    orders = [subjects, subjects[::-1], subjects[3:] + subjects[:3]]
    await asyncio.gather(*(append(storage, tenant_id, *order) for order in orders * 5))
    shards = {shard_of(subject) for subject in subjects}
    assert sum([await verify(storage, tenant_id, shard) for shard in shards]) == 6 * 15
