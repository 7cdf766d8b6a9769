"""Nothing that a request to `/v1` says is passed over: query parameters are known, If-Match is heeded.

Source: RFC 9110 §13.1.1 for If-Match; only instances and operations have an ETag.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from opentsm.api.container import CONDITION, container_of
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import InvalidInputError
from opentsm.tsm.kernel.ids import InstanceId, OperationId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.roles.hub.unchanged import Unchanged, precondition_failed

IF_MATCH = "If-Match"
STATE = "known_queries"
_SHOWN = 64
_SAFE = ("GET", "HEAD", "OPTIONS")

Queries = Mapping[tuple[str, str], frozenset[str]]


class Exactness:
    """Middleware behind the authentication and the idempotency keys: a stored answer is given first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request.

        Raises:
            InvalidInputError: there is no such query parameter, or no ETag that If-Match could name.
            PreconditionFailedError: the object has another version than If-Match names.
        """
        if scope["type"] == ScopeType.HTTP:
            _check_query(scope)
            await _check_version(scope)
        await self._app(scope, receive, send)


def known_queries(app: Litestar) -> Queries:
    """Return the names of the query parameters of every route, by path template and method."""
    return {
        (route.path_format, method): frozenset(one.field_alias for one in model.expected_query_params)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (_, model) in route.route_handler_map.items()
    }


def _check_query(scope: Scope) -> None:
    queries: Queries = scope["litestar_app"].state[STATE]
    known = queries.get((scope["path_template"], _method(scope)), frozenset())
    for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise InvalidInputError(
                f"There is no query parameter {quoted(name[:_SHOWN])} here.",
                advice=f"Known are: {', '.join(sorted(known)) or 'none'}.",
                field=name[:_SHOWN],
            )


async def _check_version(scope: Scope) -> None:
    wanted = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"if-match"]
    if not wanted or _method(scope) in _SAFE:
        return
    found = await _found(scope)
    if found is None:
        raise InvalidInputError(
            f"{IF_MATCH} is not heeded here: no ETag is given out for this.",
            advice="Leave the header out.",
            field=IF_MATCH,
        )
    tags = {tag.strip() for value in wanted for tag in value.split(",")}
    if "*" in tags:
        return
    if f'"{found.version}"' not in tags:
        raise precondition_failed(found.version)
    # checked once more by the transaction that carries the request out
    scope["state"][CONDITION] = found


async def _found(scope: Scope) -> Unchanged | None:
    """Return what the path names with its version, or None where no version is given out."""
    principal, parameters, requests = scope.get("user"), scope["path_params"], container_of(scope).requests
    if not isinstance(principal, Principal):
        return None
    if "instance_id" in parameters:
        instance = await requests.instance(principal, InstanceId(parameters["instance_id"]))
        return Unchanged(instance.id, of_instances=True, version=instance.version)
    if "operation_id" in parameters:
        operation = await requests.operation(principal, OperationId(parameters["operation_id"]))
        return Unchanged(operation.id, of_instances=False, version=operation.version)
    return None


def _method(scope: Scope) -> str:
    return str(scope["method"]) if scope["type"] == ScopeType.HTTP else ""
