"""INSTALL: which variant, its fields, and who may do it.

Source: GPCS 2.3.1 §11.5, §9.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import Tlv, find
from opentsm.vse.authorization import (
    Operation,
    authorize_content,
    receiving_domain,
    require_control,
    require_ready,
    require_unrestricted,
)
from opentsm.vse.content import InstallOrder, install_instance, make_selectable
from opentsm.vse.environment import Environment, LoadSession, LogicalChannel
from opentsm.vse.fields import FieldReader, data_objects
from opentsm.vse.loading import NO_CONFIRMATION
from opentsm.vse.privileges import Privilege
from opentsm.vse.registry_update import RegistryChange, extradite, update_registry
from opentsm.vse.state import Instance
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_NO_MEMORY,
    SW_NOT_FOUND,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

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


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """An INSTALL command with its context."""

    environment: Environment
    channel: LogicalChannel
    domain: Instance
    fields: FieldReader


def install(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Carry out one INSTALL command.

    Returns:
        `00`: no confirmation.

    Raises:
        StatusError: see the error table of §11.5.3.2.
    """
    variant = _VARIANTS.get((command.p1, command.p2))
    if variant is None:
        raise StatusError(SW_WRONG_P1P2)
    if (command.p1, command.p2) != (_COMBINED, _COMBINED_LAST):
        channel.combined = None
    channel.load = None
    channel.end_personalization()
    variant(InstallRequest(environment, channel, domain, FieldReader(command.data)))
    return NO_CONFIRMATION


def _parameters_and_token(fields: FieldReader) -> tuple[tuple[Tlv, ...], bool]:
    parameters = data_objects(fields.ber_lv())
    token = bool(fields.ber_lv())
    fields.end()
    return parameters, token


def _for_load(request: InstallRequest, *, combined: bool = False) -> None:
    environment, fields = request.environment, request.fields
    aid, sd, digest = fields.aid(), fields.aid(optional=True), fields.lv()
    parameters, token = _parameters_and_token(fields)
    operation = Operation.LOAD
    if combined:
        operation |= Operation.INSTALL | Operation.MAKE_SELECTABLE
    authorize_content(environment, request.domain, operation, token=token)
    if environment.image.load_file(aid) or environment.image.instance(aid):
        raise StatusError(SW_WRONG_DATA)
    receiver = receiving_domain(environment, request.domain, sd)
    _require_minimum(environment, parameters)
    request.channel.load = LoadSession(aid, receiver.aid, digest, provider_id(parameters), combined)


def _require_minimum(environment: Environment, parameters: tuple[Tlv, ...]) -> None:
    """§9.7: C6 (code) and C8 (data) must be free now; nothing is reserved."""
    system = data_objects(find(parameters, 0xEF) or b"")
    needed = sum(int.from_bytes(find(system, tag) or b"", "big") for tag in (0xC6, 0xC8))
    if needed > environment.free_memory:
        raise StatusError(SW_NO_MEMORY)


def provider_id(parameters: tuple[Tlv, ...]) -> bytes:
    """Return the application provider identifier in the control reference template (5F20 in B6)."""
    return find(data_objects(find(parameters, 0xB6) or b""), 0x5F20) or b""


def _for_install(request: InstallRequest, *, selectable: bool = False, combined: bool = False) -> None:
    environment, fields = request.environment, request.fields
    load_file, module = fields.aid(optional=True), fields.aid(optional=True)
    aid, privileges = fields.aid(), fields.lv(minimum=1, maximum=3)
    parameters, token = _parameters_and_token(fields)
    operation = Operation.INSTALL | (Operation.MAKE_SELECTABLE if selectable else Operation(0))
    if combined:
        load_file = _combined_load_file(request, load_file)
    authorize_content(environment, request.domain, operation, token=token)
    order = InstallOrder(load_file, module, aid, privileges, parameters, selectable)
    install_instance(environment, request.domain, order)
    request.channel.combined = None


def _combined_load_file(request: InstallRequest, given: bytes) -> bytes:
    loaded = request.channel.combined
    if loaded is None:
        raise StatusError(SW_CONDITIONS)
    if given and given != loaded:
        raise StatusError(SW_WRONG_DATA)
    return loaded


def _for_make_selectable(request: InstallRequest) -> None:
    environment, fields = request.environment, request.fields
    fields.empty()
    fields.empty()
    aid, privileges = fields.aid(), fields.lv(minimum=1, maximum=3)
    parameters, token = _parameters_and_token(fields)
    authorize_content(environment, request.domain, Operation.MAKE_SELECTABLE, token=token)
    instance = environment.image.instance(aid)
    if instance is None:
        raise StatusError(SW_NOT_FOUND)
    require_control(environment, request.domain, instance)
    make_selectable(environment, instance, privileges, parameters)


def _for_extradition(request: InstallRequest) -> None:
    environment, fields = request.environment, request.fields
    new_sd = fields.aid()
    fields.empty()
    aid = fields.aid()
    fields.empty()
    _, token = _parameters_and_token(fields)
    authorize_content(environment, request.domain, Operation.EXTRADITION, token=token)
    extradite(environment, request.domain, aid, new_sd)


def _for_registry_update(request: InstallRequest) -> None:
    environment, fields = request.environment, request.fields
    new_sd = fields.aid(optional=True)
    fields.empty()
    aid, privileges = fields.aid(optional=True), fields.lv(maximum=3)
    parameters, token = _parameters_and_token(fields)
    authorize_content(environment, request.domain, Operation.REGISTRY_UPDATE, token=token)
    update_registry(environment, request.domain, RegistryChange(aid, new_sd, privileges, parameters))


def _for_personalization(request: InstallRequest) -> None:
    """§7.3.2, §6.7: only the directly associated security domain, and only with Trusted Path."""
    environment, fields, domain = request.environment, request.fields, request.domain
    fields.empty()
    fields.empty()
    aid = fields.aid()
    for _ in range(3):
        fields.empty()
    fields.end()
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


_VARIANTS: Final[dict[tuple[int, int], Callable[[InstallRequest], None]]] = {
    (_LOAD, 0): _for_load,
    (_INSTALL, 0): _for_install,
    (_INSTALL_AND_MAKE_SELECTABLE, 0): lambda request: _for_install(request, selectable=True),
    (_COMBINED, _COMBINED_FIRST): lambda request: _for_load(request, combined=True),
    (_COMBINED, _COMBINED_LAST): lambda request: _for_install(request, selectable=True, combined=True),
    (_MAKE_SELECTABLE, 0): _for_make_selectable,
    (_EXTRADITION, 0): _for_extradition,
    (_REGISTRY_UPDATE, 0): _for_registry_update,
    (_PERSONALIZATION, 0): _for_personalization,
}
