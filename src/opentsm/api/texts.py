"""U+0000 is in no text that the server takes: neither in a path, nor in a query, nor in a JSON body.

PostgreSQL holds none, and whoever ends a text at it reads another one than whoever does not. The paths and
bodies of TR-03165 are judged by their own rules (`roles.sp.forms`, `roles.sp.shelf`), with the standard's
categories.
"""

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from opentsm.tsm.kernel.errors import InvalidInputError

NUL: Final = "\x00"
# JSON holds it escaped only (RFC 8259 §7), behind an even number of backslashes; they stand in texts only
_ESCAPED: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_READER: Final = json.JSONDecoder(parse_int=str, parse_float=str)  # some numbers are very long


class WholeTexts:
    """Middleware that refuses U+0000 in what a path names and in a query."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request.

        Raises:
            InvalidInputError: a text of path or query has U+0000.
        """
        if scope["type"] == ScopeType.HTTP:
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            for name, value in (*scope["path_params"].items(), *query):
                if NUL in name or NUL in str(value):
                    raise _refusal(name.replace(NUL, ""))
        await self._app(scope, receive, send)


def refuse_nul(text: str) -> None:
    """Refuse a JSON document with U+0000 in a text or in the name of a member.

    Args:
        text: a document that was decoded before, so that it is known to be JSON.

    Raises:
        InvalidInputError: there is one; the field is the JSON pointer (RFC 6901) of the text, or of the
            object whose member has such a name.
        RecursionError: the document is nested too deeply.
    """
    if r"\u0000" in text and _ESCAPED.search(text):
        raise _refusal(_pointer(_READER.decode(text), "") or "")


def _pointer(value: object, pointer: str) -> str | None:
    """Return where the first one is."""
    if isinstance(value, str):
        return pointer if NUL in value else None
    if isinstance(value, dict) and any(NUL in name for name in value):
        return pointer
    found = (_pointer(inner, f"{pointer}/{_token(str(name))}") for name, inner in _members(value))
    return next((one for one in found if one is not None), None)


def _members(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _refusal(field: str) -> InvalidInputError:
    return InvalidInputError(
        "A text holds the character U+0000.", advice="Leave it out; no text can hold it.", field=field or None
    )
