"""The audit as a whole: all chains, page by page, and the checkpoints over their heads."""

from collections.abc import Sequence

import asyncpg

from opentsm.tsm.adapters.storage.audit import read_entry
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.audit import AuditEntry, Checkpoint, CheckpointHead
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import TenantId

_SQL = load_queries("audit_record")


class PostgresAuditRecord:
    """Reads chains and checkpoints, and adds checkpoints."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def heads(self, after: tuple[str, int], limit: int) -> Sequence[tuple[CheckpointHead, int]]:
        """Return heads in the order of tenant and shard, each with the number at its last checkpoint."""
        rows = await self._session.rows(_SQL["heads"], *after, limit)
        return [(_head(row), row["known"]) for row in rows]

    async def next_chain(self, after: tuple[str, int]) -> tuple[TenantId, int] | None:
        """Return the next chain of which there is an entry, a head or a checkpoint."""
        queries = ("next_in_entries", "next_in_heads", "next_in_checkpoints")
        rows = [await self._session.row(_SQL[query], *after) for query in queries]
        found = [(row["tenant_id"].encode(), row["shard"]) for row in rows if row is not None]
        tenant, shard = min(found, default=(b"", -1))
        return (TenantId(tenant.decode()), shard) if found else None

    async def head(self, tenant_id: TenantId, shard: int) -> CheckpointHead | None:
        """Return where a chain stands, or None when it has no head."""
        row = await self._session.row(_SQL["head"], tenant_id, shard)
        return None if row is None else _head(row)

    async def entries(self, tenant_id: TenantId, shard: int, after: int, limit: int) -> Sequence[AuditEntry]:
        """Return the next entries of a chain."""
        rows = await self._session.rows(_SQL["entries"], tenant_id, shard, after, limit)
        return [read_entry(row) for row in rows]

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """Return the next checkpoints."""
        rows = await self._session.rows(_SQL["checkpoints"], after, limit)
        return [Checkpoint(**row) for row in rows]

    async def last_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint, or None when there is none."""
        row = await self._session.row(_SQL["last_checkpoint"], 0)
        return None if row is None else Checkpoint(**row)

    async def heads_of(self, checkpoint: int) -> Sequence[CheckpointHead]:
        """Return what a checkpoint says, in the order of tenant and shard."""
        return [_head(row) for row in await self._session.rows(_SQL["heads_of"], checkpoint)]

    async def checkpoints_of(self, tenant_id: TenantId, shard: int) -> Sequence[tuple[int, CheckpointHead]]:
        """Return what the checkpoints say about one chain, oldest first."""
        rows = await self._session.rows(_SQL["checkpoints_of"], tenant_id, shard)
        return [(row["checkpoint"], _head(row)) for row in rows]

    async def add_checkpoint(self, checkpoint: Checkpoint, heads: Sequence[CheckpointHead]) -> None:
        """Add a checkpoint; raise ConflictError when there is one of this number."""
        added = await self._session.change(
            _SQL["add_checkpoint"],
            checkpoint.number,
            checkpoint.at,
            checkpoint.heads,
            checkpoint.digest,
            checkpoint.previous,
            checkpoint.key,
            checkpoint.signature,
        )
        if not added:
            raise self._session.spoiled(ConflictError(f"There is a checkpoint {checkpoint.number} already."))
        await self._session.change(
            _SQL["add_heads"],
            checkpoint.number,
            [head.tenant_id for head in heads],
            [head.shard for head in heads],
            [head.number for head in heads],
            [head.digest for head in heads],
        )


def _head(row: asyncpg.Record) -> CheckpointHead:
    return CheckpointHead(
        tenant_id=row["tenant_id"], shard=row["shard"], number=row["number"], digest=row["digest"]
    )
