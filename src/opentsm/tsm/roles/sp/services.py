"""Services (TR-03165 §4.1.6.4.1 to 4.1.6.4.5): the top of what a provider offers."""

from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.constraints import check_deployments
from opentsm.tsm.roles.sp.desk import Desk
from opentsm.tsm.roles.sp.entities import SERVICE
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk

# The project's proprietary RID, a byte that says "security domain of a service", eight random bytes.
_SD_AID_PREFIX = bytes.fromhex("F04F54534DF0")
_SD_AID_RANDOM = 8


@dataclass(frozen=True, slots=True)
class ServiceDesk(Desk):
    """Use cases about services."""

    entity = shelf.SERVICE

    profiles: ProfileDesk

    async def create(self, owner: TenantId, body: object) -> Document:
        """Create a service with a security-domain AID of its own.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008 or 1009.
        """
        wanted = SERVICE.check_new(body)
        id_ = self.shelf.world.new_id()
        aid = _SD_AID_PREFIX + self.shelf.world.random(_SD_AID_RANDOM)
        assigned = {"id": id_, "spId": owner, "creationDate": self.shelf.now(), "sdAid": aid.hex().upper()}
        document = {**assigned, **wanted}
        async with self.shelf.changing(owner) as tx:
            await self._check_references(tx, owner, wanted)
            await tx.catalogue.put(owner, shelf.SERVICE, id_, document)
            await shelf.record(tx, owner, shelf.SERVICE, id_, "created", sd_aid=str(document["sdAid"]))
        return document

    async def modify(self, owner: TenantId, id_: str, body: object) -> Document:
        """Replace what may be edited of a service; what the body leaves out is gone.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007, 1008, 1009, or 1016 when a card profile of one of its
                flavors keeps no access rules for device apps.
        """
        async with self.shelf.changing(owner) as tx:
            before = await shelf.find(tx, owner, shelf.SERVICE, id_)
            wanted = SERVICE.check_change(body, before)
            await self._check_references(tx, owner, wanted)
            document = {name: before[name] for name in ("id", "spId", "creationDate", "sdAid")} | wanted
            await tx.catalogue.put(owner, shelf.SERVICE, id_, document)
            for flavor in await tx.catalogue.list(owner, shelf.FLAVOR, parent=id_):
                await check_deployments(tx, owner, flavor, self.profiles)
            await shelf.record(tx, owner, shelf.SERVICE, id_, "modified")
        return document

    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Delete versions, flavors, the self-service mark, too; instances on cards keep what they hold."""
        for flavor in await tx.catalogue.list(owner, shelf.FLAVOR, parent=id_):
            await tx.catalogue.delete(owner, shelf.FLAVOR, str(flavor["id"]))
        for version in await tx.catalogue.list(owner, shelf.VERSION, parent=id_):
            key = shelf.version_key(id_, str(version["tag"]))
            await tx.catalogue.delete(owner, shelf.VERSION, key)
        await tx.catalogue.delete(owner, shelf.SELF_SERVICE, id_)

    async def _check_references(self, tx: UnitOfWork, owner: TenantId, wanted: Document) -> None:
        if "sposConfigId" in wanted:
            await shelf.find(tx, owner, shelf.SPOS_CONFIG, str(wanted["sposConfigId"]))
