"""Calls to another TSM over HTTP: signed both ways, within a time, never followed elsewhere."""

import httpx

from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.errors import PeerFaultError, UnauthenticatedError
from opentsm.tsm.ports import peer_calls as calls
from opentsm.tsm.ports.peer_identity import PeerIdentity
from opentsm.tsm.ports.world import World

HEADER = "Peer-Assertion"
MAX_ANSWER = 20_000_000  # a load file in base64, and more


class RemotePeers:
    """Asks other TSMs."""

    def __init__(self, client: httpx.AsyncClient, identity: PeerIdentity, world: World) -> None:
        """Take what to work with.

        Args:
            client: with its time limit, trust, and no redirects.
            identity: signs what is asked.
            world: clock and random numbers.
        """
        self._client = client
        self._identity = identity
        self._world = world

    async def ask(self, peering: Peering, call: calls.PeerCall, arguments: bytes) -> object:
        """Make a call and return its result.

        Raises:
            TsmError: what the other TSM answered.
            PeerFaultError: it cannot be reached, does not answer as agreed, or the answer is not its own.
        """
        jti = self._world.random(16).hex()
        party = peering.tenant_id
        assertion = await self._identity.assertion(party, call.name, arguments, jti, self._world.now())
        answer = await self._send(
            peering, f"{peering.url}/v1/peers/{party}/{call.name}", arguments, assertion
        )
        body = answer.content
        self._check(peering, answer.headers.get(HEADER, ""), jti, body)
        return calls.read_answer(call, body)

    async def _send(self, peering: Peering, url: str, body: bytes, assertion: str) -> httpx.Response:
        headers = {"Content-Type": "application/json", HEADER: assertion}
        try:
            async with self._client.stream("POST", url, content=body, headers=headers) as answer:
                parts, size = [], 0
                async for part in answer.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > MAX_ANSWER:
                        raise PeerFaultError(f"The answer of {peering.name} is longer than agreed.")
        except httpx.HTTPError as error:
            raise PeerFaultError(
                f"The TSM {peering.name} does not answer ({type(error).__name__}).",
                advice="It is asked again; look at its state and at the network.",
            ) from error
        if answer.status_code != 200:
            raise PeerFaultError(
                f"The TSM {peering.name} refused the call with HTTP status {answer.status_code}.",
                advice="Compare the peering on both sides: party, key, clock.",
            )
        return httpx.Response(200, headers=answer.headers, content=b"".join(parts))

    def _check(self, peering: Peering, assertion: str, jti: str, body: bytes) -> None:
        try:
            said = p.verify(assertion, peering.key, jti, "", self._world.now())
        except UnauthenticatedError as error:
            raise PeerFaultError(f"The answer is not signed by {peering.name}: {error.detail}") from error
        if said.digest != p.digest_of(body):
            raise PeerFaultError(f"The answer of {peering.name} was changed on its way.")
