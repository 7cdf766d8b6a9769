"""Campaigns, their members and what is counted of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, range_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import DESCENDING, load_queries
from opentsm.tsm.domain.campaign import Campaign, Counts, Member, MemberState, Recent
from opentsm.tsm.domain.secure_element import SeState
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import CampaignId, OperationId, TenantId
from opentsm.tsm.ports.campaign_repositories import Collected
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("campaigns")
_SHARDS = 16  # members of one campaign that end at once do not wait for one row
_NOT_ENDED = [MemberState.WAITING.value, MemberState.OPEN.value]
_COUNTED = ("open", "succeeded", "failed", "skipped", "cancelled")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_TERMINATED, _RETIRED = InstanceState.TERMINATED.name, SeState.RETIRED.value


class PostgresCampaigns:
    """Campaigns; a lease of their ticks stands beside the document."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, campaign: Campaign) -> None:
        """Add a campaign; raise ConflictError when its id is taken."""
        added = await self._session.change(
            _SQL["add"], campaign.id, campaign.version, campaign.tenant_id, document(campaign)
        )
        if not added:
            raise self._session.spoiled(ConflictError(f"Campaign {campaign.id} exists already."))

    async def get(self, campaign_id: CampaignId) -> Campaign | None:
        """Return the campaign, or None."""
        row = await self._session.row(_SQL["get"], campaign_id)
        return None if row is None else versioned(Campaign, row)

    async def save(self, campaign: Campaign) -> Campaign:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save"], campaign.id, campaign.version, document(campaign))
        return replace(campaign, version=campaign.version + 1)

    async def list(self, tenant_id: TenantId | None, page: Page) -> Sequence[Campaign]:
        """Return a page of a tenant's campaigns by id, or of all."""
        way = DESCENDING if page.descending else ""
        low, high, limit = range_arguments(page, None, None)
        if tenant_id is None:
            rows = await self._session.rows(_SQL["list" + way], low, high, limit)
        else:
            rows = await self._session.rows(_SQL["list_of_tenant" + way], low, high, tenant_id, limit)
        return [versioned(Campaign, row) for row in rows]

    async def lease(self, campaign_id: CampaignId, now: datetime, until: datetime) -> datetime | None:
        """Take the campaign's tick until then and return None; or return until when another has it."""
        row = await self._session.row(_SQL["leased_until"], campaign_id)
        held: datetime | None = None if row is None else row["leased_until"]
        if held is not None and held > now:
            return held
        await self._session.change(_SQL["lease"], campaign_id, until)
        return None

    async def release(self, campaign_id: CampaignId, until: datetime) -> None:
        """Give back the lease that ends then."""
        row = await self._session.row(_SQL["leased_until"], campaign_id)
        if row is not None and row["leased_until"] == until:
            await self._session.change(_SQL["lease"], campaign_id, _LONG_AGO)

    async def collect(self, campaign: Campaign, limit: int) -> Collected:
        """Look at the next `limit` candidates and write those that the selection wants behind `total`."""
        query, *arguments = _candidates(campaign, limit)
        row = await self._session.row(_SQL[query], campaign.id, campaign.total, *arguments)
        assert row is not None
        return Collected(found=row["found"], after=None if row["seen"] < limit else str(row["last"]))

    async def add_members(self, campaign_id: CampaignId, after: int, subjects: Sequence[str]) -> int:
        """Write those that are no members yet behind a position; return how many that were."""
        wanted = list(dict.fromkeys(subjects))
        rows = await self._session.rows(_SQL["members_among"], campaign_id, wanted)
        present = {row["subject_id"] for row in rows}
        fresh = [one for one in wanted if one not in present]
        return await self._session.change(_SQL["add_members"], campaign_id, after, fresh) if fresh else 0

    async def known(self, campaign: Campaign, subjects: Sequence[str]) -> frozenset[str]:
        """Return which ids are of instances, or secure elements, of the campaign's tenant."""
        provider = campaign.tenant_id if campaign.tenant_kind is TenantKind.SERVICE_PROVIDER else None
        issuer = campaign.tenant_id if campaign.tenant_kind is TenantKind.SE_ISSUER else None
        if campaign.of_elements:
            rows = await self._session.rows(_SQL["known_elements"], list(subjects), issuer)
        else:
            rows = await self._session.rows(_SQL["known_instances"], list(subjects), provider, issuer)
        return frozenset(row["id"] for row in rows)

    async def members(
        self, campaign_id: CampaignId, after: int, limit: int, state: MemberState | None = None
    ) -> Sequence[Member]:
        """Return members behind a position, in its order."""
        _, most = page_arguments(Page(limit=limit))
        if state is None:
            rows = await self._session.rows(_SQL["members"], campaign_id, after, most)
        else:
            rows = await self._session.rows(_SQL["members_in_state"], campaign_id, after, most, state.value)
        return [_member(row) for row in rows]

    async def open_member(self, campaign_id: CampaignId, position: int, operation_id: OperationId) -> None:
        """Note that a waiting member has its operation; raise StaleVersionError when it does not wait."""
        waits = [MemberState.WAITING.value]
        if not await self._session.change(_SQL["open_member"], campaign_id, position, operation_id, waits):
            raise self._session.spoiled(StaleVersionError("The member has its operation already."))
        await self._count(campaign_id, position, {"open": 1})

    async def settle_member(self, campaign_id: CampaignId, member: Member) -> bool:
        """Write the outcome of a waiting or open member and count it; False when it has one."""
        row = await self._session.row(
            _SQL["settle_member"],
            campaign_id,
            member.position,
            member.state.value,
            member.code,
            member.detail,
            member.ended_at,
            _NOT_ENDED,
        )
        if row is None:
            return False
        was_open = row["state"] == MemberState.OPEN.value
        await self._count(
            campaign_id, member.position, {member.state.value.lower(): 1, "open": -1 if was_open else 0}
        )
        return True

    async def counts(self, campaign_id: CampaignId) -> Counts:
        """Return how many members are in each state but WAITING."""
        row = await self._session.row(_SQL["counts"], campaign_id)
        return Counts() if row is None else Counts(**dict(row.items()))

    async def recent(self, campaign_id: CampaignId, since: datetime, limit: int) -> Recent:
        """Return the last outcomes of operations since then, at most `limit`."""
        row = await self._session.row(_SQL["recent"], campaign_id, since, limit)
        return Recent() if row is None else Recent(**dict(row.items()))

    async def _count(self, campaign_id: CampaignId, position: int, more: dict[str, int]) -> None:
        numbers = [more.get(name, 0) for name in _COUNTED]
        await self._session.change(_SQL["count"], campaign_id, position % _SHARDS, *numbers)


def _candidates(campaign: Campaign, limit: int) -> tuple[str, *tuple[object, ...]]:
    """Return the query that finds a campaign's next candidates, and its arguments behind the first two."""
    wanted, owner, after = campaign.selection, campaign.tenant_id, campaign.collected
    by_issuer = campaign.tenant_kind is TenantKind.SE_ISSUER
    if wanted.failed_of is not None:
        return "collect_failed", wanted.failed_of, int(after or 0), limit
    if campaign.of_elements:
        elements = (after, limit, _RETIRED, wanted.state, wanted.profile)
        return (
            ("collect_elements_of_issuer", owner, *elements) if by_issuer else ("collect_elements", *elements)
        )
    if by_issuer:
        on = (wanted.service_id, wanted.version, wanted.state, wanted.profile)
        return "collect_on_elements", owner, after, limit, *on
    rest = (_TERMINATED, wanted.version, wanted.state, wanted.profile)
    if wanted.service_id is None:
        return "collect_of_provider", owner, after, limit, *rest
    return "collect_of_service", owner, wanted.service_id, after, limit, *rest


def _member(row: asyncpg.Record) -> Member:
    return Member(
        position=row["position"],
        subject_id=row["subject_id"],
        state=MemberState(row["state"]),
        operation_id=row["operation_id"],
        code=row["code"],
        detail=row["detail"],
        ended_at=row["ended_at"],
    )
