"""The tick of a campaign: a bounded piece of work, by one node at a time, that can break off anywhere.

What it did is in the database, member by member; a tick that died is repeated after its lease.
"""

import contextlib
from datetime import datetime, timedelta

import msgspec

from opentsm.tsm.domain.campaign import (
    Campaign,
    CampaignEvent,
    CampaignState,
    Counts,
    MemberState,
    canary_failed,
    room,
    tokens_now,
    too_many_failed,
)
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError, StaleVersionError
from opentsm.tsm.kernel.ids import CampaignId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.campaigns.beginning import Beginnings, principal_of
from opentsm.tsm.roles.hub.campaigns.moving import STOPPED_BY_CANARIES, move, pass_canaries
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.services import CAMPAIGN_TICK, HubServices

replace = msgspec.structs.replace

LEASE_S = 10.0
COLLECT = 2000  # candidates looked at in one transaction
CHUNK = 20  # members begun between two looks at the campaign
_PAGE = 200
_WORK = timedelta(seconds=3)  # far less than the lease
_SOON_S, _LATEST_S = 0.5, 15.0
STOPPED_BY_RATE = "Too many of the last operations failed."


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick tells the next one: how long nothing had happened, and how many members had ended."""

    pause_s: float = _SOON_S
    ended: int = -1


_AFRESH = Progress()


class Ticker:
    """Moves campaigns on."""

    def __init__(self, services: HubServices, requests: Requests) -> None:
        self._s = services
        self._requests = requests
        self._beginnings = Beginnings(services, requests)

    async def handle(self, body: dict[str, str]) -> None:
        """Take a message of the outbox."""
        seen = Progress(pause_s=float(body.get("pause_s", _SOON_S)), ended=int(body.get("ended", -1)))
        await self.tick(CampaignId(body["campaign"]), seen)

    async def tick(self, campaign_id: CampaignId, seen: Progress = _AFRESH) -> None:
        """Do a piece of a campaign's work, and say when the next is due.

        Raises:
            StaleVersionError: its maker, or another worker, was faster; repeat.
        """
        until = self._s.world.now() + timedelta(seconds=LEASE_S)
        async with self._s.storage.transaction() as tx:
            campaign = await tx.campaigns.get(campaign_id)
            if campaign is None:  # it was wiped with its party
                return
            held = await tx.campaigns.lease(campaign_id, self._s.world.now(), until)
            if held is not None:
                # whoever has it may be dead: look again when its lease is over
                await self._again(tx, campaign_id, held, seen)
            await tx.commit()
        if held is not None:
            return
        following: tuple[datetime, Progress] | None = None
        try:
            following = await self._work(campaign, seen)
        finally:
            async with self._s.storage.transaction() as tx:
                await tx.campaigns.release(campaign_id, until)
                if following is not None:
                    await self._again(tx, campaign_id, *following)
                await tx.commit()

    async def _again(self, tx: UnitOfWork, campaign_id: CampaignId, due: datetime, seen: Progress) -> None:
        body = {"campaign": campaign_id, "pause_s": f"{seen.pause_s:.1f}", "ended": str(seen.ended)}
        await tx.outbox.publish(CAMPAIGN_TICK, campaign_id, body, not_before=due)

    async def _work(self, campaign: Campaign, seen: Progress) -> tuple[datetime, Progress] | None:
        """Work for a few seconds; return when the next tick is due, None when somebody else wakes it."""
        ends = self._s.world.now() + _WORK
        match campaign.state:
            case CampaignState.COLLECTING:
                more = await self._collect(campaign, ends)
            case CampaignState.RUNNING:
                return await self._run(campaign, ends, seen)
            case CampaignState.CANCELLED:
                more = await self._cancel_open(campaign, ends)
            case _:
                more = False
        return (self._s.world.now(), Progress()) if more else None

    # --- collecting ------------------------------------------------------------------------------------

    async def _collect(self, campaign: Campaign, ends: datetime) -> bool:
        """Write members; True when there are more to find."""
        while self._s.world.now() < ends:
            async with self._s.storage.transaction() as tx:
                found = await tx.campaigns.collect(campaign, COLLECT)
                campaign = replace(
                    campaign, total=campaign.total + found.found, collected=found.after or campaign.collected
                )
                if found.after is None:
                    event = CampaignEvent.SETTLE if campaign.by_hand else CampaignEvent.START
                    await move(tx, self._s.world, campaign, event)  # wakes the next tick, if there is one
                else:
                    campaign = await tx.campaigns.save(campaign)
                await tx.commit()
            if found.after is None:
                return False
        return True

    # --- running ---------------------------------------------------------------------------------------

    async def _run(
        self, campaign: Campaign, ends: datetime, seen: Progress
    ) -> tuple[datetime, Progress] | None:
        data = await self._data(campaign)
        begun = False
        while True:
            campaign, counts = await self._judge(campaign.id)
            now = self._s.world.now()
            if campaign.state is not CampaignState.RUNNING:
                return None
            tokens = tokens_now(campaign, now)
            chunk = min(room(campaign, counts, tokens), CHUNK)
            if not chunk or campaign.position >= campaign.total:
                break
            if now >= ends:
                return now, Progress(ended=counts.ended)
            await self._begin(campaign, chunk, tokens, data)
            begun = True
        quiet = not begun and counts.ended == seen.ended
        pause_s = min(seen.pause_s * 2, _LATEST_S) if quiet else _SOON_S
        return now + timedelta(seconds=pause_s), Progress(pause_s=pause_s, ended=counts.ended)

    async def _data(self, campaign: Campaign) -> dict[str, str] | None:
        sealed = campaign.action.sealed_data
        if not sealed:
            return None
        return await self._s.peers.catalogue().open_prepared_data(campaign.tenant_id, campaign.id, sealed)

    async def _judge(self, campaign_id: CampaignId) -> tuple[Campaign, Counts]:
        """Stop, hold, complete, or let the campaign go on, by what its members' operations came to."""
        async with self._s.storage.transaction() as tx:
            campaign = await tx.campaigns.get(campaign_id)
            if campaign is None:
                raise NotFoundError("The campaign was wiped with its party.")
            counts = await tx.campaigns.counts(campaign_id)
            if campaign.state is CampaignState.RUNNING:
                judged = await self._judged(tx, campaign, counts)
                if judged is not campaign:
                    campaign = judged
                    await tx.commit()
        return campaign, counts

    async def _judged(self, tx: UnitOfWork, campaign: Campaign, counts: Counts) -> Campaign:
        world, exhausted = self._s.world, campaign.position >= campaign.total
        if campaign.stop is not None:
            since = campaign.judged_from or campaign.created_at
            recent = await tx.campaigns.recent(campaign.id, since, campaign.stop.window)
            if too_many_failed(campaign.stop, recent):
                return await move(tx, world, campaign, CampaignEvent.STOP, reason=STOPPED_BY_RATE)
        if counts.open:
            return campaign
        if campaign.canary is not None and campaign.canaries and counts.begun:
            if canary_failed(campaign.canary, counts) and (exhausted or counts.begun >= campaign.canaries):
                return await move(tx, world, campaign, CampaignEvent.STOP, reason=STOPPED_BY_CANARIES)
            if not exhausted and counts.begun >= campaign.canaries:
                if campaign.canary.by_hand:
                    return await move(tx, world, campaign, CampaignEvent.HOLD)
                return await pass_canaries(tx, world, campaign)
        if exhausted:
            return await move(tx, world, campaign, CampaignEvent.COMPLETE)
        return campaign

    async def _begin(
        self, campaign: Campaign, chunk: int, tokens: float, data: dict[str, str] | None
    ) -> None:
        async with self._s.storage.transaction() as tx:
            members = await tx.campaigns.members(campaign.id, campaign.position, chunk)
        position, used = campaign.position, 0
        with contextlib.suppress(StaleVersionError):  # the rest has its turn in the next tick
            for member in members:
                if member.state is MemberState.WAITING:
                    used += await self._beginnings.begin(campaign, member, data)
                position = member.position
        now = self._s.world.now()
        async with self._s.storage.transaction() as tx:
            await tx.campaigns.save(replace(campaign, position=position, tokens=tokens - used, tokens_at=now))
            await tx.commit()

    # --- cancelling ------------------------------------------------------------------------------------

    async def _cancel_open(self, campaign: Campaign, ends: datetime) -> bool:
        """Ask for the end of every open operation, once; True when there are more."""
        principal, after = principal_of(campaign), int(campaign.collected or 0)
        while self._s.world.now() < ends:
            async with self._s.storage.transaction() as tx:
                members = await tx.campaigns.members(campaign.id, after, _PAGE, MemberState.OPEN)
            for member in members:
                if member.operation_id is not None:
                    with contextlib.suppress(ConflictError, NotFoundError):
                        await self._requests.cancel(principal, member.operation_id)
            if len(members) < _PAGE:
                return False
            after = members[-1].position
            async with self._s.storage.transaction() as tx:
                campaign = await tx.campaigns.save(replace(campaign, collected=str(after)))
                await tx.commit()
        return True
