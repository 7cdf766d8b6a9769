"""SPOS configurations (TR-03165 §4.1.6.9): where the provider's online system hears how a process ended."""

from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.entities import SPOS_CONFIG
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.shelf import Shelf, find


@dataclass(frozen=True, slots=True)
class SposConfigDesk:
    """Use cases about SPOS configurations."""

    shelf: Shelf

    async def all(self, owner: TenantId) -> list[Document]:
        """Return all SPOS configurations of the provider."""
        async with self.shelf.storage.transaction() as tx:
            return [*await tx.catalogue.list(owner, shelf.SPOS_CONFIG)]

    async def get(self, owner: TenantId, id_: str) -> Document:
        """Return one; CatalogueError 1009 when there is none."""
        async with self.shelf.storage.transaction() as tx:
            return await find(tx, owner, shelf.SPOS_CONFIG, id_)

    async def create(self, owner: TenantId, body: object) -> Document:
        """Create an SPOS configuration.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008 or 1009.
        """
        wanted = SPOS_CONFIG.check_new(body)
        id_ = self.shelf.world.new_id()
        document: Document = {"id": id_, "spId": owner, **wanted}
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await _store(tx, owner, document, "created")
            await tx.commit()
        return document

    async def modify(self, owner: TenantId, id_: str, body: object) -> Document:
        """Replace address and certificate.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007, 1008 or 1009.
        """
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            before = await find(tx, owner, shelf.SPOS_CONFIG, id_)
            document: Document = {"id": id_, "spId": owner, **SPOS_CONFIG.check_change(body, before)}
            await _store(tx, owner, document, "modified")
            await tx.commit()
        return document

    async def delete(self, owner: TenantId, id_: str) -> None:
        """Delete an SPOS configuration that no service uses.

        Raises:
            CatalogueError: 1009 or 1010.
        """
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await find(tx, owner, shelf.SPOS_CONFIG, id_)
            services = await tx.catalogue.list(owner, shelf.SERVICE)
            if any(service.get("sposConfigId") == id_ for service in services):
                raise errors.still_referenced("SposConfig", "Service")
            await tx.catalogue.delete(owner, shelf.SPOS_CONFIG, id_)
            await shelf.record(tx, owner, shelf.SPOS_CONFIG, id_, "deleted")
            await tx.commit()


async def _store(tx: UnitOfWork, owner: TenantId, document: Document, happened: str) -> None:
    id_ = str(document["id"])
    await find(tx, owner, shelf.CERTIFICATE, str(document["certificateId"]))
    await tx.catalogue.put(owner, shelf.SPOS_CONFIG, id_, document)
    await shelf.record(tx, owner, shelf.SPOS_CONFIG, id_, happened)
