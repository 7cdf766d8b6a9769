"""How arrangements are stored and found again; saves are optimistic, as in `ports.repositories`."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.arrangement import Arrangement
from opentsm.tsm.kernel.ids import ArrangementId, TenantId
from opentsm.tsm.ports.repositories import Page


class Arrangements(Protocol):
    """Arrangements of issuers."""

    async def add(self, arrangement: Arrangement) -> None: ...

    async def get(self, arrangement_id: ArrangementId) -> Arrangement | None: ...

    async def hold(self, arrangement_id: ArrangementId) -> Arrangement | None:
        """Return the arrangement, which nobody can change before this transaction ends."""
        ...

    async def list(self, issuer_id: TenantId | None, page: Page) -> Sequence[Arrangement]:
        """Return a page by id, of one issuer or of all."""
        ...

    async def save(self, arrangement: Arrangement) -> Arrangement:
        """Store a new version; raise StaleVersionError when it moved."""
        ...

    async def in_use(self, arrangement_id: ArrangementId) -> bool:
        """Say whether a secure element refers to it."""
        ...
