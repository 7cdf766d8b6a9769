"""Bodies of one JSON document a line: read as they come, in bounded memory, each line for itself."""

from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request

from opentsm.api.bodies import check_announced, too_large
from opentsm.api.json_members import refuse_repeated_members
from opentsm.api.problems import split_path
from opentsm.api.texts import refuse_nul
from opentsm.api.v1 import messages as m
from opentsm.tsm.kernel.disclosure import veiled
from opentsm.tsm.kernel.errors import CallerError

MAX_LINE: Final = 65_536
MAX_REFUSED: Final = 1_000
REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, CallerError)

T = TypeVar("T")


async def numbered_lines(
    request: Request[Any, Any, Any], limit: int, kept: str
) -> AsyncIterator[tuple[int, bytes | None]]:
    """Cut a streamed body into numbered lines; None stands for a line that is too long.

    Args:
        request: whose body.
        limit: its length in bytes at most.
        kept: what is said of the lines that were read before the limit was met.

    Raises:
        TooLargeError: the body is said to be longer than the limit, or goes on beyond it.
    """
    check_announced(request.content_length, limit)
    number, rest, skipping, size = 0, b"", False, 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(limit, f" Its first {number} lines were read, and {kept}.")
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield number, None if skipping or len(line) > MAX_LINE else line
            skipping = False
        if len(rest) > MAX_LINE:
            rest, skipping = b"", True
    if rest or skipping:
        yield number + 1, None if skipping else rest


def read_line(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T:
    """Read one line.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, InvalidInputError: it is not what it should be.
    """
    found = decoder.decode(line)
    text = line.decode()
    refuse_repeated_members(text)
    refuse_nul(text)
    return found


def refused_length(number: int) -> m.RefusedLine:
    """Report a line that is too long."""
    return m.RefusedLine(line=number, code="too_large", detail=f"The line has over {MAX_LINE} bytes.")


def refused(number: int, error: Exception) -> m.RefusedLine:
    """Report a line by the error, one of REFUSALS, with which it was refused."""
    if isinstance(error, CallerError):
        return _refused(number, error.code, error.detail, error.field)
    if isinstance(error, msgspec.ValidationError):
        pointer, text = split_path(str(error))
        return _refused(number, "invalid_input", f"{text}.", pointer or None)
    words = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
    return _refused(number, "malformed_json", f"The line is not JSON: {words}.", None)


def _refused(number: int, code: str, detail: str, field: str | None) -> m.RefusedLine:
    field = None if field is None else veiled(field)
    return m.RefusedLine(line=number, code=code, detail=veiled(detail), field=field)
