"""Service instances."""

from collections.abc import Sequence

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import InstanceId, SeId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("instances")


class PostgresInstances:
    """Service instances; sealed data have columns of their own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, instance: ServiceInstance) -> None:
        """Add an instance; raise ConflictError when its id is taken."""
        if not await self._session.change(_SQL["add"], *_columns(instance)):
            raise self._session.spoiled(ConflictError(f"Instance {instance.id} exists already."))

    async def get(self, instance_id: InstanceId) -> ServiceInstance | None:
        """Return the instance, or None."""
        row = await self._session.row(_SQL["get"], instance_id)
        return None if row is None else _instance(row)

    async def save(self, instance: ServiceInstance) -> ServiceInstance:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save"], *_columns(instance))
        return replace(instance, version=instance.version + 1)

    async def on_secure_element(self, se_id: SeId) -> Sequence[ServiceInstance]:
        """Return the instances that are not TERMINATED."""
        return [_instance(row) for row in await self._session.rows(_SQL["on_secure_element"], se_id)]

    async def list(
        self, page: Page, *, provider_id: TenantId | None = None, se_id: SeId | None = None
    ) -> Sequence[ServiceInstance]:
        """Return a page of instances by id, of one provider, on one secure element, both, or all."""
        start = page_arguments(page)
        if se_id is not None:
            rows = await self._session.rows(_SQL["list_on_secure_element"], *start, se_id, provider_id)
        elif provider_id is not None:
            rows = await self._session.rows(_SQL["list_of_provider"], *start, provider_id)
        else:
            rows = await self._session.rows(_SQL["list"], *start)
        return [_instance(row) for row in rows]


def _columns(instance: ServiceInstance) -> tuple[object, ...]:
    return (
        instance.id,
        instance.version,
        instance.provider_id,
        instance.se_id,
        instance.state.name,
        document(instance, "sealed_data"),
        instance.sealed_data,
    )


def _instance(row: asyncpg.Record) -> ServiceInstance:
    return versioned(ServiceInstance, row, "sealed_data")
