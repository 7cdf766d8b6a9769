"""What a token is issued for: exactly what the operation on record asks for, and only if it fits. Pure.

The card sees that a token is right; that the command is allowed nobody sees but who signs it.
GPCS 2.3.1 §9.2.3, §9.3 to §9.5; BSI TR-03165 §4.2.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import Tlv, encode_tlv, parse_tlvs
from opentsm.card.gp.contactless import Activation, ContactlessParameters
from opentsm.card.gp.content_commands import ContentCommand, ContentKind
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import ContentMode
from opentsm.tsm.domain.card_content import (
    ApplicationSpecification,
    Claim,
    ObjectKind,
    ObservedContent,
    ServiceDescription,
)
from opentsm.tsm.engine import activation
from opentsm.tsm.engine.sessions import Topology
from opentsm.tsm.kernel.errors import TokenRefusedError
from opentsm.tsm.kernel.ids import InstanceId, TenantId

_NAME, _SYSTEM = 0x4F, 0xEF


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is on record about the operation that asks for tokens.

    Args:
        owner_id: the party that is asked.
        topology: who manages the card, for this provider.
        instance_id: the instance that the operation is about.
        description: what the instance is to be made of.
        content: what is known of the card.
        claims: which objects of the card are whose.
        profile: of the card.
        used_bytes: size of the load files of the provider's other services on this card.
        doomed: what the operation is to delete; None: whatever the instance alone put there.
        unreleased: the load files that the card's issuer did not release for its profile.
    """

    owner_id: TenantId
    topology: Topology
    instance_id: InstanceId
    description: ServiceDescription
    content: ObservedContent
    claims: tuple[Claim, ...]
    profile: SeProfile
    used_bytes: int = 0
    doomed: frozenset[Aid] | None = None
    unreleased: frozenset[Aid] = frozenset()
    applications: Mapping[Aid, ApplicationSpecification] = field(init=False)

    def __post_init__(self) -> None:
        known = {app.instance_aid: app for app in self.description.applications}
        object.__setattr__(self, "applications", known)


def check_commands(grounds: Grounds, domain: Aid, commands: Sequence[ContentCommand]) -> None:
    """Refuse commands that the operation on record does not ask for, all or none.

    Args:
        grounds: what is on record.
        domain: the security domain that is to carry them out.
        commands: what tokens are wanted for.

    Raises:
        TokenRefusedError: with the first reason that was found.
    """
    _check_mode(grounds)
    for command in commands:
        _check_domain(grounds, domain, command)
        _CHECKS[command.kind](grounds, domain, command)
    _check_space(grounds, commands)


def _check_mode(grounds: Grounds) -> None:
    topology = grounds.topology
    if topology.mode is not ContentMode.DELEGATED or topology.tokens_by != grounds.owner_id:
        raise TokenRefusedError("This party issues no tokens for this provider on this secure element.")


def _check_domain(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    if domain == grounds.description.sd_aid and grounds.description.dedicated_sd:
        return
    claim = _claim(grounds, domain)
    own = claim is not None and claim.kind is ObjectKind.SECURITY_DOMAIN and _only_ours(grounds, claim)
    if not own or command.kind is not ContentKind.DELETE:
        raise TokenRefusedError(f"{domain} is not the security domain of the service that is operated on.")


def _check_load(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    wanted = next((lf for lf in grounds.description.load_files if lf.aid == command.target), None)
    if wanted is None:
        raise _foreign(command)
    if wanted.aid in grounds.unreleased:
        raise TokenRefusedError(
            f"The load file {wanted.aid} is not released for this kind of card.",
            advice="Hand it in at /v1/applet-submissions, and have it released.",
        )
    if command.digest.hex() != wanted.sha256.lower():
        raise TokenRefusedError(
            f"The load file {wanted.aid} has another content than the one of the service's version.",
            advice="Only the content that was published may be loaded under a token.",
        )
    if command.security_domain not in (None, domain) or command.own_parameters:
        raise _other(command)


def _check_install(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    app = _application(grounds, command)
    privileges = Privilege(app.privileges).coded(grounds.profile.privilege_bytes)
    if (command.load_file, command.module) != (app.load_file, app.module):
        raise _other(command)
    if command.privileges != privileges:
        raise TokenRefusedError(f"{app.instance_aid} was published with other privileges.")
    if command.own_parameters != _install_parameters(app, grounds.profile):
        raise TokenRefusedError(f"{app.instance_aid} was published with other installation parameters.")


def _install_parameters(app: ApplicationSpecification, profile: SeProfile) -> tuple[Tlv, ...]:
    """Return what stands in the parameter field besides the reference to the token."""
    system = activation.system_parameters(app, profile)
    return parse_tlvs(application_parameters(app.install_parameters, system=system))


def _check_make_selectable(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    _application(grounds, command)
    if any(command.privileges) or command.own_parameters:
        raise _other(command)


def _check_extradition(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    _application(grounds, command)
    if command.security_domain != grounds.description.sd_aid or command.own_parameters:
        raise TokenRefusedError(f"{command.target} is to stay with its service's security domain.")


def _check_update(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    app = _application(grounds, command)
    states = (Activation.ACTIVATED, Activation.DEACTIVATED) if app.contactless else (Activation.DEACTIVATED,)
    allowed = [encode_tlv(_SYSTEM, ContactlessParameters(activation=one).to_bytes()) for one in states]
    if command.security_domain is not None or command.privileges:
        raise _other(command)
    if command.own_parameters not in [parse_tlvs(one) for one in allowed]:
        raise _other(command)


def _check_delete(grounds: Grounds, domain: Aid, command: ContentCommand) -> None:
    claim = None if command.target is None else _claim(grounds, command.target)
    if claim is None or not _only_ours(grounds, claim) or claim.kind is ObjectKind.SECURITY_DOMAIN:
        raise TokenRefusedError(f"{command.target} is not an object that this instance alone put there.")
    if command.related or any(one.tag != _NAME for one in command.own_parameters):
        raise _other(command)
    if grounds.doomed is not None and command.target not in grounds.doomed:
        raise TokenRefusedError(f"The operation on record does not delete {command.target}.")


_CHECKS = {
    ContentKind.LOAD: _check_load,
    ContentKind.INSTALL: _check_install,
    ContentKind.INSTALL_AND_MAKE_SELECTABLE: _check_install,
    ContentKind.MAKE_SELECTABLE: _check_make_selectable,
    ContentKind.EXTRADITION: _check_extradition,
    ContentKind.REGISTRY_UPDATE: _check_update,
    ContentKind.DELETE: _check_delete,
}


def _check_space(grounds: Grounds, commands: Sequence[ContentCommand]) -> None:
    """Sizes are those of the published load files; what the card needs besides it counts itself."""
    loaded = {one.target for one in commands if one.kind is ContentKind.LOAD}
    if not loaded:
        return
    sizes = {file.aid: file.size for file in grounds.description.load_files}
    quota, free = grounds.topology.quota_bytes, grounds.content.free_memory
    whole = grounds.used_bytes + sum(sizes.values())
    if quota is not None and whole > quota:
        raise TokenRefusedError(
            f"The provider's load files would take {whole} bytes here; its quota is {quota} bytes.",
            advice="Terminate another service of the provider there, or ask the issuer for more.",
        )
    needed = sum(size for aid, size in sizes.items() if aid in loaded)
    freed = any(one.kind is ContentKind.DELETE for one in commands)
    if free is not None and needed > free and not freed:
        raise TokenRefusedError(f"The load files need {needed} bytes; the secure element has {free} free.")


def _application(grounds: Grounds, command: ContentCommand) -> ApplicationSpecification:
    found = None if command.target is None else grounds.applications.get(command.target)
    if found is None:
        raise _foreign(command)
    return found


def _claim(grounds: Grounds, aid: Aid) -> Claim | None:
    return next((claim for claim in grounds.claims if claim.aid == aid), None)


def _only_ours(grounds: Grounds, claim: Claim) -> bool:
    return set(claim.instance_ids) == {grounds.instance_id}


def _foreign(command: ContentCommand) -> TokenRefusedError:
    return TokenRefusedError(
        f"The service that is operated on has no part in this: {command.describe()}.",
        advice="Tokens are issued for the load files and applications of the published version only.",
    )


def _other(command: ContentCommand) -> TokenRefusedError:
    return TokenRefusedError(f"The command differs from what the operation asks for: {command.describe()}.")
