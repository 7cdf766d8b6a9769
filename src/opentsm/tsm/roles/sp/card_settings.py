"""What a flavor's configuration becomes on a card: INSTALL parameters, privileges, device apps.

TR-03165 leaves `contextSpecificAttributes` to provider and TSM; ours begin with `memory.` or `contactless.`,
and hold for all applications of the flavor, or after `@` for one instance AID. Source: §4.1.4.4, §4.1.4.13.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from opentsm.card.codec.tlv import encode_tlv, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.card_content import MemoryNeeds
from opentsm.tsm.roles.sp import errors, shelf
from opentsm.tsm.roles.sp.forms import Document

PRIVILEGES: Final[Mapping[str, Privilege]] = {
    "CVMManagement": Privilege.CVM_MANAGEMENT,
    "ContactlessSelfActivation": Privilege.CONTACTLESS_SELF_ACTIVATION,
    "GlobalService": Privilege.GLOBAL_SERVICE,
    "PrivacyTrusted": Privilege.PRIVACY_TRUSTED,
}

_ATTRIBUTES: Final = "contextSpecificAttributes"
_OURS: Final = ("memory.", "contactless.")
_MEMORY: Final = ("nonvolatileQuota", "nonvolatileReserved", "volatileQuota", "volatileReserved")
# Amendment C: protocol data of type A, B and F
_PROTOCOLS: Final = {"typeA": 0x86, "typeB": 0x87, "typeF": 0x88}
_SIZE: Final = re.compile(r"[0-9]{1,9}")
_HASH_LENGTHS: Final = (20, 32)
_PADDED: Final = 20


def check_attributes(flavor: Document) -> None:
    """Refuse settings of ours that do not exist or are malformed; the others are kept as they are.

    Raises:
        CatalogueError: 1008.
    """
    settings = shelf.part(flavor, _ATTRIBUTES)
    for name, value in settings.items():
        if name.startswith(_OURS):
            _check(name.partition("@")[0], str(value), f"{_ATTRIBUTES}.{name}")
    for target in {name.partition("@")[2] for name in settings}:
        needs = memory_needs(flavor, target)
        for what in ("nonvolatile", "volatile"):
            quota, reserved = getattr(needs, f"{what}_quota"), getattr(needs, f"{what}_reserved")
            if quota is not None and reserved is not None and reserved > quota:
                path = f"{_ATTRIBUTES}.memory.{what}Reserved"
                raise errors.bad_format(reserved, path, f"at most the quota, {quota}")


def _check(name: str, value: str, path: str) -> None:
    group, _, what = name.partition(".")
    if group == "memory" and what in _MEMORY:
        if not _SIZE.fullmatch(value):
            raise errors.bad_format(value, path, "bytes as a decimal number of at most 9 digits")
    elif group == "contactless" and what in _PROTOCOLS:
        if not _is_protocol_data(value):
            raise errors.bad_format(value, path, "protocol data in hex: A0 and, as the case may be, A1")
    else:
        known = [f"memory.{one}" for one in _MEMORY] + [f"contactless.{one}" for one in _PROTOCOLS]
        raise errors.bad_format(name, path, "one of " + ", ".join(known))


def _is_protocol_data(value: str) -> bool:
    """Say whether a value is protocol data A0 with TLV objects, and a mandatory mask A1 at most."""
    try:
        objects = parse_tlvs(bytes.fromhex(value))
        for one in objects:
            parse_tlvs(one.value)
    except (ValueError, TlvError):
        return False
    return [one.tag for one in objects] in ([0xA0], [0xA0, 0xA1])


def _setting(flavor: Document, name: str, instance: str) -> str | None:
    settings = shelf.part(flavor, _ATTRIBUTES)
    split = ((key.partition("@"), str(value)) for key, value in settings.items())
    own = {(known, aid.upper()): value for (known, _, aid), value in split}
    return own.get((name, instance.upper()), own.get((name, "")))


def memory_needs(flavor: Document, instance: str) -> MemoryNeeds:
    """Return limits and reservations of one application of a flavor."""
    found = {name: _setting(flavor, f"memory.{name}", instance) for name in _MEMORY}
    sizes = {name: None if value is None else int(value) for name, value in found.items()}
    return MemoryNeeds(
        nonvolatile_quota=sizes["nonvolatileQuota"],
        volatile_quota=sizes["volatileQuota"],
        nonvolatile_reserved=sizes["nonvolatileReserved"],
        volatile_reserved=sizes["volatileReserved"],
    )


def protocol_data(flavor: Document, instance: str) -> bytes:
    """Return the protocol data of one application as objects of INSTALL's contactless parameters."""
    found = ((tag, _setting(flavor, f"contactless.{name}", instance)) for name, tag in _PROTOCOLS.items())
    return b"".join(encode_tlv(tag, bytes.fromhex(value)) for tag, value in found if value is not None)


def privileges_of(names: Sequence[str]) -> Privilege:
    """Return privileges by the guideline's names."""
    privileges = Privilege.NONE
    for name in names:
        privileges |= PRIVILEGES[name]
    return privileges


def device_apps(service: Document) -> tuple[bytes, ...]:
    """Return how access rules name the device apps of a service.

    A hash of a certificate has 20 or 32 bytes and stands as it is; a shorter identifier, as the guideline's
    own examples have it, is filled up with FF.
    """
    found = (bytes.fromhex(one) for one in shelf.texts(service, "accessAuthorizedDeviceApps"))
    return tuple(one if len(one) in _HASH_LENGTHS else one.ljust(_PADDED, b"\xff") for one in found)
