"""What every request and answer of the TR-03165 API have in common: caller, body, upload, errors."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.params import SkipValidation

from opentsm.api.attempts import Door, TooManyAttemptsError, proving
from opentsm.api.json_members import refuse_repeated_members
from opentsm.tsm.kernel.disclosure import veiled
from opentsm.tsm.kernel.errors import CallerError, InvalidInputError, StaleVersionError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.roles.sp import errors
from opentsm.tsm.roles.sp.catalogue import SpCatalogue
from opentsm.tsm.roles.sp.errors import CatalogueError, Category

AnyRequest = Request[Any, Any, Any]
MAX_BODY_BYTES = 9 * 1024 * 1024
RETRY_AFTER_S = 1
_log = structlog.get_logger(__name__)
_UNAUTHORIZED = (Category.NOT_AUTHENTICATED, Category.AUTHENTICATION_FAILED)


class SpContainer(Protocol):
    """What these routes need of the application."""

    @property
    def catalogue(self) -> SpCatalogue:
        """Return the service providers' repository."""
        ...


Catalogue = NamedDependency[SkipValidation[SpCatalogue]]
Provider = NamedDependency[SkipValidation[TenantId]]


async def provide_provider(request: AnyRequest, catalogue: Catalogue) -> TenantId:
    """Return the provider that the short-term token belongs to; first of all, before the body is read."""
    authorization = request.headers.get("authorization")
    with proving_provider(request, authorization):
        provider = await catalogue.access.provider(authorization)
    structlog.contextvars.bind_contextvars(tenant_id=provider)
    return provider


def proving_provider(request: AnyRequest, authorization: str | None) -> AbstractContextManager[None]:
    """Surround the check of a token: who fails too often has to wait."""
    return proving(request.scope, Door.SPTSM, authorization, failed=_is_failed_proof)


def _is_failed_proof(error: Exception) -> bool:
    return isinstance(error, CatalogueError) and error.category in _UNAUTHORIZED


async def refuse_body(request: AnyRequest) -> None:
    """Refuse a body where there is none by the document (1002)."""
    if await request.body():
        raise errors.invalid_request("request body not allowed")


async def read_json(request: AnyRequest) -> object:
    """Return the JSON body.

    Raises:
        CatalogueError: 1002.
    """
    body = await request.body()
    if not body:
        raise errors.invalid_request("request body missing")
    if request.content_type[0] != MediaType.JSON:
        raise errors.invalid_request("unsupported content type")
    try:
        found: object = msgspec.json.decode(body)
        refuse_repeated_members(body.decode())
    except InvalidInputError as error:
        raise errors.invalid_request(f"member {error.field} is given more than once") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise errors.invalid_request("the request body is not JSON") from None
    return found


@dataclass(frozen=True, slots=True)
class Upload:
    """One file with the name that the form gives it, else the one of the file part."""

    name: str | None
    data: bytes


async def read_upload(request: AnyRequest, name_part: str, file_part: str) -> Upload:
    """Return the file of a multipart form.

    Args:
        request: whose body is the form.
        name_part: name of the part with the file's name.
        file_part: name of the part with the file.

    Raises:
        CatalogueError: 1002, 1007, 1011 or 1012.
    """
    if request.content_type[0] != "multipart/form-data":
        raise errors.invalid_request("unsupported content type")
    parts = await _parts(request)
    for name, _ in parts:
        if name not in (name_part, file_part):
            raise errors.unknown(name)
    files = [value for name, value in parts if name == file_part]
    if len(files) > 1:
        raise errors.too_many_files()
    if not files or not files[0]:
        raise errors.missing_file()
    names = [value for name, value in parts if name == name_part]
    file = files[0]
    data = await file.read() if isinstance(file, UploadFile) else file.encode()
    if not data:
        raise errors.missing_file()
    given = names[0] if names and isinstance(names[0], str) else None
    return Upload(given or (file.filename if isinstance(file, UploadFile) else None), data)


async def _parts(request: AnyRequest) -> list[tuple[str, UploadFile | str]]:
    try:
        form = await request.form()
    except (UnicodeDecodeError, LookupError):
        # a part without a file name counts as text; a file must have one
        raise errors.missing_file() from None
    return list(form.multi_items())


def binary(name: str, data: bytes) -> Response[object]:
    """Answer a file under its name."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    disposition = f'attachment; filename="{plain}"'
    if plain != name:
        disposition += f"; filename*=UTF-8''{quote(name, safe='')}"
    return Response(data, media_type="application/octet-stream", headers={"Content-Disposition": disposition})


def general_error(request: AnyRequest, error: Exception) -> Response[Mapping[str, object]]:
    """Turn any error into a GeneralError; unknown ones tell the client nothing."""
    if isinstance(error, CatalogueError):
        status = 401 if error.category in _UNAUTHORIZED else 400
        response = _answer(status, error.category, error.detail)
        if status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Bearer realm="opentsm"'
        return response
    if isinstance(error, StaleVersionError):
        _log.warning("request.retry-later", reason=error.detail)
        again = _answer(500, Category.INTERNAL, "Internal server error: try again, nothing was changed.")
        again.headers["Retry-After"] = str(RETRY_AFTER_S)
        return again
    if isinstance(error, TooManyAttemptsError):
        waiting = _answer(HTTPStatus.TOO_MANY_REQUESTS, Category.AUTHENTICATION_FAILED, str(error))
        waiting.headers["Retry-After"] = str(error.retry_after_s)
        return waiting
    if isinstance(error, CallerError):
        return _answer(400, Category.INVALID_REQUEST, f"Invalid request: {error.detail}")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _http(request, error)
    _log.error("request.failed", error=type(error).__name__, exc_info=error)
    return _answer(500, Category.INTERNAL, "Internal server error: it was logged.")


def _http(request: AnyRequest, error: HTTPException) -> Response[Mapping[str, object]]:
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else MAX_BODY_BYTES
        return general_error(request, errors.file_too_large(size, MAX_BODY_BYTES))
    if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return Response({}, status_code=error.status_code, headers=error.headers)
    return _answer(400, Category.INVALID_REQUEST, f"Invalid request: {error.detail}.")


def _answer(status: int, category: Category, message: str) -> Response[Mapping[str, object]]:
    content: Mapping[str, object] = {"errorCategory": int(category), "errorMessage": veiled(message)[:255]}
    return Response(content, status_code=status, headers={"Cache-Control": "no-store"})
