"""The body of a request: JSON of exactly the type that the handler declares; the rest is refused.

Queries, paths and headers hold texts, which are read as what they stand for. A JSON body has types of its
own, and `"5"` is no number there: parties that read one amount differently lose money.
"""

from functools import cache
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, SerializationException, ValidationException

from opentsm.api.json_members import refuse_repeated_members
from opentsm.api.texts import refuse_nul

_JSON = "application/json"
_CHARSETS = ("utf-8", "utf8")


class JsonRequest(Request[Any, Any, Any]):
    """A request whose JSON body is UTF-8 (RFC 8259 §8.1) and strictly of the type that is declared."""

    async def json(self) -> Any:
        """Return the body as the type of the handler's `data`.

        Raises:
            HTTPException: 415, the body is said to be something else.
            SerializationException: the body is no JSON, or not UTF-8.
            ValidationException: it is JSON of another form.
        """
        _check_kind(*self.content_type, named="content-type" in self.headers)
        declared = self.route_handler.parsed_data_field
        return read_json(await self.body(), declared.annotation if declared else Any)


def read_json(body: bytes, kind: Any) -> Any:
    """Read a JSON document of a type, strictly; no text stands for a number, and no number for a truth value.

    Raises:
        SerializationException: it is no JSON, or not UTF-8.
        ValidationException: it is JSON of another form.
        InvalidInputError: a member stands twice in its object, or a text has U+0000.
    """
    try:
        text = body.decode()  # a decoder of another type does not look into every text
        found = _decoder(kind).decode(body)
        refuse_repeated_members(text)
        refuse_nul(text)
    except msgspec.ValidationError as error:
        raise ValidationException(extra=[{"message": str(error), "source": "body"}]) from error
    except msgspec.DecodeError as error:
        raise SerializationException(str(error)) from error
    except UnicodeDecodeError as error:
        # The error's own text would repeat bytes of the body, which may be a key.
        raise SerializationException("it is not UTF-8") from error
    except RecursionError as error:
        raise SerializationException("it is nested too deeply") from error
    return found


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=True)


def _check_kind(kind: str, options: dict[str, str], *, named: bool) -> None:
    """Take a body that is said to be JSON, or about which nothing is said."""
    if not named:
        return
    if kind.lower() != _JSON:
        raise HTTPException(f"The body must be {_JSON}.", status_code=415)
    charset = options.get("charset", _CHARSETS[0])
    if charset.lower() not in _CHARSETS:
        raise HTTPException("JSON is UTF-8 and has no other charset.", status_code=415)
