"""Key check values.

Source: GPCS 2.3.1 B.6.
"""

from opentsm.card.crypto.cipher import AES_BLOCK, DES_BLOCK, aes_ecb_encrypt, tdes_ecb_encrypt

KCV_LENGTH = 3


def kcv_aes(key: bytes) -> bytes:
    """Return the key check value of an AES key: a block of 01 encrypted, 3 bytes.

    Raises:
        KeyFormatError: the key has not 16, 24 or 32 bytes.
    """
    return aes_ecb_encrypt(key, b"\x01" * AES_BLOCK)[:KCV_LENGTH]


def kcv_des(key: bytes) -> bytes:
    """Return the key check value of a triple DES key: a block of 00 encrypted, 3 bytes.

    Raises:
        KeyFormatError: the key has not 16 or 24 bytes.
    """
    return tdes_ecb_encrypt(key, bytes(DES_BLOCK))[:KCV_LENGTH]
