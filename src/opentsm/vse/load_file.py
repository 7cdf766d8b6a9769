"""Reading what LOAD brought: the load file's structure and the CAP components in its data block.

The card's own reader, written from the specifications and shared with nobody.
Source: GPCS 2.3.1 §11.6.2 (load file); Java Card 3.1 VM specification chapter 6 (components, compact format).
"""

from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.tlv import parse_tlvs
from opentsm.card.errors import TlvError

_MAGIC: Final = bytes.fromhex("DECAFFED")
_HEADER: Final = 1
_APPLET: Final = 3
_IMPORT: Final = 4
_LAST_TAG: Final = 13
_EXTENDED_FLAG: Final = 0x08


class LoadFileError(ValueError):
    """The load file is damaged."""


@dataclass(frozen=True, slots=True)
class DapBlock:
    """A signature of a security domain over the load file data block hash."""

    sd: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A load file taken apart."""

    block: bytes
    daps: tuple[DapBlock, ...] = ()
    ciphered: bool = False
    icv: bytes = b""


@dataclass(frozen=True, slots=True)
class Package:
    """What the registry keeps of a Java Card package."""

    aid: bytes
    version: tuple[int, int]
    modules: tuple[bytes, ...]
    imports: tuple[bytes, ...]


def read_load_file(data: bytes) -> LoadedFile:
    """Take a load file apart: E2 blocks, then C4, or D4 with an optional D3 before it.

    Raises:
        LoadFileError: it has another structure.
    """
    try:
        objects = list(parse_tlvs(data))
    except TlvError as problem:
        raise LoadFileError(str(problem)) from problem
    daps = []
    while objects and objects[0].tag == 0xE2:
        daps.append(_dap(objects.pop(0).value))
    icv = objects.pop(0).value if objects and objects[0].tag == 0xD3 else b""
    if len(objects) != 1 or objects[0].tag not in {0xC4, 0xD4} or (icv and objects[0].tag == 0xC4):
        raise LoadFileError("one load file data block is expected behind the signatures")
    return LoadedFile(objects[0].value, tuple(daps), objects[0].tag == 0xD4, icv)


def _dap(value: bytes) -> DapBlock:
    try:
        fields = parse_tlvs(value)
    except TlvError as problem:
        raise LoadFileError(str(problem)) from problem
    if [entry.tag for entry in fields] != [0x4F, 0xC3]:
        raise LoadFileError("a signature block holds 4F and C3")
    return DapBlock(fields[0].value, fields[1].value)


def read_package(block: bytes) -> Package:
    """Find the package, its applets and imports in a load file data block.

    Raises:
        LoadFileError: a component is cut off, unknown or missing.
    """
    components = _components(block)
    if _HEADER not in components:
        raise LoadFileError("the Header component is missing")
    aid, version = _header(components[_HEADER])
    return Package(aid, version, _applets(components.get(_APPLET)), _imports(components.get(_IMPORT)))


def _components(block: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset < len(block):
        tag = block[offset]
        size = int.from_bytes(_cut(block, offset + 1, 2), "big")
        known = 1 <= tag <= _LAST_TAG or tag >= 128
        if not known or tag in found:
            raise LoadFileError(f"component {tag} at offset {offset}")
        found[tag] = _cut(block, offset + 3, size)
        offset += 3 + size
    return found


def _header(body: bytes) -> tuple[bytes, tuple[int, int]]:
    if _cut(body, 0, 4) != _MAGIC:
        raise LoadFileError("the Header component does not start with DECAFFED")
    flags, minor, major, length = _cut(body, 6, 4)
    if flags & _EXTENDED_FLAG:
        raise LoadFileError("the extended CAP format is not supported")
    return _aid(body, 10, length), (major, minor)


def _applets(body: bytes | None) -> tuple[bytes, ...]:
    if body is None:
        return ()
    modules, offset = [], 1
    for _ in range(_cut(body, 0, 1)[0]):
        aid = _aid(body, offset + 1, _cut(body, offset, 1)[0])
        modules.append(aid)
        offset += 1 + len(aid) + 2
    if offset > len(body) or len(set(modules)) != len(modules):
        raise LoadFileError("the Applet component is malformed")
    return tuple(modules)


def _imports(body: bytes | None) -> tuple[bytes, ...]:
    if body is None:
        return ()
    packages, offset = [], 1
    for _ in range(_cut(body, 0, 1)[0]):
        aid = _aid(body, offset + 3, _cut(body, offset + 2, 1)[0])
        packages.append(aid)
        offset += 3 + len(aid)
    return tuple(packages)


def _aid(body: bytes, offset: int, length: int) -> bytes:
    if not 5 <= length <= 16:
        raise LoadFileError(f"an AID of {length} bytes")
    return _cut(body, offset, length)


def _cut(data: bytes, offset: int, length: int) -> bytes:
    if offset + length > len(data):
        raise LoadFileError(f"{length} bytes expected at offset {offset}, the data ends there")
    return data[offset : offset + length]
