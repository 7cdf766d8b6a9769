"""Campaigns and their members: every query is led by a campaign or a tenant, and bounded."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from opentsm.tsm.domain.campaign import Campaign, Counts, Member, MemberState, Recent
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import CampaignId, OperationId, TenantId
from opentsm.tsm.ports.repositories import Page


class Collected(Record, frozen=True, kw_only=True):
    """A step of collecting: how many were found, and where it goes on; None: that was all."""

    found: int
    after: str | None


class Campaigns(Protocol):
    """Campaigns, their members and their counts."""

    async def add(self, campaign: Campaign) -> None: ...
    async def get(self, campaign_id: CampaignId) -> Campaign | None: ...
    async def save(self, campaign: Campaign) -> Campaign:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        ...

    async def list(self, tenant_id: TenantId | None, page: Page) -> Sequence[Campaign]: ...

    async def lease(self, campaign_id: CampaignId, now: datetime, until: datetime) -> datetime | None:
        """Take the campaign's tick until then and return None; or return until when another has it."""
        ...

    async def release(self, campaign_id: CampaignId, until: datetime) -> None:
        """Give back the lease that ends then."""
        ...

    async def collect(self, campaign: Campaign, limit: int) -> Collected:
        """Look at the next `limit` candidates and write those that the selection wants behind `total`."""
        ...

    async def add_members(self, campaign_id: CampaignId, after: int, subjects: Sequence[str]) -> int:
        """Write those that are no members yet behind a position; return how many that were."""
        ...

    async def known(self, campaign: Campaign, subjects: Sequence[str]) -> frozenset[str]:
        """Return which ids are of instances, or secure elements, of the campaign's tenant."""
        ...

    async def members(
        self, campaign_id: CampaignId, after: int, limit: int, state: MemberState | None = None
    ) -> Sequence[Member]: ...

    async def open_member(self, campaign_id: CampaignId, position: int, operation_id: OperationId) -> None:
        """Note that a waiting member has its operation; raise StaleVersionError when it does not wait."""
        ...

    async def settle_member(self, campaign_id: CampaignId, member: Member) -> bool:
        """Write the outcome of a waiting or open member and count it; False when it has one."""
        ...

    async def counts(self, campaign_id: CampaignId) -> Counts: ...
    async def recent(self, campaign_id: CampaignId, since: datetime, limit: int) -> Recent:
        """Return the last outcomes of operations since then, at most `limit`."""
        ...
