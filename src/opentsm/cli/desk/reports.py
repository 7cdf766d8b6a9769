"""What a card on the desk says about itself and its content, read and put in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import parse_tlv
from opentsm.card.errors import CardError
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import Ins, StatusScope
from opentsm.card.gp.keys import KeyType
from opentsm.card.gp.registry import RegistryEntry, RegistryKind
from opentsm.card.gp.responses import (
    KeyInformation,
    parse_card_capability,
    parse_card_data,
    parse_extended_resources,
    parse_sequence_counter,
    parse_status,
)
from opentsm.card.gp.status_words import MORE_REGISTRY_DATA, REFERENCED_DATA_NOT_FOUND, SUCCESS
from opentsm.cli.desk.link import CardLink, require_success
from opentsm.cli.desk.session import DomainFacts, Session

_MAX_PARTS = 300

# Fields of the CPLC with their lengths (42 bytes together).
_CPLC_FIELDS = (
    ("ic_fabricator", 2),
    ("ic_type", 2),
    ("os_id", 2),
    ("os_release_date", 2),
    ("os_release_level", 2),
    ("ic_fabrication_date", 2),
    ("ic_serial_number", 4),
    ("ic_batch", 2),
    ("module_fabricator", 2),
    ("module_packaging_date", 2),
    ("icc_manufacturer", 2),
    ("ic_embedding_date", 2),
    ("pre_personalizer", 2),
    ("pre_personalization_date", 2),
    ("pre_personalization_equipment", 4),
    ("personalizer", 2),
    ("personalization_date", 2),
    ("personalization_equipment", 4),
)
_CPLC_BYTES = sum(length for _, length in _CPLC_FIELDS)


# --- list --------------------------------------------------------------------------------------


async def read_registry(session: Session) -> tuple[RegistryEntry, ...]:
    """Read all of the registry that the session's security domain shows.

    Raises:
        CliError: the card refuses GET STATUS.
    """
    entries: list[RegistryEntry] = []
    for scope in (StatusScope.ISD, StatusScope.APPLICATIONS):
        entries += await _read_scope(session, scope, optional=scope is StatusScope.ISD)
    modules = await _read_scope(session, StatusScope.LOAD_FILES_AND_MODULES, optional=True)
    return (*entries, *(modules or await _read_scope(session, StatusScope.LOAD_FILES, optional=True)))


async def _read_scope(session: Session, scope: StatusScope, *, optional: bool) -> list[RegistryEntry]:
    data, go_on = b"", False
    for _ in range(_MAX_PARTS):
        answer = await session.send(commands.get_status(scope, next=go_on))
        if answer.sw == REFERENCED_DATA_NOT_FOUND:
            break
        if answer.sw != MORE_REGISTRY_DATA:
            if answer.sw != SUCCESS and optional:
                # A supplementary domain does not see the issuer's entry; old cards know no modules.
                return []
            data += require_success(answer, Ins.GET_STATUS, "GET STATUS").data
            break
        data, go_on = data + answer.data, True
    return list(parse_status(data, scope))


def registry_document(entries: tuple[RegistryEntry, ...]) -> list[dict[str, object]]:
    """Return the registry as JSON values."""
    return [
        {
            "aid": str(entry.aid),
            "kind": entry.kind.value,
            "state": entry.state_name,
            "privileges": list(entry.privileges.names),
            "load_file": _text(entry.load_file),
            "sd": _text(entry.associated_sd),
            "modules": [str(module) for module in entry.modules],
            "version": ".".join(map(str, entry.version)) if entry.version else None,
        }
        for entry in entries
    ]


def _text(aid: Aid | None) -> str | None:
    return None if aid is None else str(aid)


def tree_lines(entries: tuple[RegistryEntry, ...]) -> Iterator[str]:
    """Draw the hierarchy: every object under its security domain; what has none known stands at the left."""
    known = {entry.aid for entry in entries}
    for entry in entries:
        if _parent(entry) not in known:
            yield from _branch(entry, entries, head="", tail="", seen=frozenset())


def _parent(entry: RegistryEntry) -> Aid | None:
    # A security domain may be associated with itself: then it is a root.
    return None if entry.associated_sd == entry.aid else entry.associated_sd


def _branch(
    entry: RegistryEntry, entries: tuple[RegistryEntry, ...], *, head: str, tail: str, seen: frozenset[Aid]
) -> Iterator[str]:
    yield head + _line(entry)
    if entry.aid in seen or entry.kind in (RegistryKind.APPLICATION, RegistryKind.LOAD_FILE):
        return
    children = [one for one in entries if _parent(one) == entry.aid]
    for number, child in enumerate(children, 1):
        last = number == len(children)
        yield from _branch(
            child,
            entries,
            head=tail + ("└─ " if last else "├─ "),
            tail=tail + ("   " if last else "│  "),
            seen=seen | {entry.aid},
        )


def _line(entry: RegistryEntry) -> str:
    kind = {RegistryKind.APPLICATION: "App", RegistryKind.LOAD_FILE: "Pkg"}.get(entry.kind, entry.kind.value)
    words = [f"{kind} {entry.aid}", entry.state_name]
    if entry.version:
        words.append("version " + ".".join(map(str, entry.version)))
    if entry.load_file:
        words.append(f"from {entry.load_file}")
    if entry.modules:
        words.append("modules " + " ".join(map(str, entry.modules)))
    if entry.privileges:
        words.append(f"[{entry.privileges}]")
    return "  ".join(words)


# --- info --------------------------------------------------------------------------------------


async def read_info(link: CardLink, facts: DomainFacts) -> dict[str, object]:
    """Read what the selected security domain tells without keys; what it does not tell is None."""
    document: dict[str, object] = {"atr": link.atr.hex().upper(), "sd": _text(facts.aid)}
    document |= {"iin": _hex(await _value(link, 0x42)), "cin": _hex(await _value(link, 0x45))}
    document["kdd"] = _hex(await _value(link, 0xCF))
    document["cplc"] = cplc_document(await _value(link, 0x9F7F))
    document |= _card_data(await _object(link, 0x66), facts)
    document["capability"] = _capability(await _object(link, 0x67))
    document["keys"] = [_key_document(key) for key in facts.keys]
    document["sequence_counter"] = _counter(await _object(link, 0xC1))
    document["memory"] = _memory(await _object(link, 0xFF21))
    return document


async def _object(link: CardLink, tag: int) -> bytes | None:
    answer = await link.send(commands.get_data(tag))
    return answer.data if answer.sw == SUCCESS and answer.data else None


async def _value(link: CardLink, tag: int) -> bytes | None:
    """Return the value of a data object; some cards leave tag and length out."""
    data = await _object(link, tag)
    if data is None:
        return None
    try:
        found = parse_tlv(data)
    except CardError:
        return data
    return found.value if found.tag == tag else data


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex().upper()


def cplc_document(data: bytes | None) -> dict[str, str] | None:
    """Take the card production life cycle data apart; None when it is not there or has another length."""
    if data is None or len(data) != _CPLC_BYTES:
        return None
    document, at = {}, 0
    for name, length in _CPLC_FIELDS:
        document[name] = data[at : at + length].hex().upper()
        at += length
    return document


def _card_data(data: bytes | None, facts: DomainFacts) -> dict[str, object]:
    version = None
    with suppress(CardError):
        version = parse_card_data(data).version if data else None
    channels = [{"scp": f"{scp:02X}", "i": f"{i:02X}"} for scp, i in facts.channels]
    return {"gp_version": version, "secure_channels": channels}


def _capability(data: bytes | None) -> dict[str, object] | None:
    try:
        found = parse_card_capability(data) if data else None
    except CardError:
        return None
    if found is None:
        return None
    return {
        "secure_channels": [
            {
                "scp": f"{one.scp:02X}",
                "i": [f"{i:02X}" for i in one.i_values],
                "aes_bits": _aes(one.aes_key_sizes),
            }
            for one in found.secure_channels
        ],
        "hashes": found.hash_algorithms.hex().upper(),
        "assignable_to_sd": list(found.assignable_to_sd.names) if found.assignable_to_sd else [],
        "assignable_to_application": list(found.assignable_to_application.names)
        if found.assignable_to_application
        else [],
    }


def _aes(bits: int | None) -> list[int]:
    return [size for bit, size in ((1, 128), (2, 192), (4, 256)) if (bits or 0) & bit]


def _key_document(key: KeyInformation) -> dict[str, object]:
    components = [
        {
            "type": KeyType(one.key_type).name if one.key_type in set(KeyType) else f"{one.key_type:02X}",
            "bytes": one.length,
        }
        for one in key.components
    ]
    return {"kvn": f"{key.kvn:02X}", "kid": f"{key.kid:02X}", "components": components}


def _counter(data: bytes | None) -> int | None:
    try:
        return parse_sequence_counter(data) if data else None
    except CardError:
        return None


def _memory(data: bytes | None) -> dict[str, int] | None:
    try:
        found = parse_extended_resources(data) if data else None
    except CardError:
        return None
    if found is None:
        return None
    return {
        "applications": found.applications,
        "free_nonvolatile": found.free_nonvolatile,
        "free_volatile": found.free_volatile,
    }


def info_lines(document: dict[str, object], depth: int = 0) -> Iterator[str]:
    """Draw a document as indented lines; what is not told is left out."""
    for name, value in document.items():
        head = "  " * depth + name.replace("_", " ")
        if value is None or value == []:
            continue
        if isinstance(value, dict):
            yield head
            yield from info_lines(value, depth + 1)
        elif isinstance(value, list):
            yield f"{head}: " + "; ".join(map(_flat, value))
        else:
            yield f"{head}: {value}"


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_flat(one)}" for name, one in value.items())
    return "[" + ", ".join(map(_flat, value)) + "]" if isinstance(value, list) else str(value)
