"""Secured packets on the card: opening a command packet, sealing the proof of receipt.

Source: ETSI TS 102 225 §5.1 (command packet), §5.1.1 (SPI), §5.1.2 (KIc), §5.1.3 (KID), §5.2 (response).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from hmac import compare_digest
from typing import Final
from zlib import crc32

from opentsm.card.crypto.cipher import aes_cbc_decrypt, aes_cbc_encrypt, tdes_cbc_decrypt, tdes_cbc_encrypt
from opentsm.card.crypto.mac import cmac, tdes_mac
from opentsm.vse.state import SYMMETRIC_AES, SYMMETRIC_DES, Key

CLEAR_HEADER: Final = 10
_AFTER_CHL: Final = 13
_COUNTER: Final = slice(0, 5)
_PADDING_AT: Final = 5
_RESPONSE_LENGTH: Final = 10
_RESPONSE_ELEMENT: Final = bytes([0x02, 0x71, 0x00])
_X25: Final = 0x8408


class Rsc(IntEnum):
    """Response status codes (TS 102 225 Table 5)."""

    OK = 0x00
    CHECK_FAILED = 0x01
    COUNTER_LOW = 0x02
    COUNTER_HIGH = 0x03
    COUNTER_BLOCKED = 0x04
    CIPHERING = 0x05
    UNIDENTIFIED = 0x06
    MEMORY = 0x07
    MORE_TIME = 0x08
    TAR_UNKNOWN = 0x09
    LEVEL = 0x0A
    BY_SUBMIT = 0x0B


class PacketRefusedError(Exception):
    """The packet is refused with this response status code.

    Args:
        code: the response status code.
    """

    def __init__(self, code: Rsc) -> None:
        super().__init__(f"response status {code:02X}")
        self.code = code


class MalformedPacketError(Exception):
    """The bytes are no command packet: nobody could be answered."""


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of a command packet, and what follows it.

    Attributes:
        covered: CPL to TAR, as the checksum covers them.
        body: counter to the end, ciphered or not.
    """

    spi1: int
    spi2: int
    kic: int
    kid: int
    tar: bytes
    check_length: int
    covered: bytes
    body: bytes = field(repr=False)

    @property
    def integrity(self) -> int:
        """0 none, 1 redundancy check, 2 cryptographic checksum, 3 digital signature."""
        return self.spi1 & 0x03

    @property
    def ciphered(self) -> bool:
        """Tell whether counter and data are ciphered."""
        return bool(self.spi1 & 0x04)

    @property
    def counter_mode(self) -> int:
        """0 none, 1 not checked, 2 higher, 3 exactly one more."""
        return self.spi1 >> 3 & 0x03

    @property
    def response_wanted(self) -> int:
        """0 never, 1 always, 2 on error."""
        return self.spi2 & 0x03

    @property
    def by_submit(self) -> bool:
        """Tell whether the proof of receipt goes by SMS-SUBMIT."""
        return bool(self.spi2 & 0x20)


def read_header(packet: bytes) -> Header:
    """Take a command packet apart. The CPL may be missing, as one sender drops it where nothing is ciphered.

    Raises:
        MalformedPacketError: its lengths contradict each other, or reserved bits are set.
    """
    if len(packet) < 2 or int.from_bytes(packet[:2], "big") != len(packet) - 2:
        packet = len(packet).to_bytes(2, "big") + packet
    if len(packet) < 3 + _AFTER_CHL or len(packet) > 0xFFFF:
        raise MalformedPacketError
    check_length = packet[2] - _AFTER_CHL
    spi1, spi2, kic, kid = packet[3:7]
    if check_length < 0 or 3 + packet[2] > len(packet) or spi1 & 0xE0 or spi2 & 0xC0 or spi2 & 3 == 3:
        raise MalformedPacketError
    tar, body = packet[7:CLEAR_HEADER], packet[CLEAR_HEADER:]
    return Header(spi1, spi2, kic, kid, tar, check_length, packet[:CLEAR_HEADER], body)


def read_first_part(part: bytes) -> Header:
    """Read the clear header in the first part of a packet whose other parts are not there.

    Raises:
        MalformedPacketError: not even the header is there.
    """
    if len(part) < CLEAR_HEADER:
        raise MalformedPacketError
    return read_header((len(part) - 2).to_bytes(2, "big") + part[2:])


@dataclass(frozen=True, slots=True)
class Cipher:
    """One key under one algorithm."""

    block: int
    encrypt: Callable[[bytes], bytes] = field(repr=False)
    decrypt: Callable[[bytes], bytes] = field(repr=False)
    mac: Callable[[bytes], bytes] = field(repr=False)


def cipher_for(reference: int, key: Key | None) -> Cipher:
    """Return the cipher that the low half of KIc or KID names, with its key.

    Raises:
        PacketRefusedError: no key, another kind of key, or an algorithm that this card lacks (single DES).
    """
    if key is None:
        raise PacketRefusedError(Rsc.UNIDENTIFIED)
    algorithm, value = reference & 0x0F, key.value
    if key.type == SYMMETRIC_AES and algorithm in {0x00, 0x02}:
        return Cipher(
            16,
            lambda data: aes_cbc_encrypt(value, bytes(16), data),
            lambda data: aes_cbc_decrypt(value, bytes(16), data),
            lambda data: cmac(value, data)[:8],
        )
    named = {0x00: len(value), 0x05: 16, 0x09: 24}.get(algorithm)
    if key.type == SYMMETRIC_DES and named == len(value):
        return Cipher(
            8,
            lambda data: tdes_cbc_encrypt(value, bytes(8), data),
            lambda data: tdes_cbc_decrypt(value, bytes(8), data),
            lambda data: tdes_mac(value, data + bytes(-len(data) % 8)),
        )
    raise PacketRefusedError(Rsc.UNIDENTIFIED)


@dataclass(frozen=True, slots=True)
class PacketCiphers:
    """What the key set of a packet gives: `kic` ciphers, `kid` authenticates; None without a key."""

    kic: Cipher | None
    kid: Cipher | None


@dataclass(frozen=True, slots=True)
class OpenedPacket:
    """A command packet whose checksum is right."""

    counter: int
    data: bytes = field(repr=False)


def open_packet(header: Header, ciphers: PacketCiphers) -> OpenedPacket:
    """Decipher and check a command packet.

    Raises:
        PacketRefusedError: 01, 05 or 06.
    """
    check, lengths = _check(header.integrity, header.kid, ciphers)
    if header.check_length not in lengths:
        raise PacketRefusedError(Rsc.UNIDENTIFIED)
    body = _decipher(header, ciphers) if header.ciphered else header.body
    start, end = _PADDING_AT + 1, _PADDING_AT + 1 + header.check_length
    received, padded = body[start:end], body[end:]
    expected = check(header.covered + body[:start] + padded)[: header.check_length]
    if not compare_digest(expected, received):
        raise PacketRefusedError(Rsc.CHECK_FAILED)
    padding = body[_PADDING_AT]
    if padding > len(padded):
        raise PacketRefusedError(Rsc.CIPHERING)
    return OpenedPacket(int.from_bytes(body[_COUNTER], "big"), padded[: len(padded) - padding])


def _decipher(header: Header, ciphers: PacketCiphers) -> bytes:
    if ciphers.kic is None:
        raise PacketRefusedError(Rsc.UNIDENTIFIED)
    if len(header.body) % ciphers.kic.block:
        raise PacketRefusedError(Rsc.CIPHERING)
    return ciphers.kic.decrypt(header.body)


def _check(
    integrity: int, kid: int, ciphers: PacketCiphers
) -> tuple[Callable[[bytes], bytes], tuple[int, ...]]:
    """Return how to compute a checksum, and the lengths that it may have; the first is the card's own."""
    if integrity == 0:
        return (lambda _: b""), (0,)
    if integrity == 1:
        if kid & 0x0F == 0x01:
            return crc_16, (2,)
        if kid & 0x0F == 0x05:
            return (lambda data: crc32(data).to_bytes(4, "big")), (4,)
    if integrity == 2 and ciphers.kid is not None:
        return ciphers.kid.mac, (8, 4) if ciphers.kid.block == 16 else (8,)
    raise PacketRefusedError(Rsc.UNIDENTIFIED)


def crc_16(data: bytes) -> bytes:
    """Compute the redundancy check with x^16 + x^12 + x^5 + 1, reflected, start and end inverted."""
    remainder = 0xFFFF
    for octet in data:
        remainder ^= octet
        for _ in range(8):
            remainder = (remainder >> 1) ^ (_X25 * (remainder & 1))
    return (remainder ^ 0xFFFF).to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ResponseSeal:
    """How the response to one packet is protected, settled before the packet is carried out."""

    tar: bytes
    check: Callable[[bytes], bytes] = field(repr=False)
    check_length: int
    cipher: Cipher | None

    def seal(self, counter: bytes, code: Rsc, data: bytes) -> bytes:
        """Return the response packet, RPL to its end; the checksum covers 02 71 00 too (TS 31.115 §4)."""
        padding = 0
        if self.cipher is not None:
            padding = -(7 + self.check_length + len(data)) % self.cipher.block
        head = counter + bytes([padding, code])
        tail = data + bytes(padding)
        clear = bytes([_RESPONSE_LENGTH + self.check_length]) + self.tar
        length = (len(clear) + len(head) + self.check_length + len(tail)).to_bytes(2, "big")
        checksum = self.check(_RESPONSE_ELEMENT + length + clear + head + tail)[: self.check_length]
        inner = head + checksum + tail
        return length + clear + (self.cipher.encrypt(inner) if self.cipher else inner)


def response_seal(header: Header, ciphers: PacketCiphers) -> ResponseSeal:
    """Return what SPI2 asks for.

    Raises:
        PacketRefusedError: 06, it cannot be made.
    """
    check, lengths = _check(header.spi2 >> 2 & 0x03, header.kid, ciphers)
    cipher = ciphers.kic if header.spi2 & 0x10 else None
    if header.spi2 & 0x10 and cipher is None:
        raise PacketRefusedError(Rsc.UNIDENTIFIED)
    return ResponseSeal(header.tar, check, lengths[0], cipher)


def clear_seal(header: Header) -> ResponseSeal:
    """Return the response without protection, for packets of unknown origin.

    A checksum over the answer to a packet that anybody could have sent would let anybody collect checksums.
    """
    return ResponseSeal(header.tar, lambda _: b"", 0, None)
