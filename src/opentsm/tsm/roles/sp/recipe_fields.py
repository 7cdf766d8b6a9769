"""The fields of a recipe: their JSON form, and the check of a value against one."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.roles.sp.recipe_values import (
    RecipeError,
    choice,
    flag,
    items_of,
    matching,
    members_of,
    whole,
)
from opentsm.tsm.roles.sp.recipe_words import words_of
from opentsm.tsm.roles.sp.recipes import Choice, Field, FieldType

MAX_FIELDS: Final = 100
MAX_CHOICES: Final = 100
_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_GENERATED: Final = re.compile(r"random:([1-9][0-9]{0,2})")
_CHARACTERS: Final = re.compile(r"[ -~]{1,95}")
_MAX_LENGTH = 1024
_MAX_INTEGER_BYTES = 8
_MEMBERS: Final = {
    *("name", "type", "length", "min", "max", "secret", "generated"),
    *("from", "title", "hint", "choices", "characters"),
}
_USER_ONLY: Final = ("title", "hint")


def fields_of(value: object) -> dict[str, Field]:
    """Return the fields of a recipe by name.

    Raises:
        RecipeError: where the fault is.
    """
    fields: dict[str, Field] = {}
    for number, item in enumerate(items_of(value, "fields", MAX_FIELDS)):
        path = f"fields[{number}]"
        field = _field(item, path)
        if field.name in fields:
            raise RecipeError(f"{path}.name: {quoted(field.name)} occurs twice")
        fields[field.name] = field
    return fields


def _field(item: object, path: str) -> Field:
    members = members_of(item, path, _MEMBERS)
    name = matching(
        members.get("name"), f"{path}.name", _FIELD_NAME, "a letter, then letters, digits, _ or -, at most 64"
    )
    type_ = choice(members.get("type"), f"{path}.type", FieldType)
    low, high, size = _integer_bounds(members, path) if type_ is FieldType.INTEGER else _bounds(members, path)
    field = Field(
        name,
        type_,
        low,
        high,
        size,
        secret=flag(members.get("secret", False), f"{path}.secret"),
        generated=_generated(members.get("generated"), f"{path}.generated", type_, low, high),
        user=_from(members.get("from", "provider"), f"{path}.from"),
        title=words_of(members["title"], f"{path}.title") if "title" in members else {},
        hint=words_of(members["hint"], f"{path}.hint") if "hint" in members else {},
        characters=_characters(members, path, type_),
    )
    _check_user(field, members, path)
    return _with_choices(field, members, path)


def _from(value: object, path: str) -> bool:
    if value not in ("provider", "user"):
        raise RecipeError(f"{path}: must be provider or user")
    return value == "user"


def _check_user(field: Field, members: Mapping[str, object], path: str) -> None:
    """What the end user gives needs a title; what others give has no words for the end user."""
    if field.user and not field.title:
        raise RecipeError(f"{path}.title: is missing, the end user is asked for this field")
    if field.user and field.generated is not None:
        raise RecipeError(f"{path}.generated: the end user is asked for this field, it is not generated")
    for name in _USER_ONLY:
        if name in members and not field.user:
            raise RecipeError(f"{path}.{name}: the end user is not asked for this field; add from: user")


def _characters(members: Mapping[str, object], path: str, type_: FieldType) -> str:
    """A set of characters, no pattern: nothing that could take long to match."""
    if "characters" not in members:
        return ""
    if type_ is not FieldType.ASCII:
        raise RecipeError(f"{path}.characters: only for a field of type ascii")
    return matching(
        members["characters"], f"{path}.characters", _CHARACTERS, "1 to 95 printable ones of ASCII"
    )


def _with_choices(field: Field, members: Mapping[str, object], path: str) -> Field:
    if "choices" not in members:
        return field
    choices: list[Choice] = []
    for number, item in enumerate(items_of(members["choices"], f"{path}.choices", MAX_CHOICES)):
        place = f"{path}.choices[{number}]"
        found = members_of(item, place, {"value", "title"})
        value = found.get("value")
        fault = f"must be {field.type.value}" if not isinstance(value, str) else fault_in(field, value)
        if fault is not None:
            raise RecipeError(f"{place}.value: {fault}")
        if any(one.value == value for one in choices):
            raise RecipeError(f"{place}.value: occurs twice")
        title = words_of(found["title"], f"{place}.title") if "title" in found else {}
        choices.append(Choice(str(value), title))
    if not choices:
        raise RecipeError(f"{path}.choices: must not be empty")
    return replace(field, choices=tuple(choices))


def _bounds(members: Mapping[str, object], path: str) -> tuple[int, int, int]:
    if "length" in members:
        if "min" in members or "max" in members:
            raise RecipeError(f"{path}: length stands for min and max, give one or the others")
        length = whole(members["length"], f"{path}.length", 1, _MAX_LENGTH)
        return length, length, 0
    if "max" not in members:
        raise RecipeError(f"{path}: give length, or max")
    high = whole(members["max"], f"{path}.max", 1, _MAX_LENGTH)
    return whole(members.get("min", 0), f"{path}.min", 0, high), high, 0


def _integer_bounds(members: Mapping[str, object], path: str) -> tuple[int, int, int]:
    size = whole(members.get("length", 4), f"{path}.length", 1, _MAX_INTEGER_BYTES)
    top = (1 << 8 * size) - 1
    high = whole(members.get("max", top), f"{path}.max", 0, top)
    return whole(members.get("min", 0), f"{path}.min", 0, high), high, size


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


# --- checking a value --------------------------------------------------------------------------


def fault_in(field: Field, value: str) -> str | None:
    """Return what is wrong with a value, in words that do not repeat it; None when it is right."""
    wanted, measure = _FORMATS[field.type]
    length = measure(value)
    if length is None:
        return f"must be {wanted}"
    if not field.low <= length <= field.high:
        span = f"{field.low}" if field.low == field.high else f"{field.low} to {field.high}"
        return f"must be {wanted}, {_UNITS[field.type]} {span}"
    if field.characters and not set(value) <= set(field.characters):
        return "holds a character that is not allowed"
    if field.choices and all(value != one.value for one in field.choices):
        return "is none of the choices"
    return None


def _hex_length(value: str) -> int | None:
    try:
        return len(bytes.fromhex(value)) if value.isascii() else None
    except ValueError:
        return None


def _digits_length(value: str) -> int | None:
    return len(value) if value.isascii() and (value.isdigit() or not value) else None


def _ascii_length(value: str) -> int | None:
    return len(value) if value.isascii() and (value.isprintable() or not value) else None


def _text_length(value: str) -> int | None:
    try:
        return len(value.encode()) if value.isprintable() or not value else None
    except UnicodeEncodeError:  # a lone surrogate
        return None


def _integer_value(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 20 else None


_FORMATS: Mapping[FieldType, tuple[str, Callable[[str], int | None]]] = {
    FieldType.HEX: ("bytes in hex", _hex_length),
    FieldType.DIGITS: ("decimal digits", _digits_length),
    FieldType.ASCII: ("printable ASCII characters", _ascii_length),
    FieldType.TEXT: ("printable characters", _text_length),
    FieldType.INTEGER: ("a whole number in decimal digits", _integer_value),
}
_UNITS = {
    FieldType.HEX: "this many bytes:",
    FieldType.DIGITS: "this many:",
    FieldType.ASCII: "this many:",
    FieldType.TEXT: "in UTF-8 this many bytes:",
    FieldType.INTEGER: "in the range",
}
