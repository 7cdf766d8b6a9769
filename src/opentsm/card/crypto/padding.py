"""Padding with 80 and zeros.

Source: ISO/IEC 9797-1:2011 padding method 2; GPCS 2.3.1 B.2.3.
"""

from opentsm.card.errors import PaddingError


def _paddings(block: int) -> tuple[bytes, ...]:
    """Return the padding for each length of the last, partial block."""
    return tuple(b"\x80" + bytes(block - 1 - length) for length in range(block))


_PADDINGS = {block: _paddings(block) for block in (8, 16)}


def pad80(data: bytes, block: int) -> bytes:
    """Append 80 and as few zeros as fill the last block; a full block is followed by another.

    Args:
        data: any bytes.
        block: block size, in bytes.
    """
    paddings = _PADDINGS.get(block) or _paddings(block)
    return data + paddings[len(data) % block]


def unpad80(data: bytes) -> bytes:
    """Strip zeros and the 80 before them; padding longer than a block is accepted.

    Raises:
        PaddingError: there is no 80 before the zeros.
    """
    stripped = data.rstrip(b"\x00")
    if not stripped.endswith(b"\x80"):
        raise PaddingError("the padding does not start with 80")
    return stripped[:-1]
