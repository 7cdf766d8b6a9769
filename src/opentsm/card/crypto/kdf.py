"""Key derivation in counter mode with AES-CMAC.

Source: SP 800-108r1 §4.1; Amendment D 1.1.1 §4.1.5 (order of the fields).
"""

from opentsm.card.crypto.mac import cmac
from opentsm.card.errors import KeyFormatError


def sp800_108_cmac(key: bytes, label: bytes, context: bytes, length_bits: int) -> bytes:
    """Derive `length_bits` bits; a block is label, 00, length (2 bytes), counter (1 byte), context.

    Args:
        key: 16, 24 or 32 bytes.
        label: bytes in front of the separator; 12 bytes for SCP03.
        context: bytes behind the counter.
        length_bits: a multiple of 8, up to 0xFFF8 and 255 blocks.

    Returns:
        `length_bits` / 8 bytes.

    Raises:
        KeyFormatError: wrong key length or no such length.
    """
    blocks = -(-length_bits // 128)
    if length_bits % 8 or not 1 <= blocks <= 0xFF:
        raise KeyFormatError(f"cannot derive {length_bits} bits")
    head = label + b"\x00" + length_bits.to_bytes(2, "big")
    output = b"".join(cmac(key, head + bytes((i,)) + context) for i in range(1, blocks + 1))
    return output[: length_bits // 8]
