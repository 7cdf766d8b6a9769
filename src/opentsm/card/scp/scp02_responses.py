"""The R-MACs of SCP02: one chain over commands and answers, told with each answer or when it is asked for.

Source: GPCS 2.3.1 §E.4.5, §E.5.3, §E.5.4.
"""

from dataclasses import dataclass
from enum import Enum, unique
from hmac import compare_digest

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import DES_BLOCK
from opentsm.card.crypto.context import RetailMacKey
from opentsm.card.crypto.padding import pad80
from opentsm.card.errors import ResponseMacError, SecureChannelError
from opentsm.card.gp.instructions import Ins
from opentsm.card.scp.channel import ResponseLink, carries_response_mac, coded_lc, plain_class

MAC_LENGTH = 8
_EVERY = 0x10
_SHORT_DATA = 255


@unique
class _Role(Enum):
    """What an answer is to the chain."""

    FIRST = 1  # of BEGIN R-MAC SESSION: taken in, not told
    TOLD = 2
    TAKEN_IN = 3
    TELLS = 4  # of END R-MAC SESSION: tells the chain, is not part of it


@dataclass(frozen=True, slots=True)
class _Expected:
    role: _Role
    before: int
    restored: _Role | None


class ResponseMacs:
    """The R-MAC chain of one session, host side.

    Args:
        key: R-MAC session key.
        start: first chaining value.
        every: whether the session has R-MACs from its first command on.
    """

    def __init__(self, key: RetailMacKey, start: bytes, *, every: bool) -> None:
        self._key = key
        self._start = self._chain = start
        self._open: _Role | None = _Role.TOLD if every else None
        self._expected: dict[int, _Expected] = {}
        self._last = 0
        self._answered = 0

    @property
    def is_open(self) -> bool:
        """Whether commands enter the chain now."""
        return self._open is not None

    def wrapped(self, command: CommandApdu, number: int) -> bytes:
        """Note the command with this number; return it as it enters the R-MAC, empty when it does not."""
        role = restored = self._open
        if command.ins == Ins.BEGIN_R_MAC_SESSION and role is None:
            role, self._open = _Role.FIRST, _Role.TOLD if command.p1 == _EVERY else _Role.TAKEN_IN
        elif command.ins == Ins.END_R_MAC_SESSION and role is not None:
            role, self._open = _Role.TELLS, role if command.p2 == 0x01 else None
        if role is None:
            return b""
        self._expected[number] = _Expected(role, self._last, restored)
        self._last = number
        header = bytes((plain_class(command.cla), command.ins, command.p1, command.p2))
        lc = coded_lc(len(command.data), extended=command.extended or len(command.data) > _SHORT_DATA)
        return header + lc + command.data

    def checked(self, response: ResponseApdu, link: ResponseLink) -> ResponseApdu:
        """Check the answer to one command and take its R-MAC off.

        Raises:
            ResponseMacError: the R-MAC is missing on 9000, 62xx or 63xx, or wrong.
            SecureChannelError: an answer was left out.
        """
        expected = self._expected.get(link.counter)
        if expected is None:
            return response
        if self._answered != expected.before:
            raise SecureChannelError(
                f"the answer to command {link.counter} follows that to {self._answered}: one was left out"
            )
        self._answered = link.counter
        switches = expected.role in {_Role.FIRST, _Role.TELLS}
        if switches and not carries_response_mac(response.sw):
            # Refused: everything stays as it was.
            self._open = expected.restored
            return ResponseApdu(b"", response.sw)
        if expected.role is _Role.FIRST:
            self._chain = self._start
        if expected.role is _Role.TELLS:
            return self._told(response)
        return self._taken_in(response, link, told=expected.role is _Role.TOLD)

    def _taken_in(self, response: ResponseApdu, link: ResponseLink, *, told: bool) -> ResponseApdu:
        protected = carries_response_mac(response.sw)
        told = told and protected
        if told and len(response.data) < MAC_LENGTH:
            raise ResponseMacError(f"the R-MAC is missing from an answer {response.sw:04X}")
        data = response.data[:-MAC_LENGTH] if told else response.data
        plain = ResponseApdu(data if protected else b"", response.sw)
        message = link.command + bytes((len(plain.data) & 0xFF,)) + plain.to_bytes()
        # An error answer has no R-MAC, but the card's chain moves on.
        self._chain = self._key.mac(pad80(message, DES_BLOCK), self._chain)
        if told and not compare_digest(self._chain, response.data[-MAC_LENGTH:]):
            raise ResponseMacError(f"the R-MAC of an answer {response.sw:04X} is wrong")
        return plain

    def _told(self, response: ResponseApdu) -> ResponseApdu:
        if not compare_digest(self._chain, response.data):
            raise ResponseMacError("END R-MAC SESSION told another R-MAC: an answer is not the card's")
        return response
