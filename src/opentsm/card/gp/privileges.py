"""The privileges of an application or security domain, as a 24-bit flag type.

Specification: GlobalPlatform Card Specification 2.3.1, §6.6 and §11.1.2 (Tables 11-7 to 11-9).
Privacy Trusted, which those tables do not have, is that of the Privacy Framework.
"""

from __future__ import annotations

from enum import IntFlag

from opentsm.card.errors import ResponseFormatError


class Privilege(IntFlag):
    """One bit a privilege; byte 1 of the standard's coding is the most significant byte."""

    NONE = 0
    SECURITY_DOMAIN = 0x800000
    DAP_VERIFICATION = 0x400000
    DELEGATED_MANAGEMENT = 0x200000
    CARD_LOCK = 0x100000
    CARD_TERMINATE = 0x080000
    CARD_RESET = 0x040000
    CVM_MANAGEMENT = 0x020000
    MANDATED_DAP_VERIFICATION = 0x010000
    TRUSTED_PATH = 0x008000
    AUTHORIZED_MANAGEMENT = 0x004000
    TOKEN_VERIFICATION = 0x002000
    GLOBAL_DELETE = 0x001000
    GLOBAL_LOCK = 0x000800
    GLOBAL_REGISTRY = 0x000400
    FINAL_APPLICATION = 0x000200
    GLOBAL_SERVICE = 0x000100
    RECEIPT_GENERATION = 0x000080
    CIPHERED_LOAD_FILE_DATA_BLOCK = 0x000040
    CONTACTLESS_ACTIVATION = 0x000020
    CONTACTLESS_SELF_ACTIVATION = 0x000010
    PRIVACY_TRUSTED = 0x000008

    @classmethod
    def from_bytes(  # type: ignore[override]  # the coding of the card, not int's
        cls, data: bytes
    ) -> Privilege:
        """Read a privileges field of 1 or 3 bytes; a missing byte has no bit set.

        Raises:
            ResponseFormatError: the field has another length.
        Source: GPCS 2.3.1 §11.1.2. RFU bits of byte 3 are ignored (§11.1).
        """
        if len(data) not in (1, 3):
            raise ResponseFormatError(f"privileges have 1 or 3 bytes, not {len(data)}")
        return cls(int.from_bytes(data.ljust(3, b"\x00"), "big") & ~0x07)

    def to_bytes3(self) -> bytes:
        """Return the three-byte coding."""
        return int(self).to_bytes(3, "big")

    def coded(self, length: int = 3) -> bytes:
        """Return the coding in one byte (Card Specification 2.1.1) or three.

        Raises:
            ResponseFormatError: one byte cannot say it; a security domain's Trusted Path is understood.
        """
        if length == 3:
            return self.to_bytes3()
        implied = Privilege.TRUSTED_PATH if Privilege.SECURITY_DOMAIN in self else Privilege.NONE
        if length != 1 or self & ~implied & 0xFFFF:
            raise ResponseFormatError(f"these privileges do not fit into one byte: {self}")
        return self.to_bytes3()[:1]

    @property
    def names(self) -> tuple[str, ...]:
        """The standard's names of the privileges held, in the order of Table 6-1."""
        return tuple(_NAMES[one] for one in _NAMES if one in self)

    def __str__(self) -> str:
        return ", ".join(self.names) or "no privilege"


_NAMES: dict[Privilege, str] = {
    Privilege.SECURITY_DOMAIN: "Security Domain",
    Privilege.DAP_VERIFICATION: "DAP Verification",
    Privilege.DELEGATED_MANAGEMENT: "Delegated Management",
    Privilege.CARD_LOCK: "Card Lock",
    Privilege.CARD_TERMINATE: "Card Terminate",
    Privilege.CARD_RESET: "Card Reset",
    Privilege.CVM_MANAGEMENT: "CVM Management",
    Privilege.MANDATED_DAP_VERIFICATION: "Mandated DAP Verification",
    Privilege.TRUSTED_PATH: "Trusted Path",
    Privilege.AUTHORIZED_MANAGEMENT: "Authorized Management",
    Privilege.TOKEN_VERIFICATION: "Token Verification",
    Privilege.GLOBAL_DELETE: "Global Delete",
    Privilege.GLOBAL_LOCK: "Global Lock",
    Privilege.GLOBAL_REGISTRY: "Global Registry",
    Privilege.FINAL_APPLICATION: "Final Application",
    Privilege.GLOBAL_SERVICE: "Global Service",
    Privilege.RECEIPT_GENERATION: "Receipt Generation",
    Privilege.CIPHERED_LOAD_FILE_DATA_BLOCK: "Ciphered Load File Data Block",
    Privilege.CONTACTLESS_ACTIVATION: "Contactless Activation",
    Privilege.CONTACTLESS_SELF_ACTIVATION: "Contactless Self-Activation",
    Privilege.PRIVACY_TRUSTED: "Privacy Trusted",
}

# GPCS 2.3.1 Table 6-1: privileges that only a security domain may hold.
_NEEDS_SECURITY_DOMAIN = (
    Privilege.DAP_VERIFICATION,
    Privilege.DELEGATED_MANAGEMENT,
    Privilege.MANDATED_DAP_VERIFICATION,
    Privilege.TRUSTED_PATH,
    Privilege.AUTHORIZED_MANAGEMENT,
    Privilege.CIPHERED_LOAD_FILE_DATA_BLOCK,
)

# GPCS 2.3.1 §6.6.2: the only pairs that exclude each other.
_EXCLUSIVE = (
    (Privilege.AUTHORIZED_MANAGEMENT, Privilege.DELEGATED_MANAGEMENT),
    (Privilege.TOKEN_VERIFICATION, Privilege.DELEGATED_MANAGEMENT),
    (Privilege.RECEIPT_GENERATION, Privilege.DELEGATED_MANAGEMENT),
)


def objections(privileges: Privilege) -> tuple[str, ...]:
    """Say why a card would refuse this combination; empty when it breaks no rule.

    Source: GPCS 2.3.1 §6.6.2 and Table 6-1.
    """
    alone = tuple(
        f"{_NAMES[one]} needs Security Domain"
        for one in _NEEDS_SECURITY_DOMAIN
        if one in privileges and Privilege.SECURITY_DOMAIN not in privileges
    )
    clashes = tuple(
        f"{_NAMES[a]} excludes {_NAMES[b]}" for a, b in _EXCLUSIVE if a in privileges and b in privileges
    )
    mandated = (
        ("Mandated DAP Verification needs DAP Verification",)
        if Privilege.MANDATED_DAP_VERIFICATION in privileges and Privilege.DAP_VERIFICATION not in privileges
        else ()
    )
    return alone + clashes + mandated


def effective(data: bytes) -> Privilege:
    """Return what a card grants for a privileges field sent in INSTALL [for install].

    One byte leaves byte 2 to the defaults: a supplementary security domain gets Trusted Path.

    Source: GPCS 2.3.1 Table 6-2 and the note in §11.5.2.3.2.
    """
    privileges = Privilege.from_bytes(data)
    if len(data) == 1 and Privilege.SECURITY_DOMAIN in privileges:
        return privileges | Privilege.TRUSTED_PATH
    return privileges
