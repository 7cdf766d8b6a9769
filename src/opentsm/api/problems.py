"""The one place where errors become HTTP: RFC 9457 problem documents with a stable code.

A caller's error says what, why and what to do; an error of ours says nothing, and is logged under the
request's id.
"""

import re
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    SerializationException,
    ValidationException,
)

from opentsm.card.errors import CardError
from opentsm.tsm.kernel.disclosure import veiled
from opentsm.tsm.kernel.errors import (
    InternalError,
    InvalidInputError,
    StaleVersionError,
    TooManyError,
    TsmError,
    UnauthenticatedError,
)

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_POINTER_MARK = re.compile(r"\s*-? at `(?:key in )?\$(?P<path>[^`]*)`$")
_MISSING = re.compile(r"Missing required \w+ parameter '(?P<name>[^']+)'")
_PATH_PART = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")
_CODES = {
    400: "invalid_input",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
}
_INVALID = (InvalidInputError.__doc__ or "").splitlines()[0]
# What to do, where the error itself does not know better.
_ADVICE = {
    "invalid_input": "Correct the value; /docs describes every request.",
    "malformed_json": "Send one JSON document.",
    "unsupported_media_type": "Send the body in the media type that /docs names.",
    "too_large": "Send less at once; /docs names the limits.",
    "unauthenticated": "Send the header Authorization: Bearer, with a token that is still good.",
    "forbidden": "Use the token of a party that may do this.",
    "not_found": "Check the path and the id, and that the token is its owner's.",
    "method_not_allowed": "See the header Allow; /docs lists the methods.",
    "internal_error": "Try again; if it stays, tell the operator the request_id.",
}
_GONE = "client disconnected prematurely"
_log = structlog.get_logger(__name__)


class TsmErrorMember(msgspec.Struct, frozen=True):
    """An error type of TR-03165 §4.2.4.4, with its message."""

    type: int
    name: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457); `code` never changes.

    `field` names the value at fault: a JSON pointer (RFC 6901, it begins with `/`) for a member of the body,
    the plain name for a parameter of the query or path or for a header. `tsm_error` stands in the device
    API's problems.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    advice: str | None = None
    field: str | None = None
    tsm_error: TsmErrorMember | None = None


def request_id_of(scope: Any) -> str:
    """Return the id under which this request is logged."""
    return str(scope.get("state", {}).get("request_id", ""))


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Turn any error into a problem document; unknown ones tell the client nothing."""
    if isinstance(error, StaleVersionError):
        return _retry_later(request, error)
    if isinstance(error, TsmError) and not isinstance(error, InternalError):
        return _told(request, error)
    if isinstance(error, ValidationException):
        return _validation(request, error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _malformed(request, error) or _http(request, error)
    if isinstance(error, CardError):
        return _answer(request, 400, _INVALID, code="invalid_input", detail=str(error))
    if _disconnected(error):
        _log.info("request.disconnected")
        return _answer(request, 400, "Bad Request", code="bad_request", detail="The request ended early.")
    _log.error("request.failed", error=type(error).__name__, exc_info=error)
    return _answer(
        request,
        500,
        "An error of the server itself.",
        code="internal_error",
        detail="It was logged under the request's id.",
    )


def _disconnected(error: Exception) -> bool:
    """Say whether the client went away in the middle of its request; Litestar has no class for it."""
    return isinstance(error, InternalServerException) and error.detail == _GONE


def _told(request: Request[Any, Any, Any], error: TsmError) -> Response[Problem]:
    title = (type(error).__doc__ or "").splitlines()[0]
    response = _answer(
        request,
        error.status,
        title,
        code=error.code,
        detail=error.detail,
        advice=error.advice,
        field=error.field,
    )
    if isinstance(error, UnauthenticatedError):
        response.headers["WWW-Authenticate"] = 'Bearer realm="opentsm"'
    if isinstance(error, TooManyError):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _retry_later(request: Request[Any, Any, Any], error: StaleVersionError) -> Response[Problem]:
    """Lost races and lost database connections: nothing is wrong with the request."""
    _log.warning("request.retry-later", reason=error.detail)
    response = _answer(
        request,
        503,
        "The server could not do this now.",
        code="try_again",
        detail="The stored state moved or could not be reached.",
        advice="Repeat the request, with the same Idempotency-Key.",
    )
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _validation(request: Request[Any, Any, Any], error: ValidationException) -> Response[Problem]:
    faults = [_fault(entry) for entry in error.extra] if isinstance(error.extra, list) else []
    missing = _MISSING.match(error.detail)
    if missing:
        faults = [(missing["name"], "is missing")]
    if not faults:
        return _http(request, error)
    detail = "; ".join(_said(field, text) for field, text in faults)
    response = _answer(request, 400, _INVALID, code="invalid_input", detail="", field=faults[0][0] or None)
    response.content = msgspec.structs.replace(response.content, detail=f"{detail}.")
    return response


def _said(field: str, text: str) -> str:
    """Say one fault; each part is veiled as what it is: a pointer looks like base64 but for its slashes."""
    return f"{veiled(field, paths=True)}: {veiled(text)}" if field else veiled(text)


def _malformed(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem] | None:
    """Tell a body that is no JSON at all; None for anything else."""
    if not isinstance(error.__cause__, SerializationException):
        return None
    detail = f"The body is not JSON: {error.__cause__}."
    return _answer(request, 400, "Bad Request", code="malformed_json", detail=detail)


def _fault(entry: object) -> tuple[str, str]:
    """Return (field, what is wrong) of one entry of Litestar's list."""
    if not isinstance(entry, dict):
        return "", str(entry)
    message, key = str(entry.get("message", "")), str(entry.get("key", ""))
    source = entry.get("source")
    source = getattr(source, "value", source)
    # a parameter whose name is a word of the language or of the framework has an underscore behind it here
    return split_path(message) if source == "body" else (key.removesuffix("_"), split_path(message)[1])


def split_path(message: str) -> tuple[str, str]:
    """Split msgspec's message into a JSON pointer and the text: `… - at `$.a[0].b`` gives `/a/0/b`.

    msgspec does not tell under which name of a map a value stands (`[...]`): the pointer ends at the map.
    """
    mark = _POINTER_MARK.search(message)
    text = message if mark is None else message[: mark.start()]
    pointer = _pointer((mark["path"] if mark else "").partition("[...]")[0])
    missing = re.search(r"(?:required|unknown) field `([^`]+)`", text)
    if missing:
        pointer += f"/{_escaped(missing[1])}"
    return pointer, text


def _pointer(path: str) -> str:
    """Write msgspec's path as a JSON pointer: `.a[0].b` is `/a/0/b`."""
    parts = (part[1] if part[1] is not None else part[2] for part in _PATH_PART.finditer(path))
    return "".join(f"/{_escaped(part)}" for part in parts)


def _escaped(name: str) -> str:
    """Write a member's name as part of a JSON pointer (RFC 6901 §3)."""
    return name.replace("~", "~0").replace("/", "~1")


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    status = error.status_code
    title = HTTPStatus(status).phrase
    detail = _too_long(request) if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else error.detail or title
    response = _answer(request, status, title, code=_CODES.get(status, "bad_request"), detail=detail)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _too_long(request: Request[Any, Any, Any]) -> str:
    return f"The body is longer than {request.route_handler.resolve_request_max_body_size()} bytes."


def _answer(
    request: Request[Any, Any, Any],
    status: int,
    title: str,
    *,
    code: str,
    detail: str,
    advice: str | None = None,
    field: str | None = None,
) -> Response[Problem]:
    advice = advice or _ADVICE.get(code)
    document = Problem(
        type=f"urn:opentsm:problem:{code}",
        title=title,
        status=status,
        detail=veiled(detail),
        code=code,
        request_id=request_id_of(request.scope),
        advice=None if advice is None else veiled(advice),
        field=None if field is None else veiled(field, paths=True),
    )
    return Response(
        document, status_code=status, media_type=PROBLEM_TYPE, headers={"Cache-Control": "no-store"}
    )
