"""What the off-card side must know about a kind of card, as data.

A profile comes as a mapping (packaged ones: JSON files in `profiles_data` beside this module, read by
the caller); unknown names are refused. What follows from other fields is derived here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError, ProfileError
from opentsm.card.gp.keys import AesLayout, KeyType
from opentsm.card.scp.channel import SecurityLevel

DEFAULT_PROFILE = "scp03-i70"

_ISD = Aid.from_hex("A000000151000000")
_CASD = Aid.from_hex("A00000015153504341534400")
_SSD_PACKAGE = Aid.from_hex("A0000001515350")
_SSD_MODULE = Aid.from_hex("A000000151535041")
_SHORT_DATA = 255
_HEX_NUMBERS = ("scp", "i", "level", "initial_kvn", "first_kvn", "last_kvn", "application_privileges")
_SWITCHES = ("extended_length", "access_rules", "memory_quotas")
_PROOF_SCHEMES = ("EC-P256", "AES", "DES", "RSA")
_COUNTS = (
    *("key_size", "max_command_data", "privilege_bytes"),
    *("load_file_bytes", "instance_bytes", "domain_bytes"),
)
_HEX = frozenset("0123456789ABCDEF")
_SCP02_PSEUDO_RANDOM = 0x40
_SCP03_PSEUDO_RANDOM = 0x10
_SCP03_S16 = 0x01
_LEVELS = (0x00, 0x01, 0x03, 0x10, 0x11, 0x13, 0x33)

# The platform of the virtual secure element, until products are registered with data of their own.
JAVA_CARD_VERSION = "3.0.5"
GP_API_VERSION = "1.6"


class Challenge(Enum):
    """How the card makes its challenge; only a pseudo-random one can be known beforehand."""

    RANDOM = "random"
    PSEUDO_RANDOM = "pseudo-random"


class Contactless(Enum):
    """How applications of a card become available over the contactless interface (Amendment C).

    NONE: the card has no contactless registry that a TSM could change.
    CRS: a contactless registry, changed and read through the CRS application.
    REGISTRY_UPDATE: a contactless registry without CRS application: INSTALL [for registry update] changes
    it, nothing reads it.
    """

    NONE = "none"
    CRS = "crs"
    REGISTRY_UPDATE = "registry-update"


class HandOver(Enum):
    """How a new security domain can get keys that nobody on the way learns.

    NONE: not at all. SCENARIO_3: agreed with the card's CASD (Amendment A, scenario 3).
    """

    NONE = "none"
    SCENARIO_3 = "scenario-3"


class FirstKeys(Enum):
    """How a new security domain gets its first own keys.

    FORWARDED: its parent sends them with INSTALL [for personalization] and STORE DATA.
    INHERITED: a session with the new domain itself under its ancestor's keys, then PUT KEY.
    """

    FORWARDED = "forwarded"
    INHERITED = "inherited"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeProfile:
    """One kind of card as the off-card side sees it.

    Attributes:
        scp, i: secure channel protocol (2 or 3) and implementation options.
        level: security level that sessions use.
        key_size: bytes of each secure-channel key.
        initial_kvn: version of the issuer's first key set.
        first_kvn, last_kvn: versions that new key sets may have.
        aes_layout: how PUT KEY writes a key block under an AES DEK.
        max_command_data: most data bytes in one command on the wire, MAC and padding included.
        privilege_bytes: how INSTALL writes privileges: 3 bytes, 1 for Card Specification 2.1.1.
        ssd_package, ssd_module: where supplementary security domains are installed from.
        contactless: how applications become available over the contactless interface.
        access_rules: whether an ARA-M under the issuer security domain keeps access rules.
        application_privileges: the privileges that the card gives to applications (24 bits).
        memory_quotas: whether INSTALL may limit and reserve an application's memory (C7, C8, D7, D8).
        memory_full: the status words (hex, parted by blanks) with which it says that its memory is full.
        load_file_bytes: what a load file takes beside its own bytes, until cards were measured.
        instance_bytes, domain_bytes: what an application that reserves nothing, and a new security domain
            with its keys, take until cards were measured.
        token_scheme, receipt_scheme: the kinds of keys that verify tokens and make receipts (Table C-1);
            empty: EC-P256 and AES with SCP03, DES with SCP02.
        handover: how a new domain gets keys that nobody on the way learns.
        certificate_subject: which of a card's identifiers its certificate names ("CIN", "EID"; empty: none).
        casd_aid: the controlling authority security domain, where `handover` needs one.
        csp_version, csp_vendor: the Cryptographic Service Provider on the card; empty for none.
    """

    name: str
    description: str = ""
    isd_aid: Aid = _ISD
    scp: int = 3
    i: int = 0x70
    level: SecurityLevel = SecurityLevel.FULL
    key_size: int = 16
    initial_kvn: int = 0x30
    first_kvn: int = 0x30
    last_kvn: int = 0x3F
    aes_layout: AesLayout = AesLayout.INNER_LENGTH
    first_keys: FirstKeys = FirstKeys.FORWARDED
    extended_length: bool = False
    max_command_data: int = _SHORT_DATA
    privilege_bytes: int = 3
    ssd_package: Aid = _SSD_PACKAGE
    ssd_module: Aid = _SSD_MODULE
    contactless: Contactless = Contactless.NONE
    access_rules: bool = False
    application_privileges: int = 0x1EBFB0
    memory_quotas: bool = True
    memory_full: str = "6A84"
    load_file_bytes: int = 64
    instance_bytes: int = 256
    domain_bytes: int = 256
    token_scheme: str = ""
    receipt_scheme: str = ""
    handover: HandOver = HandOver.NONE
    casd_aid: Aid = _CASD
    certificate_subject: str = ""
    csp_version: str = ""
    csp_vendor: str = ""

    def __post_init__(self) -> None:
        reason = self._objection()
        if reason:
            raise ProfileError(f"profile {self.name!r}: {reason}")

    def _objection(self) -> str | None:
        if self.scp not in (2, 3):
            return f"SCP{self.scp:02X} is not supported"
        if self.level not in _LEVELS or (self.scp == 2 and self.level & SecurityLevel.R_ENCRYPTION):
            return f"security level {self.level:02X} does not exist in SCP{self.scp:02d}"
        if self.key_size not in ((16,) if self.scp == 2 else (16, 24, 32)):
            return f"SCP{self.scp:02d} has no keys of {self.key_size} bytes"
        if not 1 <= self.first_kvn <= self.last_kvn <= 0x7F:
            return "key version numbers are 01 to 7F, the first not above the last"
        if self.privilege_bytes not in (1, 3):
            return "privileges have 1 or 3 bytes"
        if not 0 <= self.application_privileges <= 0xFFFFFF:
            return "application_privileges has 3 bytes"
        if min(self.load_file_bytes, self.instance_bytes, self.domain_bytes) < 1:
            return "sizes of objects are positive"
        if any(len(word) != 4 or not set(word) <= _HEX for word in self.memory_full.split()):
            return "memory_full has status words of four hex digits"
        if not {self.token_scheme, self.receipt_scheme} <= {"", *_PROOF_SCHEMES}:
            return f"tokens and receipts are made with {', '.join(_PROOF_SCHEMES)}"
        if self.certificate_subject not in ("", "CIN", "EID", "ICCID"):
            return "a card's certificate names its CIN, EID or ICCID, or none of them"
        if self.handover is HandOver.SCENARIO_3 and self.scp != 3:
            return "keys are agreed with a CASD (scenario-3) in SCP03 only"
        if not 64 <= self.max_command_data <= (0xFFFF if self.extended_length else _SHORT_DATA):
            return f"{self.max_command_data} data bytes a command are impossible"
        return None

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> SeProfile:
        """Read a profile; protocol numbers, options, levels, versions and AIDs are hex strings.

        Raises:
            ProfileError: a name is unknown, a value has the wrong type or is out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown or "name" not in data:
            raise ProfileError(
                f"unknown names: {', '.join(unknown)}" if unknown else "a profile needs a name"
            )
        values = {name: _value(name, value) for name, value in data.items()}
        try:
            return cls(**values)  # type: ignore[arg-type]  # _value gave each name its type
        except TypeError as error:
            raise ProfileError(str(error)) from error

    @property
    def challenge(self) -> Challenge:
        """How the card makes its challenge, as `i` says."""
        bit = _SCP02_PSEUDO_RANDOM if self.scp == 2 else _SCP03_PSEUDO_RANDOM
        return Challenge.PSEUDO_RANDOM if self.i & bit else Challenge.RANDOM

    @property
    def is_s16(self) -> bool:
        """Whether challenges, cryptograms and MACs have 16 bytes (SCP03 only)."""
        return self.scp == 3 and bool(self.i & _SCP03_S16)

    @property
    def challenge_length(self) -> int:
        """Bytes of the host challenge."""
        return 16 if self.is_s16 else 8

    @property
    def key_type(self) -> KeyType:
        """The type of secure-channel keys."""
        return KeyType.DES if self.scp == 2 else KeyType.AES

    @property
    def max_plain_data(self) -> int:
        """Most plain data bytes of one command at this profile's security level."""
        room = self.max_command_data
        if self.level & SecurityLevel.C_MAC:
            room -= 16 if self.is_s16 else 8
        if self.level & SecurityLevel.C_DECRYPTION:
            block = 8 if self.scp == 2 else 16
            room = room // block * block - 1  # at least one byte of padding
        return room


def _value(name: str, value: object) -> object:
    try:
        return _converted(name, value)
    except (ValueError, TypeError, CardError) as error:
        raise ProfileError(f"{name}: {value!r} is not possible") from error


def _converted(name: str, value: object) -> object:
    if name in _SWITCHES or name in _COUNTS:
        if type(value) is not (bool if name in _SWITCHES else int):
            raise TypeError
        return value
    if not isinstance(value, str):
        raise TypeError
    if name in _HEX_NUMBERS:
        number = int(value, 16)
        return SecurityLevel(number) if name == "level" else number
    if name in ("isd_aid", "ssd_package", "ssd_module", "casd_aid"):
        return Aid.from_hex(value)
    if name == "aes_layout":
        return AesLayout(value)
    if name == "contactless":
        return Contactless(value)
    if name == "handover":
        return HandOver(value)
    return FirstKeys(value) if name == "first_keys" else value
