"""The first room of the card: from the reader's commands to a whole one, from a whole answer to the reader.

T=1 takes APDUs as they are; T=0 takes case 4 without Le and answers 61xx, and wants the right Le in case 2
(6Cxx). Both put together commands that were cut by the class byte's chaining bit.
Source: ISO/IEC 7816-3 §12.2; ISO/IEC 7816-4 §5.3.3, §5.3.4, §11.7; GPCS 2.3.1 §11.1.5.2, §A.1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import ApduError
from opentsm.vse.profiles import VseProfile
from opentsm.vse.status import (
    SW_LAST_OF_CHAIN_EXPECTED,
    SW_NO_MEMORY,
    SW_OK,
    SW_WRONG_LENGTH,
    StatusError,
    carries_data,
)

CHAINING_BIT: Final = 0x10

_GET_RESPONSE: Final = 0xC0
_PERFORM_SECURITY_OPERATION: Final = 0x2A
_SHORT: Final = 256
_EXTENDED: Final = 65536
_BYTES_WAITING: Final = 0x6100
_WRONG_LE: Final = 0x6C00


@dataclass(slots=True)
class _Chain:
    """Commands that were received, without the last."""

    header: bytes
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Waiting:
    """An answer to be fetched: by GET RESPONSE behind 61xx, by the same header behind 6Cxx."""

    header: bytes
    data: bytes
    sw: int
    repeat: bool = False


class Transport:
    """Turns the reader's commands into whole ones; volatile, one for each power-up.

    Args:
        profile: protocol, memory for chains, extended length.
        chains: tells for a class byte whether its chaining bit is one (a proprietary class of an application
            may use the bit for itself).
    """

    __slots__ = ("_chain", "_chains", "_profile", "_waiting")

    def __init__(self, profile: VseProfile, chains: Callable[[int], bool]) -> None:
        self._profile = profile
        self._chains = chains
        self._chain: _Chain | None = None
        self._waiting: _Waiting | None = None

    def receive(self, raw: bytes) -> CommandApdu | ResponseApdu:
        """Take what the reader sent.

        Returns:
            A whole command, or the answer when the transport itself has it.

        Raises:
            StatusError: 6700 malformed, 6883 another command inside a chain, 6A84 a chain that is too long.
        """
        command = self._parse(raw)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            answer = self._fetch(waiting, command)
            if answer is not None:
                return answer
        chained = bool(command.cla & CHAINING_BIT) and self._chains(command.cla)
        if self._chain is None and not chained:
            return command
        return self._collect(command, last=not chained)

    def _parse(self, raw: bytes) -> CommandApdu:
        try:
            command = CommandApdu.parse(raw)
        except ApduError:
            raise StatusError(SW_WRONG_LENGTH) from None
        if command.extended and (self._is_t0 or not self._profile.extended_length):
            raise StatusError(SW_WRONG_LENGTH)
        return command

    @property
    def _is_t0(self) -> bool:
        return self._profile.protocol == "T=0"

    def _fetch(self, waiting: _Waiting, command: CommandApdu) -> ResponseApdu | None:
        """Hand out what waits, when this is the command that fetches it; None drops it."""
        if waiting.repeat:
            if command.header != waiting.header or command.data:
                return None
        elif command.ins != _GET_RESPONSE or _channel_bits(command.cla) != _channel_bits(waiting.header[0]):
            return None
        return self._hand_out(waiting, command.ne or _SHORT)

    def _hand_out(self, waiting: _Waiting, length: int) -> ResponseApdu:
        rest = len(waiting.data)
        if self._is_t0 and length > rest and rest:
            # ISO 7816-3: the reader asked for more than there is; nothing is lost.
            self._waiting = waiting
            return ResponseApdu(b"", _WRONG_LE | rest & 0xFF)
        data, left = waiting.data[:length], waiting.data[length:]
        if not left:
            return ResponseApdu(data, waiting.sw)
        self._waiting = _Waiting(waiting.header, left, waiting.sw)
        return ResponseApdu(data, _BYTES_WAITING | min(len(left), _SHORT) & 0xFF)

    def _collect(self, command: CommandApdu, *, last: bool) -> CommandApdu | ResponseApdu:
        """ISO 7816-4 §5.3.3: the header stays but for the chaining bit, the data fields follow each other."""
        header = bytes([command.cla & ~CHAINING_BIT]) + _common_header(command)
        chain, self._chain = self._chain or _Chain(header), None
        if chain.header != header:
            raise StatusError(SW_LAST_OF_CHAIN_EXPECTED)
        chain.data += command.data
        if len(chain.data) > self._profile.chain_limit:
            raise StatusError(SW_NO_MEMORY)
        if not last:
            self._chain = chain
            return ResponseApdu(b"", SW_OK)
        extended = command.extended or len(chain.data) >= _SHORT
        return replace(command, cla=header[0], data=bytes(chain.data), extended=extended)

    def deliver(self, command: CommandApdu, answer: ResponseApdu) -> ResponseApdu:
        """Return what the reader gets now of `answer`; the rest waits."""
        data = answer.data
        if not data or not carries_data(answer.sw):
            return answer
        waiting = _Waiting(command.header, data, answer.sw)
        if not self._is_t0:
            limit = command.ne or (_EXTENDED if command.extended else _SHORT)
            return answer if len(data) <= limit else self._hand_out(waiting, limit)
        if command.data:
            self._waiting = waiting
            return ResponseApdu(b"", _BYTES_WAITING | min(len(data), _SHORT) & 0xFF)
        waiting.repeat = command.ne is None or command.ne > len(data)
        return self._hand_out(waiting, command.ne or _SHORT)


def _common_header(command: CommandApdu) -> bytes:
    """Return INS, P1, P2 as all parts of a chain have them.

    Real off-card entities set b8 of P1 in all but the last part of PERFORM SECURITY OPERATION, others do not.
    """
    p1 = command.p1 & 0x7F if command.ins == _PERFORM_SECURITY_OPERATION else command.p1
    return bytes([command.ins, p1, command.p2])


def _channel_bits(cla: int) -> int:
    """Return what of a class byte names the logical channel."""
    return cla & 0x4F if cla & 0x40 else cla & 0x43
