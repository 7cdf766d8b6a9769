"""Changes of valid inputs: of plain bytes, and of frames in which each frame is a command APDU."""

from collections.abc import Callable, Sequence
from random import Random

Mutator = Callable[[Random, bytes, Sequence[bytes]], bytes]

MAX_INPUT: int = 4096
# Values at which lengths, tags and counters turn over.
_EDGES = (0x00, 0x01, 0x05, 0x10, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0xFE, 0xFF)
_LENGTH_BYTES = 2


def mutate_bytes(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Change an input in one to four places.

    Args:
        random: where all choices come from.
        data: the input.
        seeds: other inputs, to take pieces from.
    """
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        _CHANGES[random.randrange(len(_CHANGES))](random, changed, seeds)
    return bytes(changed[:MAX_INPUT])


def _position(random: Random, data: bytearray) -> int:
    return random.randrange(len(data) + 1)


def _flip(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _edge(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(_EDGES)


def _nudge(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        at = random.randrange(len(data))
        data[at] = (data[at] + random.choice((-2, -1, 1, 2))) & 0xFF


def _insert(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = _position(random, data)
    data[at:at] = random.randbytes(random.choice((1, 1, 2, 3, 8, 16, 120)))


def _delete(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = _position(random, data)
    del data[at : at + random.choice((1, 1, 2, 4, 16))]


def _cut(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    del data[_position(random, data) :]


def _repeat(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    start = _position(random, data)
    piece = data[start : start + random.choice((1, 4, 16, 64))]
    at = _position(random, data)
    data[at:at] = piece * random.choice((1, 2, 8))


def _splice(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if not seeds:
        return
    other = random.choice(seeds)
    start = random.randrange(len(other) + 1)
    at = _position(random, data)
    data[at : at + random.choice((0, 0, 4, 16, MAX_INPUT))] = other[start : start + random.randint(1, 64)]


_CHANGES = (_flip, _edge, _edge, _nudge, _insert, _delete, _cut, _repeat, _splice)


def frames(data: bytes) -> list[bytes]:
    """Take frames apart (length in two bytes, then the frame); the last may be cut."""
    found, at = [], 0
    while at + _LENGTH_BYTES <= len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        found.append(data[start:at])
    return found


def framed(parts: Sequence[bytes]) -> bytes:
    """Put frames together."""
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)


def mutate_commands(head: int) -> Mutator:
    """Return a mutator of inputs of `head` free bytes and frames, each a command APDU.

    Most changes keep an APDU an APDU (its Lc is made to fit), so that they reach what lies behind its form.
    """

    def mutate(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
        start = bytearray(data[:head].ljust(head, b"\0"))
        if head and random.random() < 0.15:
            start[random.randrange(head)] = random.randrange(256)
        parts = frames(data[head:]) or [b""]
        others = frames(random.choice(seeds)[head:]) if seeds else []
        for _ in range(random.randint(1, 3)):
            _change_frames(random, parts, others)
        return bytes(start) + framed(parts)[: MAX_INPUT - head]

    return mutate


def _change_frames(random: Random, parts: list[bytes], others: Sequence[bytes]) -> None:
    kind, at = random.random(), random.randrange(len(parts))
    if kind < 0.1 and len(parts) > 1:
        del parts[at]
    elif kind < 0.3 and others:
        parts.insert(at, random.choice(others))
    elif kind < 0.35:
        parts[at] = mutate_bytes(random, parts[at], others)
    elif kind < 0.4:
        parts.insert(at, parts[at])
    elif kind < 0.55:
        header = bytearray(parts[at][:4].ljust(4, b"\0"))
        (_flip, _edge, _nudge)[random.randrange(3)](random, header, ())
        parts[at] = bytes(header) + parts[at][4:]
    else:
        parts[at] = _with_other_data(random, parts[at], others)


def _with_other_data(random: Random, command: bytes, others: Sequence[bytes]) -> bytes:
    header, body = command[:4].ljust(4, b"\0"), command[4:]
    data = body[1 : 1 + body[0]] if body else b""
    tail = body[1 + len(data) :]
    changed = mutate_bytes(random, data, [other[5:] for other in others])[:255]
    return header + (bytes((len(changed),)) + changed if changed else b"") + tail
