"""Bearer tokens: who is calling, before anything of the request is looked at.

A handler says with `opt` who may call it: nothing for parties, `callers="devices"` for devices,
`callers="anybody"` for requests that carry their own proof.
"""

from collections.abc import Iterable
from typing import Any

import structlog
from litestar import Request
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.params import SkipValidation
from litestar.types import ASGIApp, Receive, Scope, Send

from opentsm.api.attempts import Door, proving
from opentsm.api.container import container_of
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import ForbiddenError, UnauthenticatedError

ANYBODY = {"callers": "anybody"}
DEVICES = {"callers": "devices"}
MAX_TOKEN = 200


class BearerAuthentication:
    """Puts the caller into the scope, or refuses the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate one request."""
        callers = scope["route_handler"].opt.get("callers", "parties")
        if scope["type"] == ScopeType.HTTP and callers != "anybody":
            token = bearer_token(scope["headers"])
            with proving(scope, Door.TOKEN, token):
                principal = await container_of(scope).onboarding.authenticate(token)
            _check_kind(principal, callers)
            structlog.contextvars.bind_contextvars(tenant_id=principal.tenant_id)
            scope["user"] = principal
        await self._app(scope, receive, send)


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token of the Authorization header.

    Raises:
        UnauthenticatedError: there is none, or more than one.
    """
    return token_of(headers, "Authorization")


def token_of(headers: Iterable[tuple[bytes, bytes]], header: str) -> str:
    """Return the bearer token of a header.

    Raises:
        UnauthenticatedError: there is none, or more than one.
    """
    values = [value for name, value in headers if name.lower() == header.lower().encode()]
    if len(values) != 1:
        raise UnauthenticatedError(f"One {header} header with a bearer token is needed.")
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not 1 <= len(token.strip()) <= MAX_TOKEN:
        raise UnauthenticatedError(f"The {header} header must be: Bearer <token>.")
    return token.strip()


def _check_kind(principal: Principal, callers: str) -> None:
    if callers == "devices" and principal.device_id is None:
        raise ForbiddenError("This needs a device's token.")
    if callers == "parties" and principal.device_id is not None:
        raise ForbiddenError("A device's token does not allow this.")


Caller = NamedDependency[SkipValidation[Principal]]


async def provide_principal(request: Request[Any, Any, Any]) -> Principal:
    """Return who is calling, for handlers."""
    principal = request.scope.get("user")
    if not isinstance(principal, Principal):
        raise UnauthenticatedError()
    return principal
