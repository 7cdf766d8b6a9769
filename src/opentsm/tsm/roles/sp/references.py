"""What refers to what in the repository: the same predicates for related lists, deletions and publishing."""

from collections.abc import Callable, Iterable

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.forms import Document

Uses = Callable[[Document], bool]


def module_ids(flavor: Document) -> set[str]:
    """Return the modules that a flavor installs."""
    return _ids(flavor, "executableModuleId")


def configuration_ids(flavor: Document) -> set[str]:
    """Return the application configurations that a flavor applies."""
    return _ids(flavor, "applicationConfigId")


def deployed_flavors(version: Document) -> set[str]:
    """Return the flavors of a version."""
    return set(shelf.part(version, "allowedDeployments"))


def deployed_profiles(version: Document, flavors: Iterable[str]) -> set[str]:
    """Return the card profiles to which a version gives one of these flavors."""
    deployments = shelf.part(version, "allowedDeployments")
    return {profile for flavor in flavors for profile in shelf.texts(deployments, flavor)}


def flavors_for(version: Document, profile_id: str) -> set[str]:
    """Return the flavors that a version gives to a card profile."""
    return {id_ for id_ in deployed_flavors(version) if profile_id in deployed_profiles(version, [id_])}


def uses_configuration(ids: set[str]) -> Uses:
    """Return whether a flavor applies one of these application configurations."""
    return lambda flavor: bool(ids & configuration_ids(flavor))


async def uses_load_file(tx: UnitOfWork, owner: TenantId, elf_id: str) -> Uses:
    """Return whether a flavor loads this load file or installs a module of it."""
    modules = {str(one["id"]) for one in await tx.catalogue.list(owner, shelf.MODULE, parent=elf_id)}

    def uses(flavor: Document) -> bool:
        return elf_id in shelf.texts(flavor, "executableLoadFileIds") or bool(modules & module_ids(flavor))

    return uses


async def flavors(
    tx: UnitOfWork, owner: TenantId, uses: Uses, service_id: str | None = None
) -> list[Document]:
    """Return the flavors, of one service or of all, of which `uses` is true."""
    return [one for one in await tx.catalogue.list(owner, shelf.FLAVOR, parent=service_id) if uses(one)]


async def configurations_with(tx: UnitOfWork, owner: TenantId, attribute: str, id_: str) -> list[Document]:
    """Return the application configurations whose personalizationConfig names this script or certificate."""
    return [
        one
        for one in await tx.catalogue.list(owner, shelf.APPLICATION_CONFIG)
        if shelf.part(one, "personalizationConfig").get(attribute) == id_
    ]


def identifiers(documents: Iterable[Document], name: str = "id") -> set[str]:
    """Return an attribute of each document."""
    return {str(one[name]) for one in documents if name in one}


def _ids(flavor: Document, name: str) -> set[str]:
    return identifiers(shelf.objects(flavor, "applicationInstantiationConfigs"), name)
