"""What a party may do with its campaigns: make, fill, start, pause, resume, promote, cancel, look, retry."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from opentsm.tsm.domain.campaign import (
    ALLOWED_TYPES,
    Action,
    Campaign,
    CampaignEvent,
    CampaignState,
    Canary,
    Counts,
    Member,
    MemberState,
    Pace,
    Recent,
    Selection,
    StopRule,
)
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StaleVersionError,
)
from opentsm.tsm.kernel.ids import CampaignId
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.campaigns.moving import move, note, wake
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.services import HubServices

replace = msgspec.structs.replace

MAX_LISTED = 1000
_TRIES = 5
_THROUGHPUT = 200  # outcomes from which the speed is told
_WITH_DATA = (OperationType.UPDATE, OperationType.PERSONALIZE)


@dataclasses.dataclass(frozen=True, slots=True)
class NewCampaign:
    """What a campaign is to be; `data` are personalisation data for all members."""

    name: str
    type: OperationType
    selection: Selection
    version: str | None = None
    data: dict[str, str] | None = None
    members: tuple[str, ...] = ()
    pace: Pace = dataclasses.field(default_factory=Pace)
    canary: Canary | None = None
    stop: StopRule | None = None
    by_hand: bool = False
    valid_for_s: int | None = None
    valid_until: datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """A campaign with what is counted of it."""

    campaign: Campaign
    counts: Counts
    recent: Recent


class Campaigns:
    """The hub's use cases for campaigns."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    def once(self, claim: Claim) -> "Campaigns":
        """Return the same use cases for one request that has an idempotency key."""
        return Campaigns(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def create(self, principal: Principal, new: NewCampaign) -> Standing:
        """Make a campaign; its members are collected by its first ticks, or handed in.

        Raises:
            ForbiddenError: the caller may not ask for such operations.
            InvalidInputError: a value is missing or out of range, or a listed member is not the caller's.
        """
        require(principal, *TenantKind)
        _check(principal, new, self._s.world.now())
        id_ = CampaignId(self._s.world.new_id())
        sealed = b""
        if new.data:
            sealed = await self._s.peers.catalogue().seal_prepared_data(principal.tenant_id, id_, new.data)
        campaign = Campaign(
            id=id_,
            tenant_id=principal.tenant_id,
            tenant_kind=principal.kind,
            sandbox=principal.sandbox,
            name=new.name,
            action=Action(
                type=new.type,
                version=new.version,
                sealed_data=sealed,
                with_data=bool(new.data),
                valid_for_s=new.valid_for_s,
                valid_until=new.valid_until,
            ),
            selection=new.selection,
            pace=new.pace,
            canary=new.canary,
            stop=new.stop,
            by_hand=new.by_hand,
            state=CampaignState.DRAFT if new.selection.listed else CampaignState.COLLECTING,
            created_at=self._s.world.now(),
        )
        async with self._s.storage.transaction() as tx:
            await tx.campaigns.add(campaign)
            if new.members:
                campaign = await self._listed(tx, campaign, new.members)
            details: dict[str, str | int] = {"type": new.type.value, "name": new.name}
            await note(tx, campaign, "campaign.created", principal.tenant_id, details)
            if campaign.state is CampaignState.COLLECTING:
                await wake(tx, campaign)
            elif new.members and not new.by_hand:
                campaign = await move(
                    tx, self._s.world, campaign, CampaignEvent.START, actor=principal.tenant_id
                )
            await tx.commit()
        return Standing(campaign, Counts(), Recent())

    async def retry(self, principal: Principal, campaign_id: CampaignId, name: str | None) -> Standing:
        """Make a new campaign of the members that failed in one that has ended."""
        before = (await self.standing(principal, campaign_id)).campaign
        if before.ended_at is None:
            raise ConflictError(
                f"The campaign is {before.state.value}.", advice="Wait for its end, or cancel it first."
            )
        if before.action.with_data:
            raise ConflictError(
                "Personalisation data are not kept when a campaign ends.",
                advice="Make a new campaign with the data.",
            )
        action = before.action
        until = action.valid_until
        new = NewCampaign(
            name=name or before.name,
            type=action.type,
            version=action.version,
            selection=Selection(failed_of=before.id),
            pace=before.pace,
            canary=before.canary,
            stop=before.stop,
            valid_for_s=action.valid_for_s,
            valid_until=until if until is not None and until > self._s.world.now() else None,
        )
        return await self.create(principal, new)

    # --- members that are handed in --------------------------------------------------------------------

    async def add_members(
        self, principal: Principal, campaign_id: CampaignId, subjects: Sequence[str]
    ) -> tuple[int, list[str]]:
        """Add members to a draft; return how many were new, and which are not the caller's.

        Raises:
            ConflictError: the campaign takes no more members.
        """
        for attempt in range(_TRIES):
            with contextlib.suppress(StaleVersionError):
                async with self._s.storage.transaction() as tx:
                    campaign = await self._mine(tx, principal, campaign_id)
                    _check_draft(campaign)
                    known = await tx.campaigns.known(campaign, subjects)
                    await self._listed(tx, campaign, [one for one in subjects if one in known])
                    added = (await self._mine(tx, principal, campaign_id)).total - campaign.total
                    await tx.commit()
                return added, [one for one in subjects if one not in known]
            if attempt == _TRIES - 1:
                break
        raise StaleVersionError("Others add members to this campaign at the same time.")

    async def resolve(self, principal: Principal, campaign_id: CampaignId, name: str) -> str:
        """Return the member that a name of a secure element stands for.

        Raises:
            NotFoundError: there is none that is the caller's.
            ConflictError: more than one secure element, or instance, is meant.
        """
        async with self._s.storage.transaction() as tx:
            campaign = await self._mine(tx, principal, campaign_id)
            issuer = principal.tenant_id if principal.kind is TenantKind.SE_ISSUER else None
            sandbox = None if principal.kind is TenantKind.OPERATOR else principal.sandbox
            se = await tx.secure_elements.find(None, name, issuer_id=issuer, sandbox=sandbox)
            if se is None:
                raise NotFoundError("There is no such secure element.")
            if campaign.of_elements:
                return se.id
            found = [
                one.id
                for one in await tx.instances.on_secure_element(se.id)
                if campaign.selection.service_id in (None, one.description.service_id)
                and (
                    principal.kind is not TenantKind.SERVICE_PROVIDER
                    or one.provider_id == principal.tenant_id
                )
            ]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConflictError(
                "More than one instance is on this secure element.",
                advice="Name the service in the campaign's selection, or the instance.",
            )
        raise NotFoundError("There is no such service instance on this secure element.")

    async def _listed(self, tx: UnitOfWork, campaign: Campaign, subjects: Sequence[str]) -> Campaign:
        known = await tx.campaigns.known(campaign, subjects)
        unknown = [one for one in subjects if one not in known]
        if unknown:
            raise InvalidInputError(f"{quoted(unknown[0])} is none of the caller's.", field="/members")
        added = await tx.campaigns.add_members(campaign.id, campaign.total, subjects)
        return await tx.campaigns.save(replace(campaign, total=campaign.total + added))

    # --- moves -----------------------------------------------------------------------------------------

    async def start(self, principal: Principal, campaign_id: CampaignId) -> Standing:
        """Start a draft that has members."""
        return await self._move(principal, campaign_id, CampaignEvent.START, _check_startable)

    async def pause(self, principal: Principal, campaign_id: CampaignId) -> Standing:
        """Begin no more members; what is open goes on."""
        return await self._move(principal, campaign_id, CampaignEvent.PAUSE)

    async def resume(self, principal: Principal, campaign_id: CampaignId) -> Standing:
        """Go on after a pause, or after too many failures."""
        return await self._move(principal, campaign_id, CampaignEvent.RESUME)

    async def promote(self, principal: Principal, campaign_id: CampaignId) -> Standing:
        """Go on with all members after the canaries."""
        return await self._move(principal, campaign_id, CampaignEvent.PROMOTE)

    async def cancel(self, principal: Principal, campaign_id: CampaignId) -> Standing:
        """Begin no more members, and cancel open operations: at once, or at their next safe points."""
        return await self._move(principal, campaign_id, CampaignEvent.CANCEL)

    async def _move(
        self,
        principal: Principal,
        campaign_id: CampaignId,
        event: CampaignEvent,
        check: Callable[[Campaign], None] | None = None,
    ) -> Standing:
        for attempt in range(_TRIES):
            try:
                async with self._s.storage.transaction() as tx:
                    campaign = await self._mine(tx, principal, campaign_id)
                    if check is not None:
                        check(campaign)
                    await move(tx, self._s.world, campaign, event, actor=principal.tenant_id)
                    await tx.commit()
                break
            except StaleVersionError:  # its tick was faster
                if attempt == _TRIES - 1:
                    raise
        return await self.standing(principal, campaign_id)

    # --- reading ---------------------------------------------------------------------------------------

    async def standing(self, principal: Principal, campaign_id: CampaignId) -> Standing:
        """Return a campaign of the caller with its counts."""
        async with self._s.storage.transaction() as tx:
            return await self._standing(tx, await self._mine(tx, principal, campaign_id))

    async def list(self, principal: Principal, page: Page) -> list[Standing]:
        """Return a page of the caller's campaigns; the operator sees all."""
        require(principal, *TenantKind)
        owner = None if principal.kind is TenantKind.OPERATOR else principal.tenant_id
        async with self._s.storage.transaction() as tx:
            found = await tx.campaigns.list(owner, page)
            return [await self._standing(tx, one) for one in found]

    async def members(
        self, principal: Principal, campaign_id: CampaignId, after: int, limit: int, state: MemberState | None
    ) -> Sequence[Member]:
        """Return members behind a position."""
        async with self._s.storage.transaction() as tx:
            campaign = await self._mine(tx, principal, campaign_id)
            return await tx.campaigns.members(campaign.id, after, limit, state)

    async def _standing(self, tx: UnitOfWork, campaign: Campaign) -> Standing:
        since = campaign.started_at or campaign.created_at
        return Standing(
            campaign,
            await tx.campaigns.counts(campaign.id),
            await tx.campaigns.recent(campaign.id, since, _THROUGHPUT),
        )

    async def _mine(self, tx: UnitOfWork, principal: Principal, campaign_id: CampaignId) -> Campaign:
        require(principal, *TenantKind)
        found = await tx.campaigns.get(campaign_id)
        sees = principal.kind is TenantKind.OPERATOR
        if found is None or not (sees or found.tenant_id == principal.tenant_id):
            raise NotFoundError("There is no such campaign.")
        return found


def _check(principal: Principal, new: NewCampaign, now: datetime) -> None:
    if new.type not in ALLOWED_TYPES[principal.kind]:
        allowed = ", ".join(one.value for one in ALLOWED_TYPES[principal.kind])
        raise ForbiddenError(f"A campaign of this party may be of: {allowed}.", field="/type")
    if (new.type is OperationType.UPDATE) is (new.version is None):
        raise InvalidInputError("version is needed for UPDATE, and for nothing else.", field="/version")
    if new.data and new.type not in _WITH_DATA:
        raise InvalidInputError("data belong to UPDATE and PERSONALIZE only.", field="/data")
    if new.type is OperationType.PERSONALIZE and not new.data:
        raise InvalidInputError("PERSONALIZE needs data.", field="/data")
    by_filter = not new.selection.listed
    if principal.kind is TenantKind.OPERATOR and by_filter and new.type is not OperationType.AUDIT:
        raise InvalidInputError("The operator lists the members of such a campaign.", field="/selection")
    if new.type is OperationType.AUDIT and (new.selection.service_id or new.selection.version):
        raise InvalidInputError("An AUDIT is of secure elements, not of services.", field="/selection")
    if new.valid_for_s is not None and new.valid_until is not None:
        raise InvalidInputError("Give valid_for_s or valid_until.", field="/valid_until")
    _check_valid_until(new.valid_until, now)


def _check_valid_until(until: datetime | None, now: datetime) -> None:
    if until is None:
        return
    if until.utcoffset() is None:
        raise InvalidInputError("valid_until has no offset from UTC.", field="/valid_until")
    if until <= now:
        raise InvalidInputError("valid_until is in the past.", field="/valid_until")


def _check_draft(campaign: Campaign) -> None:
    if campaign.state is not CampaignState.DRAFT or not campaign.selection.listed:
        raise ConflictError(
            f"The campaign takes no members: it is {campaign.state.value}.",
            advice="Make a campaign with selection.listed, add its members, then start it.",
        )


def _check_startable(campaign: Campaign) -> None:
    if campaign.state is CampaignState.DRAFT and not campaign.total:
        raise ConflictError("The campaign has no members.", advice="Add members first.")
    if campaign.state is not CampaignState.DRAFT:
        raise ConflictError(f"The campaign is {campaign.state.value}; only a draft is started.")
