"""One logical channel of the card beside its model, over the transport that the run has.

Source: GPCS 2.3.1 §11.1.5.1 (b8 of P1); ISO/IEC 7816-3 §12.2 (T=0, 61xx, 6Cxx); ISO/IEC 7816-4 §5.3.3
(chaining by the class byte).
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from tests.unit.vse.card_host import CardHost
from tests.unit.vse.card_model import ISD

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.gp.session_commands import CHAINABLE, in_parts

CHAINING = 0x10
SHORT = 256
# What GET RESPONSE asks for at most: less than most answers have.
PIECE = 50


class Transport(StrEnum):
    """How commands reach the card."""

    WHOLE = "T=1"
    T0 = "T=0"
    CHAINED = "T=1, in parts by the class byte"
    SERIES = "T=1, in parts by b8 of P1"

    @property
    def protocol(self) -> str:
        return "T=0" if self is Transport.T0 else "T=1"


@dataclass(eq=False, repr=False)
class Seat(CardHost):
    """One logical channel, with a session of the domain that is selected there."""

    number: int = 0
    aid: Aid = ISD
    transport: Transport = Transport.WHOLE

    def parts(self, command: CommandApdu) -> int:
        """How many APDUs bring a protected command."""
        return 2 if self.transport is Transport.CHAINED or self.comes_in_series(command) else 1

    def comes_in_series(self, command: CommandApdu) -> bool:
        known = command.ins in CHAINABLE and len(command.data) > 1
        return self.transport is Transport.SERIES and known and self.channel is not None

    def send(self, command: CommandApdu) -> ResponseApdu:
        """§11.1.5.1: protected as a whole, then cut; only the last part is answered."""
        if self.channel is None or not self.comes_in_series(command):
            return super().send(command)
        chain = self.channel.wrap_in_parts(command)
        data = b"".join(part.data for part in chain.apdus)
        first, last = in_parts(replace(chain.apdus[-1], data=data, extended=False), len(data) // 2 + 1)
        assert self.raw(first) == ResponseApdu(b"", 0x9000)
        return self.channel.unwrap(self.whole(self.raw(last)), chain.link)

    def raw(self, apdu: CommandApdu | bytes | str) -> ResponseApdu:
        data = apdu.to_bytes() if isinstance(apdu, CommandApdu) else apdu
        data = bytes.fromhex(data) if isinstance(data, str) else data
        command = CommandApdu.parse(bytes([data[0] | self.number]) + data[1:])
        if self.transport is Transport.T0:
            return self.over_t0(command)
        if self.transport is Transport.CHAINED and len(command.data) > 1:
            command = self.first_part_sent(command)
        return super().raw(command)

    def first_part_sent(self, command: CommandApdu) -> CommandApdu:
        """Send the first half of the data; return what is left to send."""
        half = len(command.data) // 2
        first = replace(command, cla=command.cla | CHAINING, data=command.data[:half], ne=None)
        assert super().raw(first) == ResponseApdu(b"", 0x9000)
        return replace(command, data=command.data[half:])

    def over_t0(self, command: CommandApdu) -> ResponseApdu:
        """Case 4 goes without Le and is answered with 61xx; 6Cxx tells the right Le."""
        if command.data:
            command = replace(command, ne=None)
        answer = super().raw(command)
        if answer.sw1 == 0x6C:
            answer = super().raw(replace(command, ne=answer.sw2 or SHORT))
        data = answer.data
        while answer.sw1 == 0x61:
            answer = super().raw(CommandApdu(self.number, 0xC0, 0, 0, b"", min(answer.sw2 or SHORT, PIECE)))
            data += answer.data
        return ResponseApdu(data, answer.sw)
