"""Application configurations (TR-03165 §4.1.6.6.1 to 4.1.6.6.5): how a module becomes an application."""

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.constraints import check_deployments
from opentsm.tsm.roles.sp.desk import Desk
from opentsm.tsm.roles.sp.entities import APPLICATION_CONFIG
from opentsm.tsm.roles.sp.flavors import check_applications
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.provisioning_rules import check_token
from opentsm.tsm.roles.sp.references import flavors, uses_configuration
from opentsm.tsm.roles.sp.shelf import find

_PERSONALIZATION = "personalizationConfig"
_CERTIFICATE_ID = "certificateId"
_FROZEN = ("instanceAid", "installConfig", "activationConfig")


@dataclass(frozen=True, slots=True)
class ConfigurationDesk(Desk):
    """Use cases about application configurations."""

    entity = shelf.APPLICATION_CONFIG

    profiles: ProfileDesk

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
        async with self.shelf.changing(owner) as tx:
            await _check_references(tx, owner, shelf.part(wanted, "personalizationConfig"))
            await tx.catalogue.put(owner, shelf.APPLICATION_CONFIG, id_, document)
            await shelf.record(
                tx, owner, shelf.APPLICATION_CONFIG, id_, "created", instance=str(document["instanceAid"])
            )
        return document

    async def modify(self, owner: TenantId, id_: str, body: object) -> Document:
        """Replace what may be edited of an application configuration; what the body leaves out is gone.

        A published flavor fixes everything but name, description and certificate: from then on it may be
        repeated or left out.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007, 1008, 1009 or 1016.
        """
        async with self.shelf.changing(owner) as tx:
            before = await find(tx, owner, shelf.APPLICATION_CONFIG, id_)
            wanted = APPLICATION_CONFIG.check_change(body, before)
            _check_activation(shelf.part(wanted, "activationConfig"))
            wanted["instanceAid"] = str(Aid.from_hex(str(wanted["instanceAid"])))
            users = await flavors(tx, owner, uses_configuration({id_}))
            if any(flavor["published"] for flavor in users):
                wanted = _keep_frozen(wanted, before)
            await _check_references(tx, owner, shelf.part(wanted, "personalizationConfig"))
            document = {"id": id_, "spId": owner, **wanted}
            await tx.catalogue.put(owner, shelf.APPLICATION_CONFIG, id_, document)
            for flavor in users:
                await check_applications(tx, owner, flavor)
                await check_deployments(tx, owner, flavor, self.profiles)
            await shelf.record(tx, owner, shelf.APPLICATION_CONFIG, id_, "modified")
        return document

    async def _release(self, tx: UnitOfWork, owner: TenantId, id_: str) -> None:
        """Refuse the deletion of an application configuration that a flavor uses."""
        if await flavors(tx, owner, uses_configuration({id_})):
            raise errors.still_referenced("ApplicationConfig", "Flavor")


def _keep_frozen(wanted: Document, before: Document) -> Document:
    """Return the new document with what a published flavor fixes; §4.1.4.12 to 4.1.4.15 mark that C.

    Raises:
        CatalogueError: 1005; the operation has no 1015 in the guideline.
    """
    for name in _FROZEN:
        if name in wanted and wanted[name] != before.get(name):
            raise errors.fixed(name)
    kept = {name: before[name] for name in _FROZEN if name in before}
    personalization = shelf.part(wanted, _PERSONALIZATION)
    fixed = {k: v for k, v in shelf.part(before, _PERSONALIZATION).items() if k != _CERTIFICATE_ID}
    for name, value in personalization.items():
        if name != _CERTIFICATE_ID and value != fixed.get(name):
            raise errors.fixed(f"{_PERSONALIZATION}.{name}")
    merged = fixed | personalization
    return {**kept, **wanted, **({_PERSONALIZATION: merged} if merged else {})}


def _check_activation(config: Document) -> None:
    if config.get("makeSelectable", True):
        return
    for name in ("accessibleViaApdu", "accessibleViaNfc"):
        if config.get(name):
            raise errors.bad_format(True, f"activationConfig.{name}", "false when makeSelectable is false")


async def _check_references(tx: UnitOfWork, owner: TenantId, config: Document) -> None:
    check_token(config)
    if "personalizationScriptId" in config:
        await find(tx, owner, shelf.SCRIPT, str(config["personalizationScriptId"]))
    if config.get("certificateId"):
        await find(tx, owner, shelf.CERTIFICATE, str(config["certificateId"]))
