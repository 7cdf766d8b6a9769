"""Pure parsers of the answers to GlobalPlatform commands.

Specification: GlobalPlatform Card Specification 2.3.1, §11 and Annex H; extended card resources:
ETSI TS 102 226. Unknown tags are ignored; a broken structure raises.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import Tlv, decode_length, find, parse_tlvs, require
from opentsm.card.errors import CardError, ResponseFormatError
from opentsm.card.gp.instructions import StatusScope
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.registry import RegistryEntry, RegistryKind

_OID_GP = bytes.fromhex("2A864886FC6B")
_KEY_TYPE_MINIMUM = 0x80


# --- GET STATUS --------------------------------------------------------------------------------


def parse_status(data: bytes, scope: int) -> tuple[RegistryEntry, ...]:
    """Read the answers of GET STATUS in TLV format; answers of a continued list are concatenated first.

    Args:
        data: response data, empty for an empty list.
        scope: P1 of the command (`StatusScope`).
    Raises:
        ResponseFormatError: an entry without AID or state, or something that is no entry.
        TlvError: no well-formed TLVs.
    Source: GPCS §11.4.3.1, Tables 11-36 and 11-37.
    """
    return tuple(_status_entry(tlv, scope) for tlv in parse_tlvs(data))


def _status_entry(tlv: Tlv, scope: int) -> RegistryEntry:
    if tlv.tag != 0xE3:
        raise ResponseFormatError(f"GET STATUS: expected an entry E3, found tag {tlv.tag:X}")
    fields = parse_tlvs(tlv.value)
    privileges = Privilege.from_bytes(find(fields, 0xC5) or b"\x00")
    return RegistryEntry(
        aid=_aid(require(fields, 0x4F)),
        kind=_kind(scope, privileges),
        state=_state(require(fields, 0x9F70)),
        privileges=privileges,
        load_file=_optional_aid(find(fields, 0xC4)),
        associated_sd=_optional_aid(find(fields, 0xCC)),
        modules=tuple(_aid(field.value) for field in fields if field.tag == 0x84),
        version=find(fields, 0xCE),
        implicit_selection=tuple(b for field in fields if field.tag == 0xCF for b in field.value),
    )


def _kind(scope: int, privileges: Privilege) -> RegistryKind:
    if scope == StatusScope.ISD:
        return RegistryKind.ISD
    if scope in (StatusScope.LOAD_FILES, StatusScope.LOAD_FILES_AND_MODULES):
        return RegistryKind.LOAD_FILE
    return RegistryKind.SSD if Privilege.SECURITY_DOMAIN in privileges else RegistryKind.APPLICATION


def _state(value: bytes) -> int:
    # Some cards give two bytes: the life cycle and its continuation.
    if not 1 <= len(value) <= 2:
        raise ResponseFormatError("GET STATUS: the life-cycle state has one byte")
    return value[0]


def _aid(value: bytes) -> Aid:
    try:
        return Aid(value)
    except CardError as error:
        raise ResponseFormatError(f"not an AID: {value.hex().upper()}") from error


def _optional_aid(value: bytes | None) -> Aid | None:
    return _aid(value) if value else None


# --- GET DATA ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyComponent:
    """Type and length of one key component; for a curve reference (F0) `length` is the reference."""

    key_type: int
    length: int


@dataclass(frozen=True, slots=True)
class KeyInformation:
    """One key of a security domain; usage and access only in the extended form."""

    kid: int
    kvn: int
    components: tuple[KeyComponent, ...]
    usage: int | None = None
    access: int | None = None


def parse_key_information(data: bytes) -> tuple[KeyInformation, ...]:
    """Read the key information template (tag E0), basic and extended form mixed.

    Source: GPCS §11.3.3.1, Tables 11-28 and 11-29.
    """
    entries = parse_tlvs(_unwrapped(data, 0xE0))
    return tuple(_key_information(entry.value) for entry in entries if entry.tag == 0xC0)


def _key_information(value: bytes) -> KeyInformation:
    if len(value) < 4:
        raise ResponseFormatError(f"key information is too short: {value.hex().upper()}")
    if value[2] == 0xFF:
        components, rest = _extended_components(value[2:])
        usage, access = _usage_and_access(rest)
        return KeyInformation(value[0], value[1], components, usage, access)
    return KeyInformation(value[0], value[1], _basic_components(value[2:]))


def _basic_components(data: bytes) -> tuple[KeyComponent, ...]:
    components = []
    while data:
        if data[0] == 0xF0:  # the curve reference, one or two bytes, closes the list
            components.append(KeyComponent(0xF0, int.from_bytes(data[1:], "big")))
            break
        if len(data) < 2:
            raise ResponseFormatError("key information: a component without length")
        # Length 00 stands for 256 bytes or more (Table 11-28).
        components.append(KeyComponent(data[0], data[1] or 256))
        data = data[2:]
    return tuple(components)


def _extended_components(data: bytes) -> tuple[tuple[KeyComponent, ...], bytes]:
    components = []
    # Cards write FF before the first component only, or before each; key types are 80 and above.
    while data and data[0] >= _KEY_TYPE_MINIMUM:
        data = data[1:] if data[0] == 0xFF else data
        if len(data) < 3:
            raise ResponseFormatError("key information: a component without length")
        components.append(KeyComponent(data[0], int.from_bytes(data[1:3], "big")))
        data = data[3:]
    return tuple(components), data


def _usage_and_access(data: bytes) -> tuple[int | None, int | None]:
    usage, rest = _one_lv(data)
    access, _ = _one_lv(rest)
    return (int.from_bytes(usage, "big") if usage else None, access[0] if access else None)


def _one_lv(data: bytes) -> tuple[bytes, bytes]:
    if not data:
        return b"", b""
    end = 1 + data[0]
    if end > len(data):
        raise ResponseFormatError("key information: usage or access is cut")
    return data[1:end], data[end:]


@dataclass(frozen=True, slots=True)
class ExtendedResources:
    """Free memory in bytes and the number of installed applications."""

    applications: int
    free_nonvolatile: int
    free_volatile: int


def parse_extended_resources(data: bytes) -> ExtendedResources:
    """Read the extended card resources (tag FF21), with or without the outer tag."""
    fields = parse_tlvs(_unwrapped(data, 0xFF21))
    return ExtendedResources(
        applications=int.from_bytes(require(fields, 0x81), "big"),
        free_nonvolatile=int.from_bytes(require(fields, 0x82), "big"),
        free_volatile=int.from_bytes(require(fields, 0x83), "big"),
    )


@dataclass(frozen=True, slots=True)
class CardData:
    """Card recognition data.

    Attributes:
        version: version of the GlobalPlatform specification, for example `2.3.1`.
        secure_channels: pairs of protocol number and `i`.
    """

    version: str | None
    secure_channels: tuple[tuple[int, int], ...]
    configuration: bytes | None = None
    chip: bytes | None = None


def parse_card_data(data: bytes) -> CardData:
    """Read tag 66; one tag 64 per protocol and one tag 64 with several are both understood.

    Source: GPCS §H.2 and §H.3.
    """
    fields = parse_tlvs(_unwrapped(_unwrapped(data, 0x66), 0x73))
    return CardData(
        version=_version(find(fields, 0x60)),
        secure_channels=tuple(
            pair for field in fields if field.tag == 0x64 for pair in _secure_channels(field.value)
        ),
        configuration=find(fields, 0x65),
        chip=find(fields, 0x66),
    )


def _version(value: bytes | None) -> str | None:
    if value is None:
        return None
    oid = require(parse_tlvs(value), 0x06)
    if not oid.startswith(_OID_GP + b"\x02"):
        return None
    return ".".join(str(number) for number in oid[len(_OID_GP) + 1 :])


def _secure_channels(value: bytes) -> list[tuple[int, int]]:
    prefix = _OID_GP + b"\x04"
    oids = [tlv.value for tlv in parse_tlvs(value) if tlv.tag == 0x06]
    return [(oid[7], oid[8]) for oid in oids if oid.startswith(prefix) and len(oid) == 9]


@dataclass(frozen=True, slots=True)
class SecureChannelCapability:
    """One secure channel protocol that the card says it can do (tag A0)."""

    scp: int
    i_values: bytes = b""
    aes_key_sizes: int | None = None


@dataclass(frozen=True, slots=True)
class CardCapability:
    """Card capability information (tag 67); bit maps are left as the card coded them."""

    secure_channels: tuple[SecureChannelCapability, ...]
    assignable_to_sd: Privilege | None = None
    assignable_to_application: Privilege | None = None
    hash_algorithms: bytes = b""
    cipher_algorithms: bytes = b""
    token_algorithms: bytes = b""
    receipt_algorithms: bytes = b""
    dap_algorithms: bytes = b""
    key_parameters: bytes = b""


def parse_card_capability(data: bytes) -> CardCapability:
    """Read tag 67 (GPCS §H.4)."""
    fields = parse_tlvs(_unwrapped(data, 0x67))
    channels = tuple(_capability(field.value) for field in fields if field.tag == 0xA0)
    return CardCapability(
        secure_channels=channels,
        assignable_to_sd=_optional_privileges(find(fields, 0x81)),
        assignable_to_application=_optional_privileges(find(fields, 0x82)),
        hash_algorithms=find(fields, 0x83) or b"",
        cipher_algorithms=find(fields, 0x84) or b"",
        token_algorithms=find(fields, 0x85) or b"",
        receipt_algorithms=find(fields, 0x86) or b"",
        dap_algorithms=find(fields, 0x87) or b"",
        key_parameters=find(fields, 0x88) or b"",
    )


def _capability(value: bytes) -> SecureChannelCapability:
    fields = parse_tlvs(value)
    sizes = find(fields, 0x82)
    return SecureChannelCapability(
        scp=int.from_bytes(require(fields, 0x80), "big"),
        i_values=find(fields, 0x81) or b"",
        aes_key_sizes=sizes[0] if sizes else None,
    )


def _optional_privileges(value: bytes | None) -> Privilege | None:
    return None if value is None else Privilege.from_bytes(value)


def parse_sequence_counter(data: bytes) -> int:
    """Read tag C1: the stored counter of the default key set (2 bytes SCP02, 3 bytes SCP03).

    The next SCP02 session uses this value; the next SCP03 session uses it plus one.
    """
    value = data if len(data) < 4 else _unwrapped(data, 0xC1)
    if len(value) not in (2, 3):
        raise ResponseFormatError("a sequence counter has 2 or 3 bytes")
    return int.from_bytes(value, "big")


def parse_associated_applications(data: bytes) -> tuple[Aid, ...]:
    """Read tag 2F00: the AIDs of the associated applications."""
    templates = [tlv for tlv in parse_tlvs(data) if tlv.tag == 0x61]
    return tuple(_aid(require(parse_tlvs(tlv.value), 0x4F)) for tlv in templates)


def _unwrapped(data: bytes, tag: int) -> bytes:
    """Return the value of the outer tag, or the data itself if the card left that tag out."""
    head = tag.to_bytes(1 if tag <= 0xFF else 2, "big")
    if not data.startswith(head) or len(data) == len(head):
        return data
    length, start = decode_length(data, len(head))
    return data[start:] if start + length == len(data) else data


# --- SELECT ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileControlInformation:
    """What SELECT of a security domain answers."""

    aid: Aid | None
    max_command_data: int | None
    management_data: bytes | None


def parse_select(data: bytes) -> FileControlInformation:
    """Read the file control information (tag 6F, GPCS Table 11-82)."""
    fields = parse_tlvs(_unwrapped(data, 0x6F))
    proprietary = parse_tlvs(find(fields, 0xA5) or b"")
    size = find(proprietary, 0x9F65)
    return FileControlInformation(
        aid=_optional_aid(find(fields, 0x84)),
        max_command_data=int.from_bytes(size, "big") if size else None,
        management_data=find(proprietary, 0x73),
    )


# --- PUT KEY -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PutKeyResponse:
    """The new key version number and the check value of each key that has one."""

    kvn: int
    kcvs: tuple[bytes, ...]


def parse_put_key(data: bytes) -> PutKeyResponse:
    """Read the answer of PUT KEY: key version number and key check values of three bytes."""
    if len(data) % 3 != 1:
        raise ResponseFormatError("PUT KEY: expected a key version number and check values of three bytes")
    return PutKeyResponse(data[0], tuple(data[at : at + 3] for at in range(1, len(data), 3)))
