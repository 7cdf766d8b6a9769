"""The parameter fields of the INSTALL command.

Specification: GlobalPlatform Card Specification 2.3.1, §11.5.2.3.7 (Tables 11-48 to 11-53); UICC parameters:
ETSI TS 102 226 §8.2.1.3.2; security-domain parameters: GlobalPlatform UICC Configuration §4.3.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.errors import ApduError


@dataclass(frozen=True, slots=True)
class SystemParameters:
    """The system-specific parameters (tag EF) of INSTALL [for install]; sizes in bytes.

    Attributes:
        nonvolatile_quota, volatile_quota: upper limits (C8, C7).
        volatile_reserved, nonvolatile_reserved: memory taken at once (D7, D8).
        services: global service parameters of two bytes each (CB).
        implicit_selection: one selection parameter byte (CF).
        contactless: objects of contactless services (A0, A1, 96), see `contactless`.
        toolkit: SIM file access and toolkit parameters (CA), see `toolkit_parameters`.
    """

    nonvolatile_quota: int | None = None
    volatile_quota: int | None = None
    volatile_reserved: int | None = None
    nonvolatile_reserved: int | None = None
    services: bytes = b""
    implicit_selection: int | None = None
    toolkit: bytes = b""
    contactless: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the value of tag EF; empty when nothing is set."""
        sizes = (
            (0xC8, self.nonvolatile_quota),
            (0xC7, self.volatile_quota),
            (0xD7, self.volatile_reserved),
            (0xD8, self.nonvolatile_reserved),
        )
        value = b"".join(_size(tag, size) for tag, size in sizes)
        value += encode_tlv(0xCB, self.services) if self.services else b""
        if self.implicit_selection is not None:
            value += encode_tlv(0xCF, bytes((self.implicit_selection,)))
        value += encode_tlv(0xCA, self.toolkit) if self.toolkit else b""
        return value + self.contactless


NO_SYSTEM_PARAMETERS = SystemParameters()


def application_parameters(
    c9: bytes = b"",
    *,
    system: SystemParameters = NO_SYSTEM_PARAMETERS,
    uicc: bytes = b"",
    crt: bytes = b"",
) -> bytes:
    """Return the parameter field of INSTALL [for install]; C9 is there even when it is empty.

    Args:
        c9: the application's own parameters.
        uicc: value of the UICC template (tag EA), which stands beside EF.
        crt: value of the control reference template of a token (tag B6).
    """
    system_value = system.to_bytes()
    field = encode_tlv(0xC9, c9)
    field += encode_tlv(0xEF, system_value) if system_value else b""
    field += encode_tlv(0xEA, uicc) if uicc else b""
    return field + (encode_tlv(0xB6, crt) if crt else b"")


def load_parameters(
    *,
    code: int | None = None,
    volatile: int | None = None,
    nonvolatile: int | None = None,
    crt: bytes = b"",
) -> bytes:
    """Return the parameter field of INSTALL [for load]: memory that must be free, in bytes.

    Args:
        code: non-volatile memory for the code (C6).
        volatile, nonvolatile: memory for data (C7, C8).
    """
    value = _size(0xC6, code) + _size(0xC7, volatile) + _size(0xC8, nonvolatile)
    field = encode_tlv(0xEF, value) if value else b""
    return field + (encode_tlv(0xB6, crt) if crt else b"")


def implicit_selection_parameters(selection: int) -> bytes:
    """Return the parameter field of INSTALL [for make selectable] that asks for implicit selection."""
    return encode_tlv(0xEF, encode_tlv(0xCF, bytes((selection,))))


def restrict_parameters(functions: int) -> bytes:
    """Return the parameter field of INSTALL [for registry update] that restricts functions (D9)."""
    return encode_tlv(0xEF, encode_tlv(0xD9, bytes((functions,))))


def token_reference(
    *, iin: bytes = b"", cin: bytes = b"", provider: bytes = b"", token_id: bytes = b""
) -> bytes:
    """Return the value of the control reference template B6: who verifies, who provides, which token."""
    fields = ((0x42, iin), (0x45, cin), (0x5F20, provider), (0x93, token_id))
    return b"".join(encode_tlv(tag, value) for tag, value in fields if value)


@dataclass(frozen=True, slots=True)
class SecurityDomainParameters:
    """What a new supplementary security domain is told inside C9.

    Attributes:
        secure_channels: pairs of protocol number and `i`, for example (0x03, 0x70).
        accept_extradition: coded permission to extradite objects to it (82).
        accept_deletion: coded permission to delete its associated objects (83).
        personalized_by_state: it becomes PERSONALIZED by SET STATUS only, not by its first keys (84).
        casd_capability: two bytes (86).
        accept_extradition_away: coded permission to extradite its objects away (87).
    """

    secure_channels: tuple[tuple[int, int], ...] = ()
    accept_extradition: bytes = b""
    accept_deletion: bytes = b""
    personalized_by_state: bool = False
    casd_capability: bytes = b""
    accept_extradition_away: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the value of C9."""
        value = b"".join(encode_tlv(0x81, bytes(pair)) for pair in self.secure_channels)
        value += encode_tlv(0x82, self.accept_extradition) if self.accept_extradition else b""
        value += encode_tlv(0x83, self.accept_deletion) if self.accept_deletion else b""
        value += encode_tlv(0x84, b"") if self.personalized_by_state else b""
        value += encode_tlv(0x86, self.casd_capability) if self.casd_capability else b""
        away = self.accept_extradition_away
        return value + (encode_tlv(0x87, away) if away else b"")


@dataclass(frozen=True, slots=True)
class Toolkit:
    """The toolkit needs of a UICC or SIM application.

    Attributes:
        menu: position and identifier of each menu entry.
        minimum_security: minimum security level, as coded for the carrier (empty: none).
        tars: three bytes each.
    """

    priority: int
    timers: int = 0
    menu_text_length: int = 0
    menu: tuple[tuple[int, int], ...] = ()
    channels: int = 0
    minimum_security: bytes = b""
    tars: tuple[bytes, ...] = ()
    services: int | None = None

    def to_bytes(self) -> bytes:
        """Return the coding that both the SIM and the UICC parameters share."""
        if any(len(tar) != 3 for tar in self.tars):
            raise ApduError("a TAR has three bytes")
        head = bytes((self.priority, self.timers, self.menu_text_length, len(self.menu)))
        menu = b"".join(bytes(entry) for entry in self.menu)
        level = lv(self.minimum_security)
        tail = bytes((self.channels,)) + level + lv(b"".join(self.tars))
        return head + menu + tail + (b"" if self.services is None else bytes((self.services,)))


def toolkit_parameters(toolkit: Toolkit, *, access_domain: bytes = b"\x00") -> bytes:
    """Return SIM file access and toolkit parameters (value of CA, TS 102 226 §8.2.1.3.2.1)."""
    return lv(access_domain) + toolkit.to_bytes()


def uicc_parameters(toolkit: Toolkit | None, access: Iterable[tuple[Aid | None, bytes]] = ()) -> bytes:
    """Return the value of the UICC template EA (TS 102 226 §8.2.1.3.2.2).

    Args:
        toolkit: toolkit parameters (tag 80).
        access: file system (None for the shared one) and access domain (tag 81).
    """
    domains = b"".join(lv(bytes(aid or b"")) + lv(domain) + b"\x00" for aid, domain in access)
    value = encode_tlv(0x80, toolkit.to_bytes()) if toolkit else b""
    return value + (encode_tlv(0x81, domains) if domains else b"")


def _size(tag: int, size: int | None) -> bytes:
    if size is None:
        return b""
    if size < 0:
        raise ApduError("a memory size cannot be negative")
    # Two bytes up to 32767, four above (Table 11-49).
    return encode_tlv(tag, size.to_bytes(2 if size <= 0x7FFF else 4, "big"))
