"""From a service's documents to what one card should hold: version, flavor, load files, applications.

Pure: the documents were read by the catalogue. BSI TR-03165 §4.1.4.3 to 4.1.4.15.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    Attestation,
    LoadFileReference,
    ServiceDescription,
)
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.sp import shelf
from opentsm.tsm.roles.sp.attestation import ATTESTED
from opentsm.tsm.roles.sp.card_settings import device_apps, memory_needs, privileges_of, protocol_data
from opentsm.tsm.roles.sp.constraints import number
from opentsm.tsm.roles.sp.entities import DEFAULT_PRIORITY, EXTRADITE, UNDER_ISSUER_DOMAIN
from opentsm.tsm.roles.sp.executables import BLOCK
from opentsm.tsm.roles.sp.flavors import option
from opentsm.tsm.roles.sp.forms import Document
from opentsm.tsm.roles.sp.provisioning_rules import DIVERSIFICATION, TOKEN, provisioning_of
from opentsm.tsm.roles.sp.recipes import Recipe, Target

_ATTESTED = {Attestation.NONE: None, Attestation.PLAIN: ATTESTED, Attestation.DIVERSIFICATION: ATTESTED}


@dataclass(frozen=True, slots=True)
class Choice:
    """The version and the flavor that a card gets."""

    tag: str
    flavor_id: str


def choose(
    versions: Sequence[Document], published: Mapping[str, bool], tag: str | None, profile: Document
) -> Choice:
    """Choose the flavor for a card profile.

    Args:
        versions: all of the service.
        published: by flavor id.
        tag: the version that is asked for; None for the newest, by number, that the profile can get.
        profile: the SecureComponentProfile of the card.

    Raises:
        NotFoundError: there is no such version, or none at all.
        InvalidInputError: no version that is asked for has a flavor for the profile.
        ConflictError: the flavor is not published yet.
    """
    wanted = [version for version in versions if tag in (None, version["tag"])]
    if not wanted:
        raise NotFoundError(
            "The service has no version yet." if tag is None else f"The service has no version {tag}."
        )
    newest_first = _newest_first(wanted)
    waiting: str | None = None
    for version in newest_first:
        flavor_id = _flavor_for(version, str(profile["id"]))
        if flavor_id is not None and published.get(flavor_id):
            return Choice(str(version["tag"]), flavor_id)
        waiting = waiting or flavor_id
    if waiting is not None:
        raise ConflictError(f"The flavor {waiting} is not published yet.", advice="Publish it first.")
    raise InvalidInputError(
        f"{'No version' if tag is None else f'Version {tag}'} of the service has a flavor for the card"
        f" profile {profile['name']}" + (" yet." if tag is None else "."),
        advice=f"Allow the profile ({profile['id']}) in the version's allowedDeployments.",
    )


def deployable(
    versions: Sequence[Document], published: Mapping[str, bool], profile: Document
) -> tuple[str, ...]:
    """Return the tags of the versions that have a published flavor for a profile, newest first."""
    return tuple(
        str(version["tag"])
        for version in _newest_first(versions)
        if published.get(_flavor_for(version, str(profile["id"])) or "")
    )


def _newest_first(versions: Sequence[Document]) -> list[Document]:
    return sorted(versions, key=lambda one: (number(str(one["tag"])), str(one["tag"])), reverse=True)


def _flavor_for(version: Document, profile_id: str) -> str | None:
    deployments = shelf.part(version, "allowedDeployments")
    return next((one for one in deployments if profile_id in shelf.texts(deployments, one)), None)


@dataclass(frozen=True, slots=True)
class Application:
    """One application of a flavor: its module and configuration documents, load file, and recipe if any."""

    priority: int
    module: Document
    config: Document
    load_file: Document
    recipe_id: str | None = None
    recipe: Recipe | None = None


def build(
    service: Document,
    tag: str,
    flavor: Document,
    load_files: Sequence[Document],
    applications: Sequence[Application],
) -> ServiceDescription:
    """Return what a flavor puts on a card; applications by priority, load files after those they import."""
    ordered = sorted(applications, key=lambda application: application.priority)
    return ServiceDescription(
        service_id=str(service["id"]),
        version_tag=tag,
        flavor_id=str(flavor["id"]),
        provider_id=TenantId(str(service["spId"])),
        sd_aid=Aid.from_hex(str(service["sdAid"])),
        load_files=tuple(_load_file(one) for one in imports_first(load_files)),
        applications=tuple(_application(one, flavor) for one in ordered),
        device_apps=device_apps(service),
        extradite=option(flavor, EXTRADITE),
        dedicated_sd=not option(flavor, UNDER_ISSUER_DOMAIN),
        key_provisioning=provisioning_of(flavor),
        sp_parameters={**_parameters(service), **_parameters(flavor)},
    )


def attestation_of(config: Document) -> Attestation:
    """Return whether an application gets an attestation token (§4.1.4.15)."""
    personalization = shelf.part(config, "personalizationConfig")
    if not personalization.get(TOKEN):
        return Attestation.NONE
    return Attestation.DIVERSIFICATION if personalization.get(DIVERSIFICATION) else Attestation.PLAIN


def _parameters(document: Document) -> dict[str, str]:
    return {name: str(value) for name, value in shelf.part(document, "spParameters").items()}


def imports_first(load_files: Sequence[Document]) -> list[Document]:
    """Order load files so that each comes after those that it imports; else the given order stays."""
    by_aid = {str(one["aid"]): one for one in load_files}
    placed: dict[str, Document] = {}

    def place(aid: str, above: tuple[str, ...]) -> None:
        if aid in placed or aid not in by_aid or aid in above:
            return
        for imported in shelf.texts(by_aid[aid], "importedPackages"):
            place(imported, (*above, aid))
        placed[aid] = by_aid[aid]

    for aid in by_aid:
        place(aid, ())
    return list(placed.values())


def _load_file(document: Document) -> LoadFileReference:
    block = shelf.part(document, BLOCK)
    return LoadFileReference(
        aid=Aid.from_hex(str(document["aid"])),
        sha256=str(block["sha256"]),
        size=int(str(block["size"])),
        imports=tuple(Aid.from_hex(one) for one in shelf.texts(document, "importedPackages")),
    )


def _application(application: Application, flavor: Document) -> ApplicationSpecification:
    install = shelf.part(application.config, "installConfig")
    activation = shelf.part(application.config, "activationConfig")
    recipe, instance = application.recipe, str(application.config["instanceAid"])
    attestation = attestation_of(application.config)
    return ApplicationSpecification(
        instance_aid=Aid.from_hex(instance),
        load_file=Aid.from_hex(str(application.load_file["aid"])),
        module=Aid.from_hex(str(application.module["aid"])),
        privileges=int(privileges_of(shelf.texts(install, "privileges"))),
        install_parameters=bytes.fromhex(str(install.get("applicationSpecificInstallParameter", ""))),
        make_selectable=bool(activation.get("makeSelectable", True)),
        personalization=recipe.version if recipe else _ATTESTED[attestation],
        attestation=attestation,
        commands=recipe is not None and any(c.target is Target.APPLICATION for c in recipe.commands),
        recipe_id=application.recipe_id,
        probe=recipe.probe if recipe else None,
        accessible=bool(activation.get("accessibleViaApdu", False)),
        contactless=bool(activation.get("accessibleViaNfc", False)),
        protocols=protocol_data(flavor, instance),
        memory=memory_needs(flavor, instance),
    )


def priority_of(config: Document) -> int:
    """Return the place of an application in the order of installation; low comes first."""
    return int(str(config.get("priority", DEFAULT_PRIORITY)))
