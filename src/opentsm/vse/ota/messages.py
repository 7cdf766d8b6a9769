"""Short messages on the card: what ENVELOPE brings, how parts are joined, what SEND SHORT MESSAGE takes.

Source: 3GPP TS 23.040 §9.2.2.1, §9.2.2.2 (SMS-DELIVER, SMS-SUBMIT), §9.2.3.24 (user data header);
3GPP TS 31.115 §4; ETSI TS 102 223 §6.6.9 (SEND SHORT MESSAGE), §7.1 (SMS-PP download).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from opentsm.card.codec.tlv import encode_tlv, find, parse_tlv, parse_tlvs
from opentsm.card.errors import TlvError

_SMS_PP_DOWNLOAD: Final = 0xD1
_PROACTIVE: Final = 0xD0
_COMMAND_PACKET: Final = 0x70
_RESPONSE_PACKET: Final = 0x71
_CONCATENATION: Final = {0x00: 3, 0x08: 4}
_USER_DATA: Final = 140
_PART_COST: Final = 8
_DELIVER: Final = 0x00
_HEADER_INDICATOR: Final = 0x40
_SUBMIT_FIRST: Final = 0x41
_PID: Final = 0x7F
_DCS: Final = 0xF6


class NotForUsError(Exception):
    """The envelope or its message is malformed, or carries no secured packet."""


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """One short message of a secured packet.

    Attributes:
        originator: address field as it stands in the TPDU, where an answer by SMS-SUBMIT goes.
        service_centre: address object of the ENVELOPE, or nothing.
        reference: concatenation reference with its width; None for a message of its own.
        starts: the part says that a command packet begins.
    """

    originator: bytes
    service_centre: bytes
    payload: bytes = field(repr=False)
    starts: bool
    reference: bytes | None = None
    total: int = 1
    sequence: int = 1


def read_envelope(data: bytes) -> ReceivedPart:
    """Read the data of ENVELOPE.

    Raises:
        NotForUsError: it is no SMS-PP download of a message with a user data header, or malformed.
    """
    try:
        outer = parse_tlv(data)
        objects = parse_tlvs(outer.value) if outer.tag == _SMS_PP_DOWNLOAD else ()
    except TlvError:
        raise NotForUsError from None
    tpdu = find(objects, 0x8B) or find(objects, 0x0B)
    if tpdu is None:
        raise NotForUsError
    centre = find(objects, 0x86) or find(objects, 0x06) or b""
    originator, user_data = _deliver(tpdu)
    return _part(originator, centre, user_data)


def _deliver(tpdu: bytes) -> tuple[bytes, bytes]:
    """Return the originating address and the user data of a SMS-DELIVER."""
    if len(tpdu) < 2 or tpdu[0] & 0x03 != _DELIVER or not tpdu[0] & _HEADER_INDICATOR:
        raise NotForUsError
    address_end = 3 + (tpdu[1] + 1) // 2
    # Behind the address: PID, DCS, a time stamp of seven octets, the length of the user data.
    length_at = address_end + 9
    if length_at >= len(tpdu) or length_at + 1 + tpdu[length_at] != len(tpdu):
        raise NotForUsError
    if tpdu[length_at] > _USER_DATA or tpdu[1] > 20:
        raise NotForUsError
    return tpdu[1:address_end], tpdu[length_at + 1 :]


def _part(originator: bytes, centre: bytes, user_data: bytes) -> ReceivedPart:
    if not user_data or user_data[0] >= len(user_data):
        raise NotForUsError
    header, payload = user_data[1 : 1 + user_data[0]], user_data[1 + user_data[0] :]
    starts, reference, total, sequence = False, None, 1, 1
    for identifier, value in _elements(header):
        if identifier == _COMMAND_PACKET:
            starts = True
        elif identifier in _CONCATENATION:
            if len(value) != _CONCATENATION[identifier]:
                raise NotForUsError
            reference, total, sequence = bytes([identifier]) + value[:-2], value[-2], value[-1]
    if not 1 <= sequence <= total or (reference is None and not starts):
        raise NotForUsError
    return ReceivedPart(originator, centre, payload, starts, reference, total, sequence)


def _elements(header: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(header):
        if at + 2 > len(header) or at + 2 + header[at + 1] > len(header):
            raise NotForUsError
        yield header[at], header[at + 2 : at + 2 + header[at + 1]]
        at += 2 + header[at + 1]


@dataclass(slots=True)
class _Pending:
    total: int
    parts: dict[int, bytes] = field(default_factory=dict)


class Reassembly:
    """Puts concatenated messages together. It is volatile, and holds at most `limit` octets."""

    __slots__ = ("_limit", "_pending")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: dict[tuple[bytes, bytes], _Pending] = {}

    def add(self, part: ReceivedPart) -> bytes | None:
        """Return the whole packet, or None while parts are missing; a part that comes twice counts once.

        Raises:
            MemoryError: the packet alone does not fit; its parts are dropped.
            NotForUsError: all parts are there, but none begins a command packet.
        """
        if part.reference is None:
            return part.payload
        name = (part.originator, part.reference)
        pending = self._pending.get(name)
        if pending is None or pending.total != part.total:
            pending = self._pending[name] = _Pending(part.total)
        payload = part.payload
        if part.starts != (part.sequence == 1):
            del self._pending[name]
            raise NotForUsError
        pending.parts[part.sequence] = payload
        self._make_room(name)
        if len(pending.parts) < pending.total:
            return None
        del self._pending[name]
        return b"".join(pending.parts[at] for at in range(1, pending.total + 1))

    def first_of(self, part: ReceivedPart) -> bytes:
        """Return what is held of the first part of the same packet, or nothing."""
        if part.reference is None:
            return b""
        pending = self._pending.get((part.originator, part.reference))
        return pending.parts.get(1, b"") if pending else b""

    def _make_room(self, name: tuple[bytes, bytes]) -> None:
        """Drop the oldest unfinished packets for this one; a packet that is too large itself is dropped."""
        while self._held() > self._limit:
            oldest = next(one for one in self._pending)
            if oldest == name and len(self._pending) > 1:
                # The one at work is young again: others go first.
                self._pending[name] = self._pending.pop(name)
                continue
            del self._pending[oldest]
            if oldest == name:
                raise MemoryError

    def _held(self) -> int:
        """Octets of payload, and what each part costs besides."""
        parts = [payload for one in self._pending.values() for payload in one.parts.values()]
        return sum(map(len, parts)) + _PART_COST * len(parts)


def delivery_report(response: bytes) -> bytes:
    """Return the user data of the delivery report: header element, then the response packet."""
    return bytes([2, _RESPONSE_PACKET, 0]) + response


def submit_messages(response: bytes, destination: bytes, centre: bytes, reference: int) -> list[bytes]:
    """Return the proactive commands SEND SHORT MESSAGE that carry a response packet as SMS-SUBMIT."""
    return [
        _send_short_message(_submit(user_data, destination), centre)
        for user_data in _split(response, reference)
    ]


def _split(response: bytes, reference: int) -> list[bytes]:
    if len(response) + 3 <= _USER_DATA:
        return [delivery_report(response)]
    first, step = _USER_DATA - 8, _USER_DATA - 6
    rest = [response[at : at + step] for at in range(first, len(response), step)]
    total = 1 + len(rest)
    concatenation = bytes([0x00, 0x03, reference & 0xFF, total])
    messages = [bytes([7]) + concatenation + bytes([1, _RESPONSE_PACKET, 0]) + response[:first]]
    return messages + [
        bytes([5]) + concatenation + bytes([number]) + payload for number, payload in enumerate(rest, 2)
    ]


def _submit(user_data: bytes, destination: bytes) -> bytes:
    return bytes([_SUBMIT_FIRST, 0]) + destination + bytes([_PID, _DCS, len(user_data)]) + user_data


def _send_short_message(tpdu: bytes, centre: bytes) -> bytes:
    content = encode_tlv(0x81, bytes([0x01, 0x13, 0x00])) + encode_tlv(0x82, bytes([0x81, 0x83]))
    content += encode_tlv(0x86, centre) if centre else b""
    return encode_tlv(_PROACTIVE, content + encode_tlv(0x8B, tpdu))
