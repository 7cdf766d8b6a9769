"""Application configurations (TR-03165 §4.1.6.6.1 to 4.1.6.6.5): how a module becomes an application."""

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.entities import APPLICATION_CONFIG
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.shelf import Shelf, find


@dataclass(frozen=True, slots=True)
class ConfigurationDesk:
    """Use cases about application configurations."""

    shelf: Shelf

    async def all(self, owner: TenantId) -> list[Document]:
        """Return all application configurations of the provider."""
        async with self.shelf.storage.transaction() as tx:
            return [*await tx.catalogue.list(owner, shelf.APPLICATION_CONFIG)]

    async def get(self, owner: TenantId, id_: str) -> Document:
        """Return one; CatalogueError 1009 when there is none."""
        async with self.shelf.storage.transaction() as tx:
            return await find(tx, owner, shelf.APPLICATION_CONFIG, id_)

    async def create(self, owner: TenantId, body: object) -> Document:
        """Create an application configuration.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008 or 1009.
        """
        wanted = APPLICATION_CONFIG.check_new(body)
        _check_activation(shelf.part(wanted, "activationConfig"))
        wanted["instanceAid"] = str(Aid.from_hex(str(wanted["instanceAid"])))
        id_ = self.shelf.world.new_id()
        document = {"id": id_, "spId": owner, **wanted}
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await _check_references(tx, owner, shelf.part(wanted, "personalizationConfig"))
            await tx.catalogue.put(owner, shelf.APPLICATION_CONFIG, id_, document)
            await shelf.record(
                tx, owner, shelf.APPLICATION_CONFIG, id_, "created", instance=str(document["instanceAid"])
            )
            await tx.commit()
        return document

    async def delete(self, owner: TenantId, id_: str) -> None:
        """Delete an application configuration that no flavor uses.

        Raises:
            CatalogueError: 1009 or 1010.
        """
        async with self.shelf.storage.transaction() as tx:
            await tx.catalogue.lock(owner)
            await find(tx, owner, shelf.APPLICATION_CONFIG, id_)
            for flavor in await tx.catalogue.list(owner, shelf.FLAVOR):
                configs = shelf.objects(flavor, "applicationInstantiationConfigs")
                if any(config["applicationConfigId"] == id_ for config in configs):
                    raise errors.still_referenced("ApplicationConfig", "Flavor")
            await tx.catalogue.delete(owner, shelf.APPLICATION_CONFIG, id_)
            await shelf.record(tx, owner, shelf.APPLICATION_CONFIG, id_, "deleted")
            await tx.commit()


def _check_activation(config: Document) -> None:
    if config.get("makeSelectable", True):
        return
    for name in ("accessibleViaApdu", "accessibleViaNfc"):
        if config.get(name):
            raise errors.bad_format(True, f"activationConfig.{name}", "false when makeSelectable is false")


async def _check_references(tx: UnitOfWork, owner: TenantId, config: Document) -> None:
    if "personalizationScriptId" in config:
        await find(tx, owner, shelf.SCRIPT, str(config["personalizationScriptId"]))
    if config.get("certificateId"):
        await find(tx, owner, shelf.CERTIFICATE, str(config["certificateId"]))
