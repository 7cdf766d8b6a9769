"""The JSON form of recipes, `opentsm-personalization/1`: read, and refused with the place of the fault.

Described in docs/reference/personalization.md.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from opentsm.tsm.kernel.disclosure import may_be_secret
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.roles.sp.forms import MAX_TEXT
from opentsm.tsm.roles.sp.recipe_commands import commands_of
from opentsm.tsm.roles.sp.recipe_fields import fields_of
from opentsm.tsm.roles.sp.recipe_values import (
    RecipeError,
    choice,
    hex_bytes,
    items_of,
    matching,
    members_of,
    number_of,
    tag_number,
    whole,
)
from opentsm.tsm.roles.sp.recipe_words import messages_of
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
    SpParameter,
    Wrapped,
    key_names,
)

FORMAT: Final = "opentsm-personalization/1"
MAX_BYTES: Final = 64 * 1024
MAX_GROUPINGS, MAX_DEPTH, MAX_PARTS = 200, 8, 100
MAX_VALUE: Final = 0xFFFF
COMPLETION: Final = 0x7FFF

_MEMBERS: Final = {"format", "version", "fields", "groupings", "probe", "messages", "commands"}
_KEY_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_VERSION: Final = re.compile(r"[!-~]{1,16}")
_NIBBLES: Final = re.compile(r"[0-9A-Fa-f]{1,255}")
_PARAMETER_ENCODINGS: Final = (Encoding.HEX, Encoding.ASCII, Encoding.UTF8)


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
    top = members_of(
        document, "recipe", {"format", "version", "fields", "groupings", "probe", "messages", "commands"}
    )
    if top.get("format") != FORMAT:
        raise RecipeError(f"format: must be {quoted(FORMAT)}")
    version = matching(top.get("version"), "version", _VERSION, "1 to 16 printable ASCII characters")
    fields = fields_of(top.get("fields", []))
    reader = _Reader(fields)
    groupings = tuple(
        reader.grouping(item, f"groupings[{number}]")
        for number, item in enumerate(items_of(top.get("groupings"), "groupings", MAX_GROUPINGS))
    )
    commands = commands_of(top.get("commands", []), reader.parts, fields)
    _check_order(groupings)
    _check_use(fields, reader.used)
    probe, messages = _probe(top.get("probe")), messages_of(top.get("messages"))
    return Recipe(version, fields, groupings, probe, messages, commands)


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
            raise RecipeError(f"fields[{number}]: nothing uses {quoted(name)}")


def _probe(value: object) -> int | None:
    if value is None:
        return None
    get_data = members_of(value, "probe", {"get_data"}).get("get_data")
    return number_of(get_data, "probe.get_data", 2, "a data object's tag, 2 bytes in hex")


# --- groupings ---------------------------------------------------------------------------------


class _Reader:
    """Reads groupings; remembers which fields are used."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self.used: set[str] = set()

    def grouping(self, item: object, path: str) -> GroupingRecipe:
        members = members_of(item, path, {"dgi", "value", "encrypted"})
        dgi = number_of(members.get("dgi"), f"{path}.dgi", 2, "a data grouping identifier, 2 bytes in hex")
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
            for number, item in enumerate(items_of(value, path, MAX_PARTS))
        )

    def _part(self, item: object, path: str, depth: int) -> Part:
        if not isinstance(item, dict):
            raise RecipeError(f"{path}: must be an object")
        match item:
            case {"hex": value}:
                members_of(item, path, {"hex"})
                return Constant(hex_bytes(value, f"{path}.hex"))
            case {"field": _}:
                return self._field_value(item, path)
            case {"nibbles": value}:
                return self._nibbles(item, value, path)
            case {"tlv": tag}:
                members_of(item, path, {"tlv", "value"})
                parts = self.parts(item.get("value", []), f"{path}.value", depth + 1)
                return Wrapped(tag_number(tag, f"{path}.tlv"), parts)
            case {"key": _}:
                return self._key(item, path, depth)
            case {"sp_parameter": _}:
                return self._sp_parameter(item, path)
            case {"recipe_version": True}:
                members_of(item, path, {"recipe_version"})
                return RecipeVersion()
        raise RecipeError(
            f"{path}: must be one of hex, field, nibbles, tlv, key, sp_parameter, recipe_version"
        )

    def _field_value(self, item: dict[str, object], path: str) -> FieldValue:
        members = members_of(item, path, {"field", "encoding"})
        name = members["field"]
        field = self._fields.get(name) if isinstance(name, str) else None
        if field is None:
            raise RecipeError(f"{path}.field: there is no such field")
        self.used.add(field.name)
        allowed = ENCODINGS[field.type]
        if "encoding" not in members:
            return FieldValue(field.name, allowed[0])
        encoding = choice(members["encoding"], f"{path}.encoding", Encoding)
        if encoding not in allowed:
            names = ", ".join(one.value for one in allowed)
            raise RecipeError(f"{path}.encoding: a field of type {field.type.value} allows {names}")
        return FieldValue(field.name, encoding)

    def _sp_parameter(self, item: dict[str, object], path: str) -> SpParameter:
        members = members_of(item, path, {"sp_parameter", "encoding"})
        name = members["sp_parameter"]
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_TEXT:
            raise RecipeError(f"{path}.sp_parameter: must be a name of 1 to {MAX_TEXT} characters")
        encoding = choice(members.get("encoding", "utf8"), f"{path}.encoding", Encoding)
        if encoding not in _PARAMETER_ENCODINGS:
            raise RecipeError(f"{path}.encoding: a service parameter allows hex, ascii, utf8")
        return SpParameter(name, encoding)

    def _nibbles(self, item: dict[str, object], value: object, path: str) -> Nibbles:
        members = members_of(item, path, {"nibbles", "last"})
        place = f"{path}.nibbles"
        items = tuple(
            self._nibble_item(one, f"{place}[{number}]")
            for number, one in enumerate(items_of(value, place, MAX_PARTS))
        )
        if "last" not in members:
            return Nibbles(items)
        last = whole(members["last"], f"{path}.last", 2, 255)
        if last % 2:
            raise RecipeError(f"{path}.last: must be even")
        return Nibbles(items, last)

    def _nibble_item(self, item: object, path: str) -> str | FieldValue:
        if isinstance(item, str):
            return matching(item, path, _NIBBLES, "hex digits").upper()
        if not isinstance(item, dict):
            raise RecipeError(f"{path}: must be hex digits or a field")
        members = members_of(item, path, {"field"})
        value = self._field_value(members | {"field": members.get("field")}, path)
        if self._fields[value.field].type not in (FieldType.DIGITS, FieldType.HEX):
            raise RecipeError(f"{path}: the field must be of type digits or hex")
        return value

    def _key(self, item: dict[str, object], path: str, depth: int) -> DerivedKey:
        members = members_of(item, path, {"key", "diversify", "derivation"})
        name = matching(
            members["key"],
            f"{path}.key",
            _KEY_NAME,
            "a small letter, then small letters, digits or -, at most 64",
        )
        diversify = self.parts(members.get("diversify"), f"{path}.diversify", depth + 1)
        if not diversify or key_names(diversify):
            raise RecipeError(f"{path}.diversify: must be parts that tell cards apart, none of them a key")
        derivation = choice(members.get("derivation", "sp800-108"), f"{path}.derivation", Derivation)
        return DerivedKey(name, diversify, derivation)
