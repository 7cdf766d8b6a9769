"""How long the body of a request may be: bounded for everybody, and most for whoever proved nothing yet."""

from typing import Final, cast

from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope, Receive

from opentsm.tsm.kernel.errors import CallerError

ANONYMOUS_BYTES: Final = 64 * 1024
PARTY_BYTES: Final = 1024 * 1024
DEVICE_BYTES: Final = 10_000_000  # thousands of answers of a card, in hexadecimal


class TooLargeError(CallerError):
    """The body is longer than what is taken."""

    code = "too_large"
    status = 413


async def read_body(scope: HTTPScope, receive: Receive) -> bytes:
    """Read the whole body of a request, no longer than its route takes.

    Raises:
        TooLargeError: it is, or is said to be, longer; no more of it is read.
    """
    limit = cast("HTTPRouteHandler", scope["route_handler"]).resolve_request_max_body_size()
    check_announced(announced_length(scope), limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException("The body ended early.", status_code=400)
        parts.append(message["body"])
        size += len(message["body"])
        if limit is not None and size > limit:
            raise too_large(limit)
        if not message["more_body"]:
            return b"".join(parts)


def announced_length(scope: HTTPScope) -> int | None:
    """Return the length that the header Content-Length tells, if it tells one."""
    values = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    return int(values[0]) if len(values) == 1 and values[0].isdigit() else None


def check_announced(length: int | None, limit: int | None) -> None:
    """Refuse a body by its announced length, before any of it is read."""
    if length is not None and limit is not None and length > limit:
        raise too_large(limit)


def too_large(limit: int, more: str = "") -> TooLargeError:
    """Word the refusal of a body."""
    return TooLargeError(f"The body is longer than {limit} bytes.{more}")
