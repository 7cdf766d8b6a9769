"""Reads load files: zipped CAP files of any Java Card converter and raw component streams (IJC).

Specification: Java Card Virtual Machine Specification 2.1.1 to 3.1, chapters 4 and 6 (compact format);
GlobalPlatform Card Specification 2.3.1 §11.6.2.3 and §C.2 (load-file data block and its hash).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import decode_length
from opentsm.card.errors import CapError, TlvError
from opentsm.card.gp.cap_components import (
    EXTENDED_MESSAGE,
    LOAD_ORDER,
    MANDATORY,
    CapFlag,
    Component,
    ComponentTag,
    Import,
    Version,
    check_extended,
    directory_sizes,
    header_size,
    parse_applets,
    parse_header,
    parse_imports,
    static_image_size,
)

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_ZIP_ENTRIES = 4096
_MAX_BODY_BYTES = 0xFFFF
_MAX_RESOURCES_BYTES = 4 * 1024 * 1024
_ZIP_MAGIC = b"PK"
_HASHES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}


@dataclass(frozen=True, slots=True)
class LoadFile:
    """A load file that passed all structural checks.

    Attributes:
        package_name: with dots, from the Header component or the zip; None in older raw files.
        version: version of the package.
        applets: AIDs of the applet classes (executable modules).
        imports: packages that must be on the card.
        components: in the order in which they are loaded, Debug left out.
        static_bytes: non-volatile memory for static fields.
    """

    package_aid: Aid
    package_name: str | None
    version: Version
    cap_format: Version
    flags: CapFlag
    applets: tuple[Aid, ...]
    imports: tuple[Import, ...]
    components: tuple[Component, ...]
    static_bytes: int

    def load_file_data_block(self, descriptor: bool = True) -> bytes:
        """Return what is loaded, without tag C4; tools differ on whether the Descriptor belongs to it."""
        chosen = (c for c in self.components if descriptor or c.tag is not ComponentTag.Descriptor)
        return b"".join(component.data for component in chosen)

    def hash(self, algorithm: str = "sha256", *, descriptor: bool = True) -> bytes:
        """Return the load-file data block hash.

        Args:
            algorithm: `sha1`, `sha256`, `sha384` or `sha512`.
            descriptor: whether the Descriptor component is loaded.
        """
        if algorithm not in _HASHES:
            raise CapError(f"{algorithm} is no hash for load files ({', '.join(_HASHES)} are)")
        return hashlib.new(algorithm, self.load_file_data_block(descriptor), usedforsecurity=False).digest()

    @property
    def has_descriptor(self) -> bool:
        """Whether there is a Descriptor component, so that two variants can be loaded."""
        return any(component.tag is ComponentTag.Descriptor for component in self.components)

    @property
    def code_bytes(self) -> int:
        """The size of everything but the Descriptor, an estimate of the memory that the code takes."""
        return len(self.load_file_data_block(descriptor=False))


def read_load_file(data: bytes) -> LoadFile:
    """Read a zipped CAP file or a raw load file.

    Args:
        data: a zip with `*/javacard/*.cap`, or the components in load order, also inside C4.
    Raises:
        CapError: what is damaged, or which kind of file is not supported.
    """
    if not data:
        raise CapError("the file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise CapError(f"the file has {len(data)} bytes, more than {MAX_FILE_BYTES}")
    if data.startswith(_ZIP_MAGIC):
        name, components = _zip_components(data)
        return _checked(components, name)
    return _checked(_raw_components(_unwrapped(data)), None)


# --- containers --------------------------------------------------------------------------------

# What `zipfile` raises over damaged bytes; ValueError: names that are no UTF-8, offsets before the file.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)


def _zip_components(data: bytes) -> tuple[str, tuple[Component, ...]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
            found = {tag: _read_member(archive, info, tag) for tag, info in members.items()}
            name = _package_name(next(iter(members.values())).filename)
    except _ZIP_ERRORS as error:
        raise CapError(f"the zip is damaged: {error}") from error
    return name, tuple(Component(tag, found[tag]) for tag in LOAD_ORDER if tag in found)


def _members(archive: zipfile.ZipFile) -> dict[ComponentTag, zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_ZIP_ENTRIES:
        raise CapError(f"the zip has {len(entries)} entries, more than {MAX_ZIP_ENTRIES}")
    members: dict[ComponentTag, zipfile.ZipInfo] = {}
    for info in entries:
        tag = _component_of(info.filename)
        if tag in members:
            raise CapError(f"there are two {tag.name} components; a CAP file holds one package")
        if tag is not None:
            members[tag] = info
    if not members:
        raise CapError("the zip holds no */javacard/*.cap: it is not a CAP file")
    # The Header first: it tells the extended format.
    return dict(sorted(members.items()))


def _component_of(path: str) -> ComponentTag | None:
    """Return which component a zip entry holds; components with four-byte sizes end in .capx."""
    folder, _, file_name = path.rpartition("/")
    stem, _, ending = file_name.partition(".")
    if folder.rpartition("/")[2] != "javacard" or ending not in ("cap", "capx"):
        return None
    if stem not in ComponentTag.__members__:
        return None
    tag = ComponentTag[stem]
    if ending == "capx" and tag is not ComponentTag.StaticResources:
        raise CapError(EXTENDED_MESSAGE)
    return tag


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, tag: ComponentTag) -> bytes:
    head = header_size(tag)
    limit = head + (_MAX_RESOURCES_BYTES if tag is ComponentTag.StaticResources else _MAX_BODY_BYTES)
    with archive.open(info) as member:
        data = member.read(limit + 1)
    if tag is ComponentTag.Header:
        check_extended(data)
    if len(data) > limit:
        raise CapError(f"the {tag.name} component is larger than any component can be")
    if len(data) < head:
        raise CapError(f"the {tag.name} component is cut off")
    if data[0] != tag:
        raise CapError(f"{tag.name}.cap has tag {data[0]:02X} instead of {tag:02X}")
    size = int.from_bytes(data[1:head], "big")
    actual = len(data) - head
    if size != actual:
        raise CapError(f"the {tag.name} component says {size} bytes but has {actual}: it is cut or damaged")
    return data


def _package_name(path: str) -> str:
    return path.rpartition("/javacard/")[0].replace("/", ".")


def _unwrapped(data: bytes) -> bytes:
    """Take off DAP blocks (E2) and the tag C4, if they are there."""
    try:
        while data[:1] == b"\xe2":
            length, start = decode_length(data, 1)
            data = data[start + length :]
        if data[:1] == b"\xd4" or data[:1] == b"\xd3":
            raise CapError("the load file is ciphered (tag D4): it can only be read on the card")
        if data[:1] != b"\xc4":
            return data
        length, start = decode_length(data, 1)
    except TlvError as error:
        raise CapError(f"the load file's outer structure is damaged: {error}") from error
    if start + length != len(data):
        raise CapError(
            f"tag C4 says {length} bytes but {len(data) - start} follow: the file is cut or damaged"
        )
    return data[start:]


def _raw_components(data: bytes) -> tuple[Component, ...]:
    if data[:1] != bytes((ComponentTag.Header,)):
        raise CapError(
            "neither a zip nor a raw load file: it does not begin with PK, C4 or a Header component"
        )
    check_extended(data)
    components = []
    at = 0
    while at < len(data):
        tag = _known_tag(data[at], at)
        head = header_size(tag)
        end = at + head + int.from_bytes(data[at + 1 : at + head], "big")
        if at + head > len(data) or end > len(data):
            raise CapError(f"the {tag.name} component is cut off at the end of the file")
        components.append(Component(tag, data[at:end]))
        at = end
    return tuple(components)


def _known_tag(value: int, at: int) -> ComponentTag:
    try:
        return ComponentTag(value)
    except ValueError:
        raise CapError(f"byte {at} should be a component's tag but is {value:02X}") from None


# --- checks ------------------------------------------------------------------------------------


def _checked(components: tuple[Component, ...], name: str | None) -> LoadFile:
    by_tag = _by_tag(components)
    # The Header first: what it says explains other differences.
    _require((ComponentTag.Header,), by_tag)
    header = parse_header(by_tag[ComponentTag.Header])
    _require(MANDATORY, by_tag)
    applets = _applets(by_tag, header.flags)
    _check_directory(by_tag, header.cap_format)
    return LoadFile(
        package_aid=header.aid,
        package_name=header.name.replace("/", ".") if header.name else name,
        version=header.version,
        cap_format=header.cap_format,
        flags=header.flags,
        applets=applets,
        imports=parse_imports(by_tag[ComponentTag.Import]),
        components=tuple(c for c in components if c.tag is not ComponentTag.Debug),
        static_bytes=static_image_size(by_tag[ComponentTag.StaticField]),
    )


def _by_tag(components: Iterable[Component]) -> dict[ComponentTag, Component]:
    by_tag: dict[ComponentTag, Component] = {}
    for component in components:
        if component.tag in by_tag:
            raise CapError(f"there are two {component.tag.name} components")
        by_tag[component.tag] = component
    return by_tag


def _require(tags: Iterable[ComponentTag], by_tag: dict[ComponentTag, Component]) -> None:
    for tag in tags:
        if tag not in by_tag:
            raise CapError(f"the {tag.name} component is missing")


def _applets(by_tag: dict[ComponentTag, Component], flags: CapFlag) -> tuple[Aid, ...]:
    component = by_tag.get(ComponentTag.Applet)
    if component is None:
        if CapFlag.APPLET in flags:
            raise CapError("the Applet component is missing although the Header announces applets")
        return ()
    aids = tuple(entry.aid for entry in parse_applets(component))
    if len(set(aids)) != len(aids):
        raise CapError("two applets have the same AID")
    return aids


def _check_directory(by_tag: dict[ComponentTag, Component], cap_format: Version) -> None:
    for tag, size in directory_sizes(by_tag[ComponentTag.Directory], cap_format).items():
        present = by_tag.get(tag)
        if present is None:
            # Load files are often stored without the Descriptor although the Directory counts it.
            if size and tag is not ComponentTag.Descriptor:
                raise CapError(f"the {tag.name} component is missing: the Directory expects {size} bytes")
        elif len(present.body) != size:
            raise CapError(
                f"the {tag.name} component has {len(present.body)} bytes, the Directory expects {size}"
            )
