"""Short messages that carry secured packets: user data header, concatenation, TPDUs, ENVELOPE.

Source: 3GPP TS 23.040 §9.2.2 (TPDUs), §9.2.3.24 (user data header); 3GPP TS 31.115 §4 (packets in short
messages); ETSI TS 102 223 §7.1 (ENVELOPE for SMS-PP download).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv, parse_tlv, parse_tlvs
from opentsm.card.errors import CardError, OtaError

MAX_USER_DATA: Final = 140
_CONCAT_8: Final = 0x00
_CONCAT_16: Final = 0x08
_MAX_PARTS: Final = 255
_UDHI: Final = 0x40
_SUBMIT: Final = 0x01
_TYPE: Final = 0x03
_VALIDITY_BYTES: Final = {0x00: 0, 0x10: 1, 0x08: 7, 0x18: 7}
_SMS_PP: Final = 0xD1
_PACKET_PID: Final = 0x7F
_PACKET_DCS: Final = 0xF6
_INTERNATIONAL: Final = 0x91
_DIGITS: Final = "0123456789*#abc"


class PacketKind(IntEnum):
    """Information element of a secured packet."""

    COMMAND = 0x70
    RESPONSE = 0x71


@dataclass(frozen=True, slots=True)
class Part:
    """The user data of one short message, taken apart.

    Attributes:
        kind: what the packet is; only the first part says it.
        reference: the same in all parts; None when there is only one.
    """

    kind: PacketKind | None
    payload: bytes
    reference: int | None = None
    total: int = 1
    sequence: int = 1
    wide: bool = False


def split_packet(
    packet: bytes, kind: PacketKind = PacketKind.COMMAND, *, reference: int = 0, wide: bool = False
) -> tuple[bytes, ...]:
    """Return the user data of the short messages that carry a packet.

    Args:
        packet: CPL or RPL to the end.
        kind: command or response.
        reference: of a concatenated message; 8 bits, or 16 when `wide`.
        wide: use 16-bit references.

    Raises:
        OtaError: the reference does not fit, or more than 255 messages would be needed.
    """
    packet_element = bytes((kind, 0))
    if 1 + len(packet_element) + len(packet) <= MAX_USER_DATA:
        return (_user_data(packet_element, packet),)
    if not 0 <= reference <= (0xFFFF if wide else 0xFF):
        raise OtaError(f"reference {reference} does not fit")
    overhead = 1 + len(_concatenation(reference, 1, 1, wide=wide))
    first = MAX_USER_DATA - overhead - len(packet_element)
    step = MAX_USER_DATA - overhead
    rest = [packet[at : at + step] for at in range(first, len(packet), step)]
    total = 1 + len(rest)
    if total > _MAX_PARTS:
        raise OtaError(f"{len(packet)} octets do not fit into {_MAX_PARTS} short messages")
    head = _user_data(_concatenation(reference, total, 1, wide=wide) + packet_element, packet[:first])
    return (
        head,
        *(
            _user_data(_concatenation(reference, total, at, wide=wide), part)
            for at, part in enumerate(rest, 2)
        ),
    )


def join_packet(messages: Iterable[bytes]) -> tuple[PacketKind, bytes]:
    """Put the user data of short messages together again, in whatever order they came.

    Raises:
        OtaError: a part is missing, strange or double, or none says what the packet is.
    """
    parts = sorted((parse_user_data(one) for one in messages), key=lambda part: part.sequence)
    if not parts:
        raise OtaError("there is no short message")
    if len({(part.reference, part.total, part.wide) for part in parts}) != 1:
        raise OtaError("the short messages belong to different packets")
    if [part.sequence for part in parts] != list(range(1, parts[0].total + 1)):
        raise OtaError(f"of {parts[0].total} short messages some are missing or double")
    if parts[0].kind is None:
        raise OtaError("the short message carries no secured packet")
    return parts[0].kind, b"".join(part.payload for part in parts)


def parse_user_data(data: bytes) -> Part:
    """Take the user data of one short message apart.

    Raises:
        OtaError: the user data header is damaged.
    """
    if not data or data[0] + 1 > len(data):
        raise OtaError("the user data header is cut off")
    header, payload = data[1 : data[0] + 1], data[data[0] + 1 :]
    kind: PacketKind | None = None
    reference, total, sequence, wide = None, 1, 1, False
    for identifier, value in _elements(header):
        if identifier in (PacketKind.COMMAND, PacketKind.RESPONSE):
            kind = PacketKind(identifier)
        elif identifier in (_CONCAT_8, _CONCAT_16):
            wide = identifier == _CONCAT_16
            reference, total, sequence = _concatenated(value, wide=wide)
    return Part(kind, payload, reference, total, sequence, wide)


def _elements(header: bytes) -> Iterable[tuple[int, bytes]]:
    offset = 0
    while offset < len(header):
        length = header[offset + 1] if offset + 1 < len(header) else len(header)
        end = offset + 2 + length
        if end > len(header):
            raise OtaError("an information element of the user data header is cut off")
        yield header[offset], header[offset + 2 : end]
        offset = end


def _concatenation(reference: int, total: int, sequence: int, *, wide: bool) -> bytes:
    number = reference.to_bytes(2 if wide else 1, "big")
    value = number + bytes((total, sequence))
    return bytes((_CONCAT_16 if wide else _CONCAT_8, len(value))) + value


def _concatenated(value: bytes, *, wide: bool) -> tuple[int, int, int]:
    if len(value) != (4 if wide else 3):
        raise OtaError("the concatenation element has a wrong length")
    total, sequence = value[-2:]
    if not 1 <= sequence <= total:
        raise OtaError(f"part {sequence} of {total} is not possible")
    return int.from_bytes(value[:-2], "big"), total, sequence


def _user_data(elements: bytes, payload: bytes) -> bytes:
    return bytes((len(elements),)) + elements + payload


@dataclass(frozen=True, slots=True)
class Address:
    """A telephone number with its type of number and numbering plan."""

    digits: str
    kind: int = _INTERNATIONAL

    def __post_init__(self) -> None:
        if not 1 <= len(self.digits) <= 20 or any(digit not in _DIGITS for digit in self.digits):
            raise OtaError("an address has 1 to 20 digits")
        if not 0x80 <= self.kind <= 0xFF:
            raise OtaError("the type of an address has its highest bit set")

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read a number as people write it: with a plus it is international, else unknown."""
        digits = text.replace(" ", "")
        return cls(digits.removeprefix("+"), _INTERNATIONAL if digits.startswith("+") else 0x81)

    def packed(self) -> bytes:
        """Encode type and digits, two a byte, the lower half first."""
        codes = [_DIGITS.index(digit) for digit in self.digits]
        codes += [0x0F] * (len(codes) % 2)
        pairs = zip(codes[::2], codes[1::2], strict=True)
        return bytes((self.kind,)) + bytes(high << 4 | low for low, high in pairs)

    def to_tpdu(self) -> bytes:
        """Encode the address field of a TPDU: the length counts digits."""
        return bytes((len(self.digits),)) + self.packed()

    @classmethod
    def from_packed(cls, data: bytes, count: int | None = None) -> "Address":
        """Decode type and digits; `count` is the number of digits where it is known."""
        if not data:
            raise OtaError("the address is empty")
        codes = [half for byte in data[1:] for half in (byte & 0x0F, byte >> 4)]
        if count is None and codes[-1:] == [0x0F]:
            codes.pop()
        if any(code == 0x0F for code in codes[:count]):
            raise OtaError("the address has a filler among its digits")
        return cls("".join(_DIGITS[code] for code in codes[:count]), data[0])

    def __str__(self) -> str:
        return ("+" if self.kind == _INTERNATIONAL else "") + self.digits


@dataclass(frozen=True, slots=True)
class SmsTpdu:
    """A SMS-DELIVER (to the card) or SMS-SUBMIT (from it) with a user data header.

    Attributes:
        address: originator of a SMS-DELIVER, destination of a SMS-SUBMIT.
        timestamp: seven octets, SMS-DELIVER only.
    """

    user_data: bytes
    address: Address
    submit: bool = False
    pid: int = _PACKET_PID
    dcs: int = _PACKET_DCS
    timestamp: bytes = bytes(7)
    message_reference: int = 0

    def to_bytes(self) -> bytes:
        """Encode the TPDU.

        Raises:
            OtaError: more than 140 octets of user data.
        """
        if len(self.user_data) > MAX_USER_DATA or len(self.timestamp) != 7:
            raise OtaError(f"a short message holds {MAX_USER_DATA} octets, a time stamp seven")
        tail = bytes((len(self.user_data),)) + self.user_data
        body = self.address.to_tpdu() + bytes((self.pid, self.dcs))
        if self.submit:
            return bytes((_UDHI | _SUBMIT, self.message_reference)) + body + tail
        return bytes((_UDHI,)) + body + self.timestamp + tail

    @classmethod
    def parse(cls, data: bytes) -> "SmsTpdu":
        """Decode a SMS-DELIVER or SMS-SUBMIT of 8-bit data with a user data header.

        Raises:
            OtaError: it is cut off, another TPDU, or without user data header.
        """
        reader = _Reader(data)
        first = reader.byte()
        if first & _TYPE > _SUBMIT or not first & _UDHI:
            raise OtaError("this is no SMS-DELIVER or SMS-SUBMIT with a user data header")
        submit = first & _TYPE == _SUBMIT
        reference = reader.byte() if submit else 0
        count = reader.byte()
        address = Address.from_packed(reader.take(1 + (count + 1) // 2), count)
        pid, dcs = reader.byte(), reader.byte()
        timestamp = reader.take(_VALIDITY_BYTES[first & 0x18] if submit else 7)
        user_data = reader.rest(reader.byte())
        return cls(user_data, address, submit, pid, dcs, bytes(7) if submit else timestamp, reference)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def take(self, length: int) -> bytes:
        end = self._offset + length
        if end > len(self._data):
            raise OtaError("the TPDU is cut off")
        value, self._offset = self._data[self._offset : end], end
        return value

    def byte(self) -> int:
        return self.take(1)[0]

    def rest(self, length: int) -> bytes:
        value = self.take(length)
        if self._offset != len(self._data):
            raise OtaError("the TPDU goes on behind its user data")
        return value


def envelope(tpdu: bytes, *, service_centre: Address | None = None) -> CommandApdu:
    """Return the ENVELOPE that hands a SMS-DELIVER to the card (SMS-PP download).

    Args:
        tpdu: the SMS-DELIVER.
        service_centre: who delivered it, where that is known.
    """
    value = encode_tlv(0x82, bytes((0x83, 0x81)))
    if service_centre is not None:
        value += encode_tlv(0x86, service_centre.packed())
    value += encode_tlv(0x8B, tpdu)
    return CommandApdu(0x80, 0xC2, 0, 0, encode_tlv(_SMS_PP, value), ne=256)


def open_envelope(command: CommandApdu) -> bytes:
    """Return the TPDU in an ENVELOPE for SMS-PP download.

    Raises:
        OtaError: it is another command or another envelope.
    """
    if command.ins != 0xC2:
        raise OtaError("this is no ENVELOPE")
    return _tpdu_in(command.data, _SMS_PP)


def open_proactive_message(data: bytes) -> bytes:
    """Return the TPDU in a proactive command SEND SHORT MESSAGE.

    Raises:
        OtaError: it is another proactive command.
    """
    return _tpdu_in(data, 0xD0)


def _tpdu_in(data: bytes, tag: int) -> bytes:
    try:
        outer = parse_tlv(data)
        # The highest bit of a tag is a demand to understand it (TS 102 223 §7.1), not part of its name.
        found = {one.tag & 0x7F: one.value for one in parse_tlvs(outer.value)} if outer.tag == tag else {}
    except CardError as error:
        raise OtaError(str(error)) from error
    if 0x0B not in found:
        raise OtaError("there is no short message in it")
    return found[0x0B]


def deliver_messages(
    messages: Sequence[bytes], originator: Address, *, timestamp: bytes = bytes(7)
) -> tuple[bytes, ...]:
    """Return the SMS-DELIVER TPDUs for the user data of one packet."""
    return tuple(SmsTpdu(one, originator, timestamp=timestamp).to_bytes() for one in messages)
