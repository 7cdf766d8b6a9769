"""Data groupings (DGI): two-byte identifier, length of one byte or FF and two bytes, value.

Source: GPCS 2.3.1 §11.11.2.3; EMV CPS 1.1 §2.2.
"""

from opentsm.card.codec.lv import lv
from opentsm.card.errors import TlvError

__all__ = ["encode_dgi", "lv", "parse_dgis"]


def encode_dgi(tag: int, value: bytes) -> bytes:
    """Encode one data grouping.

    Args:
        tag: the identifier, 0 to FFFF.
        value: 0 to 65535 bytes.

    Returns:
        Identifier, length (00-FE, or FF and two bytes) and value.

    Raises:
        TlvError: identifier or length is out of range.
    """
    if not 0 <= tag <= 0xFFFF:
        raise TlvError(f"a DGI has two bytes, not {tag:X}")
    if len(value) > 0xFFFF:
        raise TlvError(f"a DGI cannot hold {len(value)} bytes")
    length = bytes((len(value),)) if len(value) < 0xFF else b"\xff" + len(value).to_bytes(2, "big")
    return tag.to_bytes(2, "big") + length + value


def parse_dgis(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """Parse a sequence of data groupings that fills `data` completely.

    Args:
        data: zero or more data groupings.

    Returns:
        Pairs of identifier and value, in order.

    Raises:
        TlvError: with the offset and the reason.
    """
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(data):
        length, start = _length(data, offset + 2)
        end = start + length
        if end > len(data):
            raise TlvError(f"DGI at offset {offset} promises {length} bytes, {len(data) - start} are there")
        found.append((int.from_bytes(data[offset : offset + 2], "big"), data[start:end]))
        offset = end
    return tuple(found)


def _length(data: bytes, offset: int) -> tuple[int, int]:
    size = 3 if data[offset : offset + 1] == b"\xff" else 1
    if offset + size > len(data):
        raise TlvError(f"DGI at offset {offset - 2} is cut off")
    if size == 1:
        return data[offset], offset + 1
    return int.from_bytes(data[offset + 1 : offset + 3], "big"), offset + 3
