"""The audit log: one hash chain for each tenant and shard.

Entries are gathered and written just before the commit, so that a chain's head stays locked for two round
trips only; heads are locked in one order, so that two transactions cannot wait for each other.
"""

from collections.abc import Sequence
from itertools import groupby

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import page_arguments
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.audit import GENESIS, AuditEntry, shard_of
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import InvalidInputError, InvariantError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.world import World

_SQL = load_queries("audit")
_BATCH = 1000

_Chain = tuple[str, int]


class PostgresAuditLog:
    """Facts that cannot be changed or left out without a break in the chain."""

    def __init__(self, session: Session, world: World) -> None:
        self._session = session
        self._world = world
        self._pending: list[AuditEntry] = []

    async def append(
        self,
        tenant_id: TenantId,
        *,
        actor: str,
        action: str,
        subject: str,
        details: dict[str, str | int] | None = None,
    ) -> None:
        """Add an entry to the chain of the subject's shard, in this transaction."""
        self._pending.append(
            AuditEntry(
                tenant_id=tenant_id,
                shard=shard_of(subject),
                number=0,
                at=self._world.now(),
                actor=actor,
                action=action,
                subject=subject,
                details=details or {},
            )
        )

    async def write(self) -> None:
        """Chain the gathered entries and write them; the unit of work does this before it commits."""
        if not self._pending:
            return
        pending, self._pending = sorted(self._pending, key=_chain_of), []
        heads = await self._lock(sorted({_chain_of(entry) for entry in pending}))
        written: list[AuditEntry] = []
        for chain, entries in groupby(pending, key=_chain_of):
            number, digest = heads[chain]
            for entry in entries:
                number += 1
                written.append(replace(entry, number=number, previous=digest))
                digest = written[-1].digest()
            heads[chain] = (number, digest)
        await self._session.change(_SQL["append"], *_entry_columns(written))
        await self._session.change(_SQL["move_heads"], *_head_columns(heads))

    async def list(
        self, tenant_id: TenantId, page: Page, *, subject: str | None = None
    ) -> Sequence[AuditEntry]:
        """Return a page of entries, oldest first; the cursor of an entry is `<shard>.<number>`.

        Raises:
            InvalidInputError: the cursor is not of that form.
        """
        await self.write()
        _, limit = page_arguments(page)
        shard, number = _cursor(page.after)
        if subject is not None:
            rows = await self._session.rows(_SQL["list_of_subject"], tenant_id, limit, subject, number)
        elif page.after is None:
            rows = await self._session.rows(_SQL["list"], tenant_id, limit)
        else:
            rows = await self._session.rows(_SQL["list_after"], tenant_id, limit, shard, number)
        return [read_entry(row) for row in rows]

    async def verify(self, tenant_id: TenantId, shard: int) -> int:
        """Check a chain from its beginning and return its length.

        Raises:
            InvariantError: an entry was changed, removed or added.
        """
        await self.write()
        number, digest = 0, GENESIS
        while rows := await self._session.rows(_SQL["chain"], tenant_id, shard, number, _BATCH):
            for row in rows:
                entry = read_entry(row)
                if entry.number != number + 1 or entry.previous != digest:
                    raise _broken(tenant_id, shard, number)
                number, digest = entry.number, entry.digest()
        head = await self._session.row(_SQL["head"], tenant_id, shard)
        if (number, digest) != ((0, GENESIS) if head is None else (head["number"], head["digest"])):
            raise _broken(tenant_id, shard, number)
        return number

    async def _lock(self, chains: Sequence[_Chain]) -> dict[_Chain, tuple[int, bytes]]:
        tenants, shards = [tenant for tenant, _ in chains], [shard for _, shard in chains]
        rows = await self._session.rows(_SQL["lock_heads"], tenants, shards, GENESIS)
        return {(row["tenant_id"], row["shard"]): (row["number"], row["digest"]) for row in rows}


def _chain_of(entry: AuditEntry) -> _Chain:
    return entry.tenant_id, entry.shard


def _entry_columns(entries: Sequence[AuditEntry]) -> tuple[list[object], ...]:
    return _transposed([_entry_row(entry) for entry in entries])


def _entry_row(entry: AuditEntry) -> tuple[object, ...]:
    return (
        entry.tenant_id,
        entry.shard,
        entry.number,
        entry.at,
        entry.actor,
        entry.action,
        entry.subject,
        to_json(entry.details).decode(),
        entry.previous,
    )


def _head_columns(heads: dict[_Chain, tuple[int, bytes]]) -> tuple[list[object], ...]:
    return _transposed([(*chain, *head) for chain, head in heads.items()])


def _transposed(rows: Sequence[tuple[object, ...]]) -> tuple[list[object], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


def read_entry(row: asyncpg.Record) -> AuditEntry:
    """Return an entry from its row."""
    return AuditEntry(**{**row, "details": from_json(dict[str, str | int], row["details"])})


def _cursor(after: str | None) -> tuple[int, int]:
    shard, _, number = (after or "0.0").partition(".")
    if not (shard.isdecimal() and number.isdecimal()):
        raise InvalidInputError("The cursor of an audit entry is <shard>.<number>.", field="after")
    return int(shard), int(number)


def _broken(tenant_id: TenantId, shard: int, number: int) -> InvariantError:
    return InvariantError(f"Audit chain {shard} of tenant {tenant_id} is broken after entry {number}.")
