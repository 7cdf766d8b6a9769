"""Arrangements: who holds which security domain of an issuer's secure elements."""

from collections.abc import Sequence

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import ArrangementId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("arrangements")


class PostgresArrangements:
    """Arrangements of issuers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, arrangement: Arrangement) -> None:
        """Add an arrangement; raise ConflictError when its id is taken."""
        added = await self._session.change(
            _SQL["add"], arrangement.id, arrangement.issuer_id, document(arrangement), arrangement.version
        )
        if not added:
            raise self._session.spoiled(ConflictError(f"Arrangement {arrangement.id} exists already."))

    async def get(self, arrangement_id: ArrangementId) -> Arrangement | None:
        """Return the arrangement, or None."""
        row = await self._session.row(_SQL["get"], arrangement_id)
        return None if row is None else versioned(Arrangement, row)

    async def hold(self, arrangement_id: ArrangementId) -> Arrangement | None:
        """Return the arrangement, which nobody can change before this transaction ends."""
        row = await self._session.row(_SQL["hold"], arrangement_id)
        return None if row is None else versioned(Arrangement, row)

    async def list(self, issuer_id: TenantId | None, page: Page) -> Sequence[Arrangement]:
        """Return a page by id, of one issuer or of all."""
        if issuer_id is None:
            rows = await self._session.rows(_SQL["list"], *page_arguments(page))
        else:
            rows = await self._session.rows(_SQL["list_of_issuer"], *page_arguments(page), issuer_id)
        return [versioned(Arrangement, row) for row in rows]

    async def save(self, arrangement: Arrangement) -> Arrangement:
        """Store a new version; raise StaleVersionError when it moved."""
        saved = await self._session.change(
            _SQL["save"], arrangement.id, arrangement.version, document(arrangement)
        )
        if not saved:
            raise self._session.spoiled(StaleVersionError())
        return replace(arrangement, version=arrangement.version + 1)

    async def in_use(self, arrangement_id: ArrangementId) -> bool:
        """Say whether a secure element refers to it."""
        return await self._session.row(_SQL["in_use"], arrangement_id) is not None
