"""The *related* lists of TR-03165 §4.1.6.3 to 4.1.6.9: which of the provider's documents use another one.

They are computed from the references that the documents hold. What they start from must exist (1009); what
they find is only filtered, so that a concurrent deletion changes an answer and never breaks it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import references as r
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.executables import find_module
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.references import Uses
from opentsm.tsm.roles.sp.shelf import Shelf, find, find_in

_SCRIPT_ID = "personalizationScriptId"
_CERTIFICATE_ID = "certificateId"


@dataclass(frozen=True, slots=True)
class RelationDesk:
    """Who uses what. Each use case raises CatalogueError 1009 when what its path names does not exist."""

    shelf: Shelf
    profiles: ProfileDesk

    # --- of a card profile -------------------------------------------------------------------------

    async def load_files_of_profile(self, owner: TenantId, profile_id: str) -> list[Document]:
        """Return the load files that some version brings to this card profile."""
        self.profiles.get(profile_id)
        async with self.shelf.storage.transaction() as tx:
            used = await _given(tx, owner, profile_id, await tx.catalogue.list(owner, shelf.VERSION))
            modules = {str(one["id"]): one for one in await tx.catalogue.list(owner, shelf.MODULE)}
            found: set[str] = set()
            for flavor in used:
                found |= set(shelf.texts(flavor, "executableLoadFileIds"))
                found |= {str(modules[one]["elfId"]) for one in r.module_ids(flavor) if one in modules}
            return await _chosen(tx, owner, shelf.LOAD_FILE, found)

    async def services_of_profile(self, owner: TenantId, profile_id: str) -> list[Document]:
        """Return the services of which some version is for this card profile."""
        self.profiles.get(profile_id)
        async with self.shelf.storage.transaction() as tx:
            versions = await tx.catalogue.list(owner, shelf.VERSION)
            serving = [one for one in versions if r.flavors_for(one, profile_id)]
            return await _chosen(tx, owner, shelf.SERVICE, r.identifiers(serving, "serviceId"))

    async def flavors_of_profile(self, owner: TenantId, profile_id: str, service_id: str) -> list[Document]:
        """Return a service's flavors that some version gives to this card profile."""
        self.profiles.get(profile_id)
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            versions = await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)
            return await _given(tx, owner, profile_id, versions, service_id)

    async def versions_of_profile(self, owner: TenantId, profile_id: str, service_id: str) -> list[Document]:
        """Return a service's versions that are for this card profile."""
        self.profiles.get(profile_id)
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SERVICE, service_id)
            versions = await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)
            return [one for one in versions if r.flavors_for(one, profile_id)]

    # --- of a flavor -------------------------------------------------------------------------------

    async def configurations_of_flavor(self, owner: TenantId, service_id: str, id_: str) -> list[Document]:
        """Return the application configurations that a flavor applies."""
        async with self.shelf.storage.transaction() as tx:
            flavor = await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            return await _chosen(tx, owner, shelf.APPLICATION_CONFIG, r.configuration_ids(flavor))

    async def versions_of_flavor(self, owner: TenantId, service_id: str, id_: str) -> list[Document]:
        """Return the versions that deploy a flavor."""
        async with self.shelf.storage.transaction() as tx:
            await find_in(tx, owner, shelf.FLAVOR, id_, service_id)
            return await _versions(tx, owner, service_id, {id_})

    # --- of a load file ----------------------------------------------------------------------------

    async def configurations_of_module(self, owner: TenantId, id_: str, module_id: str) -> list[Document]:
        """Return the application configurations that some flavor applies to a module."""
        async with self.shelf.storage.transaction() as tx:
            await find_module(tx, owner, id_, module_id)
            applied = {
                str(config["applicationConfigId"])
                for flavor in await tx.catalogue.list(owner, shelf.FLAVOR)
                for config in shelf.objects(flavor, "applicationInstantiationConfigs")
                if config["executableModuleId"] == module_id
            }
            return await _chosen(tx, owner, shelf.APPLICATION_CONFIG, applied)

    async def services_of_load_file(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the services of which some flavor uses a load file."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.LOAD_FILE, id_)
            return await _services(tx, owner, await r.uses_load_file(tx, owner, id_))

    async def flavors_of_load_file(self, owner: TenantId, id_: str, service_id: str) -> list[Document]:
        """Return a service's flavors that use a load file."""
        async with self.shelf.storage.transaction() as tx:
            return await _loading(tx, owner, id_, service_id)

    async def versions_of_load_file(self, owner: TenantId, id_: str, service_id: str) -> list[Document]:
        """Return a service's versions that deploy a flavor with a load file."""
        async with self.shelf.storage.transaction() as tx:
            using = r.identifiers(await _loading(tx, owner, id_, service_id))
            return await _versions(tx, owner, service_id, using)

    async def profiles_of_load_file(self, owner: TenantId, id_: str, service_id: str) -> list[Document]:
        """Return the card profiles to which a service brings a load file."""
        async with self.shelf.storage.transaction() as tx:
            using = r.identifiers(await _loading(tx, owner, id_, service_id))
            versions = await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)
        reached = {profile for one in versions for profile in r.deployed_profiles(one, using)}
        return [one for one in self.profiles.all() if one["id"] in reached]

    # --- of an application configuration, a script, a certificate, an SPOS configuration -----------------

    async def modules_of_configuration(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the modules to which some flavor applies an application configuration."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.APPLICATION_CONFIG, id_)
            applied = {
                str(config["executableModuleId"])
                for flavor in await tx.catalogue.list(owner, shelf.FLAVOR)
                for config in shelf.objects(flavor, "applicationInstantiationConfigs")
                if config["applicationConfigId"] == id_
            }
            return await _chosen(tx, owner, shelf.MODULE, applied)

    async def flavors_of_configuration(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the flavors that apply an application configuration."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.APPLICATION_CONFIG, id_)
            return await r.flavors(tx, owner, r.uses_configuration({id_}))

    async def services_of_configuration(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the services of which some flavor applies an application configuration."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.APPLICATION_CONFIG, id_)
            return await _services(tx, owner, r.uses_configuration({id_}))

    async def configurations_of_script(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the application configurations that name a personalisation script."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SCRIPT, id_)
            return await r.configurations_with(tx, owner, _SCRIPT_ID, id_)

    async def flavors_of_script(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the flavors with an application that a script personalises."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SCRIPT, id_)
            return await r.flavors(tx, owner, await _naming(tx, owner, _SCRIPT_ID, id_))

    async def services_of_script(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the services with an application that a script personalises."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SCRIPT, id_)
            return await _services(tx, owner, await _naming(tx, owner, _SCRIPT_ID, id_))

    async def configurations_of_certificate(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the application configurations that name a certificate."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.CERTIFICATE, id_)
            return await r.configurations_with(tx, owner, _CERTIFICATE_ID, id_)

    async def flavors_of_certificate(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the flavors with an application that names a certificate."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.CERTIFICATE, id_)
            return await r.flavors(tx, owner, await _naming(tx, owner, _CERTIFICATE_ID, id_))

    async def services_of_certificate(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the services that use a certificate, in an application or for their online system."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.CERTIFICATE, id_)
            using = await r.flavors(tx, owner, await _naming(tx, owner, _CERTIFICATE_ID, id_))
            calling = r.identifiers(await _spos_configs(tx, owner, id_))
            wanted = r.identifiers(using, "serviceId")
            services = await tx.catalogue.list(owner, shelf.SERVICE)
        return [
            shelf.shown(one)
            for one in services
            if one["id"] in wanted or str(one.get("sposConfigId", "")) in calling
        ]

    async def spos_configs_of_certificate(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the SPOS configurations that name a certificate."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.CERTIFICATE, id_)
            return await _spos_configs(tx, owner, id_)

    async def services_of_spos_config(self, owner: TenantId, id_: str) -> list[Document]:
        """Return the services that report to an SPOS configuration."""
        async with self.shelf.storage.transaction() as tx:
            await find(tx, owner, shelf.SPOS_CONFIG, id_)
            services = await tx.catalogue.list(owner, shelf.SERVICE)
        return [shelf.shown(one) for one in services if one.get("sposConfigId") == id_]


async def _chosen(tx: UnitOfWork, owner: TenantId, entity: str, ids: Iterable[str]) -> list[Document]:
    wanted = set(ids)
    return [shelf.shown(one) for one in await tx.catalogue.list(owner, entity) if one["id"] in wanted]


async def _services(tx: UnitOfWork, owner: TenantId, uses: Uses) -> list[Document]:
    using = await r.flavors(tx, owner, uses)
    return await _chosen(tx, owner, shelf.SERVICE, r.identifiers(using, "serviceId"))


async def _versions(tx: UnitOfWork, owner: TenantId, service_id: str, flavor_ids: set[str]) -> list[Document]:
    versions = await tx.catalogue.list(owner, shelf.VERSION, parent=service_id)
    return [one for one in versions if flavor_ids & r.deployed_flavors(one)]


async def _given(
    tx: UnitOfWork,
    owner: TenantId,
    profile_id: str,
    versions: Iterable[Document],
    service_id: str | None = None,
) -> list[Document]:
    ids = {id_ for version in versions for id_ in r.flavors_for(version, profile_id)}
    return await r.flavors(tx, owner, lambda flavor: flavor["id"] in ids, service_id)


async def _loading(tx: UnitOfWork, owner: TenantId, id_: str, service_id: str) -> list[Document]:
    await find(tx, owner, shelf.LOAD_FILE, id_)
    await find(tx, owner, shelf.SERVICE, service_id)
    return await r.flavors(tx, owner, await r.uses_load_file(tx, owner, id_), service_id)


async def _naming(tx: UnitOfWork, owner: TenantId, attribute: str, id_: str) -> Uses:
    named = await r.configurations_with(tx, owner, attribute, id_)
    return r.uses_configuration(r.identifiers(named))


async def _spos_configs(tx: UnitOfWork, owner: TenantId, certificate_id: str) -> list[Document]:
    found = await tx.catalogue.list(owner, shelf.SPOS_CONFIG)
    return [one for one in found if one[_CERTIFICATE_ID] == certificate_id]
