"""What another TSM asks of a party that lives here: proved, limited to that party, answered, signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.errors import InternalError, NotFoundError, TsmError, UnauthenticatedError
from opentsm.tsm.kernel.ids import DeviceId, TenantId
from opentsm.tsm.ports import peer_calls as calls
from opentsm.tsm.ports.peer import Peers, SegmentRequest
from opentsm.tsm.ports.peer_identity import PeerIdentity
from opentsm.tsm.ports.unit_of_work import Storage
from opentsm.tsm.ports.world import World


@dataclass(frozen=True, slots=True)
class Asked:
    """A call whose sender is proved, before its body was looked at."""

    peering: Peering
    claims: p.PeerClaims


class PeerCounter:
    """Answers other TSMs."""

    def __init__(self, storage: Storage, world: World, identity: PeerIdentity, local: Peers) -> None:
        self._storage = storage
        self._world = world
        self.identity = identity
        self._local = local

    async def prove(self, party_id: TenantId, call: str, assertion: str) -> Asked:
        """Find out who asks.

        Raises:
            UnauthenticatedError: nobody who may ask for this party, or it asked this before. An unknown
                party and one that has no such peer look the same.
        """
        key_id = p.key_id(assertion)
        async with self._storage.transaction() as tx:
            peering = await tx.peerings.find(party_id, key_id)
            if peering is None or peering.url:
                raise UnauthenticatedError(
                    "This TSM answers no such peer for this party.",
                    advice="Let its operator set the peering with your TSM's key.",
                )
            said = p.verify(assertion, peering.key, party_id, call, self._world.now())
            if not await tx.devices.remember_assertion(_sender(key_id), said.jti, p.spent_until(said)):
                raise UnauthenticatedError("This assertion was used before.", advice="Sign a new one.")
            await tx.commit()
        return Asked(peering, said)

    async def answer(self, asked: Asked, body: bytes) -> tuple[bytes, str]:
        """Carry out a call and return the answer with its assertion; errors are answers too.

        Raises:
            UnauthenticatedError: the body is not the one that was signed.
        """
        if p.digest_of(body) != asked.claims.digest:
            raise UnauthenticatedError("The body is not the one that the assertion was made for.")
        try:
            written = await self._carry_out(asked, body)
        except InternalError as error:
            if not error.status < 500 and error.code != "key_material_damaged":
                raise
            written = calls.write_error(error)
        except TsmError as error:
            written = calls.write_error(error)
        claims = asked.claims
        now = self._world.now()
        jti = self._world.random(16).hex()
        return written, await self.identity.assertion(claims.jti, "", written, jti, now)

    async def _carry_out(self, asked: Asked, body: bytes) -> bytes:
        call = calls.call_named(asked.claims.call)
        arguments = call.read_arguments(body)
        party_id = asked.peering.tenant_id
        if _concerns(arguments) not in (None, party_id):
            raise NotFoundError("There is no such object, or it belongs to somebody else.")
        target: Any = (
            self._local.catalogue()
            if call.name.startswith(f"{calls.CATALOGUE}/")
            else self._local.segment_owner(party_id)
        )
        return calls.write_result(await getattr(target, call.method)(**arguments))


def _concerns(arguments: Mapping[str, object]) -> TenantId | None:
    """Return the party that a call is about, where its arguments name one; '' is nobody's."""
    request, description = arguments.get("request"), arguments.get("description")
    if isinstance(request, SegmentRequest):
        return request.session.owner_id
    if description is not None:
        owner = getattr(description, "provider_id", TenantId(""))
        named = arguments.get("provider_id", owner)
        return TenantId(str(owner)) if owner == named else TenantId("")
    if "provider_id" in arguments:
        return TenantId(str(arguments["provider_id"]))
    return TenantId("") if "service_id" in arguments else None


def _sender(key_id: str) -> DeviceId:
    """Return the name under which the spent assertions of a peer are kept, beside those of devices."""
    return DeviceId(f"peer:{key_id}")
