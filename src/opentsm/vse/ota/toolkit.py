"""The card's toolkit commands, as far as messages need them: ENVELOPE, FETCH, TERMINAL RESPONSE and PROFILE.

A proof of receipt goes back in the answer to ENVELOPE (delivery report), or as SMS-SUBMIT, which the terminal
fetches as a proactive command after 91xx.
Source: ETSI TS 102 221 §7.4.2 (proactive commands), §11.2; 3GPP TS 31.115 §4 (response packets).
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, find, parse_tlvs
from opentsm.card.errors import TlvError
from opentsm.vse.environment import Environment
from opentsm.vse.ota.messages import (
    NotForUsError,
    Reassembly,
    ReceivedPart,
    delivery_report,
    read_envelope,
    submit_messages,
)
from opentsm.vse.ota.packet import MalformedPacketError, Rsc
from opentsm.vse.ota.receiver import Receipt, Receiver
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_OK,
    SW_TOOLKIT_BUSY,
    SW_WRONG_DATA,
    SW_WRONG_LENGTH,
    SW_WRONG_P1P2,
    StatusError,
)

_TERMINAL_PROFILE: Final = 0x10
_FETCH: Final = 0x12
_TERMINAL_RESPONSE: Final = 0x14
_ENVELOPE: Final = 0xC2
_CLASS: Final = 0x80
_PROACTIVE_WAITING: Final = 0x9100


class OtaToolkit:
    """Messages of one power-up.

    Args:
        environment: the card.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._receiver = Receiver(environment)
        self._reassembly = Reassembly(environment.profile.ota_buffer)
        self._proactive: list[bytes] = []
        self._references = 0

    def takes(self, command: CommandApdu) -> bool:
        """Tell whether a command is one of the toolkit's."""
        known = {_TERMINAL_PROFILE, _FETCH, _TERMINAL_RESPONSE, _ENVELOPE}
        return command.cla == _CLASS and command.ins in known

    def answer(self, command: CommandApdu) -> ResponseApdu:
        """Answer a toolkit command.

        Raises:
            StatusError: 6A86, 6700, 6A80, 6985, 9300.
        """
        if command.p1 or command.p2:
            raise StatusError(SW_WRONG_P1P2)
        if command.ins == _ENVELOPE:
            return self._envelope(command.data)
        if command.ins == _FETCH:
            return self._fetch(command)
        if command.ins == _TERMINAL_RESPONSE:
            return self._terminal_response(command.data)
        return self._done()

    def _done(self, data: bytes = b"") -> ResponseApdu:
        """Success, and whether a proactive command waits."""
        if not self._proactive:
            return ResponseApdu(data, SW_OK)
        return ResponseApdu(data, _PROACTIVE_WAITING | len(self._proactive[0]) & 0xFF)

    def _fetch(self, command: CommandApdu) -> ResponseApdu:
        if not self._proactive:
            raise StatusError(SW_CONDITIONS)
        if command.data or command.ne is None or command.ne < len(self._proactive[0]):
            raise StatusError(SW_WRONG_LENGTH)
        return ResponseApdu(self._proactive[0], SW_OK)

    def _terminal_response(self, data: bytes) -> ResponseApdu:
        """Whatever the terminal says, the command is over: a lost answer is asked for again by the server."""
        objects = _objects(data)
        details = find(objects, 0x81) or find(objects, 0x01)
        result = find(objects, 0x83) or find(objects, 0x03)
        if not self._proactive:
            raise StatusError(SW_CONDITIONS)
        if details is None or len(details) != 3 or not result:
            raise StatusError(SW_WRONG_DATA)
        del self._proactive[0]
        return self._done()

    def _envelope(self, data: bytes) -> ResponseApdu:
        try:
            part = read_envelope(data)
        except NotForUsError:
            raise StatusError(SW_WRONG_DATA) from None
        if self._proactive:
            # The answer to an earlier packet has not gone out yet.
            raise StatusError(SW_TOOLKIT_BUSY)
        try:
            return self._packet(part)
        except (NotForUsError, MalformedPacketError):
            raise StatusError(SW_WRONG_DATA) from None

    def _packet(self, part: ReceivedPart) -> ResponseApdu:
        first = part.payload if part.sequence == 1 else self._reassembly.first_of(part)
        try:
            packet = self._reassembly.add(part)
        except MemoryError:
            return self._out_of_memory(part, first)
        if packet is None:
            return self._done()
        return self._report(part, self._receiver.receive(packet))

    def _out_of_memory(self, part: ReceivedPart, first: bytes) -> ResponseApdu:
        """The header in the first part tells whether anybody wants to know."""
        if not first:
            raise StatusError(SW_TOOLKIT_BUSY)
        return self._report(part, self._receiver.refuse(first, Rsc.MEMORY))

    def _report(self, part: ReceivedPart, receipt: Receipt) -> ResponseApdu:
        response, profile = receipt.response, self._environment.profile
        if response is None:
            return self._done()
        if receipt.reply.header.by_submit:
            self._submit(part, response)
            return self._done()
        if profile.ota_report_commands and receipt.commands > profile.ota_report_commands:
            self._submit(part, response)
            return self._done(delivery_report(receipt.reply.packet(Rsc.MORE_TIME)))
        report = delivery_report(response)
        if len(report) > profile.ota_report_limit:
            self._submit(part, response)
            return self._done(delivery_report(receipt.reply.packet(Rsc.BY_SUBMIT)))
        return self._done(report)

    def _submit(self, part: ReceivedPart, response: bytes) -> None:
        self._references += 1
        self._proactive += submit_messages(response, part.originator, part.service_centre, self._references)


def _objects(data: bytes) -> tuple[Tlv, ...]:
    try:
        return parse_tlvs(data)
    except TlvError:
        raise StatusError(SW_WRONG_DATA) from None


def open_toolkit(environment: Environment) -> OtaToolkit | None:
    """Return the toolkit of a card that knows SCP80, else None."""
    known = any(protocol == 0x80 for protocol, _ in environment.profile.channels)
    return OtaToolkit(environment) if known else None
