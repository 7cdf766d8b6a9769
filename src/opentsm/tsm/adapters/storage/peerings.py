"""Peerings: other TSMs, by party and by key."""

from collections.abc import Sequence

from opentsm.tsm.adapters.storage.records import document, optional, page_arguments
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("peerings")
_MANY = 200


class PostgresPeerings:
    """Who works with which other TSM."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put(self, peering: Peering, key_id: str) -> None:
        """Add a peering, or replace the one with the same key."""
        await self._session.change(_SQL["put"], peering.tenant_id, key_id, peering.url, document(peering))

    async def remove(self, tenant_id: TenantId, key_id: str) -> bool:
        """Remove a peering; False when there is none."""
        return bool(await self._session.change(_SQL["remove"], tenant_id, key_id))

    async def find(self, tenant_id: TenantId, key_id: str) -> Peering | None:
        """Return a peering, or None."""
        return optional(Peering, await self._session.row(_SQL["find"], tenant_id, key_id))

    async def of_party(self, tenant_id: TenantId) -> Sequence[Peering]:
        """Return a party's peerings."""
        rows = await self._session.rows(_SQL["of_party"], tenant_id, _MANY)
        return [from_json(Peering, row["document"]) for row in rows]

    async def elsewhere(self, page: Page) -> Sequence[Peering]:
        """Return a page of the parties that live elsewhere, by party."""
        rows = await self._session.rows(_SQL["elsewhere"], *page_arguments(page))
        return [from_json(Peering, row["document"]) for row in rows]
