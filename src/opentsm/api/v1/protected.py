"""Clear keys over protected connections only: TLS, or from this machine."""

import ipaddress
from typing import Any

from litestar import Request

from opentsm.tsm.kernel.errors import ForbiddenError


def require_protected(request: Request[Any, Any, Any]) -> None:
    """Refuse a key that came in the clear from another machine.

    Raises:
        ForbiddenError: it did.
    """
    if request.scope["scheme"] == "https" or (request.client and _is_loopback(request.client.host)):
        return
    raise ForbiddenError(
        "A master key is taken over TLS or from this machine only.",
        advice="Treat the key that was just sent as disclosed.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
