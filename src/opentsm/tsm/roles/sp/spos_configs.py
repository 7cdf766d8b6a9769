"""SPOS configurations (TR-03165 §4.1.6.9): where the provider's online system hears how a process ended."""

from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.desk import Desk
from opentsm.tsm.roles.sp.entities import SPOS_CONFIG
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.shelf import find


@dataclass(frozen=True, slots=True)
class SposConfigDesk(Desk):
    """Use cases about SPOS configurations."""

    entity = shelf.SPOS_CONFIG

    async def create(self, owner: TenantId, body: object) -> Document:
        """Create an SPOS configuration.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008 or 1009.
        """
        wanted = SPOS_CONFIG.check_new(body)
        id_ = self.shelf.world.new_id()
        document: Document = {"id": id_, "spId": owner, **wanted}
        async with self.shelf.changing(owner) as tx:
            await _store(tx, owner, document, "created")
        return document

    async def modify(self, owner: TenantId, id_: str, body: object) -> Document:
        """Replace address and certificate.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007, 1008 or 1009.
        """
        async with self.shelf.changing(owner) as tx:
            before = await find(tx, owner, shelf.SPOS_CONFIG, id_)
            document: Document = {"id": id_, "spId": owner, **SPOS_CONFIG.check_change(body, before)}
            await _store(tx, owner, document, "modified")
        return document

    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse the deletion of an SPOS configuration that a service uses."""
        services = await tx.catalogue.list(owner, shelf.SERVICE)
        if any(service.get("sposConfigId") == id_ for service in services):
            raise errors.still_referenced("SposConfig", "Service")


async def _store(tx: UnitOfWork, owner: TenantId, document: Document, happened: str) -> None:
    id_ = str(document["id"])
    await find(tx, owner, shelf.CERTIFICATE, str(document["certificateId"]))
    await tx.catalogue.put(owner, shelf.SPOS_CONFIG, id_, document)
    await shelf.record(tx, owner, shelf.SPOS_CONFIG, id_, happened)
