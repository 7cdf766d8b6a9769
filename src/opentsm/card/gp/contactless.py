"""Contactless services: what INSTALL says about an application, and the commands of the CRS application.

Source: Amendment C sections 3.6 to 3.11, as open implementations read it; the coding of
INSTALL's objects is that of a published encoder's tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlvs, require
from opentsm.card.errors import ApduError, ResponseFormatError
from opentsm.card.gp.instructions import CLA_GP, NE_ANY, Ins

CRS_AID = Aid.from_hex("A00000015143525300")
CRS_PACKAGE = Aid.from_hex("A000000151435253")
PPSE_AID = Aid(b"2PAY.SYS.DDF01")

_AVAILABILITY, _PRIORITY, _INTERFACE = 0x01, 0x02, 0x04
_APPLICATIONS = 0x40


class Activation(IntEnum):
    """Contactless activation state of an application."""

    DEACTIVATED = 0x00
    ACTIVATED = 0x01
    NON_ACTIVATABLE = 0x80


class PriorityChange(IntEnum):
    """P2 of SET STATUS for the priority."""

    HIGHEST = 0x01
    LOWEST = 0x81
    VOLATILE = 0x02
    RESET_VOLATILE = 0x82


class Interface(IntEnum):
    """A communication interface (tag 80 of SET STATUS, access parameters)."""

    CONTACT = 0x80
    PROXIMITY = 0x40


@dataclass(frozen=True, slots=True)
class ProtocolData:
    """Parameters of one radio protocol, and the bits of them that are mandatory; both as TLV objects."""

    data: bytes
    mandatory: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the value of tag 86, 87 or 88."""
        mask = encode_tlv(0xA1, self.mandatory) if self.mandatory else b""
        return encode_tlv(0xA0, self.data) + mask


@dataclass(frozen=True, slots=True)
class ContactlessParameters:
    """The contactless objects beside others in EF: protocol parameters A0, user interaction A1, privacy 96.

    Attributes:
        assigned_protocols: for implicit selection: 81 type A, 82 B, 84 F, one byte each (80).
        activation: initial state (81); None leaves it to the card.
        profile: value of A2.
        recognition, continuous: values of 83 and 84.
        access: value of A5, communication interface access.
        type_a, type_b, type_f: protocol data (86, 87, 88).
        type_state: 80 A, 40 B, 20 F, added up (89).
        display: display control template (7F20).
        head: head of the group to be in (A0).
        joinable, not_joinable: who may join the group that this application heads (A1), who no longer (A2).
        add_listeners, remove_listeners: CREL applications (A3, A4).
        policy: applications that must not be active beside this one (A5).
        discretionary: A6.
        family: 87.
        display_required: value of 88; its meaning differs by source, so it is left as it is.
        privacy: 96.
    """

    assigned_protocols: bytes = b""
    activation: Activation | None = None
    profile: bytes = b""
    recognition: bytes = b""
    continuous: bytes = b""
    access: bytes = b""
    type_a: ProtocolData | None = None
    type_b: ProtocolData | None = None
    type_f: ProtocolData | None = None
    type_state: int | None = None
    display: bytes = b""
    head: Aid | None = None
    joinable: tuple[Aid, ...] = ()
    not_joinable: tuple[Aid, ...] = ()
    add_listeners: tuple[Aid, ...] = ()
    remove_listeners: tuple[Aid, ...] = ()
    policy: tuple[Aid, ...] = ()
    discretionary: bytes = b""
    family: int | None = None
    display_required: int | None = None
    privacy: int | None = None

    def to_bytes(self) -> bytes:
        """Return the objects, to stand inside EF."""
        protocols, interaction = self._protocols(), self._interaction()
        value = encode_tlv(0xA0, protocols) if protocols else b""
        value += encode_tlv(0xA1, interaction) if interaction else b""
        return value + _byte(0x96, self.privacy)

    def _protocols(self) -> bytes:
        value = _some(0x80, self.assigned_protocols) + _byte(0x81, self.activation)
        value += _some(0xA2, self.profile) + _some(0x83, self.recognition) + _some(0x84, self.continuous)
        value += _some(0xA5, self.access)
        types = ((0x86, self.type_a), (0x87, self.type_b), (0x88, self.type_f))
        value += b"".join(encode_tlv(tag, one.to_bytes()) for tag, one in types if one is not None)
        return value + _byte(0x89, self.type_state)

    def _interaction(self) -> bytes:
        lists = (
            (0xA0, (self.head,) if self.head else ()),
            (0xA1, self.joinable),
            (0xA2, self.not_joinable),
            (0xA3, self.add_listeners),
            (0xA4, self.remove_listeners),
            (0xA5, self.policy),
        )
        value = _some(0x7F20, self.display)
        value += b"".join(_some(tag, _aid_list(aids)) for tag, aids in lists)
        value += _some(0xA6, self.discretionary)
        return value + _byte(0x87, self.family) + _byte(0x88, self.display_required)


def _some(tag: int, value: bytes) -> bytes:
    return encode_tlv(tag, value) if value else b""


def _byte(tag: int, value: int | None) -> bytes:
    return b"" if value is None else encode_tlv(tag, bytes((value,)))


def _aid_list(aids: Iterable[bytes]) -> bytes:
    return b"".join(encode_tlv(0x4F, aid) for aid in aids)


# --- commands of the CRS -----------------------------------------------------------------------


def crs_status(
    aid_prefix: bytes = b"",
    *,
    next: bool = False,  # the standard's word for the continuation
    activation: Activation | None = None,
    family: int | None = None,
    tag_list: bytes = b"",
) -> CommandApdu:
    """Read the contactless registry.

    Args:
        aid_prefix: search criterion of 0 to 16 bytes; empty matches all.
        next: continue after an answer 6310.
        activation, family: further criteria, all of which must hold.
        tag_list: value of tag 5C, the tags wanted.
    """
    data = encode_tlv(0x4F, aid_prefix)
    if activation is not None:
        data += encode_tlv(0x9F70, bytes((0x00, activation)))
    data += _byte(0x87, family) + _some(0x5C, tag_list)
    return CommandApdu(CLA_GP, Ins.GET_STATUS, _APPLICATIONS, 0x01 if next else 0x00, data, NE_ANY)


def set_availability(aids: Iterable[Aid], *, activate: bool) -> CommandApdu:
    """Activate or deactivate applications; 6320 comes with those that failed (`parse_set_status`)."""
    return _set_status(_AVAILABILITY, 0x01 if activate else 0x00, _aid_list(aids))


def set_priority(aids: Iterable[Aid], change: PriorityChange) -> CommandApdu:
    """Change the order of selection."""
    data = _aid_list(aids)
    if not data and change is not PriorityChange.RESET_VOLATILE:
        raise ApduError("SET STATUS of the priority names at least one application")
    return _set_status(_PRIORITY, change, data)


def set_interface(interface: Interface, *, on: bool) -> CommandApdu:
    """Switch a communication interface on or off."""
    return _set_status(_INTERFACE, 0x80 if on else 0x00, encode_tlv(0x80, bytes((interface,))))


def _set_status(p1: int, p2: int, data: bytes) -> CommandApdu:
    return CommandApdu(CLA_GP, Ins.SET_STATUS, p1, p2, data, NE_ANY)


# --- answers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContactlessEntry:
    """What the CRS says about one application; None and empty where it says nothing.

    Attributes:
        life_cycle: the application's own state.
        counter: its update counter.
        priority: its place in the order of selection, 1 first.
        others: objects that are left as the card coded them, by tag.
    """

    aid: Aid
    life_cycle: int
    activation: int
    counter: int | None = None
    priority: int | None = None
    head: Aid | None = None
    members: tuple[Aid, ...] = ()
    listeners: tuple[Aid, ...] = ()
    policy: tuple[Aid, ...] = ()
    others: tuple[Tlv, ...] = ()


def parse_crs_status(data: bytes) -> tuple[ContactlessEntry, ...]:
    """Read the answers of GET STATUS to the CRS; continued lists are concatenated first.

    Raises:
        ResponseFormatError: an entry without AID or state.
    """
    return tuple(_entry(one.value) for one in parse_tlvs(data) if one.tag == 0x61)


_READ_TAGS = frozenset({0x4F, 0x9F70, 0x80, 0x81, 0xA2, 0xA3, 0xA4, 0xA5})


def _entry(value: bytes) -> ContactlessEntry:
    fields = parse_tlvs(value)
    state = require(fields, 0x9F70)
    if len(state) != 2:
        raise ResponseFormatError("the CRS tells two states of an application")
    heads = _listed(fields, 0xA2)
    return ContactlessEntry(
        aid=Aid(require(fields, 0x4F)),
        life_cycle=state[0],
        activation=state[1],
        counter=_number(find(fields, 0x80)),
        priority=_number(find(fields, 0x81)),
        head=heads[0] if heads else None,
        members=_listed(fields, 0xA3),
        listeners=_listed(fields, 0xA4),
        policy=_listed(fields, 0xA5),
        others=tuple(field for field in fields if field.tag not in _READ_TAGS),
    )


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")


def _listed(fields: Iterable[Tlv], tag: int) -> tuple[Aid, ...]:
    return tuple(Aid(one.value) for one in parse_tlvs(find(fields, tag) or b"") if one.tag == 0x4F)


@dataclass(frozen=True, slots=True)
class AvailabilityFailure:
    """What an answer 6320 tells: what is in the way, and what was not changed."""

    conflicting: tuple[Aid, ...]
    failed: tuple[Aid, ...]


def parse_set_status(data: bytes) -> AvailabilityFailure:
    """Read the data of an answer 6320."""
    fields = parse_tlvs(data)
    return AvailabilityFailure(_listed(fields, 0xA0), _listed(fields, 0xA1))


def parse_crs_counter(data: bytes) -> int:
    """Read the global update counter from the CRS's FCI or from its GET DATA (tag A5)."""
    fields = parse_tlvs(data)
    inner = find(fields, 0x6F)
    own = find(fields if inner is None else parse_tlvs(inner), 0xA5)
    return int.from_bytes(require(parse_tlvs(own or b""), 0x80), "big")


@dataclass(frozen=True, slots=True)
class PpseEntry:
    """One directory entry of the PPSE; `priority` is the low half of tag 87, None when it has none."""

    aid: Aid
    label: bytes | None
    priority: int | None


def parse_ppse(data: bytes) -> tuple[PpseEntry, ...]:
    """Read the PPSE's FCI: the applications that a contactless terminal may choose from.

    Source: EMV Contactless Book B section 3.3.
    """
    name = find(parse_tlvs(data), 0x6F)
    own = find(parse_tlvs(name or b""), 0xA5)
    issuer = find(parse_tlvs(own or b""), 0xBF0C)
    if issuer is None:
        raise ResponseFormatError("a PPSE answers 6F{84, A5{BF0C}}")
    return tuple(_ppse_entry(one.value) for one in parse_tlvs(issuer) if one.tag == 0x61)


def _ppse_entry(value: bytes) -> PpseEntry:
    fields = parse_tlvs(value)
    priority = find(fields, 0x87)
    return PpseEntry(Aid(require(fields, 0x4F)), find(fields, 0x50), priority[0] & 0x0F if priority else None)
