"""Whether a card profile can run a flavor's load files (TR-03165 category 1016)."""

from collections.abc import Sequence

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ProfileDesk
from opentsm.tsm.roles.sp.references import deployed_profiles


async def check_constraints(
    tx: UnitOfWork, owner: TenantId, flavor: Document, profiles: Sequence[Document]
) -> None:
    """Refuse a flavor that a profile cannot carry.

    Raises:
        CatalogueError: 1016.
    """
    if shelf.part(flavor, "featureConfig").get("useCspFull") is True:
        for profile in profiles:
            if not profile["csp"]:
                raise errors.technical_constraints("csp.apiVersion", f"{profile['name']} has no CSP.")
    for elf_id in shelf.texts(flavor, "executableLoadFileIds"):
        load_file = await shelf.find(tx, owner, shelf.LOAD_FILE, elf_id)
        for profile in profiles:
            _check(load_file, profile)


async def check_deployments(tx: UnitOfWork, owner: TenantId, flavor: Document, profiles: ProfileDesk) -> None:
    """Refuse a flavor that some card profile cannot carry to which a version of its service gives it.

    Raises:
        CatalogueError: 1016.
    """
    versions = await tx.catalogue.list(owner, shelf.VERSION, parent=str(flavor["serviceId"]))
    ids = {id_ for one in versions for id_ in deployed_profiles(one, [str(flavor["id"])])}
    await check_constraints(tx, owner, flavor, [profiles.get(one) for one in sorted(ids)])


def _check(load_file: Document, profile: Document) -> None:
    needs = shelf.part(load_file, "technicalRequirements")
    offers = {
        "javaCardVersion": str(profile["javaCardVersion"]),
        "gpApiVersion": str(shelf.part(profile, "gpApiVersions").get("card", "0.0")),
    }
    for name, offered in offers.items():
        needed = str(needs.get(name, "0.0"))
        if number(needed) > number(offered):
            detail = f"{load_file['aid']} needs {needed}, {profile['name']} has {offered}."
            raise errors.technical_constraints(name, detail)


def number(version: str) -> tuple[int, ...]:
    """Return a dotted version as numbers, to be compared."""
    return tuple(int(part) for part in version.split("."))
