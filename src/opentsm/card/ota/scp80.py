"""Secured packets: the command packet to a card and the response packet (PoR) from it.

    command   CPL(2) CHL(1) SPI(2) KIc(1) KID(1) TAR(3) | CNTR(5) PCNTR(1) RC/CC/DS data padding
    response  RPL(2) RHL(1) TAR(3)                      | CNTR(5) PCNTR(1) RSC(1) RC/CC/DS data padding

What stands behind the bar is ciphered. The checksum covers the whole packet but itself.
Source: ETSI TS 102 225 §5.1, §5.2; 3GPP TS 31.115 §4 (the header element before a response).
"""

from dataclasses import dataclass, field
from enum import IntEnum
from hmac import compare_digest
from typing import Final

from opentsm.card.errors import OtaError, PacketChecksumError
from opentsm.card.ota.key_reference import NO_KEYS, Algorithm, KeyReference, PacketKeys
from opentsm.card.ota.protection import Protection, protection
from opentsm.card.ota.spi import CounterMode, Integrity, PorRequest, Spi

COMMAND_HEADER: Final = bytes.fromhex("027000")
RESPONSE_HEADER: Final = bytes.fromhex("027100")
COUNTER_MAX: Final = 0xFFFFFFFFFF
MAX_PACKET: Final = 0xFFFF
_TAR_BYTES: Final = 3
_COUNTER_BYTES: Final = 5
# SPI, KIc, KID, TAR, counter and padding counter; TAR, counter, padding counter and status.
_COMMAND_FIXED: Final = 13
_RESPONSE_FIXED: Final = 10


class ResponseStatus(IntEnum):
    """Response status codes (TS 102 225 Table 5)."""

    POR_OK = 0x00
    CHECKSUM_FAILED = 0x01
    COUNTER_LOW = 0x02
    COUNTER_HIGH = 0x03
    COUNTER_BLOCKED = 0x04
    CIPHERING_ERROR = 0x05
    UNIDENTIFIED_SECURITY_ERROR = 0x06
    INSUFFICIENT_MEMORY = 0x07
    MORE_TIME = 0x08
    TAR_UNKNOWN = 0x09
    INSUFFICIENT_SECURITY_LEVEL = 0x0A
    RESPONSE_BY_SUBMIT = 0x0B
    RESPONSE_BY_USSD = 0x0C


@dataclass(frozen=True, slots=True)
class Policy:
    """What is refused unless it is asked for.

    Attributes:
        weak_des: allow single DES.
        aes_without_counter: allow AES in packets that can be replayed (TS 102 225 §5.1.2 does not).
    """

    weak_des: bool = False
    aes_without_counter: bool = False


STRICT: Final = Policy()
_REPLAY_CHECKED: Final = frozenset({CounterMode.HIGHER, CounterMode.NEXT})


@dataclass(frozen=True, slots=True)
class CommandPacket:
    """A command packet in clear.

    Attributes:
        kic, kid: the octets as they stand in the packet.
        tar: three octets.
        data: secured data without padding: remote APDUs, mostly.
    """

    spi: Spi
    kic: int
    kid: int
    tar: bytes
    counter: int = 0
    data: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if len(self.tar) != _TAR_BYTES:
            raise OtaError(f"a TAR has three octets, not {len(self.tar)}")
        if not 0 <= self.counter <= COUNTER_MAX:
            raise OtaError("the counter does not fit into five octets")
        if not 0 <= self.kic | self.kid <= 0xFF:
            raise OtaError("KIc and KID have one octet each")


@dataclass(frozen=True, slots=True)
class ResponsePacket:
    """A response packet in clear.

    Attributes:
        status: response status code; see `ResponseStatus`.
        authentic: whether a cryptographic checksum proved that the card made it.
    """

    tar: bytes
    counter: int
    status: int
    data: bytes = b""
    authentic: bool = False

    @property
    def status_name(self) -> str:
        """The status in words."""
        return _STATUS_WORDS.get(self.status, f"reserved status {self.status:02X}")


def encode_command(
    packet: CommandPacket, keys: PacketKeys = NO_KEYS, *, policy: Policy = STRICT, check_length: int = 0
) -> bytes:
    """Protect a command packet.

    Args:
        packet: what to send.
        keys: the keys that KIc and KID name.
        policy: what is allowed beyond good practice.
        check_length: 4 for a short AES checksum; 0 for the usual length.

    Returns:
        CPL to the end, without the user data header.

    Raises:
        OtaError: an algorithm is refused, a key missing, or the packet too long.
    """
    spi = packet.spi
    _check_replay_rule(packet, keys, policy)
    guard = protection(
        spi.integrity, packet.kid, packet.kic, keys, ciphered=spi.ciphered, weak_des=policy.weak_des
    )
    length = _check_length(guard, check_length)
    padding = -(_COUNTER_BYTES + 1 + length + len(packet.data)) % guard.block
    header = bytes((_COMMAND_FIXED + length,)) + spi.to_bytes() + bytes((packet.kic, packet.kid)) + packet.tar
    counter = packet.counter.to_bytes(_COUNTER_BYTES, "big") + bytes((padding,))
    data = packet.data + bytes(padding)
    size = _size(len(header) + len(counter) + length + len(data))
    checksum = guard.check(size + header + counter + data)[:length]
    return size + header + guard.encrypt(counter + checksum + data)


def peek_command(data: bytes) -> CommandPacket:
    """Read the clear header of a command packet; counter and data are left empty.

    Raises:
        OtaError: it is no command packet.
    """
    _, header, _ = _command_parts(data)
    return _command_header(header)


def decode_command(
    data: bytes, keys: PacketKeys = NO_KEYS, *, policy: Policy = Policy(aes_without_counter=True)
) -> CommandPacket:
    """Check and open a command packet.

    Args:
        data: with CPL, or without it (some senders drop it from packets that are not ciphered).
        keys: the keys that KIc and KID name.
        policy: what is allowed beyond good practice.

    Raises:
        OtaError: it is malformed, or an algorithm is refused.
        PacketChecksumError: the checksum is wrong.
    """
    size, header, secured = _command_parts(data)
    clear = _command_header(header)
    spi = clear.spi
    _check_replay_rule(clear, keys, policy)
    guard = protection(
        spi.integrity, clear.kid, clear.kic, keys, ciphered=spi.ciphered, weak_des=policy.weak_des
    )
    body = _Body.open(guard, secured, header[0] - _COMMAND_FIXED, extra=0)
    body.verify(guard, size + header)
    return CommandPacket(spi, clear.kic, clear.kid, clear.tar, body.counter, body.data())


def peek_response_tar(data: bytes) -> bytes:
    """Read the TAR of a response packet, with or without the user data header 027100.

    Raises:
        OtaError: it is no response packet.
    """
    _, header, _ = _response_parts(data.removeprefix(RESPONSE_HEADER))
    return header[1:]


def encode_response(
    packet: ResponsePacket,
    command: CommandPacket,
    keys: PacketKeys = NO_KEYS,
    *,
    policy: Policy = STRICT,
    header_in_checksum: bool = True,
) -> bytes:
    """Protect a response packet as the command asked for; RPL to the end, without the user data header.

    Raises:
        OtaError: an algorithm is refused, a key missing, or the packet too long.
    """
    guard = _response_guard(command, keys, policy)
    length = guard.check_lengths[0]
    padding = -(_COUNTER_BYTES + 2 + length + len(packet.data)) % guard.block
    counter = packet.counter.to_bytes(_COUNTER_BYTES, "big") + bytes((padding, packet.status))
    data = packet.data + bytes(padding)
    header = bytes((_RESPONSE_FIXED + length,)) + packet.tar
    size = _size(len(header) + len(counter) + length + len(data))
    prefix = RESPONSE_HEADER if header_in_checksum else b""
    checksum = guard.check(prefix + size + header + counter + data)[:length]
    return size + header + guard.encrypt(counter + checksum + data)


def decode_response(
    data: bytes,
    command: CommandPacket,
    keys: PacketKeys = NO_KEYS,
    *,
    policy: Policy = STRICT,
    header_in_checksum: bool = True,
) -> ResponsePacket:
    """Check and open a response packet.

    A card that could not check the command cannot protect its answer: a refusal may come in clear, and then
    is not `authentic`. A success in clear where protection was asked for is refused.

    Args:
        data: the packet, with or without the user data header 027100.
        command: the command packet that it answers.
        keys: the keys that KIc and KID of the command name.
        policy: what is allowed beyond good practice.
        header_in_checksum: the checksum covers 027100 too (TS 31.115); old cards leave it out.

    Raises:
        OtaError: it is malformed, or answers another command.
        PacketChecksumError: the checksum is wrong or missing.
    """
    size, header, secured = _response_parts(data.removeprefix(RESPONSE_HEADER))
    if header[1:] != command.tar:
        raise OtaError(f"the response is of TAR {header[1:].hex().upper()}, not of the one asked")
    guard = _response_guard(command, keys, policy)
    if _is_unprotected(command.spi, guard, header[0], secured):
        return _clear_refusal(header, secured)
    body = _Body.open(guard, secured, header[0] - _RESPONSE_FIXED, extra=1)
    body.verify(guard, (RESPONSE_HEADER if header_in_checksum else b"") + size + header)
    authentic = command.spi.por_integrity is Integrity.CC
    return ResponsePacket(header[1:], body.counter, body.extra[0], body.data(), authentic)


def _is_unprotected(spi: Spi, guard: Protection, header_length: int, secured: bytes) -> bool:
    """Tell whether the card sent in clear what it was asked to protect."""
    if spi.por_integrity is not Integrity.NONE:
        return header_length == _RESPONSE_FIXED
    return spi.por_ciphered and len(secured) % guard.block != 0


def _clear_refusal(header: bytes, secured: bytes) -> ResponsePacket:
    if header[0] != _RESPONSE_FIXED or len(secured) < _COUNTER_BYTES + 2:
        raise OtaError("the response packet is too short")
    status = secured[_COUNTER_BYTES + 1]
    if status == ResponseStatus.POR_OK:
        raise PacketChecksumError("the response reports success without the protection that was asked for")
    counter = int.from_bytes(secured[:_COUNTER_BYTES], "big")
    return ResponsePacket(header[1:], counter, status, secured[_COUNTER_BYTES + 2 :])


def _response_guard(command: CommandPacket, keys: PacketKeys, policy: Policy) -> Protection:
    spi = command.spi
    ciphered, weak = spi.por_ciphered, policy.weak_des
    return protection(spi.por_integrity, command.kid, command.kic, keys, ciphered=ciphered, weak_des=weak)


@dataclass(frozen=True, slots=True)
class _Body:
    """What stands behind the clear header, deciphered: counter, padding counter, status, checksum, data."""

    head: bytes
    checksum: bytes
    padded: bytes = field(repr=False)

    @classmethod
    def open(cls, guard: Protection, secured: bytes, check_length: int, *, extra: int) -> "_Body":
        if check_length not in guard.check_lengths:
            raise OtaError(f"a checksum of {check_length} octets does not belong to the algorithm")
        clear = guard.decrypt(secured)
        start = _COUNTER_BYTES + 1 + extra
        if len(clear) < start + check_length:
            raise OtaError("the packet is shorter than its header says")
        end = start + check_length
        return cls(clear[:start], clear[start:end], clear[end:])

    def verify(self, guard: Protection, header: bytes) -> None:
        expected = guard.check(header + self.head + self.padded)[: len(self.checksum)]
        if not compare_digest(expected, self.checksum):
            raise PacketChecksumError

    @property
    def counter(self) -> int:
        return int.from_bytes(self.head[:_COUNTER_BYTES], "big")

    @property
    def extra(self) -> bytes:
        return self.head[_COUNTER_BYTES + 1 :]

    def data(self) -> bytes:
        padding = self.head[_COUNTER_BYTES]
        if padding > len(self.padded):
            raise OtaError("the padding counter is larger than the data: other keys, or a damaged packet")
        return self.padded[: len(self.padded) - padding]


def _command_parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return CPL, clear header and the rest; a missing CPL is put back."""
    complete = len(data) > 2 and int.from_bytes(data[:2], "big") == len(data) - 2
    size, rest = (data[:2], data[2:]) if complete else (b"", data)
    header, secured = rest[:8], rest[8:]
    if len(header) < 8 or not _COMMAND_FIXED <= header[0] <= len(rest) - 1:
        raise OtaError("this is no command packet: its lengths do not fit")
    return size or _size(len(rest)), header, secured


def _response_parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    size, header, secured = data[:2], data[2:6], data[6:]
    if len(header) < 4 or int.from_bytes(size, "big") != len(data) - 2 or header[0] < _RESPONSE_FIXED:
        raise OtaError("this is no response packet: its lengths do not fit")
    return size, header, secured


def _command_header(header: bytes) -> CommandPacket:
    return CommandPacket(Spi.from_bytes(header[1:3]), header[3], header[4], header[5:8])


def _check_length(guard: Protection, wanted: int) -> int:
    length = wanted or guard.check_lengths[0]
    if length not in guard.check_lengths:
        raise OtaError(f"the checksum has {guard.check_lengths} octets, not {wanted}")
    return length


def _size(length: int) -> bytes:
    if length > MAX_PACKET:
        raise OtaError(f"a packet of {length} octets is too long")
    return length.to_bytes(2, "big")


def _check_replay_rule(packet: CommandPacket, keys: PacketKeys, policy: Policy) -> None:
    """TS 102 225 §5.1.2: AES goes with a counter that is checked."""
    if policy.aes_without_counter or packet.spi.counter in _REPLAY_CHECKED:
        return
    used = []
    if packet.spi.ciphered:
        used.append(KeyReference.from_byte(packet.kic).algorithm)
    if packet.spi.integrity is Integrity.CC:
        used.append(KeyReference.from_byte(packet.kid).algorithm)
    if Algorithm.AES in (keys.implicit if one is Algorithm.IMPLICIT else one for one in used):
        raise OtaError("AES needs a counter that the card checks: without one the packet can be replayed")


def wants_response(spi: Spi, status: int) -> bool:
    """Tell whether a proof of receipt with this status is wanted."""
    return spi.por is PorRequest.ALWAYS or (
        spi.por is PorRequest.ON_ERROR and status != ResponseStatus.POR_OK
    )


_STATUS_WORDS: Final[dict[int, str]] = {
    ResponseStatus.POR_OK: "the packet was accepted",
    ResponseStatus.CHECKSUM_FAILED: "the checksum (RC, CC or DS) failed",
    ResponseStatus.COUNTER_LOW: "the counter is too low: a replay, or the server's counter is behind",
    ResponseStatus.COUNTER_HIGH: "the counter is too high",
    ResponseStatus.COUNTER_BLOCKED: "the counter is at its end: the key set cannot be used any more",
    ResponseStatus.CIPHERING_ERROR: "the packet could not be deciphered",
    ResponseStatus.UNIDENTIFIED_SECURITY_ERROR: "unidentified security error: key or algorithm unknown",
    ResponseStatus.INSUFFICIENT_MEMORY: "not enough memory for the message",
    ResponseStatus.MORE_TIME: "more time is needed; the result comes later",
    ResponseStatus.TAR_UNKNOWN: "no application has this TAR",
    ResponseStatus.INSUFFICIENT_SECURITY_LEVEL: "the security level is below the application's minimum",
    ResponseStatus.RESPONSE_BY_SUBMIT: "the response data comes by SMS-SUBMIT",
    ResponseStatus.RESPONSE_BY_USSD: "the response data comes by USSD",
}
