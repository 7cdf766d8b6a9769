"""Whether a card profile can carry a flavor: load files, activation, privileges (TR-03165 category 1016)."""

from collections.abc import Iterable

from opentsm.card.gp.packages import FRAMEWORK
from opentsm.card.profiles import Contactless, SeProfile
from opentsm.tsm.domain.card_content import MemoryNeeds
from opentsm.tsm.domain.tenant import HUB
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.card_settings import memory_needs, privileges_of, protocol_data
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.profiles import ACCESS_RULES, CONTACTLESS, ProfileDesk
from opentsm.tsm.roles.sp.references import deployed_profiles


async def check_constraints(
    tx: UnitOfWork, owner: TenantId, flavor: Document, profiles: ProfileDesk, ids: Iterable[str]
) -> None:
    """Refuse a flavor that a profile cannot carry.

    Args:
        tx: the transaction.
        owner: whose flavor.
        flavor: its document, stored or not yet.
        profiles: the card profiles that there are.
        ids: those that the flavor is for.

    Raises:
        CatalogueError: 1016, or 1009 when there is no such profile.
    """
    wanted = [(profiles.get(one), profiles.kind(one)) for one in ids]
    for document, kind in wanted:
        if shelf.part(flavor, "featureConfig").get("useCspFull") is True and not document["csp"]:
            raise errors.technical_constraints("csp.apiVersion", f"{kind.name} has no CSP.")
    for elf_id in shelf.texts(flavor, "executableLoadFileIds"):
        load_file = await shelf.find(tx, owner, shelf.LOAD_FILE, elf_id)
        for document, _ in wanted:
            _check_load_file(load_file, document)
        await _check_released(tx, load_file, [kind.name for _, kind in wanted])
    if wanted:
        service = await shelf.find(tx, owner, shelf.SERVICE, str(flavor["serviceId"]))
        for link in shelf.objects(flavor, "applicationInstantiationConfigs"):
            config = await shelf.find(tx, owner, shelf.APPLICATION_CONFIG, str(link["applicationConfigId"]))
            for _, kind in wanted:
                _check_application(service, flavor, config, kind)


async def check_deployments(tx: UnitOfWork, owner: TenantId, flavor: Document, profiles: ProfileDesk) -> None:
    """Refuse a flavor that some card profile cannot carry to which a version of its service gives it.

    Raises:
        CatalogueError: 1016.
    """
    versions = await tx.catalogue.list(owner, shelf.VERSION, parent=str(flavor["serviceId"]))
    ids = {id_ for one in versions for id_ in deployed_profiles(one, [str(flavor["id"])])}
    await check_constraints(tx, owner, flavor, profiles, sorted(ids))


async def _check_released(tx: UnitOfWork, load_file: Document, profiles: Iterable[str]) -> None:
    """Refuse what the central TSM did not release for a profile, where it demands releases of all cards.

    What a single issuer demands is not known before a card is chosen: it is checked there.
    """
    policies = await tx.releases.policies((HUB,))
    if not any(policy.requires_release for policy in policies):
        return
    digest = str(shelf.part(load_file, "_block")["sha256"])
    found = await tx.releases.released((digest,), (HUB,))
    for name in profiles:
        if not any(name in one.released for one in found):
            raise errors.technical_constraints("release", f"{load_file['aid']} is not released for {name}.")


def _check_load_file(load_file: Document, profile: Document) -> None:
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
    if "javaCardVersion" not in needs and FRAMEWORK in shelf.texts(load_file, "importedPackages"):
        detail = f"{load_file['aid']} imports a javacard.framework of no known Java Card."
        raise errors.technical_constraints("javaCardVersion", detail)


def _check_application(service: Document, flavor: Document, config: Document, kind: SeProfile) -> None:
    """Check what an application wants of the card beside its code."""
    instance = str(config["instanceAid"])
    activation = shelf.part(config, "activationConfig")
    protocols = protocol_data(flavor, instance)
    if kind.contactless is Contactless.NONE and (activation.get("accessibleViaNfc") or protocols):
        raise errors.technical_constraints(
            f"gpSpecVersions.{CONTACTLESS}", f"{kind.name} has no contactless services for {instance}."
        )
    apps = shelf.texts(service, "accessAuthorizedDeviceApps")
    if not kind.access_rules and activation.get("accessibleViaApdu") and apps:
        raise errors.technical_constraints(
            f"gpSpecVersions.{ACCESS_RULES}", f"{kind.name} keeps no access rules for {instance}."
        )
    wanted = privileges_of(shelf.texts(shelf.part(config, "installConfig"), "privileges"))
    lacking = wanted & ~kind.application_privileges
    if lacking:
        detail = f"{kind.name} does not give {lacking} to {instance}."
        raise errors.technical_constraints("installConfig.privileges", detail)
    if not kind.memory_quotas and memory_needs(flavor, instance) != MemoryNeeds():
        raise errors.technical_constraints("memory", f"{kind.name} has no memory quotas for {instance}.")


def number(version: str) -> tuple[int, ...]:
    """Return a dotted version as numbers, to be compared."""
    return tuple(int(part) for part in version.split("."))
