"""Where peerings are kept."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page


class Peerings(Protocol):
    """Other TSMs, by party and by key (RFC 7638 thumbprint)."""

    async def put(self, peering: Peering, key_id: str) -> None:
        """Add a peering, or replace the one with the same key.

        Raises:
            ConflictError: the party lives at another TSM already.
        """
        ...

    async def remove(self, tenant_id: TenantId, key_id: str) -> bool:
        """Remove a peering; False when there is none."""
        ...

    async def find(self, tenant_id: TenantId, key_id: str) -> Peering | None: ...
    async def of_party(self, tenant_id: TenantId) -> Sequence[Peering]: ...

    async def elsewhere(self, page: Page) -> Sequence[Peering]:
        """Return a page of the parties that live elsewhere, by party."""
        ...
