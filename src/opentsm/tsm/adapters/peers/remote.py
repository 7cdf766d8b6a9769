"""Calls to another TSM over HTTP: signed both ways, within a time, never followed elsewhere."""

import asyncio

import httpx

from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.errors import PeerFaultError, UnauthenticatedError
from opentsm.tsm.ports import peer_calls as calls
from opentsm.tsm.ports.peer_identity import PeerIdentity
from opentsm.tsm.ports.world import World

HEADER = "Peer-Assertion"
TIMEOUT_S = 10.0
MAX_ANSWER = 20_000_000  # a load file in base64, and more


class RemotePeers:
    """Asks other TSMs."""

    def __init__(
        self, client: httpx.AsyncClient, identity: PeerIdentity, world: World, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Take what to work with.

        Args:
            client: with its trust, and no redirects.
            identity: signs what is asked.
            world: clock and random numbers.
            timeout_s: how long a whole call may take, however slowly its answer drips in.
        """
        self._client = client
        self._identity = identity
        self._world = world
        self._timeout_s = timeout_s

    async def ask(self, peering: Peering, call: calls.PeerCall, arguments: bytes) -> object:
        """Make a call and return its result.

        Raises:
            TsmError: what the other TSM answered.
            PeerFaultError: it cannot be reached, does not answer as agreed, or the answer is not its own.
        """
        jti = self._world.random(16).hex()
        party = peering.tenant_id
        assertion = await self._identity.assertion(party, call.name, arguments, jti, self._world.now())
        answered, body = await self._send(
            peering, f"{peering.url}/v1/peers/{party}/{call.name}", arguments, assertion
        )
        self._check(peering, answered, jti, body)
        return calls.read_answer(call, body)

    async def _send(self, peering: Peering, url: str, body: bytes, assertion: str) -> tuple[str, bytes]:
        """Return the answer's assertion and body."""
        headers = {"Content-Type": "application/json", HEADER: assertion}
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", url, content=body, headers=headers) as answer,
            ):
                parts, size = [], 0
                async for part in answer.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > MAX_ANSWER:
                        raise PeerFaultError(f"The answer of {peering.name} is longer than agreed.")
        except (httpx.HTTPError, TimeoutError) as error:
            raise PeerFaultError(
                f"The TSM {peering.name} does not answer ({type(error).__name__}).",
                advice="It is asked again; look at its state and at the network.",
            ) from error
        if answer.status_code != 200:
            raise PeerFaultError(
                f"The TSM {peering.name} refused the call with HTTP status {answer.status_code}.",
                advice="Compare the peering on both sides: party, key, clock.",
            )
        return answer.headers.get(HEADER, ""), b"".join(parts)

    def _check(self, peering: Peering, assertion: str, jti: str, body: bytes) -> None:
        try:
            said = p.verify(assertion, peering.key, jti, "", self._world.now())
        except UnauthenticatedError as error:
            raise PeerFaultError(f"The answer is not signed by {peering.name}: {error.detail}") from error
        if said.digest != p.digest_of(body):
            raise PeerFaultError(f"The answer of {peering.name} was changed on its way.")
