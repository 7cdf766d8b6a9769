"""Campaigns over real cards: pace, canaries, stops, pauses, and members that cannot take part."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.campaign_bench import CampaignBench

from opentsm.tsm.domain.campaign import CampaignState, MemberState


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
