"""Which other TSMs this one works with: set, listed, ended by the operator."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from opentsm.tsm.domain import peer_assertion as p
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.peer_identity import PeerIdentity
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.mandate import require

MAX_NAME = 100
MAX_URL = 512
MAX_PEERINGS = 100


class PeeringDesk:
    """Peerings, for the operator."""

    def __init__(
        self, storage: Storage, world: World, identity: PeerIdentity, *, allow_http: bool = False
    ) -> None:
        self._storage = storage
        self._world = world
        self._identity = identity
        self._schemes = ("https", "http") if allow_http else ("https",)

    async def identity(self, principal: Principal) -> dict[str, str]:
        """Return the key by which other TSMs know this one, as a JWK with its thumbprint as `kid`."""
        require(principal, *TenantKind)
        point = await self._identity.point()
        return {**p.public_jwk(point), "kid": p.thumbprint(point)}

    async def put(
        self, principal: Principal, party_id: TenantId, *, name: str, key: bytes, url: str = ""
    ) -> Peering:
        """Say where a party lives (with a URL), or who may ask for a party that lives here.

        Args:
            principal: the operator.
            party_id: an issuer or a service provider.
            name: of the other TSM, for people.
            key: its public key (point of P-256, 65 bytes).
            url: where its API is; empty: the party lives here.

        Raises:
            NotFoundError: there is no such party.
            InvalidInputError: the key is this TSM's own, or the URL is not of the required form.
            ConflictError: the party lives at another TSM already, or has too many peerings.
        """
        require(principal, TenantKind.OPERATOR)
        key_id = p.thumbprint(key)
        if key == await self._identity.point():
            raise InvalidInputError("This is the key of this TSM itself.", field="/key")
        peering = Peering(
            tenant_id=party_id,
            name=_checked_name(name),
            key=key,
            url=self._checked_url(url),
            created_at=self._world.now(),
        )
        async with self._storage.transaction() as tx:
            await _require_party(tx, party_id)
            others = [one for one in await tx.peerings.of_party(party_id) if one.key != key]
            if len(others) >= MAX_PEERINGS:
                raise ConflictError(f"A party has {MAX_PEERINGS} peerings at most.")
            if url and any(one.url for one in others):
                raise ConflictError(
                    "The party lives at another TSM already.", advice="End that peering first.", field="/url"
                )
            await tx.peerings.put(peering, key_id)
            await _audit(tx, principal, "peering.set", peering, key_id)
            await tx.commit()
        return peering

    async def list(self, principal: Principal, party_id: TenantId) -> Sequence[Peering]:
        """Return a party's peerings."""
        require(principal, TenantKind.OPERATOR)
        async with self._storage.transaction() as tx:
            await _require_party(tx, party_id)
            return await tx.peerings.of_party(party_id)

    async def remove(self, principal: Principal, party_id: TenantId, key_id: str) -> None:
        """End a peering: from now on nothing is asked there, and nothing is answered."""
        require(principal, TenantKind.OPERATOR)
        async with self._storage.transaction() as tx:
            found = await tx.peerings.find(party_id, key_id)
            if found is None or not await tx.peerings.remove(party_id, key_id):
                raise NotFoundError("There is no such peering.")
            await _audit(tx, principal, "peering.ended", found, key_id)
            await tx.commit()

    def _checked_url(self, url: str) -> str:
        parts = urlsplit(url)
        good = parts.scheme in self._schemes and parts.hostname and not parts.query and not parts.fragment
        if url and (not good or len(url) > MAX_URL or parts.username or parts.password):
            raise InvalidInputError(
                f"url must be the address of a TSM: {' or '.join(self._schemes)}, a host, no query.",
                field="/url",
            )
        return url.rstrip("/")


async def _require_party(tx: UnitOfWork, party_id: TenantId) -> None:
    found = await tx.tenants.get(party_id)
    if found is None or found.kind is TenantKind.OPERATOR:
        raise NotFoundError("There is no such party.")


async def _audit(tx: UnitOfWork, principal: Principal, action: str, peering: Peering, key_id: str) -> None:
    details: dict[str, str | int] = {"name": peering.name, "key": key_id, "url": peering.url}
    for tenant in {principal.tenant_id, peering.tenant_id}:
        await tx.audit.append(
            tenant, actor=principal.tenant_id, action=action, subject=peering.tenant_id, details=details
        )


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"name must have 1 to {MAX_NAME} printable characters.", field="/name")
    return name
