"""Looks for secrets in places where none may be, in every form in which one could have been written there.

A finding names the place, the secret and the form; never the value. Packed texts (base64 and hex inside a
place) are unpacked and searched too, two layers deep.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

MIN_BYTES = 6  # anything shorter occurs by chance
_PACKED_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_PACKED_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){12,}")
_LAYERS = 2
PAGE = 8192


class TooShortError(ValueError):
    """The secret is too short to be searched for."""


@dataclass(frozen=True)
class Canary:
    """One secret: its name for findings, its bytes, and further ways in which it may be written."""

    name: str
    value: bytes = field(repr=False)
    more: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(self.value) < MIN_BYTES:
            raise TooShortError(self.name)

    @cached_property
    def forms(self) -> tuple[tuple[str, bytes], ...]:
        """Every form with its name; those that ignore case are in small letters and end with `*`."""
        whole = [("", self.value), *self.more]
        named = ((f"{prefix} {name}".strip(), form) for prefix, v in whole for name, form in encodings(v))
        return tuple(dict.fromkeys(named))


def encodings(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Return the ways to write bytes."""
    yield "raw", value
    yield "hex*", value.hex().encode()
    for sign in (":", " ", "-"):
        yield f"hex with {sign!r}*", value.hex(sign).encode()
    yield "numbers", ", ".join(map(str, value)).encode()
    yield "numbers, no blanks", ",".join(map(str, value)).encode()
    shown = repr(value)[2:-1].encode()
    if shown != value:
        yield "Python", shown
    for offset in range(3):
        inner = base64_inside(value, offset)
        yield f"base64 at {offset}", inner
        yield f"base64url at {offset}", inner.translate(bytes.maketrans(b"+/", b"-_"))


def base64_inside(value: bytes, offset: int) -> bytes:
    """Return the base64 characters that a value alone decides, `offset` bytes after the start of a group."""
    first, last = -(-8 * offset // 6), 8 * (offset + len(value)) // 6
    return base64.b64encode(bytes(offset) + value + bytes(3))[first:last]


def text_canary(name: str, text: str) -> Canary:
    """Make a canary of a text; digits are searched as BCD too."""
    more = []
    if text.isdecimal():
        more.append(("BCD", bytes.fromhex(text + "F" * (len(text) % 2))))
        if len(text) % 2:
            more.append(("BCD right", bytes.fromhex("0" + text)))
    elif re.fullmatch("[0-9A-F]+", text) and len(text) >= 2 * MIN_BYTES:
        more.append(("nibbles", bytes.fromhex(text + "F" * (len(text) % 2))))
    return Canary(name, text.encode(), tuple((n, v) for n, v in more if len(v) >= MIN_BYTES))


@dataclass(frozen=True)
class Place:
    """Something to search: where it is, its bytes, and what is there on purpose (names of secrets)."""

    name: str
    content: bytes = field(repr=False)
    allowed: frozenset[str] = frozenset()


def search(places: Iterable[Place], canaries: Iterable[Canary]) -> list[str]:
    """Return a line for each secret in a place where it may not be."""
    contents = [(place, content, packing) for place in places for content, packing in unpacked(place.content)]
    # Thousands of small places: what is in none of them is found out once, in all of them together.
    everything = b"".join(content for _, content, _ in contents)
    needles = _present(everything, everything.lower(), canaries)
    found: dict[str, None] = {}
    for place, content, packing in contents if needles else ():
        small = content.lower()
        for name, form, needle in needles:
            if name not in place.allowed and needle in (small if form.endswith("*") else content):
                found[f"{place.name}: {name} ({form.rstrip('*')}{packing})"] = None
    return list(found)


def _present(content: bytes, small: bytes, canaries: Iterable[Canary]) -> list[tuple[str, str, bytes]]:
    """Return name, form and needle of the secrets that a content holds."""
    return [
        (canary.name, form, needle)
        for canary in canaries
        for form, needle in canary.forms
        if needle in (small if form.endswith("*") else content)
    ]


def unpacked(content: bytes, packing: str = "", layers: int = _LAYERS) -> Iterator[tuple[bytes, str]]:
    """Return a content, and what is packed inside it."""
    yield content, packing
    if not layers:
        return
    for name, parts in (("base64", _base64_parts(content)), ("hex", _hex_parts(content))):
        inner = b"\n".join(parts)
        if inner:
            yield from unpacked(inner, f"{packing}, inside {name}", layers - 1)


def _base64_parts(content: bytes) -> Iterator[bytes]:
    for match in _PACKED_BASE64.finditer(content):
        text = match[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield base64.b64decode(text[: len(text) // 4 * 4] + _rest(text))
        except binascii.Error:
            continue


def _rest(text: bytes) -> bytes:
    rest = text[len(text) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _hex_parts(content: bytes) -> Iterator[bytes]:
    for match in _PACKED_HEX.finditer(content):
        yield bytes.fromhex(match[0].decode())


def different_pages(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Return files without pages that are empty or were there before: a database has many of both."""
    seen = {bytes(PAGE)}
    for name, content in files:
        kept = bytearray()
        for start in range(0, len(content), PAGE):
            page = content[start : start + PAGE]
            if page not in seen:
                seen.add(page)
                kept += page
        if kept:
            yield name, bytes(kept)
