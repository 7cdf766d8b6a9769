"""Service instances."""

from collections.abc import Sequence

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, range_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import DESCENDING, load_queries
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId, SeId
from opentsm.tsm.ports.repositories import InstanceFilter, Page

_SQL = load_queries("instances")


class PostgresInstances:
    """Service instances; sealed data have columns of their own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, instance: ServiceInstance) -> None:
        """Add an instance; raise ConflictError when its id is taken."""
        if not await self._session.change(_SQL["add"], *_columns(instance)):
            raise self._session.spoiled(ConflictError(f"Instance {instance.id} exists already."))
        await self._add_applications(instance)

    async def get(self, instance_id: InstanceId) -> ServiceInstance | None:
        """Return the instance, or None."""
        row = await self._session.row(_SQL["get"], instance_id)
        return None if row is None else _instance(row)

    async def hold(self, instance_id: InstanceId) -> int | None:
        """Return the version of an instance, which nobody else saves until this transaction ends."""
        row = await self._session.row(_SQL["hold"], instance_id)
        return None if row is None else row["version"]

    async def save(self, instance: ServiceInstance) -> ServiceInstance:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        row = await self._session.row(_SQL["save"], *_columns(instance))
        if row is None:
            raise self._session.spoiled(StaleVersionError())
        if row["others"]:
            await self._session.change(_SQL["remove_applications"], instance.id)
            await self._add_applications(instance)
        return replace(instance, version=instance.version + 1)

    async def on_secure_element(self, se_id: SeId) -> Sequence[ServiceInstance]:
        """Return the instances that are not TERMINATED."""
        return [_instance(row) for row in await self._session.rows(_SQL["on_secure_element"], se_id)]

    async def list(self, page: Page, wanted: InstanceFilter) -> Sequence[ServiceInstance]:
        """Return a page of instances by id; what narrows most leads the index, the rest is tested."""
        query = _list_query(wanted) + (DESCENDING if page.descending else "")
        arguments = (
            *range_arguments(page, wanted.created_from, wanted.created_before),
            wanted.provider_id,
            wanted.se_id,
            wanted.service_id,
            wanted.version_tag,
            wanted.flavor_id,
            None if wanted.state is None else wanted.state.name,
            None if wanted.application is None else str(wanted.application),
            wanted.created_from,
            wanted.created_before,
        )
        return [_instance(row) for row in await self._session.rows(_SQL[query], *arguments)]

    async def _add_applications(self, instance: ServiceInstance) -> None:
        aids = _applications(instance)
        await self._session.change(_SQL["add_applications"], instance.id, instance.provider_id, aids)


def _list_query(wanted: InstanceFilter) -> str:
    if wanted.se_id is not None:
        return "list_on_secure_element"
    if wanted.provider_id is None:
        return "list"
    if wanted.application is not None:
        return "list_with_application"
    if wanted.flavor_id is not None:
        return "list_of_flavor"
    if wanted.service_id is not None:
        return "list_of_service" if wanted.version_tag is None else "list_of_version"
    return "list_of_provider" if wanted.state is None else "list_in_state"


def _columns(instance: ServiceInstance) -> tuple[object, ...]:
    return (
        instance.id,
        instance.version,
        instance.provider_id,
        instance.se_id,
        instance.state.name,
        document(instance, "sealed_data"),
        instance.sealed_data,
        instance.description.service_id,
        instance.description.version_tag,
        instance.description.flavor_id,
        _applications(instance),
        instance.created_at,
    )


def _applications(instance: ServiceInstance) -> list[str]:
    return sorted({str(application.instance_aid) for application in instance.description.applications})


def _instance(row: asyncpg.Record) -> ServiceInstance:
    return versioned(ServiceInstance, row, "sealed_data")
