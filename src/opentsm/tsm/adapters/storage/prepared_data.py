"""Personalisation data that wait for their instance."""

from collections.abc import Sequence

import asyncpg

from opentsm.tsm.adapters.storage.records import page_arguments
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.prepared import PreparedData
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("prepared_data")


class PostgresPreparedData:
    """Prepared data; every query names the provider."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, data: PreparedData) -> None:
        """Add data; raise StaleVersionError when there are others of this name."""
        added = await self._session.change(
            _SQL["add"],
            data.provider_id,
            data.id,
            data.service_id,
            data.name,
            data.version_tag,
            data.sealed,
            data.created_at,
            data.expires_at,
        )
        if not added:
            raise self._session.spoiled(StaleVersionError("Others wrote data of this name."))

    async def use(self, data: PreparedData) -> None:
        """Store that data were used; raise StaleVersionError when they are gone or were used before."""
        await self._session.change_one(
            _SQL["use"], data.provider_id, data.id, data.sealed, data.instance_id, data.operation_id
        )

    async def get(self, provider_id: TenantId, id_: str) -> PreparedData | None:
        """Return the data, or None."""
        row = await self._session.row(_SQL["get"], provider_id, id_)
        return None if row is None else _prepared(row)

    async def named(
        self, provider_id: TenantId, service_id: str, names: Sequence[str]
    ) -> Sequence[PreparedData]:
        """Return the data of a service that go by any of these names, a few of them."""
        rows = await self._session.rows(_SQL["named"], provider_id, service_id, list(names))
        return [_prepared(row) for row in rows]

    async def list(
        self, provider_id: TenantId, page: Page, service_id: str | None = None
    ) -> Sequence[PreparedData]:
        """Return a page of a provider's data by id, of one service or of all."""
        rows = await self._session.rows(_SQL["list"], provider_id, *page_arguments(page), service_id)
        return [_prepared(row) for row in rows]

    async def remove(self, provider_id: TenantId, id_: str) -> bool:
        """Remove data; False when there are none."""
        return await self._session.change(_SQL["remove"], provider_id, id_) == 1


def _prepared(row: asyncpg.Record) -> PreparedData:
    return PreparedData(**{**dict(row), "sealed": bytes(row["sealed"])})
