"""Privileges: their coding, and the rules on which of them go together.

Source: GPCS 2.3.1 §6.6 (Tables 6-1, 6-2), §11.1.2 (Tables 11-7 to 11-9).
"""

from enum import IntFlag
from typing import Final

from opentsm.vse.status import SW_WRONG_DATA, StatusError


class Privilege(IntFlag):
    """The 24 privilege bits, first byte first."""

    SECURITY_DOMAIN = 0x800000
    DAP_VERIFICATION = 0x400000
    DELEGATED_MANAGEMENT = 0x200000
    CARD_LOCK = 0x100000
    CARD_TERMINATE = 0x080000
    CARD_RESET = 0x040000
    CVM_MANAGEMENT = 0x020000
    MANDATED_DAP = 0x010000
    TRUSTED_PATH = 0x008000
    AUTHORIZED_MANAGEMENT = 0x004000
    TOKEN_VERIFICATION = 0x002000
    GLOBAL_DELETE = 0x001000
    GLOBAL_LOCK = 0x000800
    GLOBAL_REGISTRY = 0x000400
    FINAL_APPLICATION = 0x000200
    GLOBAL_SERVICE = 0x000100
    RECEIPT_GENERATION = 0x000080
    CIPHERED_LOAD_FILE = 0x000040
    CONTACTLESS_ACTIVATION = 0x000020
    CONTACTLESS_SELF_ACTIVATION = 0x000010
    PRIVACY_TRUSTED = 0x000008


P = Privilege
ISSUER_PRIVILEGES: Final = Privilege(0x9EFE80)
# Table 6-2, second and third byte.
_ISSUER_DEFAULTS: Final = Privilege(0x00FE80)
UNIQUE_PRIVILEGES: Final = (P.CARD_RESET, P.FINAL_APPLICATION)
CONTENT_MANAGERS: Final = P.AUTHORIZED_MANAGEMENT | P.DELEGATED_MANAGEMENT

_KNOWN: Final = 0xFFFFF8
_WITHOUT_PRIVACY: Final = 0xFFFFF0
# §6.6.2: no entity holds both of a pair.
_EXCLUSIVE: Final = (
    P.AUTHORIZED_MANAGEMENT | P.DELEGATED_MANAGEMENT,
    P.TOKEN_VERIFICATION | P.DELEGATED_MANAGEMENT,
    P.RECEIPT_GENERATION | P.DELEGATED_MANAGEMENT,
)
# Table 6-1: what only a security domain may hold.
_DOMAIN_ONLY: Final = (
    P.DAP_VERIFICATION
    | P.DELEGATED_MANAGEMENT
    | P.MANDATED_DAP
    | P.AUTHORIZED_MANAGEMENT
    | P.CIPHERED_LOAD_FILE
)


def decode(
    field: bytes, *, two_bytes: bool = False, privacy: bool = False, defaults: Privilege | None = None
) -> Privilege:
    """Read the privileges field of INSTALL.

    Args:
        field: 1 or 3 bytes; with one byte the others get their defaults (Table 6-2).
        two_bytes: whether the third byte may be left out where it is 00.
        privacy: whether the card knows Privacy Trusted; else its bit is one of those that mean nothing.
        defaults: of the issuer security domain, for one byte; None for everybody else.

    Raises:
        StatusError: 6A80 for another length.
    """
    if two_bytes and len(field) == 2:
        field += b"\x00"
    if len(field) == 3:
        return Privilege(int.from_bytes(field, "big") & (_KNOWN if privacy else _WITHOUT_PRIVACY))
    if len(field) != 1:
        raise StatusError(SW_WRONG_DATA)
    held = Privilege(_first_byte(field[0]))
    if defaults is not None:
        return held | defaults
    # Table 6-2: a supplementary security domain has Trusted Path unless three bytes say otherwise.
    return held | P.TRUSTED_PATH if held & P.SECURITY_DOMAIN else held


def issuer_defaults(held: Privilege) -> Privilege:
    """Return what one byte leaves to the issuer security domain (Table 6-2).

    Args:
        held: what it holds now; Final Application stays with whoever has it.
    """
    return _ISSUER_DEFAULTS & (held | ~P.FINAL_APPLICATION)


def encode(privileges: int) -> bytes:
    """Return the three bytes that GET STATUS shows."""
    return int(privileges).to_bytes(3, "big")


def check_combination(privileges: Privilege) -> None:
    """Refuse a set of privileges that no entity may hold.

    Raises:
        StatusError: 6A80.
    """
    wrong = any(privileges & pair == pair for pair in _EXCLUSIVE)
    wrong |= bool(privileges & _DOMAIN_ONLY) and not privileges & P.SECURITY_DOMAIN
    wrong |= bool(privileges & P.MANDATED_DAP) and not privileges & P.DAP_VERIFICATION
    if wrong:
        raise StatusError(SW_WRONG_DATA)


def assignable(listed: str, *, domain: bool) -> Privilege:
    """Return the privileges of a profile's list that INSTALL may give, which GET DATA 67 shows (§H.4).

    Args:
        listed: the profile's list, three bytes in hexadecimal.
        domain: whether it is that of security domains; an application never gets what only a domain may hold.
    """
    privileges = Privilege(int(listed, 16) & _KNOWN)
    return privileges if domain else privileges & ~(_DOMAIN_ONLY | P.SECURITY_DOMAIN)


def _first_byte(byte: int) -> int:
    return byte << 16
