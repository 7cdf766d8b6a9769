"""A move of a campaign: stored with its audit entry, its event and its next tick, in one transaction."""

import msgspec

from opentsm.tsm.domain.campaign import (
    CAMPAIGN_STATES,
    CANARY_PASSED,
    ENDED_CAMPAIGNS,
    TOLD,
    Campaign,
    CampaignEvent,
    CampaignState,
)
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.herald import Event, tell
from opentsm.tsm.roles.hub.services import CAMPAIGN_TICK

replace = msgspec.structs.replace

STOPPED_BY_CANARIES = "Too many of the canaries failed."
_TICKING = (CampaignState.COLLECTING, CampaignState.RUNNING, CampaignState.CANCELLED)


async def move(
    tx: UnitOfWork,
    world: World,
    campaign: Campaign,
    event: CampaignEvent,
    *,
    actor: str = "tsm",
    reason: str = "",
) -> Campaign:
    """Move a campaign on and return it as stored.

    Raises:
        IllegalTransitionError: its state does not accept the event.
        StaleVersionError: it moved meanwhile.
    """
    now = world.now()
    state = CAMPAIGN_STATES.next(campaign.state, event)
    moved = replace(campaign, state=state, reason=reason)
    if state is CampaignState.RUNNING:
        moved = replace(moved, started_at=campaign.started_at or now, tokens_at=None)
    if event is CampaignEvent.RESUME:
        # a person has looked at what failed: it does not count any more
        moved = replace(moved, judged_from=now)
        if campaign.reason == STOPPED_BY_CANARIES:
            moved = replace(moved, promoted=True)
    if event is CampaignEvent.PROMOTE:
        moved = replace(moved, promoted=True)
    if state in ENDED_CAMPAIGNS:
        moved = replace(moved, ended_at=now, collected="", action=replace(campaign.action, sealed_data=b""))
    moved = await tx.campaigns.save(moved)
    details: dict[str, str | int] = {"state": state.value}
    if reason:
        details["reason"] = reason
    await note(tx, moved, f"campaign.{state.value.lower()}", actor, details)
    if state in TOLD:
        await tell(tx, world, [campaign_event(moved, f"campaign.{state.value.lower()}")])
    if state in _TICKING:
        await wake(tx, moved)
    return moved


async def pass_canaries(tx: UnitOfWork, world: World, campaign: Campaign) -> Campaign:
    """Let a campaign go on with all its members, because its canaries did well."""
    passed = await tx.campaigns.save(replace(campaign, promoted=True))
    await note(tx, passed, CANARY_PASSED, "tsm", {})
    await tell(tx, world, [campaign_event(passed, CANARY_PASSED)])
    return passed


async def note(
    tx: UnitOfWork, campaign: Campaign, action: str, actor: str, details: dict[str, str | int]
) -> None:
    """Write an audit entry about a campaign."""
    await tx.audit.append(
        campaign.tenant_id, actor=actor, action=action, subject=campaign.id, details=details
    )


async def wake(tx: UnitOfWork, campaign: Campaign) -> None:
    """Let the campaign's tick come at once."""
    await tx.outbox.publish(CAMPAIGN_TICK, campaign.id, {"campaign": campaign.id})


def campaign_event(campaign: Campaign, type_: str) -> Event:
    """Return what happened to a campaign; who made it is told."""
    return Event(
        type=type_,
        subject=campaign.id,
        concerns=frozenset({campaign.tenant_id}),
        data={
            "campaign_id": campaign.id,
            "name": campaign.name,
            "state": campaign.state.value,
            "reason": campaign.reason or None,
        },
    )
