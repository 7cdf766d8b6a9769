"""Message authentication codes: AES-CMAC, triple DES CBC-MAC and the retail MAC.

Source: SP 800-38B; GPCS 2.3.1 B.1.2.1 (full triple DES), B.1.2.2 (single DES plus final triple DES).
"""

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from opentsm.card.crypto.cipher import DES_BLOCK, single_des, tdes_cbc_encrypt
from opentsm.card.errors import KeyFormatError, PaddingError


class CmacKey:
    """An AES key set up once for many CMACs."""

    __slots__ = ("_context",)

    def __init__(self, key: bytes) -> None:
        """Set up the key.

        Args:
            key: 16, 24 or 32 bytes.

        Raises:
            KeyFormatError: wrong key length.
        """
        if len(key) not in (16, 24, 32):
            raise KeyFormatError(f"an AES key has 16, 24 or 32 bytes, not {len(key)}")
        self._context = CMAC(AES(key))

    def mac(self, data: bytes) -> bytes:
        """Compute the AES-CMAC of any bytes, not padded: 16 bytes."""
        context = self._context.copy()
        context.update(data)
        return context.finalize()


def cmac(key: bytes, data: bytes) -> bytes:
    """Compute the AES-CMAC.

    Args:
        key: 16, 24 or 32 bytes.
        data: any bytes, not padded.

    Returns:
        16 bytes.

    Raises:
        KeyFormatError: wrong key length.
    """
    return CmacKey(key).mac(data)


def tdes_mac(key: bytes, data: bytes, iv: bytes = bytes(DES_BLOCK)) -> bytes:
    """Compute the CBC-MAC with triple DES for every block.

    Args:
        key: 16 or 24 bytes.
        data: already padded: a multiple of 8 bytes, not empty.
        iv: 8 bytes.

    Returns:
        8 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.
    """
    _require_blocks(data)
    return tdes_cbc_encrypt(key, iv, data)[-DES_BLOCK:]


def retail_mac(key: bytes, data: bytes, iv: bytes = bytes(DES_BLOCK)) -> bytes:
    """Compute the retail MAC: single DES for all blocks but the last, triple DES for that.

    Args:
        key: 16 bytes.
        data: already padded: a multiple of 8 bytes, not empty.
        iv: 8 bytes.

    Returns:
        8 bytes.

    Raises:
        KeyFormatError: wrong key length.
        PaddingError: not whole blocks.

    Source: ISO/IEC 9797-1:2011 MAC algorithm 3; GPCS 2.3.1 B.1.2.2.
    """
    if len(key) != 16:
        raise KeyFormatError(f"a retail MAC key has 16 bytes, not {len(key)}")
    _require_blocks(data)
    head, last = data[:-DES_BLOCK], data[-DES_BLOCK:]
    if head:
        iv = tdes_cbc_encrypt(single_des(key[:8]), iv, head)[-DES_BLOCK:]
    return tdes_cbc_encrypt(key, iv, last)


def _require_blocks(data: bytes) -> None:
    if not data or len(data) % DES_BLOCK:
        raise PaddingError(f"a MAC needs whole blocks of {DES_BLOCK} bytes, not {len(data)} bytes")
