"""The JSON values of a recipe: read, and refused with the place of the fault."""

import re
from enum import Enum
from typing import TypeVar

from opentsm.tsm.kernel.wording import quoted


class RecipeError(ValueError):
    """The recipe does not have the format; the message begins with the place of the fault."""


def members_of(value: object, path: str, known: set[str]) -> dict[str, object]:
    """Return an object that has known members only."""
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: must be an object")
    for name in value:
        if name not in known:
            raise RecipeError(
                f"{path}: there is no member {quoted(name[:64])}; there are {', '.join(sorted(known))}"
            )
    return value


def items_of(value: object, path: str, limit: int) -> list[object]:
    """Return a list of at most `limit` items."""
    if not isinstance(value, list):
        raise RecipeError(f"{path}: must be a list")
    if len(value) > limit:
        raise RecipeError(f"{path}: has more than {limit} items")
    return value


def matching(value: object, path: str, pattern: re.Pattern[str], wanted: str) -> str:
    """Return a text that matches a pattern; `wanted` says so in words."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise RecipeError(f"{path}: must be {wanted}")
    return value


def whole(value: object, path: str, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RecipeError(f"{path}: must be a whole number from {low} to {high}")
    return value


EnumT = TypeVar("EnumT", bound=Enum)


def choice(value: object, path: str, kind: type[EnumT]) -> EnumT:
    """Return the member of an enumeration that has this value."""
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(str(one.value) for one in kind)
        raise RecipeError(f"{path}: must be one of {choices}") from None


def hex_bytes(value: object, path: str) -> bytes:
    """Return bytes from hex."""
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise RecipeError(f"{path}: must be bytes in hex")


def number_of(value: object, path: str, length_bytes: int, wanted: str) -> int:
    """Return a number of `length_bytes` bytes from hex."""
    if not isinstance(value, str) or not re.fullmatch(f"[0-9A-Fa-f]{{{2 * length_bytes}}}", value):
        raise RecipeError(f"{path}: must be {wanted}")
    return int(value, 16)


def tag_number(value: object, path: str) -> int:
    """Read a BER tag: one byte, or two when the first ends in 11111, or three when the second goes on."""
    data = hex_bytes(value, path)
    multi = data[:1] and data[0] & 0x1F == 0x1F
    complete = (
        len(data) == 1
        if not multi
        else (len(data) in (2, 3) and all(b & 0x80 for b in data[1:-1]) and not data[-1] & 0x80)
    )
    if not complete or data[0] == 0:
        raise RecipeError(f"{path}: must be a BER tag of 1 to 3 bytes in hex")
    return int.from_bytes(data, "big")


def flag(value: object, path: str) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise RecipeError(f"{path}: must be true or false")
    return value
