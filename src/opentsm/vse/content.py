"""Making instances: INSTALL [for install] and [for make selectable].

Source: GPCS 2.3.1 §9.3.6, §9.3.7, §6.4.1, §6.6.2, §11.5.2.3.7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import Tlv, find, find_all
from opentsm.vse import memory
from opentsm.vse.authorization import Policy, require_control, require_ready
from opentsm.vse.contactless import configured
from opentsm.vse.contactless_events import Event, tell
from opentsm.vse.environment import Environment
from opentsm.vse.fields import data_objects, distinct_objects
from opentsm.vse.keysets import personalize_by_keys
from opentsm.vse.lifecycle import INSTALLED, SELECTABLE
from opentsm.vse.ota.registration import register
from opentsm.vse.privileges import UNIQUE_PRIVILEGES, Privilege, assignable, check_combination, decode
from opentsm.vse.services import service_names
from opentsm.vse.state import CardImage, DomainData, Instance, LoadFile
from opentsm.vse.status import SW_CONDITIONS, SW_NO_MEMORY, SW_NOT_FOUND, SW_WRONG_DATA, StatusError

# Modules that are security domains: GlobalPlatform's own and the older registered one.
DOMAIN_MODULES: Final = frozenset({bytes.fromhex("A000000151535041"), bytes.fromhex("A000000003535041")})

_PARAMETERS: Final = 0xC9
_LONGEST_FIELD: Final = 0xFF
_SYSTEM: Final = 0xEF
_IMPLICIT: Final = 0xCF
_VOLATILE_QUOTA: Final = 0xC7
_QUOTA: Final = 0xC8
_VOLATILE_RESERVED: Final = 0xD7
_RESERVED: Final = 0xD8
_SERVICES: Final = 0xCB
_DOMAIN_SCP: Final = 0x81
_DOMAIN_POLICIES: Final = (
    Policy.ACCEPT_EXTRADITION_HERE,
    Policy.ACCEPT_DELETION,
    Policy.PERSONALIZED_STATE,
    Policy.ACCEPT_EXTRADITION_AWAY,
)


@dataclass(frozen=True, slots=True)
class InstallOrder:
    """The fields of INSTALL [for install].

    Args:
        load_file: empty when the module alone shall tell it.
        module: empty when it has the AID of the instance.
        aid: of the new instance.
        privileges: 1 or 3 bytes.
        parameters: the data objects of the install parameters.
        selectable: whether the instance becomes SELECTABLE at once.
    """

    load_file: bytes
    module: bytes
    aid: bytes
    privileges: bytes
    parameters: Sequence[Tlv]
    selectable: bool


def require_unused(environment: Environment, aid: bytes) -> None:
    """Refuse an AID that a load file or an instance has (§6.5.1.1).

    Raises:
        StatusError: 6A80, or as the profile has it.
    """
    if environment.image.instance(aid) or environment.image.load_file(aid):
        raise StatusError(int(environment.profile.sw_aid_in_use, 16))


def install_instance(environment: Environment, domain: Instance, order: InstallOrder) -> Instance:
    """Make an instance of a module.

    Args:
        environment: the card.
        domain: the security domain that processes the command; already found to be allowed to install.
        order: what to make.

    Returns:
        The new instance.

    Raises:
        StatusError: 6A88, 6A80, 6A84, 6985; nothing has changed then.
    """
    aid, module, parameters, selectable = order.aid, order.module, order.parameters, order.selectable
    image = environment.image
    load_file = _find_load_file(image, order.load_file, module or aid)
    open_to_all = environment.profile.domain_package_open and (module or aid) in DOMAIN_MODULES
    if not open_to_all:
        require_control(environment, domain, load_file)
    privileges = _checked_privileges(environment, order.privileges, selectable=selectable)
    c9 = find(parameters, _PARAMETERS)
    require_unused(environment, aid)
    if c9 is None:
        raise StatusError(SW_WRONG_DATA)
    instance = Instance(
        aid=aid,
        sd=load_file.sd,
        load_file=load_file.aid,
        module=module or aid,
        state=INSTALLED,
        privileges=privileges,
        parameters=c9,
        provider=find(data_objects(find(parameters, 0xB6) or b""), 0x5F20) or b"",
    )
    _apply_system_parameters(environment, instance, parameters, selectable=selectable)
    register(image, environment.profile, instance, parameters)
    _associate(environment, domain, load_file, instance)
    _create(environment, instance, order.privileges, c9)
    _take_unique(image, instance)
    image.instances.append(instance)
    if selectable:
        instance.state = SELECTABLE
    environment.touch()
    if instance.contactless is not None:
        tell(environment, instance, [Event.INSTALLED, Event.SELECTABLE][: 1 + selectable])
    return instance


def _find_load_file(image: CardImage, aid: bytes, module: bytes) -> LoadFile:
    for entry in image.load_files:
        if aid in {b"", entry.aid} and module in entry.modules:
            return entry
    raise StatusError(SW_NOT_FOUND)


def _checked_privileges(environment: Environment, field: bytes, *, selectable: bool) -> Privilege:
    # Card Specification 2.1.1: privileges have one byte.
    if environment.profile.gp211 and len(field) != 1:
        raise StatusError(SW_WRONG_DATA)
    profile = environment.profile
    privileges = decode(field, two_bytes=profile.two_byte_privileges, privacy=profile.privacy_framework)
    check_combination(privileges)
    is_domain = bool(privileges & Privilege.SECURITY_DOMAIN)
    listed = profile.assignable_domain if is_domain else profile.assignable_application
    allowed = assignable(listed, domain=is_domain)
    # §11.5.2.3.2: Card Reset needs an instance that can be selected.
    if privileges & ~allowed or (privileges & Privilege.CARD_RESET and not selectable):
        raise StatusError(SW_WRONG_DATA)
    require_unique_at_issuer(environment.image, privileges)
    require_final_selectable(environment, privileges, selectable=selectable)
    return privileges


def require_final_selectable(environment: Environment, privileges: Privilege, *, selectable: bool) -> None:
    """Refuse Final Application to what cannot be selected: a locked card would then offer nothing.

    Raises:
        StatusError: 6985.
    """
    strict = environment.profile.final_application_selectable
    if strict and privileges & Privilege.FINAL_APPLICATION and not selectable:
        raise StatusError(SW_CONDITIONS)


def require_unique_at_issuer(image: CardImage, privileges: Privilege, holder: Instance | None = None) -> None:
    """Refuse a privilege that only one entity holds, unless the issuer (or `holder`) has it now (§6.6.2).

    What the issuer has given up and nobody took, it may take back.

    Raises:
        StatusError: 6A80.
    """
    for unique in UNIQUE_PRIVILEGES:
        free = holder is image.isd and not any(entry.holds(unique) for entry in image.instances)
        owned = free or image.isd.holds(unique) or (holder is not None and holder.holds(unique))
        if privileges & unique and not owned:
            raise StatusError(SW_WRONG_DATA)


def _apply_system_parameters(
    environment: Environment, instance: Instance, parameters: Sequence[Tlv], *, selectable: bool
) -> None:
    system = system_parameters(parameters)
    instance.quota, instance.reserved = _quota_and_reserved(system, _QUOTA, _RESERVED)
    volatile = _quota_and_reserved(system, _VOLATILE_QUOTA, _VOLATILE_RESERVED)
    instance.volatile_quota, instance.volatile_reserved = volatile
    environment.require_volatile(instance.volatile_reserved)
    instance.services = service_parameters(system) or b""
    instance.contactless = configured(environment, instance, system)
    implicit = implicit_values(system)
    if implicit and not selectable:
        raise StatusError(SW_WRONG_DATA)
    require_free_slots(environment.image, instance, implicit)
    instance.implicit = implicit


def service_parameters(system: Sequence[Tlv]) -> bytes | None:
    """Return the Global Service Parameters (CB) of the system parameters, None when there are none (§8.1.1).

    Raises:
        StatusError: 6A80.
    """
    value = find(system, _SERVICES)
    if value is not None:
        service_names(value)
    return value


def system_parameters(parameters: Sequence[Tlv]) -> tuple[Tlv, ...]:
    """Return the system parameters (EF); only Implicit Selection may stand more than once (§11.5.2.3.7).

    Raises:
        StatusError: 6A80.
    """
    return distinct_objects(find(parameters, _SYSTEM) or b"", several=_IMPLICIT)


def _quota_and_reserved(system: Sequence[Tlv], quota: int, reserved: int) -> tuple[int | None, int]:
    """§9.7: a quota is a limit and reserves nothing; what is reserved is taken at once, within it."""
    limit, taken = memory_size(system, quota), memory_size(system, reserved) or 0
    if limit is not None and limit < taken:
        raise StatusError(SW_WRONG_DATA)
    return limit, taken


def memory_size(system: Sequence[Tlv], tag: int) -> int | None:
    """Return a memory size of the system parameters: 2 or 4 bytes (§11.5.2.3.7).

    Raises:
        StatusError: 6A80 for another length.
    """
    value = find(system, tag)
    if value is None:
        return None
    if len(value) not in {2, 4}:
        raise StatusError(SW_WRONG_DATA)
    return int.from_bytes(value, "big")


def implicit_values(system: Sequence[Tlv]) -> list[int]:
    """Return the implicit selection bytes (CF) of the system parameters."""
    values = find_all(system, _IMPLICIT)
    if any(len(value) != 1 for value in values):
        raise StatusError(SW_WRONG_DATA)
    return [value[0] for value in values]


def require_free_slots(image: CardImage, instance: Instance, implicit: Sequence[int]) -> None:
    """Refuse an implicit selection that another application has (§6.4.1).

    Raises:
        StatusError: 6985.
    """
    wanted = {slot for value in implicit for slot in _slots(value)}
    for other in image.instances[1:]:
        taken = {slot for value in other.implicit for slot in _slots(value)}
        if other is not instance and wanted & taken:
            raise StatusError(SW_CONDITIONS)


def _slots(value: int) -> list[tuple[int, int]]:
    return [(interface, value & 0x1F) for interface in (0x80, 0x40) if value & interface]


def _associate(environment: Environment, domain: Instance, load_file: LoadFile, instance: Instance) -> None:
    """§9.3.3: a new security domain belongs to its installer, anything else to that of its load file."""
    is_domain_module = instance.module in DOMAIN_MODULES
    if is_domain_module != bool(instance.privileges & Privilege.SECURITY_DOMAIN):
        raise StatusError(SW_WRONG_DATA)
    if not is_domain_module:
        receiver = environment.image.instance(load_file.sd)
        if receiver is None:
            raise StatusError(SW_NOT_FOUND)
        require_ready(environment.image, receiver)
        return
    require_ready(environment.image, domain)
    instance.sd = domain.aid
    instance.domain = _new_domain(environment, instance.parameters)


def _new_domain(environment: Environment, parameters: bytes) -> DomainData:
    objects = distinct_objects(parameters, several=_DOMAIN_SCP)
    channels = []
    for value in find_all(objects, _DOMAIN_SCP):
        channel = (value[0], int.from_bytes(value[1:], "big")) if len(value) in {2, 3} else None
        if channel not in environment.profile.channels:
            raise StatusError(SW_WRONG_DATA)
        channels.append(channel)
    policy = {entry.tag: entry.value for entry in objects if entry.tag in _DOMAIN_POLICIES}
    return DomainData(scps=channels or list(environment.profile.channels), policy=policy)


def _create(environment: Environment, instance: Instance, privileges: bytes, parameters: bytes) -> None:
    """Let the applet take its parameters; it is not registered yet, so a refusal leaves nothing behind."""
    environment.require_memory(memory.instance_cost(instance))
    if instance.domain is not None:
        return
    environment.installing = install_array(instance.aid, privileges, parameters)
    try:
        environment.new_applet(instance).install(Aid(instance.aid), parameters)
    finally:
        environment.installing = b""
    if memory.instance_cost(instance) > environment.free_memory:
        raise StatusError(SW_NO_MEMORY)


def install_array(aid: bytes, privileges: bytes, parameters: bytes) -> bytes:
    """Return what the method install of a Java Card applet gets: three fields with one-byte lengths (§A.1).

    Parameters of more than 255 bytes, which no Java Card can hand over, have 82 and two bytes.
    """
    length = len(parameters)
    coded = bytes([length]) if length <= _LONGEST_FIELD else b"\x82" + length.to_bytes(2, "big")
    return bytes([len(aid)]) + aid + bytes([len(privileges)]) + privileges + coded + parameters


def _take_unique(image: CardImage, instance: Instance) -> None:
    for unique in UNIQUE_PRIVILEGES:
        if instance.holds(unique) and instance is not image.isd:
            image.isd.privileges &= ~unique


def set_privileges(image: CardImage, instance: Instance, privileges: Privilege) -> None:
    """Replace an entity's privileges; unique ones come from the issuer domain and go back to it."""
    for unique in UNIQUE_PRIVILEGES:
        if instance.holds(unique) and not privileges & unique:
            image.isd.privileges |= unique
    instance.privileges = int(privileges)
    _take_unique(image, instance)


def make_selectable(
    environment: Environment, instance: Instance, privilege_field: bytes, parameters: Sequence[Tlv]
) -> None:
    """Move an instance from INSTALLED to SELECTABLE; of the privileges only Card Reset counts (§11.5.2.3.3).

    Raises:
        StatusError: 6985 the instance is in another state, or its implicit selection is taken.
    """
    image = environment.image
    if instance.state != INSTALLED:
        raise StatusError(SW_CONDITIONS)
    implicit = implicit_values(system_parameters(parameters))
    require_free_slots(image, instance, implicit)
    if decode(privilege_field, two_bytes=environment.profile.two_byte_privileges) & Privilege.CARD_RESET:
        require_unique_at_issuer(image, Privilege.CARD_RESET, instance)
        instance.privileges |= Privilege.CARD_RESET
        _take_unique(image, instance)
    instance.implicit.extend(implicit)
    instance.state = SELECTABLE
    if instance.domain is not None:
        personalize_by_keys(environment, instance)
    environment.touch()
    if instance.contactless is not None:
        tell(environment, instance, [Event.SELECTABLE])
