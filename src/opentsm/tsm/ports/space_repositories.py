"""How quotas, reservations and measured sizes are stored and found again."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from opentsm.tsm.domain.space import Reservation, SpaceQuota
from opentsm.tsm.kernel.ids import OperationId, SeId, SpaceQuotaId, TenantId
from opentsm.tsm.ports.repositories import Page


class Space(Protocol):
    """What providers may use of secure elements, and what is reserved on them."""

    async def add_quota(self, quota: SpaceQuota) -> None:
        """Add a quota; raise ConflictError when the setter has one for the same provider and target."""
        ...

    async def quota(self, quota_id: SpaceQuotaId) -> SpaceQuota | None: ...

    async def save_quota(self, quota: SpaceQuota) -> SpaceQuota:
        """Store a new version; raise StaleVersionError when it moved."""
        ...

    async def remove_quota(self, quota: SpaceQuota) -> None:
        """Remove it; raise StaleVersionError when it moved."""
        ...

    async def quotas(self, setter_id: TenantId | None, page: Page) -> Sequence[SpaceQuota]:
        """Return a page by id, of one setter or of all."""
        ...

    async def quotas_of(self, provider_id: TenantId, page: Page) -> Sequence[SpaceQuota]:
        """Return a page by id of the quotas that name a provider."""
        ...

    async def quota_for(
        self, setter_id: TenantId, provider_id: TenantId, targets: Sequence[str]
    ) -> SpaceQuota | None:
        """Return the quota of the first of the targets; one that names the provider goes before."""
        ...

    async def reserve(self, reservation: Reservation) -> None:
        """Store a reservation, in place of the operation's earlier one."""
        ...

    async def reservation(self, operation_id: OperationId) -> Reservation | None: ...

    async def reservations(self, se_id: SeId) -> Sequence[Reservation]:
        """Return what is reserved on a secure element, the oldest operation first."""
        ...

    async def release(self, operation_id: OperationId) -> None:
        """Remove an operation's reservation, if it has one."""
        ...

    async def sizes(self, issuer_id: TenantId, profile: str, parts: Sequence[str]) -> Mapping[str, int]:
        """Return the measured sizes of parts, in bytes, of those that were measured."""
        ...

    async def learn(self, issuer_id: TenantId, profile: str, sizes: Mapping[str, int]) -> None:
        """Store measured sizes of parts."""
        ...
