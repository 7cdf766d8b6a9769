"""Flavors (TR-03165 §4.1.6.4.6 to 4.1.6.4.16): what one kind of card gets, and when it is fixed for good."""

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.tsm.domain.card_content import KeyProvisioningMode
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, forms, shelf
from opentsm.tsm.roles.sp.card_settings import check_attributes
from opentsm.tsm.roles.sp.constraints import check_deployments
from opentsm.tsm.roles.sp.entities import DEFAULT_PRIORITY, EXTRADITE, FLAVOR, UNDER_ISSUER_DOMAIN
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.provisioning_rules import check_attestation, check_provisioning, provisioning_of
from opentsm.tsm.roles.sp.references import deployed_flavors
from opentsm.tsm.roles.sp.shelf import Shelf, find, find_in

# §4.1.4.4: what cannot change once the flavor is published
_FROZEN = ("executableLoadFileIds", "applicationInstantiationConfigs")
_IDS = forms.list_of(forms.reference)


@dataclass(frozen=True, slots=True)
class FlavorDesk:
    """Use cases about flavors."""

    shelf: Shelf
    profiles: ProfileDesk

    async def all(self, owner: TenantId, service_id: str) -> list[Document]:
        """Return all flavors of a service."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            return [*await tx.catalogue.list(owner, shelf.FLAVOR, parent=service_id)]

    async def get(self, owner: TenantId, service_id: str, id_: str) -> Document:
        """Return one flavor; CatalogueError 1009 when there is none."""
        async with self.shelf.storage.transaction() as tx:
            return await find_in(tx, owner, shelf.FLAVOR, id_, service_id)

    async def create(self, owner: TenantId, service_id: str, body: object) -> Document:
        """Create a flavor.

        Raises:
            CatalogueError: 1002, 1003, 1004, 1007, 1008 or 1009.
        """
        wanted = _with_priorities(FLAVOR.check_new(body))
        check_attributes(wanted)
        id_ = self.shelf.world.new_id()
        assigned: Document = {
            "id": id_,
            "serviceId": service_id,
            "creationDate": self.shelf.now(),
            "published": False,
            "executableLoadFileIds": [],
            "applicationInstantiationConfigs": [],
        }
        document = {**assigned, **wanted}
        async with self.shelf.changing(owner) as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            await _check_load_files(tx, owner, document)
            await check_provisioning(tx, owner, document, modify=False)
            await check_applications(tx, owner, document)
            await tx.catalogue.put(owner, shelf.FLAVOR, id_, document, parent=service_id)
            await shelf.record(tx, owner, shelf.FLAVOR, id_, "created", service=service_id)
        return document

    async def modify(self, owner: TenantId, service_id: str, id_: str, body: object) -> Document:
        """Replace what may be edited of a flavor; what the body leaves out is gone.

        Publishing fixes load files and applications: from then on they may be repeated or left out.

        Raises:
            CatalogueError: 1002, 1005, 1006, 1007, 1008, 1009, 1015 or 1016.
        """
        async with self.shelf.changing(owner) as tx:
            before = await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            wanted = _with_priorities(FLAVOR.check_change(body, before))
            check_attributes(wanted)
            if before["published"]:
                _check_frozen(wanted, before)
            empty: Document = {name: before[name] if before["published"] else [] for name in _FROZEN}
            assigned = {name: before[name] for name in ("id", "serviceId", "creationDate", "published")}
            document = {**assigned, **empty, **wanted}
            await _check_load_files(tx, owner, document)
            await check_provisioning(tx, owner, document, modify=True)
            await check_applications(tx, owner, document)
            if before["published"]:
                await _check_options(tx, owner, document)
            await check_deployments(tx, owner, document, self.profiles)
            await tx.catalogue.put(owner, shelf.FLAVOR, id_, document, parent=service_id)
            await shelf.record(tx, owner, shelf.FLAVOR, id_, "modified", service=service_id)
        return document

    async def delete(self, owner: TenantId, service_id: str, id_: str) -> None:
        """Delete a flavor that no version uses.

        Raises:
            CatalogueError: 1009 or 1010.
        """
        async with self.shelf.changing(owner) as tx:
            await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            versions = await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)
            if any(id_ in deployed_flavors(version) for version in versions):
                raise errors.still_referenced("Flavor", "Version")
            await tx.catalogue.delete(owner, shelf.FLAVOR, id_)
            await shelf.record(tx, owner, shelf.FLAVOR, id_, "deleted")

    async def load_files(self, owner: TenantId, service_id: str, id_: str) -> list[Document]:
        """Return the load files of a flavor."""
        async with self.shelf.storage.transaction() as tx:
            flavor = await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            return [
                shelf.shown(await find(tx, owner, shelf.LOAD_FILE, elf_id))
                for elf_id in shelf.texts(flavor, "executableLoadFileIds")
            ]

    async def link(self, owner: TenantId, service_id: str, id_: str, body: object) -> Document:
        """Add load files to a flavor; those that it has stay.

        Raises:
            CatalogueError: 1008, 1009, 1015 or 1016.
        """
        return await self._relink(owner, service_id, id_, body, add=True)

    async def unlink(self, owner: TenantId, service_id: str, id_: str, body: object) -> Document:
        """Take load files out of a flavor; those that it does not have are ignored.

        Raises:
            CatalogueError: 1008, 1009 or 1015.
        """
        return await self._relink(owner, service_id, id_, body, add=False)

    async def _relink(
        self, owner: TenantId, service_id: str, id_: str, body: object, *, add: bool
    ) -> Document:
        _IDS(body, "elfIds")
        ids = [str(item) for item in body] if isinstance(body, list) else []
        async with self.shelf.changing(owner) as tx:
            flavor = await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            if flavor["published"]:
                raise errors.already_published("Flavor", id_)
            for elf_id in ids:
                await find(tx, owner, shelf.LOAD_FILE, elf_id)
            linked = shelf.texts(flavor, "executableLoadFileIds")
            kept = [one for one in linked if add or one not in ids]
            added = [one for one in ids if add and one not in linked]
            changed = flavor | {"executableLoadFileIds": kept + added}
            await _check_load_files(tx, owner, changed)
            await check_deployments(tx, owner, changed, self.profiles)
            await tx.catalogue.put(owner, shelf.FLAVOR, id_, changed, parent=service_id)
            await shelf.record(tx, owner, shelf.FLAVOR, id_, "linked" if add else "unlinked", count=len(ids))
        return changed

    async def publish(self, owner: TenantId, service_id: str, id_: str) -> Document:
        """Fix a flavor for good, so that it can be deployed; a published one stays as it is.

        Raises:
            CatalogueError: 1009 when it installs a module of a load file that it does not load, 1008 when its
                options do not go together, 1016 when a card profile that it is for cannot carry it.
        """
        async with self.shelf.changing(owner) as tx:
            flavor = await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            if flavor["published"]:
                return flavor
            await _check_modules_are_loaded(tx, owner, flavor)
            await _check_options(tx, owner, flavor)
            await check_deployments(tx, owner, flavor, self.profiles)
            published = flavor | {"published": True}
            await tx.catalogue.put(owner, shelf.FLAVOR, id_, published, parent=service_id)
            await shelf.record(tx, owner, shelf.FLAVOR, id_, "published", service=service_id)
        return published


def option(flavor: Document, name: str) -> bool:
    """Return one of our generic options; absent means False."""
    return bool(shelf.part(shelf.part(flavor, "featureConfig"), "genericOptions").get(name, False))


def _check_frozen(wanted: Document, before: Document) -> None:
    for name in _FROZEN:
        if name in wanted and wanted[name] != before[name]:
            raise errors.already_published("Flavor", str(before["id"]))


def _with_priorities(wanted: Document) -> Document:
    configs = shelf.objects(wanted, "applicationInstantiationConfigs")
    if not configs:
        return wanted
    filled = [{"priority": DEFAULT_PRIORITY, **config} for config in configs]
    return wanted | {"applicationInstantiationConfigs": filled}


async def _check_load_files(tx: UnitOfWork, owner: TenantId, flavor: Document) -> None:
    path = "executableLoadFileIds"
    found = [await find(tx, owner, shelf.LOAD_FILE, one) for one in shelf.texts(flavor, path)]
    _once((str(one["aid"]) for one in found), path, "load files with different AIDs")


async def check_applications(tx: UnitOfWork, owner: TenantId, flavor: Document) -> None:
    """Refuse a flavor whose applications do not exist (1009) or would get the same instance AID, or an
    attestation token without key provisioning (1008)."""
    path = "applicationInstantiationConfigs"
    instances: list[str] = []
    for config in shelf.objects(flavor, path):
        await find(tx, owner, shelf.MODULE, str(config["executableModuleId"]))
        found = await find(tx, owner, shelf.APPLICATION_CONFIG, str(config["applicationConfigId"]))
        check_attestation(flavor, shelf.part(found, "personalizationConfig"))
        instances.append(str(found["instanceAid"]))
    _once(instances, path, "ApplicationConfigs with different instance AIDs")


def _once(values: Iterable[str], path: str, supported: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise errors.bad_format(value, path, supported)
        seen.add(value)


async def _check_modules_are_loaded(tx: UnitOfWork, owner: TenantId, flavor: Document) -> None:
    loaded = shelf.texts(flavor, "executableLoadFileIds")
    for config in shelf.objects(flavor, "applicationInstantiationConfigs"):
        module_id = str(config["executableModuleId"])
        module = await find(tx, owner, shelf.MODULE, module_id)
        if module["elfId"] not in loaded:
            raise errors.not_existing("linked ExecutableLoadFile", module["elfId"])


async def _check_options(tx: UnitOfWork, owner: TenantId, flavor: Document) -> None:
    if not option(flavor, UNDER_ISSUER_DOMAIN):
        return
    path = "featureConfig.genericOptions"
    if provisioning_of(flavor).mode is not KeyProvisioningMode.NONE:
        raise errors.bad_format(True, f"{path}.{UNDER_ISSUER_DOMAIN}", "false where keys are provisioned")
    if option(flavor, EXTRADITE):
        raise errors.bad_format(True, f"{path}.{EXTRADITE}", f"false together with {UNDER_ISSUER_DOMAIN}")
    for config in shelf.objects(flavor, "applicationInstantiationConfigs"):
        found = await find(tx, owner, shelf.APPLICATION_CONFIG, str(config["applicationConfigId"]))
        if shelf.part(found, "personalizationConfig").get("personalizationScriptId"):
            supported = "false when an application is personalised: that needs a security domain of its own"
            raise errors.bad_format(True, f"{path}.{UNDER_ISSUER_DOMAIN}", supported)
