"""Access rules of the ARA-M: commands and data objects, and what a device decides from the rules.

Specification: GlobalPlatform Secure Element Access Control 1.1, sections 4 to 6; the Android additions
(package name CA, permissions DB) follow the published carrier-privilege rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import Tlv, decode_length, encode_tlv, find, parse_tlvs
from opentsm.card.errors import ApduError, ResponseFormatError
from opentsm.card.gp.instructions import CLA_GP, NE_ANY, Ins

ARA_M_AID = Aid.from_hex("A00000015141434C00")
ARA_M_PACKAGE = Aid.from_hex("A00000015141434C")

TAG_ALL, TAG_NEXT, TAG_SPECIFIC = 0xFF40, 0xFF60, 0xFF50
TAG_REFRESH, TAG_CONFIGURATION = 0xDF20, 0xDF21
TAG_CLIENTS = 0xFF70

_STORE_P1 = 0x90
_AID_REF, _IMPLICIT_REF, _DEVICE_REF, _PACKAGE_REF = 0x4F, 0xC0, 0xC1, 0xCA
_REF, _REF_AR, _AR = 0xE1, 0xE2, 0xE3
_APDU, _NFC, _PERMISSIONS = 0xD0, 0xD1, 0xDB
_STORE, _DELETE, _NEW_TAG, _GET_CLIENTS, _REGISTER = 0xF0, 0xF1, 0xF2, 0xF6, 0xF7
_HASH_LENGTHS = (0, 20, 32)
_FILTER_BYTES = 8
_PERMISSION_BYTES = 8
_REFRESH_BYTES = 8


@dataclass(frozen=True, slots=True)
class RuleTarget:
    """Whom a rule is for: an application on the SE and one on the device (REF-DO).

    Attributes:
        aid: the SE application, possibly only the beginning of its AID; empty for all without own rules.
        implicit: the rule is for the implicitly selected application; `aid` is empty then.
        device: hash of the device application's certificate (20 bytes SHA-1, 32 SHA-256); empty for any.
        package: name of the device application's package (Android); empty for any.
    """

    aid: bytes = b""
    implicit: bool = False
    device: bytes = b""
    package: str = ""

    def to_bytes(self) -> bytes:
        """Return the REF-DO (tag E1).

        Raises:
            ApduError: no such AID, hash or package name.
        """
        if self.implicit and self.aid:
            raise ApduError("a rule for the implicitly selected application names no AID")
        if self.aid and not 5 <= len(self.aid) <= 16:
            raise ApduError("a rule names 5 to 16 bytes of an AID, or none")
        if len(self.device) not in _HASH_LENGTHS or len(self.package) > 127 or not self.package.isascii():
            raise ApduError(
                "a device application is a hash of 20 or 32 bytes and at most 127 ASCII characters"
            )
        who = encode_tlv(_IMPLICIT_REF, b"") if self.implicit else encode_tlv(_AID_REF, self.aid)
        package = encode_tlv(_PACKAGE_REF, self.package.encode("ascii")) if self.package else b""
        return encode_tlv(_REF, who + encode_tlv(_DEVICE_REF, self.device) + package)


@dataclass(frozen=True, slots=True)
class ApduFilter:
    """Commands that may pass: those whose header under the mask is `header` (4 bytes each)."""

    header: bytes
    mask: bytes

    def __post_init__(self) -> None:
        if len(self.header) != 4 or len(self.mask) != 4:
            raise ApduError("an APDU filter has a header and a mask of 4 bytes")

    def passes(self, header: bytes) -> bool:
        """Tell whether a command with this header may pass."""
        return all(byte & m == h for byte, m, h in zip(header, self.mask, self.header, strict=True))


@dataclass(frozen=True, slots=True)
class AccessRule:
    """What a target may do (REF-AR-DO); None leaves a part undefined.

    Attributes:
        apdu: whether APDUs may pass at all; True with `filters`: only those that a filter lets pass.
        nfc: whether NFC events reach the device application.
        permissions: Android's permission mask, 8 bytes.
    """

    target: RuleTarget
    apdu: bool | None = None
    filters: tuple[ApduFilter, ...] = ()
    nfc: bool | None = None
    permissions: bytes | None = None

    def to_bytes(self) -> bytes:
        """Return the REF-AR-DO (tag E2).

        Raises:
            ApduError: filters without access, or a mask that has not 8 bytes.
        """
        return encode_tlv(_REF_AR, self.target.to_bytes() + encode_tlv(_AR, self._content()))

    def _content(self) -> bytes:
        if self.filters and not self.apdu:
            raise ApduError("filters go with allowed APDUs")
        if self.permissions is not None and len(self.permissions) != _PERMISSION_BYTES:
            raise ApduError("a permission mask has 8 bytes")
        content = b""
        if self.filters:
            content += encode_tlv(_APDU, b"".join(one.header + one.mask for one in self.filters))
        elif self.apdu is not None:
            content += encode_tlv(_APDU, bytes((self.apdu,)))
        content += b"" if self.nfc is None else encode_tlv(_NFC, bytes((self.nfc,)))
        return content + (b"" if self.permissions is None else encode_tlv(_PERMISSIONS, self.permissions))


# --- commands ----------------------------------------------------------------------------------


def _store(data: bytes, *, answer: bool = False) -> CommandApdu:
    p1 = _STORE_P1 | (0x01 if answer else 0x00)
    ne = NE_ANY if answer else None
    return CommandApdu(CLA_GP, Ins.STORE_DATA, p1, 0x00, data, ne, extended=len(data) > 0xFF)


def store_rule(rule: AccessRule) -> CommandApdu:
    """Store one rule (Command-Store-REF-AR-DO)."""
    return _store(encode_tlv(_STORE, rule.to_bytes()))


def delete_rules(what: AccessRule | RuleTarget | Aid | None = None) -> CommandApdu:
    """Delete one rule, the rules of a target, those of an AID, or all (Command-Delete)."""
    if what is None:
        return _store(encode_tlv(_DELETE, b""))
    value = encode_tlv(_AID_REF, what) if isinstance(what, Aid) else what.to_bytes()
    return _store(encode_tlv(_DELETE, value))


def store_rule_data(rule: bytes) -> bytes:
    """Return the data of STORE DATA that stores one rule (REF-AR-DO)."""
    return encode_tlv(_STORE, rule)


def delete_rule_data(rule: bytes) -> bytes:
    """Return the data of STORE DATA that deletes exactly one rule (REF-AR-DO)."""
    return encode_tlv(_DELETE, rule)


def update_refresh_tag() -> CommandApdu:
    """Ask for a new refresh tag, so that devices read the rules again."""
    return _store(encode_tlv(_NEW_TAG, b""))


def register_clients(aids: Iterable[Aid]) -> CommandApdu:
    """Tell the ARA-M the access rule clients (ARA-C) whose rules it is to gather."""
    return _store(encode_tlv(_REGISTER, b"".join(encode_tlv(_AID_REF, aid) for aid in aids)))


def get_clients() -> CommandApdu:
    """Ask for the registered clients; the answer has tag FF70."""
    return _store(encode_tlv(_GET_CLIENTS, b""), answer=True)


def get_rules(tag: int, data: bytes = b"") -> CommandApdu:
    """Read from the ARA-M: `TAG_ALL`, `TAG_NEXT`, `TAG_REFRESH`, or with data `TAG_SPECIFIC`."""
    return CommandApdu(CLA_GP, Ins.GET_DATA, tag >> 8, tag & 0xFF, data, NE_ANY)


def get_specific(target: RuleTarget) -> CommandApdu:
    """Read the rules of one target."""
    return get_rules(TAG_SPECIFIC, target.to_bytes())


def get_configuration(version: bytes = b"\x01\x01\x00") -> CommandApdu:
    """Tell the device's interface version and ask for the ARA-M's."""
    return get_rules(TAG_CONFIGURATION, encode_tlv(0xE4, encode_tlv(0xE6, version)))


# --- answers -----------------------------------------------------------------------------------


def missing_bytes(data: bytes) -> int:
    """Tell how many bytes are still to be read with `TAG_NEXT` when `data` came so far.

    Args:
        data: the answer to `TAG_ALL` with all that followed it.

    Raises:
        ResponseFormatError: it does not begin with FF40 and a length.
    """
    if data[:2] != TAG_ALL.to_bytes(2, "big"):
        raise ResponseFormatError("the answer to GET DATA [all] begins with FF40")
    length, start = decode_length(data, 2)
    if len(data) > start + length:
        raise ResponseFormatError("more came than GET DATA [all] announced")
    return start + length - len(data)


def parse_rules(data: bytes) -> tuple[AccessRule, ...]:
    """Read all rules (tag FF40), complete.

    Raises:
        ResponseFormatError: something is missing or malformed.
        TlvError: no well-formed TLVs.
    """
    entries = parse_tlvs(_content(data, TAG_ALL))
    return tuple(_rule(entry) for entry in entries if entry.tag == _REF_AR)


def parse_rule(data: bytes) -> AccessRule:
    """Read one rule (REF-AR-DO, tag E2).

    Raises:
        ResponseFormatError: something is missing or malformed.
        TlvError: no well-formed TLVs.
    """
    entries = parse_tlvs(data)
    if len(entries) != 1 or entries[0].tag != _REF_AR:
        raise ResponseFormatError("an access rule is one REF-AR-DO")
    return _rule(entries[0])


def parse_specific(data: bytes, target: RuleTarget) -> tuple[AccessRule, ...]:
    """Read the rules of one target (tag FF50)."""
    entries = parse_tlvs(_content(data, TAG_SPECIFIC))
    return tuple(_permission(target, entry.value) for entry in entries if entry.tag == _AR)


def parse_refresh_tag(data: bytes) -> bytes:
    """Read the refresh tag; rules read before another value are stale."""
    value = _content(data, TAG_REFRESH)
    if len(value) != _REFRESH_BYTES:
        raise ResponseFormatError("a refresh tag has 8 bytes")
    return value


def parse_clients(data: bytes) -> tuple[Aid, ...]:
    """Read the registered clients (tag FF70)."""
    return tuple(Aid(entry.value) for entry in parse_tlvs(_content(data, TAG_CLIENTS)))


def _content(data: bytes, tag: int) -> bytes:
    value = find(parse_tlvs(data), tag)
    if value is None:
        raise ResponseFormatError(f"expected tag {tag:X}")
    return value


def _rule(entry: Tlv) -> AccessRule:
    parts = parse_tlvs(entry.value)
    reference, permission = find(parts, _REF), find(parts, _AR)
    if reference is None or permission is None:
        raise ResponseFormatError("an access rule has a REF-DO and an AR-DO")
    return _permission(_target(reference), permission)


def _target(value: bytes) -> RuleTarget:
    parts = parse_tlvs(value)
    try:
        package = (find(parts, _PACKAGE_REF) or b"").decode("ascii")
    except UnicodeDecodeError:
        raise ResponseFormatError("a package name is ASCII") from None
    implicit = find(parts, _IMPLICIT_REF) is not None
    return RuleTarget(find(parts, _AID_REF) or b"", implicit, find(parts, _DEVICE_REF) or b"", package)


def _permission(target: RuleTarget, value: bytes) -> AccessRule:
    parts = parse_tlvs(value)
    apdu, filters = _apdu_rule(find(parts, _APDU))
    return AccessRule(target, apdu, filters, _switch(find(parts, _NFC)), find(parts, _PERMISSIONS))


def _apdu_rule(value: bytes | None) -> tuple[bool | None, tuple[ApduFilter, ...]]:
    if value is None or len(value) == 1:
        return _switch(value), ()
    if not value or len(value) % _FILTER_BYTES:
        raise ResponseFormatError("APDU filters have 8 bytes each")
    cuts = range(0, len(value), _FILTER_BYTES)
    return True, tuple(ApduFilter(value[at : at + 4], value[at + 4 : at + 8]) for at in cuts)


def _switch(value: bytes | None) -> bool | None:
    if value is None:
        return None
    if value not in (b"\x00", b"\x01"):
        raise ResponseFormatError("an access rule is 00 (never) or 01 (always)")
    return value == b"\x01"


# --- decision ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Access:
    """What a device application may do with an SE application.

    Attributes:
        apdu: whether it may open a channel and send commands.
        filters: when there are any, only commands that one of them lets pass.
        nfc: whether it gets NFC events.
        reason: which search found the answer.
    """

    apdu: bool
    nfc: bool
    reason: str
    filters: tuple[ApduFilter, ...] = ()

    def permits(self, command: CommandApdu) -> bool:
        """Tell whether a command may be sent."""
        if not self.apdu:
            return False
        return not self.filters or any(one.passes(command.header) for one in self.filters)


def decide(rules: Iterable[AccessRule], aid: Aid | None, device: Sequence[bytes]) -> Access:
    """Decide as an access control enforcer does.

    Args:
        rules: all rules of the SE.
        aid: the SE application; None for the implicitly selected one.
        device: hashes of the device application's certificates, its own first, then the chain.

    Returns:
        The access; what no rule allows is denied.

    Source: SEAC 1.1 section 4.2.3, search A to D, with the conflict rules of A and C.
    """
    known = tuple(rules)
    own = RuleTarget(aid or b"", implicit=aid is None)
    for here, (specific, general) in ((own, ("A", "B")), (RuleTarget(), ("C", "D"))):
        mine = [
            rule for rule in known if (rule.target.aid, rule.target.implicit) == (here.aid, here.implicit)
        ]
        for one in device:
            found = [rule for rule in mine if rule.target.device == one and one]
            if found:
                return _merged(found, specific)
        # A rule for another device application shuts all others out.
        if any(rule.target.device for rule in mine):
            return Access(False, False, f"{specific}: rules for other device applications only")
        if mine:
            return _merged(mine, general)
    return Access(False, False, "no rule")


def _merged(rules: Sequence[AccessRule], reason: str) -> Access:
    """Merge the rules of one target: deny beats allow, filters add up, what is undefined is denied."""
    said = [rule.apdu for rule in rules if rule.apdu is not None]
    apdu = bool(said) and all(said)
    filters = tuple(one for rule in rules for one in rule.filters) if apdu else ()
    events = [_event(rule) for rule in rules]
    return Access(apdu, bool(events) and all(events), reason, filters)


def _event(rule: AccessRule) -> bool:
    """An undefined NFC rule is the APDU rule's; with filters Android denies it, and so is done here."""
    return rule.nfc if rule.nfc is not None else bool(rule.apdu) and not rule.filters


_CARRIER_AID = b"\xff" * 6
_CARRIER_BIT = 0x01


def grants_carrier_privilege(rule: AccessRule) -> bool:
    """Tell whether Android takes a rule for a carrier privilege: a DB, and no AID but FFFFFFFFFFFF."""
    if rule.permissions is None or not rule.permissions or rule.target.implicit:
        return False
    return rule.target.aid in (b"", _CARRIER_AID) and bool(rule.permissions[-1] & _CARRIER_BIT)
