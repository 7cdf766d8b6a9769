"""INSTALL: which variant, its fields, and who may do it.

Source: GPCS 2.3.1 §11.5, §9.3.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import ber_lv, lv
from opentsm.card.codec.tlv import Tlv, find
from opentsm.vse.authorization import (
    Operation,
    authorize_content,
    receiving_domain,
    refuse_others,
    require_control,
    require_ready,
    require_unrestricted,
)
from opentsm.vse.content import (
    InstallOrder,
    install_instance,
    make_selectable,
    memory_size,
    require_unused,
    system_parameters,
)
from opentsm.vse.environment import Environment, LoadSession, LogicalChannel
from opentsm.vse.fields import FieldReader, data_objects, distinct_objects
from opentsm.vse.load_file_checks import require_hash
from opentsm.vse.loading import register, unregister
from opentsm.vse.privileges import Privilege
from opentsm.vse.receipts import NO_CONFIRMATION, Confirmer, prepare
from opentsm.vse.registry_update import RegistryChange, extradite, update_registry
from opentsm.vse.state import Instance
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_NOT_FOUND,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)
from opentsm.vse.tokens import Proof, signed_part

_LOAD: Final = 0x02
_INSTALL: Final = 0x04
_MAKE_SELECTABLE: Final = 0x08
_INSTALL_AND_MAKE_SELECTABLE: Final = 0x0C
_COMBINED: Final = 0x0E
_COMBINED_FIRST: Final = 0x01
_COMBINED_LAST: Final = 0x03
_EXTRADITION: Final = 0x10
_PERSONALIZATION: Final = 0x20
_REGISTRY_UPDATE: Final = 0x40
# Table C-3; nothing where the hash is optional.
_HASH_LENGTHS: Final = frozenset({0, 20, 32, 48, 64})


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """An INSTALL command with its context."""

    environment: Environment
    channel: LogicalChannel
    domain: Instance
    command: CommandApdu
    fields: FieldReader


def install(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Carry out one INSTALL command.

    Returns:
        The confirmation, or `00` when there is none.

    Raises:
        StatusError: see the error table of §11.5.3.2.
    """
    variant = _VARIANTS.get((command.p1, command.p2))
    if variant is None or (environment.profile.gp211 and (command.p1, command.p2) in _NOT_IN_211):
        raise StatusError(SW_WRONG_P1P2)
    if (command.p1, command.p2) != (_COMBINED, _COMBINED_LAST):
        channel.combined = None
    channel.load = None
    channel.end_personalization()
    return variant(InstallRequest(environment, channel, domain, command, FieldReader(command.data)))


def _parameters_and_proof(request: InstallRequest) -> tuple[tuple[Tlv, ...], Proof]:
    """Read the last two fields; the token signs all before its own."""
    fields, command = request.fields, request.command
    parameters = distinct_objects(fields.ber_lv())
    signed = signed_part(command.p1, command.p2, fields.passed)
    token = fields.ber_lv()
    fields.end()
    return parameters, Proof(signed, token, parameters)


def _authorize(request: InstallRequest, operation: Operation, proof: Proof | None) -> Confirmer:
    """Ask whether the operation may happen, and who will confirm it."""
    environment, domain = request.environment, request.domain
    authority = authorize_content(environment, request.channel, domain, operation, proof)
    return prepare(environment, domain, authority)


def _for_load(request: InstallRequest, *, combined: bool = False) -> bytes:
    environment, fields = request.environment, request.fields
    aid, sd, digest = fields.aid(), fields.aid(optional=True), fields.lv()
    parameters, proof = _parameters_and_proof(request)
    if len(digest) not in _HASH_LENGTHS or (combined and proof.token):
        raise StatusError(SW_WRONG_DATA)
    operation = Operation.LOAD
    if combined:
        operation |= Operation.INSTALL | Operation.MAKE_SELECTABLE
    confirmer = _authorize(request, operation, None if combined else proof)
    if confirmer.authority.token:
        require_hash(environment, digest, confirmer.authority.least_hash)
    require_unused(environment, aid)
    receiver = receiving_domain(environment, request.domain, sd)
    _require_minimum(environment, parameters)
    request.channel.load = LoadSession(
        aid,
        receiver.aid,
        digest,
        provider_id(parameters),
        combined=proof.signed if combined else b"",
        authority=confirmer.authority,
    )
    return NO_CONFIRMATION


def _require_minimum(environment: Environment, parameters: tuple[Tlv, ...]) -> None:
    """§9.7: C6 (code), C8 (data) and C7 (volatile data) must be free now; nothing is reserved."""
    system = system_parameters(parameters)
    code, volatile, data = (memory_size(system, tag) or 0 for tag in (0xC6, 0xC7, 0xC8))
    environment.require_memory(code + data)
    environment.require_volatile(volatile)


def provider_id(parameters: tuple[Tlv, ...]) -> bytes:
    """Return the application provider identifier in the control reference template (5F20 in B6)."""
    return find(data_objects(find(parameters, 0xB6) or b""), 0x5F20) or b""


def _for_install(request: InstallRequest, *, selectable: bool = False) -> bytes:
    order, proof = _install_order(request, selectable=selectable)
    operation = Operation.INSTALL | (Operation.MAKE_SELECTABLE if selectable else Operation(0))
    confirmer = _authorize(request, operation, proof)
    instance = install_instance(request.environment, request.domain, order)
    return confirmer.confirm(lv(instance.load_file), lv(instance.aid))


def _install_order(request: InstallRequest, *, selectable: bool) -> tuple[InstallOrder, Proof]:
    fields = request.fields
    load_file, module = fields.aid(optional=True), fields.aid(optional=True)
    aid, privileges = fields.aid(), fields.lv(minimum=1, maximum=3)
    parameters, proof = _parameters_and_proof(request)
    return InstallOrder(load_file, module, aid, privileges, parameters, selectable), proof


def _for_combined_install(request: InstallRequest) -> bytes:
    """§9.3.8: the load file comes to be together with its application, or neither does."""
    environment, channel = request.environment, request.channel
    order, proof = _install_order(request, selectable=True)
    pending = channel.combined
    if pending is None:
        raise StatusError(SW_CONDITIONS)
    load_file = pending.load_file
    if order.load_file not in {b"", load_file.aid}:
        raise StatusError(SW_WRONG_DATA)
    channel.combined = None
    operation = Operation.LOAD | Operation.INSTALL | Operation.MAKE_SELECTABLE
    whole = replace(proof, signed=pending.signed + proof.signed)
    confirmer = _authorize(request, operation, whole)
    if confirmer.authority.token:
        require_hash(environment, pending.digest, confirmer.authority.least_hash)
    with environment.all_or_nothing():
        register(environment, load_file)
        try:
            instance = install_instance(environment, request.domain, replace(order, load_file=load_file.aid))
        except StatusError:
            unregister(environment, load_file)
            raise
    return confirmer.confirm(lv(load_file.aid), lv(instance.aid), lv(load_file.sd))


def _for_make_selectable(request: InstallRequest) -> bytes:
    environment, fields = request.environment, request.fields
    fields.empty()
    fields.empty()
    aid, privileges = fields.aid(), fields.lv(minimum=1, maximum=3)
    parameters, proof = _parameters_and_proof(request)
    confirmer = _authorize(request, Operation.MAKE_SELECTABLE, proof)
    instance = environment.image.instance(aid)
    if instance is None:
        raise StatusError(SW_NOT_FOUND)
    require_control(environment, request.domain, instance)
    make_selectable(environment, instance, privileges, parameters)
    return confirmer.confirm(lv(instance.load_file), lv(aid))


def _for_extradition(request: InstallRequest) -> bytes:
    environment, fields = request.environment, request.fields
    new_sd = fields.aid()
    fields.empty()
    aid = fields.aid()
    fields.empty()
    _, proof = _parameters_and_proof(request)
    confirmer = _authorize(request, Operation.EXTRADITION, proof)
    old_sd = extradite(environment, request.domain, aid, new_sd)
    return confirmer.confirm(lv(old_sd), lv(aid), lv(new_sd))


def _for_registry_update(request: InstallRequest) -> bytes:
    environment, fields = request.environment, request.fields
    new_sd = fields.aid(optional=True)
    fields.empty()
    aid, privileges = fields.aid(optional=True), fields.lv(maximum=3)
    start = len(fields.passed)
    parameters, proof = _parameters_and_proof(request)
    raw = FieldReader(request.command.data[start:]).ber_lv()
    confirmer = _authorize(request, Operation.REGISTRY_UPDATE, proof)
    change = RegistryChange(aid, new_sd, privileges, parameters)
    old_sd = update_registry(environment, request.domain, change)
    return confirmer.confirm(lv(old_sd if new_sd else b""), lv(aid), lv(new_sd), lv(privileges), ber_lv(raw))


def _for_personalization(request: InstallRequest) -> bytes:
    """§7.3.2, §6.7: only the directly associated security domain, and only with Trusted Path."""
    environment, fields, domain = request.environment, request.fields, request.domain
    fields.empty()
    fields.empty()
    aid = fields.aid()
    for _ in range(3):
        fields.empty()
    fields.end()
    refuse_others(request.channel)
    require_unrestricted(environment.image, domain, Operation.PERSONALIZATION)
    if environment.profile.content_domain_personalized:
        require_ready(environment.image, domain)
    if not domain.holds(Privilege.TRUSTED_PATH):
        raise StatusError(SW_CONDITIONS)
    target = environment.image.instance(aid)
    if target is None:
        raise StatusError(SW_NOT_FOUND)
    if target is domain or target.sd != domain.aid or target.state & 0x80:
        raise StatusError(SW_CONDITIONS)
    request.channel.personalizing = target
    return NO_CONFIRMATION


# Card Specification 2.1.1 knows neither the combined process nor the registry update.
_NOT_IN_211: Final = frozenset(
    {(_COMBINED, _COMBINED_FIRST), (_COMBINED, _COMBINED_LAST), (_REGISTRY_UPDATE, 0)}
)
_VARIANTS: Final[dict[tuple[int, int], Callable[[InstallRequest], bytes]]] = {
    (_LOAD, 0): _for_load,
    (_INSTALL, 0): _for_install,
    (_INSTALL_AND_MAKE_SELECTABLE, 0): lambda request: _for_install(request, selectable=True),
    (_COMBINED, _COMBINED_FIRST): lambda request: _for_load(request, combined=True),
    (_COMBINED, _COMBINED_LAST): _for_combined_install,
    (_MAKE_SELECTABLE, 0): _for_make_selectable,
    (_EXTRADITION, 0): _for_extradition,
    (_REGISTRY_UPDATE, 0): _for_registry_update,
    (_PERSONALIZATION, 0): _for_personalization,
}
