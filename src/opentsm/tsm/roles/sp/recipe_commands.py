"""The commands of a recipe: APDUs in the personalisation session, or to the application that is selected."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from opentsm.tsm.roles.sp.recipe_values import (
    RecipeError,
    choice,
    items_of,
    matching,
    members_of,
    number_of,
    whole,
)
from opentsm.tsm.roles.sp.recipes import (
    Field,
    FieldValue,
    Nibbles,
    Part,
    RecipeCommand,
    Target,
    Wrapped,
    key_names,
)

MAX_COMMANDS: Final = 100
MAX_DATA: Final = {Target.PERSONALIZATION: 200, Target.APPLICATION: 255}
_HEADER: Final = ("cla", "ins", "p1", "p2")
_MEMBERS: Final = {"to", "cla", "ins", "p1", "p2", "data", "le", "expect", "tag"}
_EXPECTED: Final = re.compile(r"[0-9A-F?]{4}")
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STORE_DATA, _SELECT, _MANAGE_CHANNEL, _GET_RESPONSE = 0xE2, 0xA4, 0x70, 0xC0
_LAST, _ENCRYPTED = 0x80, 0x60

Reader = Callable[[object, str, int], tuple[Part, ...]]


def commands_of(value: object, parts: Reader, fields: dict[str, Field]) -> tuple[RecipeCommand, ...]:
    """Return the commands of a recipe.

    Args:
        value: the JSON list.
        parts: reads the parts of a data field.
        fields: of the recipe, by name.

    Raises:
        RecipeError: where the fault is.
    """
    found = tuple(
        _command(item, f"commands[{number}]", parts, fields)
        for number, item in enumerate(items_of(value, "commands", MAX_COMMANDS))
    )
    tags = [one.tag for one in found if one.tag]
    if len(tags) != len(set(tags)):
        raise RecipeError("commands: a tag occurs twice")
    _check_series([one for one in found if one.target is Target.PERSONALIZATION])
    return found


def _command(item: object, path: str, parts: Reader, fields: dict[str, Field]) -> RecipeCommand:
    members = members_of(item, path, _MEMBERS)
    target = choice(members.get("to"), f"{path}.to", Target)
    cla, ins, p1, p2 = (
        number_of(members.get(name), f"{path}.{name}", 1, "a byte in hex")
        for name in ("cla", "ins", "p1", "p2")
    )
    _check_header(target, (cla, ins, p1), path)
    data = parts(members.get("data", []), f"{path}.data", 0)
    if key_names(data):
        raise RecipeError(f"{path}.data: must hold no key; give keys in an encrypted grouping")
    secret = any(fields[name].secret for name in field_names(data))
    if secret and target is Target.APPLICATION:
        raise RecipeError(
            f"{path}.data: must hold no secret field, the command travels without secure channel"
        )
    tag = (
        matching(members["tag"], f"{path}.tag", _TAG, "letters, digits or . _ -") if "tag" in members else ""
    )
    if tag and secret:
        raise RecipeError(f"{path}.tag: the answer is shown with its command, which holds a secret field")
    le = whole(members["le"], f"{path}.le", 1, 256) if "le" in members else None
    expected = items_of(members.get("expect", ["9000"]), f"{path}.expect", 8)
    patterns = tuple(
        matching(one, f"{path}.expect[{n}]", _EXPECTED, "4 of 0-9, A-F, ?") for n, one in enumerate(expected)
    )
    if not patterns:
        raise RecipeError(f"{path}.expect: must not be empty")
    return RecipeCommand(target, (cla, ins, p1, p2), data, le, patterns, tag, path)


def _check_header(target: Target, header: tuple[int, int, int], path: str) -> None:
    cla, ins, p1 = header
    if target is Target.PERSONALIZATION:
        if (cla, ins) != (0x80, _STORE_DATA):
            raise RecipeError(f"{path}: a security domain forwards STORE DATA (80 E2) only")
        if p1 & _ENCRYPTED:
            raise RecipeError(f"{path}.p1: b7b6 must be 00; give encrypted values in a grouping")
        return
    if cla & 0x0F or cla & 0x60 == 0x40 or cla == 0xF0:
        raise RecipeError(f"{path}.cla: must be for the basic channel, without chaining and secure messaging")
    if ins in (_SELECT, _MANAGE_CHANNEL, _GET_RESPONSE) or ins >> 4 in (0x6, 0x9):
        raise RecipeError(f"{path}.ins: must be no SELECT, MANAGE CHANNEL or GET RESPONSE, and no 6X or 9X")


def _check_series(commands: Sequence[RecipeCommand]) -> None:
    for number, command in enumerate(commands):
        last = number == len(commands) - 1
        if bool(command.header[2] & _LAST) != last:
            wanted = "set, it is the last" if last else "clear, others follow"
            raise RecipeError(f"{command.path}.p1: b8 must be {wanted}")


def field_names(parts: Sequence[Part]) -> set[str]:
    """Return the names of the fields in some parts."""
    names: set[str] = set()
    for part in parts:
        match part:
            case FieldValue():
                names.add(part.field)
            case Nibbles():
                names |= {item.field for item in part.items if isinstance(item, FieldValue)}
            case Wrapped():
                names |= field_names(part.parts)
    return names
