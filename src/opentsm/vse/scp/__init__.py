"""Secure channel protocols as the card runs them.

Written from the specification on its own: constants, labels and layouts are not shared with `opentsm.card`.
"""

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Protocol

from opentsm.card.codec.apdu import CommandApdu
from opentsm.vse.status import SW_SECURITY, StatusError


class Level(IntFlag):
    """Security level of a session (GPCS 2.3.1 Table 10-1)."""

    NONE = 0x00
    C_MAC = 0x01
    C_DECRYPTION = 0x02
    R_MAC = 0x10
    R_ENCRYPTION = 0x20
    ANY_AUTHENTICATED = 0x40
    AUTHENTICATED = 0x80


class MessagingError(StatusError):
    """Protection is missing or wrong: 6982, and the session is aborted (GPCS §10.2.2, Amendment D §5.6)."""

    def __init__(self) -> None:
        super().__init__(SW_SECURITY)


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """The static key set that a session starts from."""

    kvn: int
    enc: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    dek: bytes = field(repr=False)


class StartedSession(Protocol):
    """A session between INITIALIZE UPDATE and EXTERNAL AUTHENTICATE."""

    keys: ChannelKeys

    @property
    def cryptogram_length(self) -> int:
        """Bytes of the host cryptogram, and of the MAC after it."""

    @property
    def levels(self) -> frozenset[int]:
        """Values of P1 that EXTERNAL AUTHENTICATE may ask for."""

    def verify_mac(self, command: CommandApdu) -> bool:
        """Tell whether EXTERNAL AUTHENTICATE carries the right MAC; remember it as the first of the chain."""

    def verify_cryptogram(self, cryptogram: bytes) -> bool:
        """Tell whether the host has the keys."""

    def session(self, level: int) -> "SecureSession":
        """Return the authenticated session."""


class SecureSession(Protocol):
    """An authenticated session; `level` is what every command must carry and every response gets."""

    level: Level

    def unwrap(self, command: CommandApdu) -> CommandApdu:
        """Check and remove the protection of a command.

        Raises:
            MessagingError: the protection is missing or wrong.
        """

    def wrap(self, data: bytes, sw: int) -> bytes:
        """Return the response data with the protection that the level asks for."""

    def decrypt_key(self, data: bytes) -> bytes:
        """Decipher a key or secret value under the data encryption key; no padding is removed."""

    @property
    def key_block_length(self) -> int:
        """Block length in bytes of the data encryption key's cipher."""


def is_protected_status(sw: int) -> bool:
    """Tell whether an answer with this status word carries data and protection."""
    return sw == 0x9000 or sw >> 8 in {0x62, 0x63}


def has_secure_messaging(cla: int) -> bool:
    """Tell whether the class byte announces GlobalPlatform secure messaging (GPCS §11.1.4)."""
    return bool(cla & 0x20) if cla & 0x40 else bool(cla & 0x04)


def mac_class(cla: int) -> int:
    """Return the class byte as the C-MAC sees it: secure messaging set, logical channel removed."""
    return (cla & 0x80) | 0x04


def plain_class(cla: int) -> int:
    """Return the class byte without the secure messaging bit."""
    return cla & ~0x20 if cla & 0x40 else cla & ~0x04
