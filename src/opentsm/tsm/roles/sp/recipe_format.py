"""The JSON form of recipes, `opentsm-personalization/1`: read, and refused with the place of the fault.

Described in docs/reference/personalization.md.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeVar

import msgspec

from opentsm.tsm.kernel.disclosure import may_be_secret
from opentsm.tsm.roles.sp.recipes import (
    ENCODINGS,
    Constant,
    Derivation,
    DerivedKey,
    Encoding,
    Field,
    FieldType,
    FieldValue,
    GroupingRecipe,
    Nibbles,
    Part,
    Recipe,
    RecipeVersion,
    Wrapped,
    key_names,
)

FORMAT: Final = "opentsm-personalization/1"
MAX_BYTES: Final = 64 * 1024
MAX_FIELDS, MAX_GROUPINGS, MAX_DEPTH, MAX_PARTS = 100, 200, 8, 100
MAX_VALUE: Final = 0xFFFF
COMPLETION: Final = 0x7FFF

_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_KEY_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_VERSION: Final = re.compile(r"[!-~]{1,16}")
_GENERATED: Final = re.compile(r"random:([1-9][0-9]{0,2})")
_NIBBLES: Final = re.compile(r"[0-9A-Fa-f]{1,255}")
_MAX_LENGTH = 1024
_MAX_INTEGER_BYTES = 8


class RecipeError(ValueError):
    """The recipe does not have the format; the message begins with the place of the fault."""


def is_key_name(name: str) -> bool:
    """Say whether a master key may have this name; one that looks like a key itself may not."""
    return _KEY_NAME.fullmatch(name) is not None and not may_be_secret(name)


def read_recipe(data: bytes) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: where the fault is, and what would be right.
    """
    if len(data) > MAX_BYTES:
        raise RecipeError(f"the recipe has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"not JSON: {error}") from None
    top = _members(document, "recipe", {"format", "version", "fields", "groupings", "probe"})
    if top.get("format") != FORMAT:
        raise RecipeError(f"format: must be {FORMAT!r}")
    version = _matching(top.get("version"), "version", _VERSION, "1 to 16 printable ASCII characters")
    fields = _fields(top.get("fields", []))
    reader = _Reader(fields)
    groupings = tuple(
        reader.grouping(item, f"groupings[{number}]")
        for number, item in enumerate(_items(top.get("groupings"), "groupings", MAX_GROUPINGS))
    )
    _check_order(groupings)
    _check_use(fields, reader.used)
    return Recipe(version, fields, groupings, _probe(top.get("probe")))


def _check_order(groupings: tuple[GroupingRecipe, ...]) -> None:
    if not groupings:
        raise RecipeError("groupings: must not be empty")
    for number, grouping in enumerate(groupings):
        if grouping.dgi == COMPLETION and number != len(groupings) - 1:
            raise RecipeError(f"{grouping.path}: 7FFF completes, it must be the last")
        if grouping.dgi == COMPLETION and (grouping.parts or grouping.encrypted):
            raise RecipeError(f"{grouping.path}: 7FFF must be empty and not encrypted")
        if any(before.dgi == grouping.dgi for before in groupings[:number]):
            raise RecipeError(f"{grouping.path}.dgi: {grouping.dgi:04X} occurs twice")


def _check_use(fields: Mapping[str, Field], used: set[str]) -> None:
    for number, name in enumerate(fields):
        if name not in used:
            raise RecipeError(f"fields[{number}]: no grouping uses {name!r}")


def _probe(value: object) -> int | None:
    if value is None:
        return None
    get_data = _members(value, "probe", {"get_data"}).get("get_data")
    return _number(get_data, "probe.get_data", 2, "a data object's tag, 2 bytes in hex")


# --- fields ------------------------------------------------------------------------------------


def _fields(value: object) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for number, item in enumerate(_items(value, "fields", MAX_FIELDS)):
        path = f"fields[{number}]"
        field = _field(item, path)
        if field.name in fields:
            raise RecipeError(f"{path}.name: {field.name!r} occurs twice")
        fields[field.name] = field
    return fields


def _field(item: object, path: str) -> Field:
    members = _members(item, path, {"name", "type", "length", "min", "max", "secret", "generated"})
    name = _matching(
        members.get("name"), f"{path}.name", _FIELD_NAME, "a letter, then letters, digits, _ or -, at most 64"
    )
    type_ = _choice(members.get("type"), f"{path}.type", FieldType)
    secret = members.get("secret", False)
    if not isinstance(secret, bool):
        raise RecipeError(f"{path}.secret: must be true or false")
    low, high, size = _integer_bounds(members, path) if type_ is FieldType.INTEGER else _bounds(members, path)
    generated = _generated(members.get("generated"), f"{path}.generated", type_, low, high)
    return Field(name, type_, low, high, size, secret, generated)


def _bounds(members: Mapping[str, object], path: str) -> tuple[int, int, int]:
    if "length" in members:
        if "min" in members or "max" in members:
            raise RecipeError(f"{path}: length stands for min and max, give one or the others")
        length = _whole(members["length"], f"{path}.length", 1, _MAX_LENGTH)
        return length, length, 0
    if "max" not in members:
        raise RecipeError(f"{path}: give length, or max")
    high = _whole(members["max"], f"{path}.max", 1, _MAX_LENGTH)
    return _whole(members.get("min", 0), f"{path}.min", 0, high), high, 0


def _integer_bounds(members: Mapping[str, object], path: str) -> tuple[int, int, int]:
    size = _whole(members.get("length", 4), f"{path}.length", 1, _MAX_INTEGER_BYTES)
    top = (1 << 8 * size) - 1
    high = _whole(members.get("max", top), f"{path}.max", 0, top)
    return _whole(members.get("min", 0), f"{path}.min", 0, high), high, size


def _generated(value: object, path: str, type_: FieldType, low: int, high: int) -> int | None:
    if value is None:
        return None
    found = _GENERATED.fullmatch(value) if isinstance(value, str) else None
    if found is None or type_ not in (FieldType.HEX, FieldType.DIGITS):
        raise RecipeError(f"{path}: must be random:N, for a field of type hex (bytes) or digits")
    count = int(found[1])
    if not low <= count <= high:
        raise RecipeError(f"{path}: {count} is not among the lengths that the field allows")
    return count


# --- groupings ---------------------------------------------------------------------------------


class _Reader:
    """Reads groupings; remembers which fields are used."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self.used: set[str] = set()

    def grouping(self, item: object, path: str) -> GroupingRecipe:
        members = _members(item, path, {"dgi", "value", "encrypted"})
        dgi = _number(members.get("dgi"), f"{path}.dgi", 2, "a data grouping identifier, 2 bytes in hex")
        encrypted = members.get("encrypted", False)
        if not isinstance(encrypted, bool):
            raise RecipeError(f"{path}.encrypted: must be true or false")
        parts = self.parts(members.get("value", []), f"{path}.value", 0)
        if key_names(parts) and not encrypted:
            raise RecipeError(f"{path}.encrypted: must be true, the grouping holds a key")
        return GroupingRecipe(dgi, parts, encrypted, path)

    def parts(self, value: object, path: str, depth: int) -> tuple[Part, ...]:
        if depth > MAX_DEPTH:
            raise RecipeError(f"{path}: parts are nested deeper than {MAX_DEPTH}")
        return tuple(
            self._part(item, f"{path}[{number}]", depth)
            for number, item in enumerate(_items(value, path, MAX_PARTS))
        )

    def _part(self, item: object, path: str, depth: int) -> Part:
        if not isinstance(item, dict):
            raise RecipeError(f"{path}: must be an object")
        match item:
            case {"hex": value}:
                _members(item, path, {"hex"})
                return Constant(_hex(value, f"{path}.hex"))
            case {"field": _}:
                return self._field_value(item, path)
            case {"nibbles": value}:
                return self._nibbles(item, value, path)
            case {"tlv": tag}:
                _members(item, path, {"tlv", "value"})
                parts = self.parts(item.get("value", []), f"{path}.value", depth + 1)
                return Wrapped(_tag(tag, f"{path}.tlv"), parts)
            case {"key": _}:
                return self._key(item, path, depth)
            case {"recipe_version": True}:
                _members(item, path, {"recipe_version"})
                return RecipeVersion()
        raise RecipeError(f"{path}: must be one of hex, field, nibbles, tlv, key, recipe_version")

    def _field_value(self, item: dict[str, object], path: str) -> FieldValue:
        members = _members(item, path, {"field", "encoding"})
        name = members["field"]
        field = self._fields.get(name) if isinstance(name, str) else None
        if field is None:
            raise RecipeError(f"{path}.field: there is no such field")
        self.used.add(field.name)
        allowed = ENCODINGS[field.type]
        if "encoding" not in members:
            return FieldValue(field.name, allowed[0])
        encoding = _choice(members["encoding"], f"{path}.encoding", Encoding)
        if encoding not in allowed:
            names = ", ".join(one.value for one in allowed)
            raise RecipeError(f"{path}.encoding: a field of type {field.type.value} allows {names}")
        return FieldValue(field.name, encoding)

    def _nibbles(self, item: dict[str, object], value: object, path: str) -> Nibbles:
        members = _members(item, path, {"nibbles", "last"})
        place = f"{path}.nibbles"
        items = tuple(
            self._nibble_item(one, f"{place}[{number}]")
            for number, one in enumerate(_items(value, place, MAX_PARTS))
        )
        if "last" not in members:
            return Nibbles(items)
        last = _whole(members["last"], f"{path}.last", 2, 255)
        if last % 2:
            raise RecipeError(f"{path}.last: must be even")
        return Nibbles(items, last)

    def _nibble_item(self, item: object, path: str) -> str | FieldValue:
        if isinstance(item, str):
            return _matching(item, path, _NIBBLES, "hex digits").upper()
        if not isinstance(item, dict):
            raise RecipeError(f"{path}: must be hex digits or a field")
        members = _members(item, path, {"field"})
        value = self._field_value(members | {"field": members.get("field")}, path)
        if self._fields[value.field].type not in (FieldType.DIGITS, FieldType.HEX):
            raise RecipeError(f"{path}: the field must be of type digits or hex")
        return value

    def _key(self, item: dict[str, object], path: str, depth: int) -> DerivedKey:
        members = _members(item, path, {"key", "diversify", "derivation"})
        name = _matching(
            members["key"],
            f"{path}.key",
            _KEY_NAME,
            "a small letter, then small letters, digits or -, at most 64",
        )
        diversify = self.parts(members.get("diversify"), f"{path}.diversify", depth + 1)
        if not diversify or key_names(diversify):
            raise RecipeError(f"{path}.diversify: must be parts that tell cards apart, none of them a key")
        derivation = _choice(members.get("derivation", "sp800-108"), f"{path}.derivation", Derivation)
        return DerivedKey(name, diversify, derivation)


# --- values ------------------------------------------------------------------------------------


def _members(value: object, path: str, known: set[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: must be an object")
    for name in value:
        if name not in known:
            raise RecipeError(
                f"{path}: there is no member {name[:64]!r}; there are {', '.join(sorted(known))}"
            )
    return value


def _items(value: object, path: str, limit: int) -> list[object]:
    if not isinstance(value, list):
        raise RecipeError(f"{path}: must be a list")
    if len(value) > limit:
        raise RecipeError(f"{path}: has more than {limit} items")
    return value


def _matching(value: object, path: str, pattern: re.Pattern[str], wanted: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise RecipeError(f"{path}: must be {wanted}")
    return value


def _whole(value: object, path: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RecipeError(f"{path}: must be a whole number from {low} to {high}")
    return value


EnumT = TypeVar("EnumT", bound=Enum)


def _choice(value: object, path: str, kind: type[EnumT]) -> EnumT:
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(str(one.value) for one in kind)
        raise RecipeError(f"{path}: must be one of {choices}") from None


def _hex(value: object, path: str) -> bytes:
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise RecipeError(f"{path}: must be bytes in hex")


def _number(value: object, path: str, length_bytes: int, wanted: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(f"[0-9A-Fa-f]{{{2 * length_bytes}}}", value):
        raise RecipeError(f"{path}: must be {wanted}")
    return int(value, 16)


def _tag(value: object, path: str) -> int:
    """Read a BER tag: one byte, or two when the first ends in 11111, or three when the second goes on."""
    data = _hex(value, path)
    multi = data[:1] and data[0] & 0x1F == 0x1F
    complete = (
        len(data) == 1
        if not multi
        else (len(data) in (2, 3) and all(b & 0x80 for b in data[1:-1]) and not data[-1] & 0x80)
    )
    if not complete or data[0] == 0:
        raise RecipeError(f"{path}: must be a BER tag of 1 to 3 bytes in hex")
    return int.from_bytes(data, "big")
