"""Builds structurally valid CAP files from a description: for demos and tests, without a Java Card converter.

Each applet is a class that extends `javacard.framework.Applet`, registers itself and answers 6D00 to every
command; filler methods bring the code to the size asked for.
Specification: Java Card Virtual Machine Specification 2.2.2, chapter 6 (formats 2.1 and 2.2).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import AidError, CapError
from opentsm.card.gp import cap_code
from opentsm.card.gp.cap_components import (
    LOAD_ORDER,
    MAGIC,
    CapFlag,
    ComponentTag,
    Import,
    Version,
)

FRAMEWORK = Aid.from_hex("A0000000620101")
LANGUAGE = Aid.from_hex("A0000000620001")
_DEFAULT_IMPORTS = (Import(FRAMEWORK, Version(1, 3)), Import(LANGUAGE, Version(1, 0)))
_FORMATS = {"2.1": Version(2, 1), "2.2": Version(2, 2)}
_SPEC_NAMES = {"package", "applets", "imports", "format", "code_bytes"}
# A fixed date keeps the bytes the same on every build; it is the earliest that a zip can hold.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class AppletSpec:
    """One applet: its AID and the simple name of its class."""

    aid: Aid
    name: str


@dataclass(frozen=True, slots=True)
class CapSpec:
    """What to build.

    Attributes:
        package_name: with slashes or dots.
        code_bytes: least size of the Method component's body; filler makes up the difference.
    """

    package_aid: Aid
    package_name: str
    version: Version
    applets: tuple[AppletSpec, ...]
    imports: tuple[Import, ...] = field(default=_DEFAULT_IMPORTS)
    cap_format: Version = field(default=_FORMATS["2.2"])
    code_bytes: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.applets) <= cap_code.MAX_APPLETS:
            raise CapError(f"a package needs 1 to {cap_code.MAX_APPLETS} applets")
        if not 0 <= self.code_bytes <= cap_code.MAX_CODE_BYTES:
            raise CapError(f"code_bytes goes from 0 to {cap_code.MAX_CODE_BYTES}")
        if FRAMEWORK not in (one.aid for one in self.imports):
            raise CapError(f"applets need the import {FRAMEWORK} (javacard.framework)")
        if len({applet.aid for applet in self.applets} | {self.package_aid}) != len(self.applets) + 1:
            raise CapError("package and applets need AIDs that all differ")
        # Java Card Platform: an applet's AID begins with the RID of its package.
        if any(applet.aid[:5] != self.package_aid[:5] for applet in self.applets):
            raise CapError("an applet's AID must begin with the RID of its package")

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> CapSpec:
        """Read the JSON form.

        Example: `{"package": {"aid": "F0…", "name": "org/opentsm/x", "version": "1.0"},
        "applets": [{"aid": "F0…", "name": "X"}], "imports": [{"aid": "A0…", "version": "1.3"}],
        "format": "2.2", "code_bytes": 3000}`; `imports`, `format` and `code_bytes` may be left out.

        Raises:
            CapError: which entry is missing, unknown or malformed.
        """
        unknown = sorted(set(data) - _SPEC_NAMES)
        if unknown:
            raise CapError(f"unknown entries: {', '.join(unknown)}")
        package = _mapping(data, "package")
        wanted = data.get("format", "2.2")
        if not isinstance(wanted, str) or wanted not in _FORMATS:
            raise CapError("format is 2.1 or 2.2")
        code_bytes = data.get("code_bytes", 0)
        if type(code_bytes) is not int:
            raise CapError("code_bytes is a number")
        return cls(
            package_aid=_aid(package),
            package_name=_text(package, "name"),
            version=_version(package),
            applets=tuple(AppletSpec(_aid(one), _text(one, "name")) for one in _mappings(data, "applets")),
            imports=_imports(data),
            cap_format=_FORMATS[wanted],
            code_bytes=code_bytes,
        )


def build_cap(spec: CapSpec) -> bytes:
    """Build a zipped CAP file; the same description gives the same bytes."""
    folder = spec.package_name.replace(".", "/") + "/javacard/"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "META-INF/MANIFEST.MF", _manifest(spec).encode())
        for tag, data in _components(spec).items():
            _add(archive, f"{folder}{tag.name}.cap", data)
    return buffer.getvalue()


def build_raw(spec: CapSpec) -> bytes:
    """Build a raw load file: the components in load order."""
    components = _components(spec)
    return b"".join(components[tag] for tag in LOAD_ORDER if tag in components)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _ZIP_DATE)
    info.create_system = 3  # the same on every platform
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _components(spec: CapSpec) -> dict[ComponentTag, bytes]:
    code = cap_code.make_code(
        applets=len(spec.applets),
        framework=[one.aid for one in spec.imports].index(FRAMEWORK),
        code_bytes=spec.code_bytes,
        signature_pool=spec.cap_format >= Version(2, 2),
    )
    bodies = {
        ComponentTag.Header: _header(spec),
        ComponentTag.Directory: b"",
        ComponentTag.Import: _import_body(spec.imports),
        ComponentTag.Applet: _applet_body(spec.applets, code.install_offsets),
        ComponentTag.Class: code.classes,
        ComponentTag.Method: code.methods,
        ComponentTag.StaticField: bytes(10),
        ComponentTag.ConstantPool: code.constant_pool,
        ComponentTag.RefLocation: code.ref_location,
        ComponentTag.Descriptor: code.descriptor,
    }
    bodies[ComponentTag.Directory] = _directory(spec, bodies)
    return {tag: bytes((tag,)) + _u2(len(bodies[tag])) + bodies[tag] for tag in LOAD_ORDER if tag in bodies}


def _header(spec: CapSpec) -> bytes:
    body = MAGIC + _minor_major(spec.cap_format) + bytes((CapFlag.APPLET,))
    body += _minor_major(spec.version) + _lv(spec.package_aid)
    if spec.cap_format >= Version(2, 2):
        body += _lv(spec.package_name.replace(".", "/").encode())
    return body


def _import_body(imports: Sequence[Import]) -> bytes:
    packages = (_minor_major(one.version) + _lv(one.aid) for one in imports)
    return bytes((len(imports),)) + b"".join(packages)


def _applet_body(applets: Sequence[AppletSpec], offsets: Sequence[int]) -> bytes:
    entries = (_lv(applet.aid) + _u2(offset) for applet, offset in zip(applets, offsets, strict=True))
    return bytes((len(applets),)) + b"".join(entries)


def _directory(spec: CapSpec, bodies: Mapping[ComponentTag, bytes]) -> bytes:
    # Format 2.1 lists Header to Descriptor, 2.2 Debug as well.
    count = 12 if spec.cap_format >= Version(2, 2) else 11
    tail = bytes(6) + bytes((len(spec.imports), len(spec.applets), 0))
    own_size = 2 * count + len(tail)
    sizes = {**{tag: len(body) for tag, body in bodies.items()}, ComponentTag.Directory: own_size}
    return b"".join(_u2(sizes.get(ComponentTag(tag), 0)) for tag in range(1, count + 1)) + tail


def _manifest(spec: CapSpec) -> str:
    name = spec.package_name.replace("/", ".")
    lines = ["Manifest-Version: 1.0", "Created-By: opentsm", "", f"Name: {name.replace('.', '/')}"]
    lines += [
        "Java-Card-Converter-Provider: OpenTSM",
        "Java-Card-Converter-Version: [v1.0]",
        f"Java-Card-CAP-File-Version: {spec.cap_format}",
        f"Java-Card-Package-Name: {name}",
        f"Java-Card-Package-Version: {spec.version}",
        f"Java-Card-Package-AID: {_manifest_aid(spec.package_aid)}",
        "Java-Card-Integer-Support-Required: FALSE",
    ]
    for number, applet in enumerate(spec.applets, 1):
        lines += [
            f"Java-Card-Applet-{number}-Name: {applet.name}",
            f"Java-Card-Applet-{number}-AID: {_manifest_aid(applet.aid)}",
        ]
    for number, one in enumerate(spec.imports, 1):
        lines += [
            f"Java-Card-Imported-Package-{number}-AID: {_manifest_aid(one.aid)}",
            f"Java-Card-Imported-Package-{number}-Version: {one.version}",
        ]
    return "\r\n".join(_folded(line) for line in lines) + "\r\n\r\n"


def _folded(line: str) -> str:
    """Fold at 72 bytes, as manifests demand."""
    first, rest = line[:70], line[70:]
    return "\r\n ".join([first, *(rest[at : at + 69] for at in range(0, len(rest), 69))])


def _manifest_aid(aid: Aid) -> str:
    return ":".join(f"0x{byte:02x}" for byte in aid)


# --- small encodings and readers of the JSON form ----------------------------------------------


def _u2(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _lv(value: bytes) -> bytes:
    return bytes((len(value),)) + value


def _minor_major(version: Version) -> bytes:
    return bytes((version.minor, version.major))


def _mapping(data: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = data.get(name)
    if not isinstance(value, Mapping):
        raise CapError(f"{name} is missing or no object")
    return value


def _mappings(data: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = data.get(name)
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise CapError(f"{name} is missing or no list of objects")
    return value


def _imports(data: Mapping[str, object]) -> tuple[Import, ...]:
    if "imports" not in data:
        return _DEFAULT_IMPORTS
    return tuple(Import(_aid(one), _version(one)) for one in _mappings(data, "imports"))


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value or not value.isascii():
        raise CapError(f"{name} is missing or no plain text")
    return value


def _aid(data: Mapping[str, object]) -> Aid:
    try:
        return Aid.from_hex(_text(data, "aid"))
    except AidError as error:
        raise CapError(f"aid: {error}") from error


def _version(data: Mapping[str, object]) -> Version:
    parts = _text(data, "version").split(".")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) <= 0xFF for part in parts):
        raise CapError("a version is major.minor, each 0 to 255")
    return Version(int(parts[0]), int(parts[1]))
