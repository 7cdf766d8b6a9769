"""Extradition and registry update.

Source: GPCS 2.3.1 §9.4, §11.5.2.3.4, §11.5.2.3.5, §11.5.2.3.7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.tlv import Tlv, find
from opentsm.vse.authorization import Policy, receiving_domain, require_control, require_reach
from opentsm.vse.contactless import configured
from opentsm.vse.contactless_events import of_change, tell
from opentsm.vse.content import (
    implicit_values,
    require_final_selectable,
    require_free_slots,
    require_unique_at_issuer,
    service_parameters,
    set_privileges,
    system_parameters,
)
from opentsm.vse.environment import Environment
from opentsm.vse.lifecycle import is_selectable
from opentsm.vse.privileges import Privilege, assignable, check_combination, decode, issuer_defaults
from opentsm.vse.state import Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_WRONG_DATA, StatusError

_RESTRICT: Final = 0xD9


def extradite(environment: Environment, domain: Instance, aid: bytes, new_sd: bytes) -> bytes:
    """Associate an application or a load file with another security domain.

    Returns:
        AID of the security domain before.

    Raises:
        StatusError: 6A88 unknown object or domain; 6985 not accepted, not allowed, or a cycle.
    """
    image = environment.image
    entry: Instance | LoadFile | None = image.instance(aid) or image.load_file(aid)
    if entry is None:
        raise StatusError(SW_NOT_FOUND)
    receiver = _checked_extradition(environment, domain, entry, new_sd)
    before, entry.sd = entry.sd, receiver.aid
    environment.touch()
    return before


def _checked_extradition(
    environment: Environment, domain: Instance, entry: Instance | LoadFile, new_sd: bytes
) -> Instance:
    image = environment.image
    # Card Specification 2.1.1 section 6.4.3: applications only.
    if entry is image.isd or (environment.profile.gp211 and isinstance(entry, LoadFile)):
        raise StatusError(SW_CONDITIONS)
    require_reach(environment, domain, entry)
    require_control(environment, domain, entry, Policy.ACCEPT_EXTRADITION_AWAY)
    receiver = receiving_domain(environment, domain, new_sd)
    # §9.4.1: it would dodge the signature check at loading.
    if isinstance(entry, LoadFile) and receiver.holds(Privilege.DAP_VERIFICATION):
        raise StatusError(SW_CONDITIONS)
    below_itself = isinstance(entry, Instance) and receiver is not entry and image.sees(entry, receiver)
    if below_itself and not environment.profile.extradition_cycles:
        raise StatusError(SW_CONDITIONS)
    return receiver


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """The fields of INSTALL [for registry update].

    Args:
        aid: the application; empty when the card itself is restricted.
        new_sd: empty when the association stays.
        privileges: the new set in 1 or 3 bytes; empty when it stays.
        parameters: the data objects of the registry update parameters.
    """

    aid: bytes
    new_sd: bytes
    privileges: bytes
    parameters: Sequence[Tlv]


def update_registry(environment: Environment, domain: Instance, change: RegistryChange) -> bytes:
    """Change privileges, association, implicit selection or restrictions of an application, all or nothing.

    Args:
        environment: the card.
        domain: the security domain that processes the command.
        change: what to change.

    Returns:
        AID of the security domain before; empty when the card itself was restricted.

    Raises:
        StatusError: 6A88, 6A80, 6985; nothing has changed then.
    """
    system = system_parameters(change.parameters)
    if not change.aid:
        _restrict_card(environment, domain, change.new_sd + change.privileges, system)
        return b""
    image = environment.image
    instance = image.instance(change.aid)
    if instance is None:
        raise StatusError(SW_NOT_FOUND)
    require_reach(environment, domain, instance)
    require_control(environment, domain, instance)
    restricted = _restriction(system)
    if restricted and instance.domain is None:
        raise StatusError(SW_WRONG_DATA)
    privileges = _checked_privileges(environment, instance, change.privileges) if change.privileges else None
    contactless = configured(environment, instance, system)
    implicit, named = implicit_values(system), service_parameters(system)
    require_free_slots(image, instance, implicit)
    receiver = _checked_extradition(environment, domain, instance, change.new_sd) if change.new_sd else None

    if privileges is not None:
        set_privileges(image, instance, privileges)
    before = instance.sd
    if receiver is not None:
        instance.sd = receiver.aid
    if instance.domain is not None:
        instance.domain.restricted |= restricted
    if named is not None:
        instance.services = named
    events = of_change(instance.contactless, contactless)
    instance.contactless = contactless
    instance.implicit.extend(implicit)
    environment.touch()
    tell(environment, instance, events)
    return before


def _checked_privileges(environment: Environment, instance: Instance, field: bytes) -> Privilege:
    profile = environment.profile
    is_issuer = instance is environment.image.isd
    privileges = decode(
        field,
        two_bytes=profile.two_byte_privileges,
        privacy=profile.privacy_framework,
        defaults=issuer_defaults(Privilege(instance.privileges)) if is_issuer else None,
    )
    if environment.profile.registry_privileges == "add":
        privileges |= Privilege(instance.privileges)
    check_combination(privileges)
    is_domain = instance.domain is not None
    listed = profile.assignable_domain if is_domain else profile.assignable_application
    allowed = assignable(listed, domain=is_domain)
    if is_issuer:
        allowed |= Privilege(instance.privileges)
    if privileges & ~allowed or bool(privileges & Privilege.SECURITY_DOMAIN) != is_domain:
        raise StatusError(SW_WRONG_DATA)
    require_unique_at_issuer(environment.image, privileges, instance)
    if not instance.holds(Privilege.FINAL_APPLICATION) and not is_issuer:
        require_final_selectable(environment, privileges, selectable=is_selectable(instance.state))
    return privileges


def _restriction(system: Sequence[Tlv]) -> int:
    value = find(system, _RESTRICT)
    if value is None:
        return 0
    if len(value) != 1:
        raise StatusError(SW_WRONG_DATA)
    return value[0]


def _restrict_card(environment: Environment, domain: Instance, others: bytes, system: Sequence[Tlv]) -> None:
    """§9.4.2.1: take functions away from the whole card, for good; needs Global Lock."""
    restricted = _restriction(system)
    if others or not restricted:
        raise StatusError(SW_WRONG_DATA)
    if not domain.holds(Privilege.GLOBAL_LOCK):
        raise StatusError(SW_CONDITIONS)
    environment.image.restricted |= restricted
    environment.touch()
