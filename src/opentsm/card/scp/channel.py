"""What all secure channel protocols have in common on the off-card side.

A channel is made from session keys and the card's answer to INITIALIZE UPDATE; it proves the card, then turns
plain commands into protected ones and checks the answers.
Source: GPCS 2.3.1 §10, §11.1.4; Amendment D 1.1.1 §7.1.1.
"""

from dataclasses import dataclass
from enum import IntFlag
from typing import NamedTuple, Protocol

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ResponseFormatError, ScriptError
from opentsm.card.gp.keys import StaticKeys

__all__ = [
    "InitializeUpdateResponse",
    "ResponseLink",
    "SecureChannel",
    "SecurityLevel",
    "SessionKeys",
    "StaticKeys",
    "WrappedCommand",
    "carries_response_mac",
    "coded_lc",
    "mac_class",
    "parse_initialize_update",
    "plain_class",
    "secured_class",
]

CLA_EXTERNAL_AUTHENTICATE = 0x84
INS_EXTERNAL_AUTHENTICATE = 0x82

_KDD = 10
_SCP02_LENGTH = 28
_S16 = 0x01
_PSEUDO_RANDOM = 0x10
_SECURE_MESSAGING = 0x04
_FURTHER_INTERINDUSTRY = 0x40
_FURTHER_SECURE_MESSAGING = 0x20
_MAX_SHORT = 0xFF


class SecurityLevel(IntFlag):
    """Security level of a session, as coded in P1 of EXTERNAL AUTHENTICATE."""

    NONE = 0x00
    C_MAC = 0x01
    C_DECRYPTION = 0x02
    R_MAC = 0x10
    R_ENCRYPTION = 0x20
    C_MAC_C_DECRYPTION = 0x03
    C_MAC_R_MAC = 0x11
    C_MAC_C_DECRYPTION_R_MAC = 0x13
    FULL = 0x33


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Keys of one session; the DEK is the static one for SCP03 and a session key for SCP02."""

    enc: Secret
    mac: Secret
    rmac: Secret
    dek: Secret


@dataclass(frozen=True, slots=True)
class InitializeUpdateResponse:
    """The card's answer to INITIALIZE UPDATE, taken apart.

    `i` is the implementation option, which SCP02 does not send; `sequence_counter` is None where SCP03 sends
    none.
    """

    kdd: bytes
    kvn: int
    scp: int
    i: int | None
    card_challenge: bytes
    card_cryptogram: bytes
    sequence_counter: int | None

    def to_bytes(self) -> bytes:
        """Encode the response data as the card sends it."""
        head = self.kdd + bytes((self.kvn, self.scp))
        counter = self.sequence_counter
        if self.scp == 2:
            return head + (counter or 0).to_bytes(2, "big") + self.card_challenge + self.card_cryptogram
        tail = b"" if counter is None else counter.to_bytes(3, "big")
        return head + bytes((self.i or 0,)) + self.card_challenge + self.card_cryptogram + tail


def parse_initialize_update(data: bytes, *, scp02_i: int = 0x15) -> InitializeUpdateResponse:
    """Take apart the response data of INITIALIZE UPDATE.

    Args:
        data: 28 bytes for SCP02; for SCP03 29 or 32 bytes, with 16-byte challenges (S16) 45 or 48 bytes.
        scp02_i: the implementation option to note for SCP02, which the answer does not tell.

    Returns:
        The fields.

    Raises:
        ResponseFormatError: wrong length, or neither SCP02 nor SCP03.
    """
    if len(data) < _KDD + 2:
        raise ResponseFormatError(f"INITIALIZE UPDATE answered {len(data)} bytes")
    scp = data[_KDD + 1]
    if scp == 2:
        return _parse_scp02(data, scp02_i)
    if scp == 3:
        return _parse_scp03(data)
    raise ResponseFormatError(f"INITIALIZE UPDATE answered with SCP{scp:02X}: only 02 and 03 are known")


def _parse_scp02(data: bytes, i: int) -> InitializeUpdateResponse:
    _require_length(data, _SCP02_LENGTH)
    counter = int.from_bytes(data[12:14], "big")
    return InitializeUpdateResponse(data[:10], data[10], 2, i, data[14:20], data[20:28], counter)


def _parse_scp03(data: bytes) -> InitializeUpdateResponse:
    _require_length(data[:13], 13)
    i = data[12]
    size = 16 if i & _S16 else 8
    counter_size = 3 if i & _PSEUDO_RANDOM else 0
    end = 13 + 2 * size
    _require_length(data, end + counter_size)
    counter = int.from_bytes(data[end:], "big") if counter_size else None
    return InitializeUpdateResponse(
        data[:10], data[10], 3, i, data[13 : 13 + size], data[13 + size : end], counter
    )


def _require_length(data: bytes, length: int) -> None:
    if len(data) != length:
        raise ResponseFormatError(f"INITIALIZE UPDATE answered {len(data)} bytes instead of {length}")


class ResponseLink(NamedTuple):
    """What is needed later, with the session keys, to check the answer to one command.

    `chain` is the chaining value that the command's C-MAC left, `counter` its number in the session;
    `command` is the plain command where the protocol puts it into the R-MAC (SCP02).
    """

    chain: bytes
    counter: int
    command: bytes = b""

    def to_hex(self) -> str:
        """Write the link as hex text, for storage."""
        head = self.counter.to_bytes(4, "big") + bytes((len(self.chain),))
        return (head + self.chain + self.command).hex()

    @classmethod
    def from_hex(cls, text: str) -> "ResponseLink":
        """Read what `to_hex` wrote.

        Raises:
            ScriptError: the text is not a link.
        """
        try:
            data = bytes.fromhex(text)
        except ValueError as error:
            raise ScriptError("a response link is written in hex") from error
        if len(data) < 5 or len(data) < 5 + data[4]:
            raise ScriptError("the response link is cut off")
        end = 5 + data[4]
        return cls(data[5:end], int.from_bytes(data[:4], "big"), data[end:])


class WrappedCommand(NamedTuple):
    """A protected command, as it is sent, and what will be needed to check its answer."""

    raw: bytes
    link: ResponseLink

    @property
    def apdu(self) -> CommandApdu:
        """The protected command in its fields."""
        return CommandApdu.parse(self.raw)


class WrappedChain(NamedTuple):
    """A protected command in parts, and what will be needed to check the answer to the last."""

    apdus: tuple[CommandApdu, ...]
    link: ResponseLink


class SecureChannel(Protocol):
    """One session with one security domain, as the off-card entity sees it.

    Everything is deterministic: a channel made again from the same keys, answer and host challenge gives the
    same bytes.
    """

    def external_authenticate(self, level: SecurityLevel) -> CommandApdu:
        """Make the EXTERNAL AUTHENTICATE command that opens the session; its answer is never protected."""

    def wrap(self, command: CommandApdu) -> WrappedCommand:
        """Protect the next command of the session."""

    def wrap_in_parts(self, command: CommandApdu) -> WrappedChain:
        """Protect DELETE, INSTALL or PUT KEY as a whole, then cut it (GPCS §11.1.5.1).

        All parts but the last are answered with 9000 and nothing else, also at a level with R-MAC.
        """

    def unwrap(self, response: ResponseApdu, link: ResponseLink) -> ResponseApdu:
        """Check and open the answer to one command.

        Raises:
            ResponseMacError: the R-MAC is missing on 9000, 62xx or 63xx, or wrong.
        """


def carries_response_mac(sw: int) -> bool:
    """Tell whether an answer with this status word has an R-MAC: 9000 and warnings (Amendment D §6.2.5)."""
    return sw == 0x9000 or sw >> 8 in (0x62, 0x63)


def secured_class(cla: int) -> int:
    """Return the class byte with GlobalPlatform secure messaging, on the same logical channel (§11.1.4)."""
    return cla | (_FURTHER_SECURE_MESSAGING if cla & _FURTHER_INTERINDUSTRY else _SECURE_MESSAGING)


def plain_class(cla: int) -> int:
    """Return the class byte without secure messaging and without logical channel: 80 or 00."""
    return cla & 0x80


def mac_class(cla: int) -> int:
    """Return the class byte that enters a C-MAC: secure messaging set, logical channel removed."""
    return plain_class(cla) | _SECURE_MESSAGING


def chained_lc(length: int) -> bytes:
    """Return the length as it enters the MAC of a command in parts: its size decides (GPCS §11.1.5.1).

    Whether "the data following" counts the MAC is open; it does here, as Lc of a single command does.
    """
    return coded_lc(length, extended=length > _MAX_SHORT)


def coded_lc(length: int, *, extended: bool) -> bytes:
    """Return Lc as it enters a MAC: one byte, in extended-length commands 00 and two bytes."""
    return length.to_bytes(3, "big") if extended else bytes((length & 0xFF,))
