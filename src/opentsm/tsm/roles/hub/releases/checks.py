"""The automatic checks of a load file: each finding says where it is, how bad, and what to do. Pure."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CapError
from opentsm.card.gp.cap import LoadFile, read_load_file
from opentsm.card.gp.cap_components import CapFlag
from opentsm.card.gp.cap_findings import used_packages
from opentsm.card.gp.packages import package_name, platform
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import GP_API_VERSION, JAVA_CARD_VERSION, SeProfile
from opentsm.tsm.domain.release import Finding, KnownBad, ReleasePolicy, Severity

_RID_BYTES = 5
_GP_API = "A00000015100"
_PLATFORM = ("A000000062", "A000000151")
_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@dataclass(frozen=True, slots=True)
class Declared:
    """What the submitter says about a load file."""

    package_aid: Aid | None = None
    modules: tuple[Aid, ...] = ()
    privileges: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a load file is held against.

    Args:
        rids: those registered for the submitter (hex).
        profiles: the card profiles that it is meant for, by name.
        policy: of the reviewer.
        known_bad: what the reviewer and the central TSM refuse.
        present: packages that were released for the same cards.
    """

    rids: Collection[str]
    profiles: Mapping[str, SeProfile]
    policy: ReleasePolicy
    known_bad: Sequence[KnownBad] = ()
    present: Collection[Aid] = field(default=())


@dataclass(frozen=True, slots=True)
class Examined:
    """A load file that could be read, what is loaded of it, and what was found."""

    file: LoadFile
    block: bytes
    findings: tuple[Finding, ...]

    @property
    def sha256(self) -> str:
        """The name of the block."""
        return hashlib.sha256(self.block).hexdigest()


def examine(data: bytes, declared: Declared, facts: Facts) -> Examined:
    """Read and check a load file.

    Raises:
        CapError: it is none.
    """
    file = read_load_file(data)
    block = file.load_file_data_block()
    findings = [
        *_names(file, declared, facts),
        *_imports(file, facts),
        *_code(file),
        *_size(block, facts),
        *_privileges(declared, facts),
        *_bad(file, hashlib.sha256(block).hexdigest(), facts),
    ]
    return Examined(file, block, tuple(findings))


def _names(file: LoadFile, declared: Declared, facts: Facts) -> list[Finding]:
    rids = {one.upper() for one in facts.rids}
    found = []
    for place, aid in (("package", file.package_aid), *(("applet", one) for one in file.applets)):
        if str(aid)[: 2 * _RID_BYTES] not in rids:
            found.append(
                _finding(
                    _ERROR,
                    "rid",
                    f"{place} {aid}",
                    f"{aid} does not begin with a registered application provider identifier (RID) of the"
                    " submitter.",
                    "Use AIDs under your own RID, or have the operator register it.",
                )
            )
    if declared.package_aid not in (None, file.package_aid):
        found.append(_finding(_ERROR, "declared_aid", "package", f"The package's AID is {file.package_aid}."))
    if declared.modules and set(declared.modules) != set(file.applets):
        found.append(
            _finding(
                _ERROR, "declared_aid", "applets", f"The applets are {', '.join(map(str, file.applets))}."
            )
        )
    return found


def _imports(file: LoadFile, facts: Facts) -> list[Finding]:
    found = []
    needed = platform(file.imports)
    if needed is not None and _number(needed.rpartition(" ")[2]) > _number(JAVA_CARD_VERSION):
        text = f"The load file needs {needed}; the cards have {JAVA_CARD_VERSION}."
        found.append(_finding(_ERROR, "java_card_version", "imports", text, "Convert it for their platform."))
    for one in file.imports:
        name = package_name(one.aid)
        if str(one.aid) == _GP_API and tuple(one.version) > _number(GP_API_VERSION):
            text = f"The load file needs GlobalPlatform API {one.version}; the cards have {GP_API_VERSION}."
            found.append(_finding(_ERROR, "gp_api_version", f"import {one.aid}", text))
        elif name is None and str(one.aid).startswith(_PLATFORM):
            text = f"{one.aid} {one.version} is a platform package that this TSM does not know."
            found.append(_finding(_WARNING, "unknown_import", f"import {one.aid}", text))
        elif name is None and one.aid not in facts.present:
            text = f"{one.aid} {one.version} is no package of the platform, and none that was released."
            advice = "Have it released first; it must be on the card before this one."
            found.append(_finding(_ERROR, "missing_import", f"import {one.aid}", text, advice))
    return found


def _code(file: LoadFile) -> list[Finding]:
    try:
        used = used_packages(file)
    except CapError as error:
        return [_finding(_ERROR, "constant_pool", "ConstantPool", f"The constant pool is damaged: {error}.")]
    found = []
    if any(index >= len(file.imports) for index in used):
        text = "The code refers to a package that is not imported."
        found.append(_finding(_ERROR, "constant_pool", "ConstantPool", text, "Convert the load file anew."))
    for index, one in enumerate(file.imports):
        if index not in used and package_name(one.aid) is None:
            found.append(_finding(_NOTE, "unused_import", f"import {one.aid}", f"{one.aid} is not used."))
        if index in used and str(one.aid) == _GP_API:
            text = "The code uses org.globalplatform: with privileges it reaches the card's life cycle."
            found.append(
                _finding(_WARNING, "globalplatform_api", f"import {one.aid}", text, "Review its use.")
            )
    if CapFlag.INTEGERS in file.flags:
        text = "The load file uses int, which not every card supports."
        found.append(_finding(_WARNING, "integers", "Header", text))
    return found


def _size(block: bytes, facts: Facts) -> list[Finding]:
    limit = facts.policy.max_bytes
    if not limit or len(block) <= limit:
        return []
    text = f"The load file has {len(block)} bytes; {limit} are allowed."
    return [_finding(_ERROR, "size", "load file", text, "Make it smaller, or ask the reviewer for more.")]


def _privileges(declared: Declared, facts: Facts) -> list[Finding]:
    found = []
    beyond = declared.privileges & ~facts.policy.privileges
    if beyond:
        text = f"The reviewer does not give {Privilege(beyond)} to applications."
        found.append(_finding(_ERROR, "privileges", "privileges", text, "Ask for fewer privileges."))
    for name, profile in facts.profiles.items():
        lacking = declared.privileges & ~int(profile.application_privileges)
        if lacking:
            text = f"Cards of profile {name} do not give {Privilege(lacking)} to applications."
            found.append(_finding(_ERROR, "privileges", f"profile {name}", text))
    return found


def _bad(file: LoadFile, sha256: str, facts: Facts) -> list[Finding]:
    return [
        _finding(_ERROR, "known_bad", "load file", f"This content is known to be bad: {one.reason}")
        for one in facts.known_bad
        if one.matches(sha256, file.package_aid, str(file.version))
    ]


def _finding(severity: Severity, code: str, place: str, text: str, advice: str = "") -> Finding:
    return Finding(severity=severity, code=code, place=place, text=text, advice=advice)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
