"""Data groupings as they arrive: several in one STORE DATA, one over several STORE DATA.

Source: GPCS 2.3.1 §11.11.2.3; EMV CPS 1.1 §2.2.
"""


def split_dgis(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Split off all complete data groupings.

    Args:
        data: what was left over from the command before, and the new data field.

    Returns:
        Pairs of identifier and value, and the start of an unfinished data grouping (empty when none).
    """
    found: list[tuple[int, bytes]] = []
    offset = 0
    while (span := _span(data, offset)) is not None:
        start, end = span
        found.append((int.from_bytes(data[offset : offset + 2], "big"), data[start:end]))
        offset = end
    return found, data[offset:]


def _span(data: bytes, offset: int) -> tuple[int, int] | None:
    """Return where the value of the data grouping at `offset` starts and ends, or None when it is cut off."""
    start = offset + (5 if data[offset + 2 : offset + 3] == b"\xff" else 3)
    if start > len(data):
        return None
    end = start + int.from_bytes(data[max(offset + 2, start - 2) : start], "big")
    return (start, end) if end <= len(data) else None
