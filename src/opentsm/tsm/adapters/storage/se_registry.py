"""The index of names as the registry reads it, data of secure elements, and the registry's history."""

from collections.abc import Sequence

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.registry import HistoryEntry, SeData, SpData
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.kernel.ids import SeId, TenantId
from opentsm.tsm.ports.registry_repositories import FoundName
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("se_registry")


class PostgresSeRegistry:
    """Names, data and history."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def look_up(
        self, values: Sequence[str], *, type_: str | None = None, sandbox: bool | None = None, limit: int
    ) -> Sequence[FoundName]:
        """Return what goes by any of these values, with one read of the index of names."""
        rows = await self._session.rows(_SQL["look_up"], list(values), type_, sandbox, limit)
        return [_found(row) for row in rows]

    async def put_data(self, issuer_id: TenantId, data: Sequence[SeData]) -> None:
        """Store data that secure elements refer to by their digest; what is there already stays."""
        # in one order, so that two transactions cannot wait for each other
        by_digest = {one.digest: document(one) for one in data}
        digests = sorted(by_digest)
        documents = [by_digest[digest] for digest in digests]
        await self._session.change(_SQL["put_data"], issuer_id, digests, documents)

    async def data(self, issuer_id: TenantId, digest: str) -> SeData:
        """Return the data of this digest; none for the empty digest."""
        if not digest:
            return SeData()
        row = await self._session.row(_SQL["data"], issuer_id, digest)
        if row is None:
            raise self._session.spoiled(InvariantError("Data of a secure element are missing."))
        return from_json(SeData, row["document"])

    async def put_sp_data(self, data: SpData) -> None:
        """Insert or replace a provider's note."""
        await self._session.change(_SQL["put_sp_data"], data.se_id, data.provider_id, data.sealed)

    async def remove_sp_data(self, se_id: SeId, provider_id: TenantId) -> bool:
        """Remove a provider's note; False when there is none."""
        return await self._session.change(_SQL["remove_sp_data"], se_id, provider_id) == 1

    async def sp_data(self, se_id: SeId, provider_id: TenantId) -> SpData | None:
        """Return a provider's note, or None."""
        row = await self._session.row(_SQL["sp_data"], se_id, provider_id)
        return None if row is None else SpData(**{**dict(row), "sealed": bytes(row["sealed"])})

    async def add_history(self, entries: Sequence[HistoryEntry]) -> None:
        """Add entries; nothing changes or removes one but the wipe of its subject."""
        subjects = [entry.subject for entry in entries]
        documents = [document(entry) for entry in entries]
        await self._session.change(_SQL["add_history"], subjects, [entry.id for entry in entries], documents)

    async def history(self, subject: str, page: Page) -> Sequence[HistoryEntry]:
        """Return a page of a subject's entries, oldest first."""
        rows = await self._session.rows(_SQL["history"], *page_arguments(page), subject)
        return [from_json(HistoryEntry, row["document"]) for row in rows]


def _found(row: asyncpg.Record) -> FoundName:
    readers = row["readers"]
    return FoundName(
        type=row["type"],
        owner_id=row["owner_id"],
        sandbox=row["sandbox"],
        subscription_id=row["subscription_id"],
        readers=None if readers is None else tuple(readers),
        se=replace(from_json(SecureElement, row["se"]), version=row["version"]),
        data=SeData() if row["data"] is None else from_json(SeData, row["data"]),
    )
