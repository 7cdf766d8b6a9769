"""Signed checkpoints over the audit: whatever is done to the tables afterwards is found, and named."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator

import asyncpg
import pytest
from joserfc import jws
from joserfc.jwk import ECKey
from tests.contract.conftest import NewKeystore
from tests.contract.storage_records import new_id, new_tenant_id

from opentsm.tsm.adapters.storage.migrate import apply_migrations
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.domain.audit import AuditBreak, Checkpoint, shard_of
from opentsm.tsm.kernel.ids import KeyHandle, TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.roles.hub.audit_checkpoints import (
    SIGNING_KEY,
    AuditVerdict,
    verify_audit,
    write_checkpoint,
)

SUBJECT = "operation-1"
SHARD = shard_of(SUBJECT)
ROW = "tenant_id = $1 AND number"


class Audit:
    """A database of its own, one keystore, and hands that tamper."""

    def __init__(self, dsn: str, storage: PostgresStorage, keystore: Keystore) -> None:
        self.dsn = dsn
        self.storage = storage
        self.keystore = keystore
        self.tenant = new_tenant_id()

    async def append(self, *subjects: str, tenant: TenantId | None = None) -> None:
        async with self.storage.transaction() as work:
            for subject in subjects:
                await work.audit.append(tenant or self.tenant, actor="a", action="b", subject=subject)
            await work.commit()

    async def checkpoint(self) -> Checkpoint | None:
        return await write_checkpoint(self.storage, self.keystore, SystemWorld())

    async def verify(self) -> AuditVerdict:
        return await verify_audit(self.storage, self.keystore)

    async def broken(self) -> AuditBreak:
        found = (await self.verify()).broken
        assert found is not None
        return found

    async def tamper(self, statement: str, *arguments: object) -> None:
        """Change a table as its owner can, triggers or not."""
        connection = await asyncpg.connect(self.dsn)
        await connection.execute("SET session_replication_role = replica")
        assert await connection.execute(statement, *arguments) not in ("UPDATE 0", "DELETE 0")
        await connection.close()

    async def rewrite(self, number: int) -> None:
        """Change an entry and all that follows it, head included, so that the chain holds."""
        await self.tamper(f"UPDATE audit_entries SET actor = 'nobody' WHERE {ROW} = $2", self.tenant, number)
        async with self.storage.transaction() as work:
            entries = await work.audit_record.entries(self.tenant, SHARD, number - 1, 1000)
        digest = entries[0].digest()
        for entry in entries[1:]:
            await self.tamper(
                f"UPDATE audit_entries SET previous = $3 WHERE {ROW} = $2", self.tenant, entry.number, digest
            )
            async with self.storage.transaction() as work:
                (changed,) = await work.audit_record.entries(self.tenant, SHARD, entry.number - 1, 1)
            digest = changed.digest()
        await self.tamper("UPDATE audit_heads SET digest = $2 WHERE tenant_id = $1", self.tenant, digest)


@pytest.fixture
async def audit(dsn: str, new_keystore: NewKeystore) -> AsyncIterator[Audit]:
    """Give a database in which nobody else writes."""
    name = f"audit_{new_id().replace('-', '')}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = f"{dsn.partition('?')[0].rpartition('/')[0]}/{name}" + "".join(dsn.partition("?")[1:])
    connection = await asyncpg.connect(url)
    await apply_migrations(connection)
    await connection.close()
    storage = PostgresStorage(url, world=SystemWorld(), max_connections=2)
    await storage.open()
    yield Audit(url, storage, await new_keystore("hub"))
    await storage.close()
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def test_audit_when_untouched_then_holds_before_and_after_checkpoints(audit: Audit) -> None:
    assert (await audit.verify()).chains == 0
    await audit.append(SUBJECT, SUBJECT, "another")
    first = await audit.checkpoint()
    await audit.append(SUBJECT)
    second = await audit.checkpoint()
    await audit.append(SUBJECT, tenant=new_tenant_id())
    verdict = await audit.verify()
    assert verdict.broken is None
    assert (verdict.checkpoints, verdict.chains, verdict.entries) == (2, 3, 5)
    assert first is not None
    assert second is not None
    assert verdict.last_checkpoint == second
    # only the chain that grew; the rest is vouched for by the one before
    assert (first.heads, second.heads, second.previous) == (2, 1, first.own_digest())


async def test_checkpoint_when_nothing_grew_then_none_is_written(audit: Audit) -> None:
    assert await audit.checkpoint() is None
    await audit.append(SUBJECT)
    assert await audit.checkpoint() is not None
    assert await audit.checkpoint() is None


async def test_checkpoint_when_another_node_was_faster_then_that_one_stands(
    audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    await audit.append(SUBJECT)
    sign, theirs = audit.keystore.sign, []

    async def late(handle: KeyHandle, message: bytes) -> bytes:
        monkeypatch.setattr(audit.keystore, "sign", sign)
        theirs.append(await audit.checkpoint())
        return await sign(handle, message)

    monkeypatch.setattr(audit.keystore, "sign", late)
    assert await audit.checkpoint() is None
    verdict = await audit.verify()
    assert (verdict.broken, verdict.checkpoints, [verdict.last_checkpoint]) == (None, 1, theirs)


@pytest.mark.parametrize(
    ("tampering", "number"),
    [
        (f"UPDATE audit_entries SET actor = 'nobody' WHERE {ROW} = 3", 3),
        (f"UPDATE audit_entries SET actor = 'nobody' WHERE {ROW} = 1", 1),
        (f"UPDATE audit_entries SET actor = 'nobody' WHERE {ROW} = 5", 5),
        (f"UPDATE audit_entries SET previous = sha256('x') WHERE {ROW} = 4", 4),
        (f"DELETE FROM audit_entries WHERE {ROW} = 2", 2),
        (f"DELETE FROM audit_entries WHERE {ROW} = 5", 5),
        (f"DELETE FROM audit_entries WHERE {ROW} > 3", 4),
        ("DELETE FROM audit_entries WHERE tenant_id = $1", 1),
        ("DELETE FROM audit_heads WHERE tenant_id = $1", 1),
        (
            "UPDATE audit_entries a SET action = b.action, actor = b.actor, details = b.details"
            " FROM audit_entries b WHERE a.tenant_id = $1 AND b.tenant_id = $1"
            " AND (a.number, b.number) IN ((2, 4), (4, 2))",
            2,
        ),
        (
            "UPDATE audit_entries a SET action = b.action, actor = b.actor, previous = b.previous"
            " FROM audit_entries b WHERE a.tenant_id = $1 AND b.tenant_id = $1"
            " AND (a.number, b.number) IN ((2, 4), (4, 2))",
            2,
        ),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
async def test_audit_when_a_row_is_changed_then_the_first_broken_entry_is_named(
    audit: Audit, tampering: str, number: int, signed: bool
) -> None:
    for actor in "abcde":
        async with audit.storage.transaction() as work:
            await work.audit.append(audit.tenant, actor=actor, action=actor, subject=SUBJECT)
            await work.commit()
    if signed:
        await audit.checkpoint()
    await audit.append("another", tenant=new_tenant_id())
    await audit.tamper(tampering, audit.tenant)
    broken = await audit.broken()
    assert (broken.tenant_id, broken.shard, broken.number) == (audit.tenant, SHARD, number)


async def test_audit_when_a_chain_is_rewritten_to_its_end_then_only_the_checkpoint_tells(
    audit: Audit,
) -> None:
    await audit.append(*[SUBJECT] * 4)
    await audit.rewrite(3)
    assert (await audit.verify()).broken is None
    await audit.checkpoint()
    await audit.append(SUBJECT)
    await audit.rewrite(2)
    broken = await audit.broken()
    assert (broken.number, broken.checkpoint) == (4, 1)


async def test_audit_when_the_tail_and_its_head_are_cut_off_then_the_checkpoint_tells(audit: Audit) -> None:
    await audit.append(*[SUBJECT] * 4)
    await audit.checkpoint()
    await audit.tamper(f"DELETE FROM audit_entries WHERE {ROW} > 2", audit.tenant)
    async with audit.storage.transaction() as work:
        entries = await work.audit_record.entries(audit.tenant, SHARD, 0, 9)
    await audit.tamper(
        "UPDATE audit_heads SET number = 2, digest = $2 WHERE tenant_id = $1",
        audit.tenant,
        entries[-1].digest(),
    )
    broken = await audit.broken()
    assert (broken.number, broken.checkpoint) == (3, 1)
    await audit.tamper("DELETE FROM audit_entries")
    await audit.tamper("DELETE FROM audit_heads")
    broken = await audit.broken()
    assert (broken.tenant_id, broken.number, broken.checkpoint) == (audit.tenant, 1, 1)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_checkpoints SET at = at + interval '1 microsecond' WHERE number = 2",
        "UPDATE audit_checkpoints SET signature = sha256('x') || sha256('y') WHERE number = 2",
        "UPDATE audit_checkpoints SET signature = '' WHERE number = 2",
        "UPDATE audit_checkpoints SET previous = sha256('x') WHERE number = 2",
        "UPDATE audit_checkpoints SET key = 'sign/other' WHERE number = 2",
        "UPDATE audit_checkpoint_heads SET digest = sha256('x') WHERE checkpoint = 2",
        "UPDATE audit_checkpoint_heads SET number = 1 WHERE checkpoint = 2",
        "DELETE FROM audit_checkpoint_heads WHERE checkpoint = 2",
        "DELETE FROM audit_checkpoints WHERE number = 2",
    ],
)
async def test_checkpoint_when_tampered_with_then_named(audit: Audit, tampering: str) -> None:
    for _ in range(3):
        await audit.append(SUBJECT)
        await audit.checkpoint()
    await audit.tamper(tampering)
    broken = await audit.broken()
    assert (broken.checkpoint, broken.number) == (2, None)


async def test_checkpoint_when_signed_by_another_keystore_then_refused(
    audit: Audit, new_keystore: NewKeystore
) -> None:
    await audit.append(SUBJECT)
    await write_checkpoint(audit.storage, await new_keystore("forger"), SystemWorld())
    assert (await audit.broken()).checkpoint == 1
    await audit.keystore.sign(SIGNING_KEY, b"it has a key of its own")
    assert (await audit.broken()).checkpoint == 1


@pytest.mark.parametrize("table", ["audit_checkpoints", "audit_checkpoint_heads"])
async def test_checkpoint_when_changed_by_mistake_then_the_database_refuses(audit: Audit, table: str) -> None:
    await audit.append(SUBJECT)
    await audit.checkpoint()
    connection = await asyncpg.connect(audit.dsn)
    for statement in (f"UPDATE {table} SET number = 7", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await connection.execute(statement)
    await connection.close()


async def test_signature_when_read_by_another_library_then_es256(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("hub")
    message = b"eyJhbGciOiJFUzI1NiJ9.eyJ0ZXN0Ijp0cnVlfQ"
    signature = await keystore.sign(SIGNING_KEY, message)
    point = await keystore.verification_key(SIGNING_KEY)
    assert (len(signature), len(point), point[0]) == (64, 65, 4)
    key = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": _base64(point[1:33]), "y": _base64(point[33:])})
    token = f"{message.decode()}.{_base64(signature)}"
    assert jws.deserialize_compact(token, key, algorithms=["ES256"]).payload == b'{"test":true}'
    other = await (await new_keystore("other")).sign(SIGNING_KEY, message)
    with pytest.raises(Exception, match="signature"):
        jws.deserialize_compact(f"{message.decode()}.{_base64(other)}", key, algorithms=["ES256"])


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
