"""Around every request: its id, one line in the log, its place in the metrics.

Neither query strings nor bodies nor headers are logged: the sessionId of SERAM stands in the query.
"""

import re
from time import perf_counter
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from opentsm.api.metrics import Metrics
from opentsm.tsm.ports.world import World

HEADER = "X-Request-Id"
UNMATCHED = "unmatched"
_GOOD_ID = re.compile(rb"[0-9A-Za-z._-]{8,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_log = structlog.get_logger("opentsm.access")


class Observation:
    """Wraps the whole application, so that it also sees what no route matches."""

    def __init__(self, app: ASGIApp, *, world: World, metrics: Metrics) -> None:
        self._app = app
        self._world = world
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or self._world.new_id()
        scope["state"]["request_id"] = request_id
        status = 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (HEADER.lower().encode(), request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        begun = perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, named)
            finally:
                self._record(scope, status, perf_counter() - begun)
                structlog.contextvars.unbind_contextvars("tenant_id", "operation_id")

    def _record(self, scope: Any, status: int, seconds: float) -> None:
        route = scope.get("path_template") or UNMATCHED
        self._metrics.request(scope["method"], route, status, seconds)
        level = _log.debug if route in _QUIET and status < 400 else _log.info
        level("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1))


def _given_id(scope: Any) -> str | None:
    for name, value in scope["headers"]:
        if name.lower() == HEADER.lower().encode() and _GOOD_ID.fullmatch(value):
            return str(value.decode())
    return None
