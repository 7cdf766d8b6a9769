"""Quotas, reservations and measured sizes."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, optional, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.space import Reservation, SpaceQuota
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import OperationId, SeId, SpaceQuotaId, TenantId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("space")
_EVERY = ""


class PostgresSpace:
    """What providers may use of secure elements, and what is reserved on them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add_quota(self, quota: SpaceQuota) -> None:
        """Add a quota; raise ConflictError when the setter has one for the same provider and target."""
        arguments = (quota.id, quota.setter_id, quota.provider_id or _EVERY, quota.target)
        added = await self._session.change(_SQL["add_quota"], *arguments, document(quota), quota.version)
        if not added:
            raise self._session.spoiled(
                ConflictError("There is a quota for this provider and these cards already.")
            )

    async def quota(self, quota_id: SpaceQuotaId) -> SpaceQuota | None:
        """Return the quota, or None."""
        row = await self._session.row(_SQL["quota"], quota_id)
        return None if row is None else versioned(SpaceQuota, row)

    async def save_quota(self, quota: SpaceQuota) -> SpaceQuota:
        """Store a new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save_quota"], quota.id, quota.version, document(quota))
        return replace(quota, version=quota.version + 1)

    async def remove_quota(self, quota: SpaceQuota) -> None:
        """Remove it; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["remove_quota"], quota.id, quota.version)

    async def quotas(self, setter_id: TenantId | None, page: Page) -> Sequence[SpaceQuota]:
        """Return a page by id, of one setter or of all."""
        if setter_id is None:
            rows = await self._session.rows(_SQL["quotas"], *page_arguments(page))
        else:
            rows = await self._session.rows(_SQL["quotas_of_setter"], *page_arguments(page), setter_id)
        return [versioned(SpaceQuota, row) for row in rows]

    async def quotas_of(self, provider_id: TenantId, page: Page) -> Sequence[SpaceQuota]:
        """Return a page by id of the quotas that name a provider."""
        rows = await self._session.rows(_SQL["quotas_of_provider"], *page_arguments(page), provider_id)
        return [versioned(SpaceQuota, row) for row in rows]

    async def quota_for(
        self, setter_id: TenantId, provider_id: TenantId, targets: Sequence[str]
    ) -> SpaceQuota | None:
        """Return the quota of the first of the targets; one that names the provider goes before."""
        for who in (provider_id, _EVERY):
            for target in targets:
                row = await self._session.row(_SQL["quota_for"], setter_id, who, target)
                if row is not None:
                    return versioned(SpaceQuota, row)
        return None

    async def reserve(self, reservation: Reservation) -> None:
        """Store a reservation, in place of the operation's earlier one."""
        await self._session.change(
            _SQL["reserve"], reservation.operation_id, reservation.se_id, document(reservation)
        )

    async def reservation(self, operation_id: OperationId) -> Reservation | None:
        """Return an operation's reservation, or None."""
        return optional(Reservation, await self._session.row(_SQL["reservation"], operation_id))

    async def reservations(self, se_id: SeId) -> Sequence[Reservation]:
        """Return what is reserved on a secure element, the oldest operation first."""
        rows = await self._session.rows(_SQL["reservations"], se_id)
        return [from_json(Reservation, row["document"]) for row in rows]

    async def release(self, operation_id: OperationId) -> None:
        """Remove an operation's reservation, if it has one."""
        await self._session.change(_SQL["release"], operation_id)

    async def sizes(self, issuer_id: TenantId, profile: str, parts: Sequence[str]) -> Mapping[str, int]:
        """Return the measured sizes of parts, in bytes, of those that were measured."""
        rows = await self._session.rows(_SQL["sizes"], issuer_id, profile, list(parts))
        return {row["part"]: row["bytes"] for row in rows}

    async def learn(self, issuer_id: TenantId, profile: str, sizes: Mapping[str, int]) -> None:
        """Store measured sizes of parts."""
        parts = sorted(sizes)
        await self._session.change(_SQL["learn"], issuer_id, profile, parts, [sizes[one] for one in parts])
