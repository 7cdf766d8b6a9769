"""What belongs to one key of a security domain: certificates, authorities' identifiers, allow-lists.

STORE DATA names the key in a control reference template (A6) and says what to keep; GET DATA reads it back.
Source: Amendment F as published clients show it (the text is not public).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlv, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.vse.environment import Environment
from opentsm.vse.fields import data_objects
from opentsm.vse.keysets import is_owned
from opentsm.vse.scp.scp11 import AGREEMENT_KIDS
from opentsm.vse.state import DomainData, Instance
from opentsm.vse.status import SW_CONDITIONS, SW_NOT_FOUND, SW_WRONG_DATA, StatusError

CONTROL_TEMPLATE: Final = 0xA6
CERTIFICATE_STORE: Final = 0xBF21
OFF_CARD_AUTHORITIES: Final = 0xFF33
CARD_AUTHORITIES: Final = 0xFF34
KEY_OF_AUTHORITY: Final = 0x0083
READ_BY_REFERENCE: Final = frozenset({CERTIFICATE_STORE, KEY_OF_AUTHORITY})

_T = TypeVar("_T", bytes, list[bytes])

_KEY: Final = 0x83
_AUTHORITY: Final = 0x42
_AUTHORITY_KIND: Final = 0x80
_ALLOWLIST: Final = 0x70
_COUNTER: Final = 0x92
_SERIAL: Final = 0x93
_COUNTER_MAX: Final = 0x7FFF
_AUTHORITY_LENGTHS: Final = range(1, 33)


def reference(kid: int, kvn: int) -> int:
    """Return key identifier and version as one number, the name of a key in the image."""
    return kid << 8 | kvn


@dataclass(frozen=True, slots=True)
class ReferencedData:
    """What one STORE DATA says about one key; None leaves what is there."""

    key: int
    certificates: bytes | None = None
    authority: bytes | None = None
    allowlist: tuple[bytes, ...] | None = None
    counter: int | None = None

    def check(self, domain: DomainData) -> None:
        """Refuse what the security domain cannot take.

        Raises:
            StatusError: 6A88 no such key, 6985 the counter of an allow-list does not grow.
        """
        if domain.find_key(self.key >> 8, self.key & 0xFF) is None and self.authority is None:
            raise StatusError(SW_NOT_FOUND)
        before = domain.allowlist_counters.get(self.key)
        if self.allowlist is None or before is None:
            return
        # SCP11c scripts can be played again: an older list must not come back.
        if self.counter is None or self.counter <= before:
            raise StatusError(SW_CONDITIONS)

    def write(self, domain: DomainData) -> None:
        """Keep it; an empty certificate store or list takes away what was there."""
        if self.certificates is not None:
            _put(domain.certificates, self.key, self.certificates)
        if self.authority is not None:
            domain.authorities[self.key] = self.authority
        if self.allowlist is not None:
            _put(domain.allowlists, self.key, list(self.allowlist))
        if self.counter is not None:
            domain.allowlist_counters[self.key] = self.counter

    @property
    def cost(self) -> int:
        """Bytes that it takes."""
        serials = sum(map(len, self.allowlist or ()))
        return len(self.certificates or b"") + len(self.authority or b"") + serials


def _put(kept: dict[int, _T], key: int, value: _T) -> None:
    if value:
        kept[key] = value
    else:
        kept.pop(key, None)


def read_reference(objects: Sequence[Tlv]) -> ReferencedData:
    """Read the data objects of a STORE DATA that begins with a control reference template.

    Raises:
        StatusError: 6A80.
    """
    template = data_objects(objects[0].value)
    key = _key_reference(template)
    authority = find(template, _AUTHORITY)
    known = {CERTIFICATE_STORE, _ALLOWLIST, _COUNTER}
    tags = [entry.tag for entry in objects[1:]]
    if len(set(tags)) != len(tags) or not set(tags) <= known or bool(tags) == (authority is not None):
        raise StatusError(SW_WRONG_DATA)
    if authority is not None:
        if (
            find(template, _AUTHORITY_KIND) not in {b"\x00", b"\x01"}
            or len(authority) not in _AUTHORITY_LENGTHS
        ):
            raise StatusError(SW_WRONG_DATA)
        return ReferencedData(key, authority=authority)
    store, counter = find(objects, CERTIFICATE_STORE), find(objects, _COUNTER)
    if store is not None:
        data_objects(store)
    return ReferencedData(key, store, None, _serials(find(objects, _ALLOWLIST)), _counter(counter))


def _key_reference(template: Sequence[Tlv]) -> int:
    value = find(template, _KEY) or b""
    if len(value) != 2:
        raise StatusError(SW_WRONG_DATA)
    return reference(value[0], value[1])


def _serials(value: bytes | None) -> tuple[bytes, ...] | None:
    if value is None:
        return None
    entries = data_objects(value)
    if any(entry.tag != _SERIAL or not entry.value for entry in entries):
        raise StatusError(SW_WRONG_DATA)
    return tuple(entry.value for entry in entries)


def _counter(value: bytes | None) -> int | None:
    if value is None:
        return None
    number = int.from_bytes(value, "big")
    if len(value) != 2 or number > _COUNTER_MAX:
        raise StatusError(SW_WRONG_DATA)
    return number


def read_by_reference(environment: Environment, domain: Instance, tag: int, data: bytes) -> bytes:
    """Answer GET DATA for a certificate store (BF21) or the key of an authority (0083).

    Args:
        environment: the card.
        domain: the security domain that is asked; for a key that it inherits its ancestor's store is read.
        tag: what is read.
        data: the command's data: a control reference template.

    Raises:
        StatusError: 6A80 malformed, 6A88 there is none.
    """
    try:
        template = parse_tlvs(parse_tlv(data).value)
    except TlvError:
        raise StatusError(SW_WRONG_DATA) from None
    if tag == KEY_OF_AUTHORITY:
        return _key_of_authority(domain.domain_data(), find(template, _AUTHORITY))
    key = _key_reference(template)
    found = _certificates(environment, domain, key)
    if not found:
        raise StatusError(SW_NOT_FOUND)
    return encode_tlv(tag, found)


def _certificates(environment: Environment, domain: Instance, key: int) -> bytes | None:
    own = domain.domain_data().certificates.get(key)
    if own is not None:
        return own
    owner = agreement_owner(environment, domain, key >> 8, key & 0xFF)
    return owner.domain_data().certificates.get(key) if owner is not None else None


def agreement_owner(environment: Environment, domain: Instance, kid: int, kvn: int) -> Instance | None:
    """Return whose SCP11 key a security domain uses: its own, or while it has no keys an ancestor's.

    A security domain with a key set or SCP11 key of its own is somebody's: no ancestor's key opens it.
    """
    data = domain.domain_data()
    if data.find_key(kid, kvn) is not None:
        return domain
    if is_owned(data) or not environment.profile.inherit_keys:
        return None
    above = (entry for entry in environment.image.ancestors(domain) if entry.domain is not None)
    return next((entry for entry in above if entry.domain_data().find_key(kid, kvn)), None)


def _key_of_authority(domain: DomainData, identifier: bytes | None) -> bytes:
    for key, known in domain.authorities.items():
        if known == identifier:
            return encode_tlv(_KEY, key.to_bytes(2, "big"))
    raise StatusError(SW_NOT_FOUND)


def authority_list(domain: DomainData, tag: int) -> bytes:
    """Return the identifiers of off-card entities' or cards' authorities, each with its key.

    Raises:
        StatusError: 6A88 when there is none.
    """
    of_cards = tag == CARD_AUTHORITIES
    listed = [
        encode_tlv(_AUTHORITY, identifier) + encode_tlv(_KEY, key.to_bytes(2, "big"))
        for key, identifier in domain.authorities.items()
        if (key >> 8 in AGREEMENT_KIDS) == of_cards
    ]
    if not listed:
        raise StatusError(SW_NOT_FOUND)
    return encode_tlv(tag, b"".join(listed))
