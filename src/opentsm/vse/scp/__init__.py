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


@dataclass(frozen=True, slots=True)
class Chained:
    """A command that came in parts (P1 bit 8), as secure messaging sees it (GPCS §11.1.5.1).

    Args:
        parts: commands that it came in.
        counts_mac: whether the length in the C-MAC counts the C-MAC itself, as it does in a single command;
            the text says "the data following" and leaves it open.
        steps_each: whether the SCP03 encryption counter moves for each part, not once.
    """

    parts: int
    counts_mac: bool = True
    steps_each: bool = False


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

    def unwrap(self, command: CommandApdu, chained: Chained | None = None) -> CommandApdu:
        """Check and remove the protection of a command.

        Raises:
            MessagingError: the protection is missing or wrong.
        """

    def begin_r_mac(self, p1: int) -> None:
        """Raise the security of responses, from the next command on.

        Raises:
            StatusError: 6985 it is not lower than asked, 6A86 there is no such level.
        """

    def end_r_mac(self, p2: int) -> bytes:
        """Go back to the responses that EXTERNAL AUTHENTICATE asked for, or only tell the R-MAC.

        Returns:
            The response data.

        Raises:
            StatusError: 6985 nothing was begun, 6A86.
        """

    def wrap(self, data: bytes, sw: int) -> bytes:
        """Return the response data with the protection that the level asks for."""

    def decrypt_key(self, data: bytes) -> bytes:
        """Decipher a key or secret value under the data encryption key; no padding is removed."""

    @property
    def key_block_length(self) -> int:
        """Block length in bytes of the data encryption key's cipher."""


def has_secure_messaging(cla: int) -> bool:
    """Tell whether the class byte announces GlobalPlatform secure messaging (GPCS §11.1.4)."""
    return bool(cla & 0x20) if cla & 0x40 else bool(cla & 0x04)


def mac_class(cla: int) -> int:
    """Return the class byte as the C-MAC sees it: secure messaging set, logical channel removed."""
    return (cla & 0x80) | 0x04


def coded_length(command: CommandApdu, length: int, mac_length: int, chained: Chained | None) -> bytes:
    """Return Lc as a C-MAC sees it.

    Args:
        command: single or put together; extended length has three bytes.
        length: of the data, with the C-MAC where the protocol counts it.
        mac_length: of the C-MAC.
        chained: how the command came in parts; then it is the size that decides (§11.1.5.1).
    """
    if chained is not None:
        length -= 0 if chained.counts_mac else mac_length
    long = command.extended if chained is None else length > 0xFF
    return b"\x00" + length.to_bytes(2, "big") if long else bytes([length])


def plain_class(cla: int) -> int:
    """Return the class byte without the secure messaging bit."""
    return cla & ~0x20 if cla & 0x40 else cla & ~0x04
