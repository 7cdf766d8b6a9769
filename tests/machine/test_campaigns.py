"""Campaigns over real cards: pace, canaries, stops, pauses, and members that cannot take part."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tests.machine.campaign_bench import CampaignBench

from opentsm.tsm.domain.campaign import (
    CampaignState,
    Canary,
    Counts,
    MemberState,
    Pace,
    Selection,
    StopRule,
)
from opentsm.tsm.domain.operation import OperationType
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, NotFoundError
from opentsm.tsm.kernel.ids import CampaignId, TenantId
from opentsm.tsm.ports.repositories import OperationFilter, Page
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.campaigns.desk import NewCampaign
from opentsm.tsm.roles.hub.campaigns.ticking import LEASE_S, Ticker
from opentsm.tsm.roles.hub.requests import Requests

# So long that no operation that a device takes up ends for want of time, however slow the machine.
VALID_S = 600


@pytest.fixture
async def many(dsn: str, tmp_path: Path) -> AsyncIterator[CampaignBench]:
    async with CampaignBench.open(dsn, tmp_path, 4) as made:
        yield made


async def test_campaign_when_run_to_its_end_then_every_member_has_the_version_once(
    many: CampaignBench,
) -> None:
    campaign_id = await many.update()
    ended = await many.run(campaign_id)
    assert ended.state is CampaignState.COMPLETED
    assert {one.state for one in await many.members(campaign_id)} == {MemberState.SUCCEEDED}
    for station in many.stations:
        assert (await many.instance(station)).description.version_tag == "2.0.0"
    assert len({one.id for one in await many.operations(campaign_id)}) == 4


async def test_campaign_when_members_cannot_take_it_then_they_are_skipped_for_named_reasons(
    many: CampaignBench,
) -> None:
    bench, (done, gone, _, _) = many.bench, many.stations
    before = await bench.requests.update(bench.principal, done.instance_id, version="2.0.0", data={})
    ended = await bench.requests.change(bench.principal, gone.instance_id, OperationType.TERMINATE)
    await many.finish([before, ended])
    listed = Selection(listed=True)
    members = tuple(station.instance_id for station in many.stations)
    campaign_id = await many.update(selection=listed, members=members)
    assert (await many.run(campaign_id)).state is CampaignState.COMPLETED
    found = [(one.state, one.code) for one in await many.members(campaign_id)]
    skipped, succeeded = MemberState.SKIPPED, (MemberState.SUCCEEDED, "")
    assert found == [(skipped, "already"), (skipped, "gone"), succeeded, succeeded]
    assert await many.counts(campaign_id) == Counts(skipped=2, succeeded=2)


async def test_canaries_when_they_do_well_then_the_others_follow_by_hand_or_by_themselves(
    many: CampaignBench,
) -> None:
    campaign_id = await many.update(canary=Canary(members=1, by_hand=True))
    assert (await many.run(campaign_id)).state is CampaignState.AWAITING_PROMOTION
    assert await many.counts(campaign_id) == Counts(succeeded=1)
    await many.campaigns.promote(many.bench.principal, campaign_id)
    assert (await many.run(campaign_id)).state is CampaignState.COMPLETED
    again = await many.update("3.0.0", canary=Canary(percent=50))
    assert (await many.run(again)).state is CampaignState.COMPLETED
    assert await many.counts(again) == Counts(succeeded=4)
    begun = sorted(one.created_at for one in await many.operations(again))
    canaries = sorted(one.ended_at for one in await many.operations(again) if one.ended_at)[:2]
    assert begun[1] < canaries[1] < begun[2]


async def test_canaries_when_one_fails_then_the_campaign_stops_and_a_person_may_go_on(
    many: CampaignBench,
) -> None:
    many.stations[0].there = False
    campaign_id = await many.update(canary=Canary(members=1), valid_for_s=VALID_S)
    assert await _stopped(many, campaign_id) == (CampaignState.STOPPED, "Too many of the canaries failed.")
    assert await many.counts(campaign_id) == Counts(failed=1)
    await many.campaigns.resume(many.bench.principal, campaign_id)
    assert (await many.run(campaign_id)).state is CampaignState.COMPLETED
    assert await many.counts(campaign_id) == Counts(failed=1, succeeded=3)
    many.stations[0].there = True
    with pytest.raises(ConflictError, match="data are not kept"):
        await many.campaigns.retry(many.bench.principal, campaign_id, None)


async def test_stop_when_too_many_fail_then_no_more_begin(many: CampaignBench) -> None:
    for station in many.stations:
        station.there = False
    pace, stop = Pace(per_second=100, most_open=2), StopRule(failure_percent=50, window=10, minimum=2)
    campaign_id = await many.update(pace=pace, stop=stop, valid_for_s=VALID_S)
    state, reason = await _stopped(many, campaign_id)
    assert (state, reason) == (CampaignState.STOPPED, "Too many of the last operations failed.")
    assert await many.counts(campaign_id) == Counts(failed=2)
    assert {one.code for one in await many.members(campaign_id)} == {"expired", ""}


async def _stopped(many: CampaignBench, campaign_id: CampaignId) -> tuple[CampaignState, str]:
    """Let time pass, and the validity of operations end, until the campaign does not run any more."""
    for _ in range(20):
        await many.bench.sweep()
        await many.pass_time(VALID_S * 0.8)
        await many.exchange()
        found = await many.campaign(campaign_id)
        if found.state not in (CampaignState.COLLECTING, CampaignState.RUNNING):
            return found.state, found.reason
    raise AssertionError("it runs still")


async def test_retry_when_members_failed_then_a_new_campaign_has_only_them(many: CampaignBench) -> None:
    many.stations[1].there = False
    suspend = {"type": OperationType.SUSPEND, "selection": Selection(), "name": "lock"}
    new = NewCampaign(**suspend, valid_for_s=8 * VALID_S)  # type: ignore[arg-type]
    first = (await many.campaigns.create(many.bench.principal, new)).campaign.id
    assert (await _stopped(many, first))[0] is CampaignState.COMPLETED
    assert await many.counts(first) == Counts(succeeded=3, failed=1)
    many.stations[1].there = True
    again = (await many.campaigns.retry(many.bench.principal, first, "once more")).campaign.id
    assert (await many.run(again)).state is CampaignState.COMPLETED
    assert [one.subject_id for one in await many.members(again)] == [many.stations[1].instance_id]
    assert await many.counts(again) == Counts(succeeded=1)


async def test_pace_when_operations_are_begun_then_never_faster_nor_more_at_once(many: CampaignBench) -> None:
    for station in many.stations:
        station.there = False
    campaign_id = await many.update(pace=Pace(per_second=0.5, most_open=3))
    opened = []
    for _ in range(10):
        await many.pass_time()
        opened.append((await many.counts(campaign_id)).open)
    assert opened[0] <= 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(opened))
    assert opened[-1] == 3


async def test_pause_when_it_comes_then_what_is_open_ends_and_nothing_begins(many: CampaignBench) -> None:
    campaign_id = await many.update(pace=Pace(per_second=100, most_open=1))
    while not (await many.counts(campaign_id)).open:
        await many.pass_time()
    await many.campaigns.pause(many.bench.principal, campaign_id)
    await many.finish(await many.operations(campaign_id))
    for _ in range(5):
        await many.pass_time()
    assert await many.counts(campaign_id) == Counts(succeeded=1)
    await many.campaigns.resume(many.bench.principal, campaign_id)
    assert (await many.run(campaign_id)).state is CampaignState.COMPLETED


async def test_cancel_when_operations_wait_for_absent_devices_then_they_end_too(many: CampaignBench) -> None:
    for station in many.stations:
        station.there = False
    campaign_id = await many.update(pace=Pace(per_second=100, most_open=3))
    while (await many.counts(campaign_id)).open < 3:
        await many.pass_time()
    await many.campaigns.cancel(many.bench.principal, campaign_id)
    for _ in range(3):
        await many.pass_time()
    assert (await many.campaign(campaign_id)).state is CampaignState.CANCELLED
    assert await many.counts(campaign_id) == Counts(cancelled=3)
    assert [one.state for one in await many.members(campaign_id)].count(MemberState.WAITING) == 1
    assert (await many.campaign(campaign_id)).action.sealed_data == b""


async def test_tick_when_it_dies_at_any_commit_then_every_member_is_begun_once(
    many: CampaignBench,
) -> None:
    """Every transaction of the ticks fails once, before or after its commit."""
    campaign_id = await many.update()
    storage, died = many.bench.storage, 0

    class Dying:
        """Loses the database at the n-th commit."""

        def __init__(self, at: int, *, after: bool) -> None:
            self.left, self.after = at, after

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[UnitOfWork]:
            async with storage.transaction() as tx:
                commit = tx.commit

                async def dies() -> None:
                    self.left -= 1
                    if self.left == 0 and not self.after:
                        raise OSError("the process died here")
                    await commit()
                    if self.left == 0:
                        raise OSError("the process died here")

                tx.commit = dies  # type: ignore[method-assign]
                yield tx

    for at in range(1, 40):
        for after in (False, True):
            services = dataclasses.replace(many.bench.conductor._s, storage=Dying(at, after=after))
            ticker = Ticker(services, Requests(services))
            with contextlib.suppress(OSError):
                await ticker.tick(campaign_id)
                continue
            died += 1
            many.bench.world.shift += timedelta(seconds=LEASE_S + 1)
    assert died > 5
    assert (await many.run(campaign_id)).state is CampaignState.COMPLETED
    assert await many.counts(campaign_id) == Counts(succeeded=4)
    async with storage.transaction() as tx:
        asked = await tx.operations.list(Page(limit=200), OperationFilter(tenant_id=many.bench.provider))
    assert len([one for one in asked if one.campaign_id == campaign_id]) == 4


async def test_ticks_when_two_nodes_have_one_at_once_then_one_works_and_the_other_comes_back(
    many: CampaignBench,
) -> None:
    campaign_id = await many.update(pace=Pace(per_second=0.5, most_open=10))
    for _ in range(6):
        many.bench.world.shift += timedelta(seconds=1)
        await asyncio.gather(*(many.ticker.tick(campaign_id) for _ in range(3)), return_exceptions=True)
    counts = await many.counts(campaign_id)
    assert 1 <= counts.open <= 4
    assert (await many.run(campaign_id)).state is CampaignState.COMPLETED
    assert len({one.operation_id for one in await many.members(campaign_id)}) == 4


async def test_campaign_when_a_strange_party_asks_then_there_is_none(many: CampaignBench) -> None:
    campaign_id = await many.update()
    stranger = Principal(tenant_id=TenantId("another"), kind=TenantKind.SERVICE_PROVIDER)
    for use in (many.campaigns.standing, many.campaigns.pause, many.campaigns.cancel):
        with pytest.raises(NotFoundError):
            await use(stranger, campaign_id)
    issuer = NewCampaign(name="x", type=OperationType.UPDATE, version="2.0.0", selection=Selection())
    with pytest.raises(ForbiddenError):
        await many.campaigns.create(many.bench.issuer_principal, issuer)


async def test_campaign_when_of_an_issuer_then_its_cards_are_read(many: CampaignBench) -> None:
    new = NewCampaign(name="an audit", type=OperationType.AUDIT, selection=Selection(profile="scp03-i70"))
    issuer = many.bench.issuer_principal
    campaign_id = (await many.campaigns.create(issuer, new)).campaign.id
    for _ in range(40):
        await many.pass_time()
        await many.exchange()
    standing = await many.campaigns.standing(issuer, campaign_id)
    assert (standing.campaign.state, standing.counts) == (CampaignState.COMPLETED, Counts(succeeded=4))
