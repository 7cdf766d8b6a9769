"""Checksums and ciphers of secured packets.

Source: ETSI TS 102 225 §5.1.2 (ciphering), §5.1.3 (redundancy checks and cryptographic checksums).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from opentsm.card.crypto.cipher import (
    AES_BLOCK,
    DES_BLOCK,
    aes_cbc_decrypt,
    aes_cbc_encrypt,
    single_des,
    tdes_cbc_decrypt,
    tdes_cbc_encrypt,
    tdes_ecb_decrypt,
    tdes_ecb_encrypt,
)
from opentsm.card.crypto.mac import cmac, tdes_mac
from opentsm.card.errors import OtaError, PaddingError
from opentsm.card.ota.key_reference import Algorithm, KeyReference, PacketKeys, resolve
from opentsm.card.ota.spi import Integrity

CMAC_LENGTHS: Final = (8, 4)
_CRC16_POLYNOMIAL: Final = 0x8408


@dataclass(frozen=True, slots=True)
class Protection:
    """Checksum and cipher of one packet, ready to use.

    Attributes:
        check_lengths: octets that the checksum may have; the first is the usual one.
        block: what a ciphered part is padded to; 1 when it is not ciphered.
    """

    check_lengths: tuple[int, ...]
    block: int
    check: Callable[[bytes], bytes] = field(repr=False)
    encrypt: Callable[[bytes], bytes] = field(repr=False)
    decrypt: Callable[[bytes], bytes] = field(repr=False)


def protection(
    integrity: Integrity, kid: int, kic: int, keys: PacketKeys, *, ciphered: bool, weak_des: bool
) -> Protection:
    """Set up what protects a packet.

    Args:
        integrity: kind of checksum.
        kid: the octet KID.
        kic: the octet KIc.
        keys: the keys that these two name.
        ciphered: whether the packet is ciphered.
        weak_des: allow single DES.

    Raises:
        OtaError: a key is missing, or an algorithm is reserved, refused or unknown.
    """
    lengths, check = _checksum(integrity, kid, keys, weak_des=weak_des)
    if not ciphered:
        return Protection(lengths, 1, check, _same, _same)
    reference = KeyReference.from_byte(kic)
    algorithm, key = resolve(reference, keys.kic, keys.implicit, weak_des=weak_des)
    block = AES_BLOCK if algorithm is Algorithm.AES else DES_BLOCK
    return Protection(lengths, block, check, _encryptor(algorithm, key), _decryptor(algorithm, key))


def crc16(data: bytes) -> bytes:
    """Compute the 16-bit redundancy check of ISO/IEC 13239, most significant octet first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_CRC16_POLYNOMIAL if value & 1 else 0)
    return (value ^ 0xFFFF).to_bytes(2, "big")


def crc32(data: bytes) -> bytes:
    """Compute the 32-bit redundancy check of ISO/IEC 13239, most significant octet first."""
    return zlib.crc32(data).to_bytes(4, "big")


def _checksum(
    integrity: Integrity, kid: int, keys: PacketKeys, *, weak_des: bool
) -> tuple[tuple[int, ...], Callable[[bytes], bytes]]:
    if integrity is Integrity.NONE:
        return (0,), lambda _: b""
    if integrity is Integrity.DS:
        raise OtaError("no format is defined for digital signatures of packets")
    reference = KeyReference.from_byte(kid, redundancy=integrity is Integrity.RC)
    if integrity is Integrity.RC:
        return _redundancy_check(reference.algorithm)
    algorithm, key = resolve(reference, keys.kid, keys.implicit, weak_des=weak_des)
    if algorithm is Algorithm.DES_ECB:
        raise OtaError("there is no checksum with DES in ECB mode")
    if algorithm is Algorithm.AES:
        return CMAC_LENGTHS, lambda data: cmac(key, data)[:DES_BLOCK]
    mac_key = single_des(key) if algorithm is Algorithm.DES else key
    return (DES_BLOCK,), lambda data: tdes_mac(mac_key, _zero_padded(data))


def _redundancy_check(algorithm: Algorithm) -> tuple[tuple[int, ...], Callable[[bytes], bytes]]:
    if algorithm is Algorithm.CRC16:
        return (2,), crc16
    if algorithm is Algorithm.CRC32:
        return (4,), crc32
    raise OtaError(f"redundancy check {algorithm.value} is not known")


def _zero_padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % DES_BLOCK)


def _encryptor(algorithm: Algorithm, key: bytes) -> Callable[[bytes], bytes]:
    if algorithm is Algorithm.AES:
        return lambda data: aes_cbc_encrypt(key, bytes(AES_BLOCK), data)
    if algorithm is Algorithm.DES_ECB:
        return lambda data: tdes_ecb_encrypt(single_des(key), data)
    cipher_key = single_des(key) if algorithm is Algorithm.DES else key
    return lambda data: tdes_cbc_encrypt(cipher_key, bytes(DES_BLOCK), data)


def _decryptor(algorithm: Algorithm, key: bytes) -> Callable[[bytes], bytes]:
    if algorithm is Algorithm.AES:
        return _whole_blocks(lambda data: aes_cbc_decrypt(key, bytes(AES_BLOCK), data))
    if algorithm is Algorithm.DES_ECB:
        return _whole_blocks(lambda data: tdes_ecb_decrypt(single_des(key), data))
    cipher_key = single_des(key) if algorithm is Algorithm.DES else key
    return _whole_blocks(lambda data: tdes_cbc_decrypt(cipher_key, bytes(DES_BLOCK), data))


def _whole_blocks(decrypt: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def checked(data: bytes) -> bytes:
        try:
            return decrypt(data)
        except PaddingError as error:
            raise OtaError(f"the ciphered part is cut off: {error}") from error

    return checked


def _same(data: bytes) -> bytes:
    return data
