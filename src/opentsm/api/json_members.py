"""Members that stand twice in a JSON object: refused, since readers differ in which of them counts.

Source: RFC 8259 §4 (names SHOULD be unique; what happens otherwise is unpredictable). The decoder of the
bodies takes the last one and cannot tell, so the text is read a second time, without making objects of it.
"""

import json
from typing import Final

from opentsm.tsm.kernel.errors import InvalidInputError

_Pairs = list[tuple[str, object]]


class _RepeatedError(Exception):
    """A member stands twice."""


class _Object(list[tuple[str, object]]):
    """The members of an object, as they stand there."""


def refuse_repeated_members(text: str) -> None:
    """Refuse a JSON document with a member that stands twice in one object.

    Args:
        text: a document that was decoded before, so that it is known to be JSON.

    Raises:
        InvalidInputError: there is one; the field is its JSON pointer.
        RecursionError: the document is nested too deeply.
    """
    pointer = repeated_member(text)
    if pointer is not None:
        raise InvalidInputError(
            f"The member {pointer} is given more than once.", advice="Give it once.", field=pointer
        )


def repeated_member(text: str) -> str | None:
    """Return the JSON pointer (RFC 6901) of the first member that stands twice in its object, or None."""
    try:
        _QUICK.decode(text)
    except _RepeatedError:
        return _first(_FULL.decode(text), "")
    except json.JSONDecodeError:
        return None  # numbers and texts that only the first reader takes
    return None


def _check(pairs: _Pairs) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _RepeatedError


def _first(value: object, pointer: str) -> str | None:
    """Find it, outer objects first."""
    if isinstance(value, _Object):
        names = set()
        for name, _ in value:
            if name in names:
                return f"{pointer}/{_escaped(name)}"
            names.add(name)
    members = _members(value)
    found = (_first(inner, f"{pointer}/{_escaped(name)}") for name, inner in members)
    return next((one for one in found if one is not None), None)


def _members(value: object) -> list[tuple[str, object]]:
    if isinstance(value, _Object):
        return value
    return [(str(n), inner) for n, inner in enumerate(value)] if isinstance(value, list) else []


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _number(_: str) -> None:
    """Read no number: some are very long."""


_QUICK: Final = json.JSONDecoder(
    object_pairs_hook=_check, parse_int=_number, parse_float=_number, parse_constant=_number
)
_FULL: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_number, parse_float=_number, parse_constant=_number
)
