"""Lines of an import as secure elements: columns by name, in CSV or as a JSON object, or the whole JSON form.

Nothing here repeats a line's contents: what a refusal says is the name of a field and what it should be.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import AidError
from opentsm.tsm.domain.imports import ImportFormat, ImportRefusal
from opentsm.tsm.domain.registry import SeData, SeType
from opentsm.tsm.domain.secure_element import DiversifiedKeys, SeIdentifier, SeIdentifierType, WrappedKeys
from opentsm.tsm.kernel.disclosure import VEIL, veiled
from opentsm.tsm.kernel.errors import CallerError, InvalidInputError
from opentsm.tsm.kernel.ids import ArrangementId, KeyHandle, NetworkOperatorId
from opentsm.tsm.roles.hub.registration import NewKeySet, NewSecureElement

MAX_LINE = 65_536
REFUSALS = (CallerError, msgspec.ValidationError, ValueError, AidError)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A form that a line may have."""


class Columns(_Form, frozen=True, kw_only=True):
    """One secure element with one key set: what a column may be called. An empty one counts as left out.

    `kcvs` are the check values of ENC, MAC and DEK, 18 hex digits.
    """

    cin: str = ""
    iccid: str = ""
    cplc: str = ""
    eid: str = ""
    generic: str = ""
    profile: str = ""
    isd_aid: str = ""
    arrangement_id: str = ""
    kvn: int = 0
    master: str = ""
    method: str = ""
    kdd: str = ""
    transport: str = ""
    blob: str = ""
    kcvs: str = ""
    counter: int | None = None
    network_operator_id: str = ""
    se_type: SeType | None = None
    key_index: str = ""
    profile_id: str = ""
    globalplatform: str = ""
    java_card: str = ""
    certification: str = ""
    expires_on: date | None = None


class _Source(_Form, frozen=True, kw_only=True):
    type: str
    master: str = ""
    method: str = ""
    kdd: str = ""
    transport: str = ""
    blob: str = ""


class _KeySet(_Form, frozen=True, kw_only=True):
    kvn: int
    source: _Source
    kcvs: list[str] = []
    counter: int | None = None


class _Whole(_Form, frozen=True, kw_only=True):
    """The body of POST /v1/secure-elements."""

    identifiers: list[SeIdentifier]
    key_sets: list[_KeySet]
    profile: str = ""
    isd_aid: str = ""
    arrangement_id: str = ""
    data: SeData = SeData()


COLUMNS: tuple[str, ...] = Columns.__struct_fields__
_SE_DATA: tuple[str, ...] = SeData.__struct_fields__


def check_columns(names: Sequence[str], field: str) -> None:
    """Check the names of columns.

    Raises:
        InvalidInputError: one is not known, or stands twice.
    """
    unknown = [number for number, name in enumerate(names, 1) if name not in COLUMNS]
    if unknown:
        raise InvalidInputError(
            f"Column {unknown[0]} is not known; known are {', '.join(COLUMNS)}.", field=field
        )
    if len(set(names)) != len(names):
        raise InvalidInputError("A column stands twice.", field=field)


def read_defaults(defaults: Mapping[str, str]) -> Columns:
    """Read what the lines of a file share.

    Raises:
        InvalidInputError: a name is no column, or its value is none of that column.
    """
    check_columns(list(defaults), "/defaults")
    given = {name: value for name, value in defaults.items() if value}
    try:
        return msgspec.convert(given, Columns, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInputError(refusal(0, error).detail, field="/defaults") from error


def read_header(line: bytes) -> tuple[str, ...]:
    """Return the columns that the first line of a CSV file names.

    Raises:
        InvalidInputError: it names no columns that are known.
    """
    try:
        names = tuple(name.strip().lower() for name in _cells(line.removeprefix(b"\xef\xbb\xbf")))
    except ValueError as error:
        raise InvalidInputError("The header is not CSV in UTF-8.", field="header") from error
    check_columns(names, "header")
    return names


def read_line(
    line: bytes, format_: ImportFormat, columns: Sequence[str], defaults: Mapping[str, str]
) -> NewSecureElement:
    """Read one line.

    Args:
        line: without its line end, at most 64 KiB.
        format_: of the file.
        columns: of the CSV header.
        defaults: of columns that are left out.

    Raises:
        one of REFUSALS: it is none.
    """
    if len(line) > MAX_LINE:
        raise InvalidInputError(f"The line has over {MAX_LINE} bytes.")
    if b"\0" in line:
        raise InvalidInputError("The line has a NUL character.")
    if format_ is ImportFormat.CSV:
        cells = _cells(line)
        if len(cells) != len(columns):
            raise InvalidInputError(f"The line has {len(cells)} fields, the header {len(columns)}.")
        return _flat({**defaults, **{n: cell for n, cell in zip(columns, cells, strict=True) if cell}})
    found = _object(line)
    if "key_sets" in found:
        return _whole(msgspec.convert(found, _Whole), defaults)
    return _flat({**defaults, **found})


def refusal(line: int, error: Exception) -> ImportRefusal:
    """Word the refusal of a line by its error, one of REFUSALS."""
    if isinstance(error, CallerError):
        detail = _QUOTED.sub(VEIL, error.detail)
        return ImportRefusal(
            line=line, code=error.code, detail=veiled(detail), field=veiled(error.field or "")
        )
    if isinstance(error, msgspec.ValidationError):
        detail, field = _without_value(str(error))
        return ImportRefusal(line=line, code="invalid_input", detail=detail, field=field)
    detail = "An AID has 5 to 16 bytes in hex." if isinstance(error, AidError) else "The line is malformed."
    return ImportRefusal(line=line, code="malformed", detail=detail)


def _without_value(said: str) -> tuple[str, str]:
    """Return what msgspec says of a line, and of which field, without a name or value that stood there."""
    if said.startswith("Object contains unknown field"):
        return "The object has a member that is not known.", ""
    text, _, path = said.rpartition(" - at `$")  # the last one: a value might hold the mark, too
    field = path.rstrip("`").replace(".", "/").replace("[", "/").replace("]", "")
    if text.startswith("Invalid enum value"):
        text = "The value is none of those that are known."
    return veiled(text), veiled(field)


def _cells(line: bytes) -> list[str]:
    try:
        (row,) = csv.reader([line.decode()], strict=True)
    except csv.Error as error:
        raise ValueError("no CSV") from error
    return row


def _object(line: bytes) -> dict[str, Any]:
    text = line.decode("utf-8-sig")
    try:
        found = json.loads(text, object_pairs_hook=_once)
        if "\\u" in text:
            _check_escaped(found)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise InvalidInputError("The line is no JSON object.")
    return found


def _check_escaped(found: object) -> None:
    """Refuse what only an escape can bring into a text and no database takes: NUL, half of a surrogate pair.

    Raises:
        ValueError: there is half of a pair; or InvalidInputError: there is a NUL.
    """
    if isinstance(found, str):
        if b"\0" in found.encode():
            raise InvalidInputError("The line has a NUL character.")
    elif isinstance(found, dict):
        for member in found.values():
            _check_escaped(member)
    elif isinstance(found, list):
        for item in found:
            _check_escaped(item)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInputError("A JSON member stands twice.")
    return found


def _flat(found: Mapping[str, object]) -> NewSecureElement:
    """Read columns; texts may stand for numbers and dates."""
    row = msgspec.convert(found, Columns, strict=False)
    names = ((kind, getattr(row, kind.value.lower())) for kind in SeIdentifierType)
    source = _Source(
        type="wrapped" if row.blob or row.transport else "diversified",
        master=row.master,
        method=row.method,
        kdd=row.kdd,
        transport=row.transport,
        blob=row.blob,
    )
    if source.type == "wrapped" and row.kdd:
        raise InvalidInputError("A key set is either derived (kdd) or wrapped (blob).", field="/kdd")
    kcvs = [row.kcvs[start : start + 6] for start in range(0, len(row.kcvs), 6)]
    return _new(
        [SeIdentifier(type=kind, value=value) for kind, value in names if value],
        [_KeySet(kvn=row.kvn, source=source, kcvs=kcvs, counter=row.counter)],
        row,
        _data({name: getattr(row, name) for name in _SE_DATA}),
    )


def _whole(found: _Whole, defaults: Mapping[str, str]) -> NewSecureElement:
    shared = read_defaults(defaults)
    filled = msgspec.structs.replace(
        found,
        profile=found.profile or shared.profile,
        isd_aid=found.isd_aid or shared.isd_aid,
        arrangement_id=found.arrangement_id or shared.arrangement_id,
    )
    data = found.data
    if data == SeData():
        data = _data({name: getattr(shared, name) for name in _SE_DATA})
    return _new(found.identifiers, found.key_sets, filled, data)


def _data(values: Mapping[str, Any]) -> SeData:
    operator = values["network_operator_id"]
    return SeData(**{**values, "network_operator_id": NetworkOperatorId(operator) if operator else None})


def _new(
    identifiers: Sequence[SeIdentifier], key_sets: Sequence[_KeySet], row: Columns | _Whole, data: SeData
) -> NewSecureElement:
    return NewSecureElement(
        identifiers=tuple(identifiers),
        profile=row.profile,
        key_sets=tuple(_key_set(one) for one in key_sets),
        isd_aid=Aid.from_hex(row.isd_aid) if row.isd_aid else None,
        arrangement_id=ArrangementId(row.arrangement_id) if row.arrangement_id else None,
        data=data,
    )


def _key_set(given: _KeySet) -> NewKeySet:
    source = given.source
    if source.type not in ("diversified", "wrapped"):
        raise InvalidInputError("A source is diversified or wrapped.", field="/source/type")
    kcvs = tuple(_hex(kcv, "/kcvs") for kcv in given.kcvs)
    if source.type == "wrapped":
        wrapped = WrappedKeys(transport=KeyHandle(source.transport), blob=_hex(source.blob, "/blob"))
        return NewKeySet(kvn=given.kvn, source=wrapped, kcvs=kcvs, counter=given.counter)
    kdd = _hex(source.kdd, "/kdd")
    derived = DiversifiedKeys(master=KeyHandle(source.master), method=source.method, kdd=kdd)
    return NewKeySet(kvn=given.kvn, source=derived, kcvs=kcvs, counter=given.counter)


def _hex(text: str, field: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidInputError("The value is not hex.", field=field) from None
