"""Authorities for cards, as parties trust them."""

from opentsm.tsm.adapters.storage.records import document, optional
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.card_trust import CardAuthority
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.ids import TenantId

_SQL = load_queries("card_authorities")


class PostgresCardAuthorities:
    """Whom parties trust for the cards of a profile."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, party_id: TenantId, profile: str) -> CardAuthority | None:
        """Return what a party has on record for a profile, or None."""
        return optional(CardAuthority, await self._session.row(_SQL["get"], party_id, profile))

    async def list(self, party_id: TenantId) -> tuple[CardAuthority, ...]:
        """Return all that a party has on record, by profile."""
        rows = await self._session.rows(_SQL["list"], party_id)
        return tuple(from_json(CardAuthority, row["document"]) for row in rows)

    async def put(self, authority: CardAuthority) -> None:
        """Store an authority in place of the party's former one for the profile."""
        await self._session.change(_SQL["put"], authority.party_id, authority.profile, document(authority))

    async def remove(self, party_id: TenantId, profile: str) -> bool:
        """Remove it; False: there was none."""
        return bool(await self._session.change(_SQL["remove"], party_id, profile))
