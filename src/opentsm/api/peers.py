"""What other TSMs ask: `POST /v1/peers/{party}/{port}/{method}`, proved by the message itself."""

from typing import Any

from litestar import Request, Response, Router, post
from litestar.params import FromPath

from opentsm.api.attempts import Door, proving
from opentsm.api.authentication import ANYBODY
from opentsm.api.bodies import DEVICE_BYTES
from opentsm.api.container import Services
from opentsm.tsm.domain.peer_assertion import MAX_LENGTH
from opentsm.tsm.kernel.errors import UnauthenticatedError
from opentsm.tsm.kernel.ids import TenantId

HEADER = "Peer-Assertion"


@post(
    "/{party_id:str}/{port:str}/{method:str}",
    opt=ANYBODY,
    tags=["peers"],
    security=[],
    status_code=200,
    summary="Make a call of the peer port (another TSM)",
)
async def call_peer(
    request: Request[Any, Any, Any],
    container: Services,
    party_id: FromPath[str],
    port: FromPath[str],
    method: FromPath[str],
) -> Response[bytes]:
    """Carry out what another TSM asks of a party that lives here; docs/reference/peers.md.

    The header Peer-Assertion holds a JWS over the digest of the body, in the request and in the answer.
    """
    values = request.headers.getall(HEADER, [])
    if len(values) != 1 or len(values[0]) > MAX_LENGTH:
        raise UnauthenticatedError(f"One {HEADER} header is needed.")
    with proving(request.scope, Door.PEER, None):
        asked = await container.peer_counter.prove(TenantId(party_id), f"{port}/{method}", values[0])
    answer, assertion = await container.peer_counter.answer(asked, await request.body())
    return Response(answer, media_type="application/json", headers={HEADER: assertion})


def router() -> Router:
    """Return the routes of other TSMs."""
    return Router("/v1/peers", route_handlers=[call_peer], request_max_body_size=DEVICE_BYTES)
