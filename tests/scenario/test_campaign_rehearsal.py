"""The rehearsal of a campaign with a few cards, every way of dropping out among them."""

import asyncio

import httpx
import pytest
from tests.scenario.api_bench import ApiBench

from opentsm.agent.http_exchange import http_client
from opentsm.demo.rehearsal.campaign import RehearsalPlan, rehearse
from opentsm.demo.rehearsal.drops import Drop, DropKind, draw_drops
from opentsm.workers.outbox import OutboxWorker

CARDS, SEED = 12, 11


def test_drops_when_drawn_with_a_seed_then_they_are_the_share_and_the_same_again() -> None:
    drawn = draw_drops(1000, 0.05, 7)
    assert (len(drawn), {one.kind for one in drawn.values()}) == (50, set(DropKind))
    assert drawn == draw_drops(1000, 0.05, 7) != draw_drops(1000, 0.05, 8)


async def test_rehearsal_when_cards_drop_out_and_come_back_then_each_is_updated_once(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # four cards drop out, each in another way, in the middle of what the update exchanges
    drops = {number: Drop(kind, 5) for number, kind in enumerate(DropKind)}
    monkeypatch.setattr("opentsm.demo.rehearsal.campaign.draw_drops", lambda *_: drops)
    await api.party("operator")
    stop = asyncio.Event()
    worker = OutboxWorker(api.storage, api.container.handlers, api.world, api.container.notifier)
    working = asyncio.create_task(worker.run(stop))
    transport = httpx.ASGITransport(app=api.app)  # type: ignore[arg-type]
    plan = RehearsalPlan(cards=CARDS, drop=0.3, seed=SEED, limit_s=120)
    async with http_client("http://127.0.0.1", transport=transport) as devices:
        figures = await rehearse(plan, api.client, api.tokens["operator"], devices, lambda _: None)
    stop.set()
    await working
    assert figures.passed, figures
    assert figures.drops == {kind.name: 1 for kind in DropKind}
    assert figures.members["succeeded"] == CARDS
