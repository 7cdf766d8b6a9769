"""The components of a Java Card CAP file that a loader must understand.

Specification: Java Card Virtual Machine Specification 2.1.1 to 3.1, chapter 6 (compact format). All numbers
are big-endian; every component is tag (1), size (2), body; only StaticResources has a size of four bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import AidError, CapError

MAGIC = bytes.fromhex("DECAFFED")
HEADER_SIZE = 3
KNOWN_FORMATS = ((2, 1), (2, 2), (2, 3))
_DIRECTORY_TAGS = 11


class ComponentTag(IntEnum):
    """Component tags; the names are those of the files in a zipped CAP."""

    Header = 1
    Directory = 2
    Applet = 3
    Import = 4
    ConstantPool = 5
    Class = 6
    Method = 7
    StaticField = 8
    RefLocation = 9
    Export = 10
    Descriptor = 11
    Debug = 12
    StaticResources = 13


def header_size(tag: ComponentTag) -> int:
    """Return the bytes of tag and size: StaticResources (Java Card 3.1) has a size of four bytes."""
    return 5 if tag is ComponentTag.StaticResources else HEADER_SIZE


# Java Card VM Specification, "order of components"; Debug is never loaded.
LOAD_ORDER = (
    ComponentTag.Header,
    ComponentTag.Directory,
    ComponentTag.Import,
    ComponentTag.Applet,
    ComponentTag.Class,
    ComponentTag.Method,
    ComponentTag.StaticField,
    ComponentTag.Export,
    ComponentTag.ConstantPool,
    ComponentTag.RefLocation,
    ComponentTag.StaticResources,
    ComponentTag.Descriptor,
)

MANDATORY = (
    ComponentTag.Header,
    ComponentTag.Directory,
    ComponentTag.Import,
    ComponentTag.Class,
    ComponentTag.Method,
    ComponentTag.StaticField,
    ComponentTag.ConstantPool,
    ComponentTag.RefLocation,
)


class Version(NamedTuple):
    """A package or format version."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


_FORMAT_WITH_RESOURCES = Version(2, 3)


class CapFlag(IntFlag):
    """Flags of the Header component."""

    INTEGERS = 0x01
    EXPORT = 0x02
    APPLET = 0x04
    EXTENDED = 0x08


class Import(NamedTuple):
    """A package that must be on the card: this major version, at least this minor version."""

    aid: Aid
    version: Version


class Component(NamedTuple):
    """One component with its tag and size bytes."""

    tag: ComponentTag
    data: bytes

    @property
    def body(self) -> bytes:
        """The content after tag and size."""
        return self.data[header_size(self.tag) :]


class AppletEntry(NamedTuple):
    """One applet of the Applet component."""

    aid: Aid
    install_method_offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """What the Header component says."""

    cap_format: Version
    flags: CapFlag
    version: Version
    aid: Aid
    name: str | None


class Reader:
    """Reads one component front to back; says which component was too short."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        if length > self.left:
            raise CapError(f"the {self._name} component ends in the middle of a field (byte {self._at})")
        self._at += length
        return self._data[self._at - length : self._at]

    def u1(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def u2(self) -> int:
        """Return the next two bytes as a number."""
        return int.from_bytes(self.take(2), "big")

    def aid(self) -> Aid:
        """Return an AID after its length byte."""
        value = self.take(self.u1())
        try:
            return Aid(value)
        except AidError as error:
            raise CapError(
                f"the {self._name} component has an AID of {len(value)} bytes (5 to 16 are possible)"
            ) from error

    def version(self) -> Version:
        """Return a version, which is stored minor first."""
        minor, major = self.u1(), self.u1()
        return Version(major, minor)

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            CapError: bytes that belong to no field.
        """
        if self.left:
            raise CapError(f"the {self._name} component has {self.left} bytes too many")


EXTENDED_MESSAGE = (
    "this is a CAP file in the extended format of Java Card 3.1; convert it in the compact format"
)


def check_extended(data: bytes) -> None:
    """Refuse the extended format of Java Card 3.1, in which sizes have four bytes.

    Args:
        data: a Header component with tag and size.
    """
    compact_flags = data[9:10] if data[3:7] == MAGIC else b""
    if data[5:9] == MAGIC or (compact_flags and compact_flags[0] & CapFlag.EXTENDED):
        raise CapError(EXTENDED_MESSAGE)


def parse_header(component: Component) -> Header:
    """Read the Header component (JCVM §6.4)."""
    check_extended(component.data)
    reader = Reader("Header", component.body)
    if reader.take(4) != MAGIC:
        raise CapError("the Header component does not begin with the magic DECAFFED")
    cap_format = reader.version()
    if cap_format not in KNOWN_FORMATS:
        raise CapError(f"CAP format {cap_format} is not known (2.1, 2.2 and 2.3 are)")
    flags = CapFlag(reader.u1() & 0x0F)
    version, aid = reader.version(), reader.aid()
    name = reader.take(reader.u1()).decode("utf-8", "replace") if reader.left else ""
    reader.end()
    return Header(cap_format, flags, version, aid, name or None)


def parse_applets(component: Component) -> tuple[AppletEntry, ...]:
    """Read the Applet component (JCVM §6.6)."""
    reader = Reader("Applet", component.body)
    applets = tuple(AppletEntry(reader.aid(), reader.u2()) for _ in range(reader.u1()))
    reader.end()
    return applets


def parse_imports(component: Component) -> tuple[Import, ...]:
    """Read the Import component (JCVM §6.7)."""
    reader = Reader("Import", component.body)
    imports = []
    for _ in range(reader.u1()):
        version = reader.version()
        imports.append(Import(reader.aid(), version))
    reader.end()
    return tuple(imports)


def static_image_size(component: Component) -> int:
    """Return the bytes of non-volatile memory that static fields take (JCVM §6.11)."""
    return Reader("StaticField", component.body).u2()


def directory_sizes(component: Component, cap_format: Version) -> dict[ComponentTag, int]:
    """Return the size that the Directory component gives for each component but Debug.

    Formats from 2.2 on list Debug after the Descriptor, 2.3 also StaticResources in four bytes (JCVM §6.5).
    """
    reader = Reader("Directory", component.body)
    sizes = {ComponentTag(number): reader.u2() for number in range(1, _DIRECTORY_TAGS + 1)}
    if cap_format >= _FORMAT_WITH_RESOURCES:
        reader.u2()
        sizes[ComponentTag.StaticResources] = int.from_bytes(reader.take(4), "big")
    return sizes
