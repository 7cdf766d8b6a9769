"""Authorities for cards: what a party trusts is stored; virtual cards have a test authority."""

from typing import Protocol

from opentsm.card.gp.certificates import PublicKey
from opentsm.tsm.domain.card_trust import CardAuthority
from opentsm.tsm.kernel.ids import TenantId


class CardAuthorityRepository(Protocol):
    """Whom parties trust for the cards of a profile."""

    async def get(self, party_id: TenantId, profile: str) -> CardAuthority | None:
        """Return what a party has on record for a profile, or None."""
        ...

    async def list(self, party_id: TenantId) -> tuple[CardAuthority, ...]:
        """Return all that a party has on record, by profile."""
        ...

    async def put(self, authority: CardAuthority) -> None:
        """Store an authority in place of the party's former one for the profile."""
        ...

    async def remove(self, party_id: TenantId, profile: str) -> bool:
        """Remove it; False: there was none."""
        ...


class VirtualAuthority(Protocol):
    """The authority of virtual cards: everybody can sign as it does. For sandbox parties only."""

    def public_key(self) -> PublicKey:
        """Return its public key."""
        ...

    def certify(self, point: bytes, subject: bytes) -> bytes:
        """Return a certificate (7F21) for a key of P-256 that verifies signatures."""
        ...
