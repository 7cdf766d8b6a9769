"""Who is calling: the two tokens of an app on a device; and what its errors look like.

Source: BSI TR-03165 §4.2.2 (what opens the API), §4.2.4.4 (error types).
"""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.params import SkipValidation
from litestar.types import ASGIApp, Receive, Scope, Send

from opentsm.api.attempts import Door, proving
from opentsm.api.authentication import token_of
from opentsm.api.container import container_of
from opentsm.api.problems import Problem, TsmErrorMember, problem_response
from opentsm.tsm.domain.device_call import (
    DeviceCallError,
    TsmErrorType,
    error_type_of,
    execution_message,
)
from opentsm.tsm.kernel.errors import UnauthenticatedError
from opentsm.tsm.roles.hub.device_reach import DeviceCaller

DEVICE_HEADER = "Device-Authorization"
CALLER = "device_caller"  # where the state of a request's scope holds it
_BY_STATUS = {
    400: TsmErrorType.INVALID_ARGUMENT,
    401: TsmErrorType.NOT_AUTHENTICATED,
    403: TsmErrorType.UNAUTHORIZED,
    404: TsmErrorType.NOT_FOUND,
    405: TsmErrorType.INVALID_ARGUMENT,
    409: TsmErrorType.NOT_ALLOWED,
    412: TsmErrorType.INVALID_ARGUMENT,
    413: TsmErrorType.INVALID_ARGUMENT,
    415: TsmErrorType.INVALID_ARGUMENT,
    429: TsmErrorType.OVERLOAD_PROTECTION,
    502: TsmErrorType.SECURE_COMPONENT_ERROR,
    503: TsmErrorType.OVERLOAD_PROTECTION,
}
# The hub's names of what the calls name otherwise.
_MEMBERS = {"/commands": "/serviceCommands", "/suspension_control": "/serviceCommands"}


class AppAuthentication:
    """Puts the app and its device into the scope, or refuses the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate one request by both tokens."""
        if scope["type"] == ScopeType.HTTP:
            access = token_of(scope["headers"], "Authorization")
            device = token_of(scope["headers"], DEVICE_HEADER)
            with proving(scope, Door.APP, f"{access} {device}"):
                caller = await container_of(scope).onboarding.app_caller(access, device)
            structlog.contextvars.bind_contextvars(tenant_id=caller.provider_id)
            scope["state"][CALLER] = caller
            scope["user"] = msgspec.structs.replace(caller.principal, device_id=caller.device_id)
        await self._app(scope, receive, send)


App = NamedDependency[SkipValidation[DeviceCaller]]


async def provide_app(request: Request[Any, Any, Any]) -> DeviceCaller:
    """Return who is calling, for handlers."""
    caller = request.scope["state"].get(CALLER)
    if not isinstance(caller, DeviceCaller):
        raise UnauthenticatedError()
    return caller


def app_problem(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Turn any error into a problem document with the guideline's number, name and message."""
    response = problem_response(request, error)
    document = response.content
    type_ = _type_of(error, document)
    response.content = msgspec.structs.replace(
        document,
        field=_member(request, document.field),
        tsm_error=TsmErrorMember(
            type=type_.value, name=type_.name, message=execution_message(type_, document.detail)
        ),
    )
    return response


def _type_of(error: Exception, document: Problem) -> TsmErrorType:
    if isinstance(error, DeviceCallError):
        return error.type
    found = error_type_of(document.code)
    if found is not TsmErrorType.INTERNAL_ERROR:
        return found
    return _BY_STATUS.get(document.status, TsmErrorType.INTERNAL_ERROR)


def _member(request: Request[Any, Any, Any], field: str | None) -> str | None:
    """Name the value at fault as this call names it."""
    if field == "/version":
        return str(request.scope["route_handler"].opt.get("version_field", field))
    if field is not None and field.startswith("/data"):
        return "/serviceCommands"  # a map of free names: the pointer ends before it
    return _MEMBERS.get(field or "", field)
