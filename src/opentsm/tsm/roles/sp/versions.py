"""Versions (TR-03165 §4.1.6.4.17 to 4.1.6.4.21): which flavor goes to which card profile."""

from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.constraints import check_constraints
from opentsm.tsm.roles.sp.entities import VERSION
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.shelf import Shelf, find, find_in, version_key


@dataclass(frozen=True, slots=True)
class VersionDesk:
    """Use cases about versions."""

    shelf: Shelf
    profiles: ProfileDesk

    async def all(self, owner: TenantId, service_id: str) -> list[Document]:
        """Return all versions of a service."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            return [*await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)]

    async def get(self, owner: TenantId, service_id: str, tag: str) -> Document:
        """Return one version; CatalogueError 1009 when there is none."""
        async with self.shelf.storage.transaction() as tx:
            return await self._find(tx, owner, service_id, tag)

    async def create(self, owner: TenantId, service_id: str, body: object) -> Document:
        """Create a version.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008, 1009 or 1016.
        """
        wanted = VERSION.check_new(body)
        tag = str(wanted["tag"])
        document = {"serviceId": service_id, **wanted}
        key = version_key(service_id, tag)
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await find(tx, owner, shelf.SERVICE, service_id)
            if await tx.catalogue.get(owner, shelf.VERSION, key) is not None:
                raise errors.bad_format(tag, "tag", "a tag that the Service does not have yet")
            await self._check_deployments(tx, owner, service_id, shelf.part(wanted, "allowedDeployments"))
            await tx.catalogue.put(owner, shelf.VERSION, key, document, parent=service_id)
            await shelf.record(tx, owner, shelf.VERSION, service_id, "created", tag=tag)
            await tx.commit()
        return document

    async def delete(self, owner: TenantId, service_id: str, tag: str) -> None:
        """Delete a version; its flavors stay."""
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await self._find(tx, owner, service_id, tag)
            await tx.catalogue.delete(owner, shelf.VERSION, version_key(service_id, tag))
            await shelf.record(tx, owner, shelf.VERSION, service_id, "deleted", tag=tag)
            await tx.commit()

    async def _find(self, tx: UnitOfWork, owner: TenantId, service_id: str, tag: str) -> Document:
        await find(tx, owner, shelf.SERVICE, service_id)
        key = version_key(service_id, tag)
        document = await tx.catalogue.get(owner, shelf.VERSION, key) if "\x00" not in tag else None
        if document is None:
            raise errors.not_existing("Version", tag)
        return document

    async def _check_deployments(
        self, tx: UnitOfWork, owner: TenantId, service_id: str, deployments: Document
    ) -> None:
        """Check that flavors and profiles exist, that a profile occurs once, that each can run its flavor."""
        used: set[str] = set()
        for flavor_id in deployments:
            flavor = await find_in(tx, owner, shelf.FLAVOR, flavor_id, service_id)
            ids = shelf.texts(deployments, flavor_id)
            profiles = [self.profiles.get(one) for one in ids]
            for id_ in ids:
                if id_ in used:
                    supported = "SecureComponentProfiles that occur once in a Version"
                    raise errors.bad_format(id_, f"allowedDeployments.{flavor_id}", supported)
            used.update(ids)
            await check_constraints(tx, owner, flavor, profiles)
