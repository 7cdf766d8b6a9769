"""Data object lists: what a card asks a terminal for, and the values that come back.

Source: EMV Book 3 §5.4.
"""

from opentsm.card.errors import TlvError


def parse_dol(dol: bytes) -> tuple[tuple[int, int], ...]:
    """Parse a data object list.

    Args:
        dol: tags of one or two bytes, each followed by a length of one byte.

    Returns:
        Pairs of tag and length, in order.

    Raises:
        TlvError: the list is cut off.
    """
    found: list[tuple[int, int]] = []
    offset = 0
    while offset < len(dol):
        size = 2 if dol[offset] & 0x1F == 0x1F else 1
        if offset + size >= len(dol):
            raise TlvError(f"data object list is cut off at offset {offset}")
        found.append((int.from_bytes(dol[offset : offset + size], "big"), dol[offset + size]))
        offset += size + 1
    return tuple(found)


def split_values(dol: bytes, data: bytes) -> dict[int, bytes]:
    """Give each tag of the list its bytes of `data`.

    Raises:
        TlvError: `data` is shorter or longer than the list says.
    """
    values: dict[int, bytes] = {}
    offset = 0
    for tag, length in parse_dol(dol):
        values[tag] = data[offset : offset + length]
        offset += length
    if offset != len(data):
        raise TlvError(f"the list asks for {offset} bytes, not {len(data)}")
    return values
