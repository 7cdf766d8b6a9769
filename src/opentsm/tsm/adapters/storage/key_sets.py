"""Key sets of security domains: where their keys are found, never the keys."""

from collections.abc import Sequence

import asyncpg

from opentsm.card.codec.aid import Aid
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.secure_element import KeySet, KeySetState, KeySource
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.ids import SeId, TenantId

_SQL = load_queries("key_sets")


class PostgresKeySets:
    """Key sets of one owner; every query names the owner."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, owner_id: TenantId, se_id: SeId, sd_aid: Aid, kvn: int) -> KeySet | None:
        """Return one key set, or None."""
        row = await self._session.row(_SQL["get"], owner_id, se_id, str(sd_aid), kvn)
        return None if row is None else _key_set(row)

    async def list(self, owner_id: TenantId, se_id: SeId, sd_aid: Aid | None = None) -> Sequence[KeySet]:
        """Return the owner's key sets on a secure element, of one security domain or of all."""
        if sd_aid is None:
            rows = await self._session.rows(_SQL["list"], owner_id, se_id)
        else:
            rows = await self._session.rows(_SQL["list_of_domain"], owner_id, se_id, str(sd_aid))
        return [_key_set(row) for row in rows]

    async def put(self, key_set: KeySet) -> None:
        """Insert or replace."""
        await self._session.change(
            _SQL["put"],
            key_set.owner_id,
            key_set.se_id,
            str(key_set.sd_aid),
            key_set.kvn,
            key_set.scp,
            key_set.key_length,
            to_json(key_set.source).decode(),
            key_set.state.value,
            key_set.counter,
            list(key_set.kcvs),
            key_set.temporary,
        )


def _key_set(row: asyncpg.Record) -> KeySet:
    source: KeySource = from_json(KeySource, row["source"])  # type: ignore[arg-type]  # a union is no class
    return KeySet(
        owner_id=row["owner_id"],
        se_id=row["se_id"],
        sd_aid=Aid.from_hex(row["sd_aid"]),
        kvn=row["kvn"],
        scp=row["scp"],
        key_length=row["key_length"],
        source=source,
        state=KeySetState(row["state"]),
        counter=row["counter"],
        kcvs=tuple(row["kcvs"]),
        temporary=row["temporary"],
    )
