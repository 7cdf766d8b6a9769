"""An order runs at most once, whatever is lost or dies; and it stops at the first difference.

Specification: docs/reference/agent-protocol.md, exactly-once rules and expectations.
"""

import asyncio
from typing import Any

import pytest
from tests.contract.seram_cards import FakeClock, PowerCutError, ScriptedCard
from tests.contract.seram_harness import agent_for, linked
from tests.contract.seram_server import START, STOP, Fault, SeramServer, seram_order

from opentsm.agent.journal import MemoryStore
from opentsm.agent.loop import AgentState, Ending
from opentsm.agent.observer import CountingObserver

MANAGE = "/gp/seram/remoteManagement"
PUT_KEY, STORE_1, STORE_2 = "84D8308100", "84E2000000", "84E2800100"


def reported(server: SeramServer) -> list[dict[str, Any]]:
    """Return the reports that answer numbered orders."""
    return [report for report in server.reports if "orderSequence" in report]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("action", ["drop", "lose", 503, 500, 429])
async def test_agent_lost_exchange_every_command_reaches_the_card_once(
    number: int, action: str | int
) -> None:
    orders = [START, seram_order(1, PUT_KEY), seram_order(2, STORE_1, STORE_2), STOP]
    card = ScriptedCard()
    async with (
        SeramServer(orders, faults=[Fault(MANAGE, number, action)]) as server,
        linked(server, FakeClock()) as link,
    ):
        assert await agent_for(link, card).run() is Ending.STOPPED_BY_SERVER
    assert card.seen == [PUT_KEY, STORE_1, STORE_2]


async def test_agent_order_delivered_twice_is_answered_from_the_record() -> None:
    order, observer = seram_order(1, PUT_KEY), CountingObserver()
    card = ScriptedCard({PUT_KEY: "01029000"})
    async with SeramServer([order, order, STOP]) as server, linked(server, FakeClock()) as link:
        server.acknowledge = False
        await agent_for(link, card, observer=observer).run()
    assert card.seen == [PUT_KEY]
    first, second = reported(server)
    assert first == second
    assert (observer.orders, observer.repeated_orders) == (2, 1)


async def test_agent_order_delivered_after_acknowledgement_is_refused() -> None:
    order = seram_order(1, PUT_KEY)
    card, clock = ScriptedCard(), FakeClock()
    async with SeramServer([order, order], one_try=True) as server, linked(server, clock) as link:
        running = asyncio.create_task(agent_for(link, card, clock=clock).run())
        await server.idle.wait()
        running.cancel()
    assert card.seen == [PUT_KEY]
    assert server.reports[-1]["refused"] == {"reason": "NOT_NEWER", "orderSequence": 1}
    assert server.reports[-1]["localAgentStatus"]["localAgentStatusEnum"] == "UNKNOWN_FAILURE"
    assert "ramResponses" not in server.reports[-1]
    assert clock.slept == [1.0]  # a server that insists does not make the agent spin


async def test_agent_restarted_after_a_lost_report_answers_from_the_record() -> None:
    """The order is run and journalled; the process dies before the server hears of it."""
    store, card = MemoryStore(), ScriptedCard({PUT_KEY: "01029000"})
    faults = [Fault(MANAGE, 2, 403)]
    async with (
        SeramServer([seram_order(1, PUT_KEY), STOP], faults=faults) as server,
        linked(server, FakeClock()) as link,
    ):
        with pytest.raises(Exception, match="403"):
            await agent_for(link, card, store).run()
        assert reported(server) == []
        assert await agent_for(link, card, store).run() is Ending.STOPPED_BY_SERVER
    assert card.seen == [PUT_KEY]
    assert reported(server)[0]["ramResponses"][0]["listOfRAPDU"] == ["01029000"]


@pytest.mark.parametrize("killed_at", [1, 2])
async def test_agent_killed_between_begun_and_report_says_interrupted(killed_at: int) -> None:
    store, card = MemoryStore(), ScriptedCard(killed_at=killed_at)
    orders = [seram_order(7, PUT_KEY, STORE_1), seram_order(8, STORE_2), STOP]
    async with SeramServer(orders) as server, linked(server, FakeClock()) as link:
        with pytest.raises(PowerCutError):
            await agent_for(link, card, store).run()
        assert await agent_for(link, card, store).run() is Ending.STOPPED_BY_SERVER
    assert card.seen == [*[PUT_KEY, STORE_1][:killed_at], STORE_2]
    interrupted, finished = reported(server)
    assert interrupted == {
        "localAgentStatus": {
            "localAgentStatusEnum": "UNKNOWN_FAILURE",
            "executedSeRamCommands": 0,
            "errorMsg": "the agent was interrupted while it ran this order",
        },
        "ramResponses": [],
        "orderSequence": 7,
        "stopped": {"index": 0, "reason": "INTERRUPTED"},
    }
    assert finished["orderSequence"] == 8


async def test_agent_cancelled_in_the_middle_of_an_order_says_interrupted() -> None:
    store, card = MemoryStore(), ScriptedCard()
    blocked, seen = asyncio.Event(), card.seen

    class Hanging(ScriptedCard):
        async def transmit(self, apdu: bytes) -> bytes:
            seen.append(apdu.hex().upper())
            blocked.set()
            return await asyncio.Future()

    async with SeramServer([seram_order(1, PUT_KEY), STOP]) as server, linked(server, FakeClock()) as link:
        running = asyncio.create_task(agent_for(link, Hanging(), store).run())
        await blocked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await agent_for(link, card, store).run()
    assert seen == [PUT_KEY]
    assert reported(server)[0]["stopped"]["reason"] == "INTERRUPTED"


async def test_agent_answers_of_a_stopped_session_are_given_in_the_next() -> None:
    """SERAM: after a stop command remaining responses are discarded; the record keeps them."""
    store, card = MemoryStore(), ScriptedCard({PUT_KEY: "01029000"})
    stopping = seram_order(1, PUT_KEY)
    stopping["ramCommands"].append({"ramCommandType": "stopCommand"})
    async with SeramServer([stopping, STOP]) as server, linked(server, FakeClock()) as link:
        assert await agent_for(link, card, store).run() is Ending.STOPPED_BY_SERVER
        assert reported(server) == []
        await agent_for(link, card, store).run()
    assert card.seen == [PUT_KEY]
    assert reported(server)[0]["ramResponses"][0]["listOfRAPDU"] == ["01029000"]


async def test_agent_full_journal_refuses_new_orders() -> None:
    orders = [seram_order(n, STORE_1) for n in range(1, 10)]
    card = ScriptedCard()
    async with SeramServer(orders, one_try=True) as server, linked(server, FakeClock()) as link:
        server.acknowledge = False
        running = asyncio.create_task(agent_for(link, card).run())
        await server.idle.wait()
        running.cancel()
    assert len(card.seen) == 8
    assert server.reports[-1]["refused"] == {"reason": "JOURNAL_FULL", "orderSequence": 9}


EXACT = {"sw": ["9000"], "data": "0102FF", "mask": "FFFF00"}


@pytest.mark.parametrize(
    ("expectation", "answer", "fits"),
    [
        (None, "6F00", True),
        ({}, "6F00", True),
        ({"sw": None}, "6F00", True),
        ({"sw": ["9000"]}, "9000", True),
        ({"sw": ["9000"]}, "6A82", False),
        ({"sw": ["9000", "6A8?"]}, "6A88", True),
        ({"sw": ["6???"]}, "9000", False),
        ({"sw": ["63C?"]}, "63C2", True),
        ({"sw": []}, "9000", False),
        ({"sw": ["9000"]}, "01029000", True),
        (EXACT, "0102AA9000", True),
        (EXACT, "0103AA9000", False),
        (EXACT, "0102AA6283", False),
        (EXACT, "01029000", False),
        (EXACT, "0102AABB9000", False),
        ({"data": ""}, "9000", True),
        ({"data": ""}, "019000", False),
        ({"data": "0102ff"}, "0102FF6310", True),
    ],
)
async def test_agent_answer_that_differs_stops_the_order(
    expectation: dict[str, Any] | None, answer: str, fits: bool
) -> None:
    card = ScriptedCard({STORE_1: answer})
    order = seram_order(1, PUT_KEY, STORE_1, STORE_2, expect=[{"sw": ["9000"]}, expectation, None])
    async with SeramServer([order, STOP]) as server, linked(server, FakeClock()) as link:
        await agent_for(link, card).run()
    report = reported(server)[0]
    answers = report["ramResponses"][0]["listOfRAPDU"]
    assert report["localAgentStatus"]["localAgentStatusEnum"] == "PROCESSED"
    if fits:
        assert card.seen == [PUT_KEY, STORE_1, STORE_2]
        assert (answers, report.get("stopped")) == (["9000", answer, "9000"], None)
        assert report["localAgentStatus"]["executedSeRamCommands"] == 1
    else:
        assert card.seen == [PUT_KEY, STORE_1]
        assert (answers, report["stopped"]) == (["9000", answer], {"index": 1, "reason": "MISMATCH"})
        assert report["localAgentStatus"]["executedSeRamCommands"] == 0


async def test_agent_mismatch_in_the_second_command_counts_through_the_order() -> None:
    order = seram_order(1, PUT_KEY, STORE_1)
    order["ramCommands"] += [
        {"ramCommandType": "notificationCommand", "deviceAppNotification": "half"},
        {
            "ramCommandType": "seRamCommand",
            "listOfCAPDU": [STORE_2, PUT_KEY],
            "listOfExpectations": [{"sw": ["6A80"]}, None],
        },
        {"ramCommandType": "stopCommand"},
    ]
    card = ScriptedCard()
    async with SeramServer([order, STOP]) as server, linked(server, FakeClock()) as link:
        await agent_for(link, card).run()
    report = reported(server)[0]
    assert [r["listOfRAPDU"] for r in report["ramResponses"]] == [["9000", "9000"], ["9000"]]
    assert report["stopped"] == {"index": 2, "reason": "MISMATCH"}
    assert report["localAgentStatus"]["executedSeRamCommands"] == 1


async def test_agent_card_pulled_out_names_the_command_without_answer() -> None:
    card = ScriptedCard(lost_at=2)
    orders = [seram_order(1, PUT_KEY, STORE_1, STORE_2), seram_order(2, STORE_2), STOP]
    async with SeramServer(orders) as server, linked(server, FakeClock()) as link:
        await agent_for(link, card).run()
    lost, after = reported(server)
    assert lost["localAgentStatus"]["localAgentStatusEnum"] == "UNAVAILABLE_SE"
    assert lost["stopped"] == {"index": 1, "reason": "CARD_LOST"}
    assert lost["ramResponses"][0]["listOfRAPDU"] == ["9000"]
    assert "stopped" not in after
    assert (card.seen, card.power_ons) == ([PUT_KEY, STORE_2], 2)


async def test_agent_order_past_its_validity_stops_before_the_next_command() -> None:
    clock = FakeClock()

    class Slow(ScriptedCard):
        async def transmit(self, apdu: bytes) -> bytes:
            clock.now += 3
            return await super().transmit(apdu)

    card = Slow()
    order = seram_order(1, PUT_KEY, STORE_1, STORE_2, orderValidity=5000)
    async with SeramServer([order, STOP]) as server, linked(server, clock) as link:
        await agent_for(link, card, clock=clock).run()
    assert card.seen == [PUT_KEY, STORE_1]
    assert reported(server)[0]["stopped"] == {"index": 2, "reason": "EXPIRED"}


async def test_agent_fetches_more_data_and_corrects_le_before_it_compares() -> None:
    card = ScriptedCard(
        {
            "84F2800002000000": "6C07",
            "84F2800002000007": "01029000",
            "80CA006600": "AABB6102",
            "00C0000002": "CCDD6100",
            "00C0000000": "EE9000",
        }
    )
    order = seram_order(
        1, "84F2800002000000", "80CA006600", expect=[{"sw": ["9000"]}, {"sw": ["9000"], "data": "AABBCCDDEE"}]
    )
    async with SeramServer([order, STOP]) as server, linked(server, FakeClock()) as link:
        await agent_for(link, card).run()
    assert reported(server)[0]["ramResponses"][0]["listOfRAPDU"] == ["01029000", "AABBCCDDEE9000"]


@pytest.mark.parametrize(
    "damaged",
    [
        seram_order(0, PUT_KEY),
        {"delay": 0, "ramCommands": [{"ramCommandType": "seRamCommand", "listOfCAPDU": [PUT_KEY]}]},
        seram_order(1, PUT_KEY, "8"),
        seram_order(1, PUT_KEY, "80CAG0"),
        seram_order(1, PUT_KEY, "80CA00"),
        seram_order(1, PUT_KEY, expect=[]),
        seram_order(1, PUT_KEY, expect=[{"sw": ["90"]}]),
        seram_order(1, PUT_KEY, expect=[{"mask": "FF"}]),
        seram_order(1, PUT_KEY, expect=[{"data": "0102", "mask": "FF"}]),
        seram_order(1, PUT_KEY, delay=-1),
        seram_order(1, PUT_KEY, orderSequence="one"),
        {"ramCommands": [{"ramCommandType": "formatCommand"}]},
        {"ramCommands": [{"ramCommandType": "notificationCommand"}]},
        {"ramCommands": [{"ramCommandType": "seRamCommand"}]},
        seram_order(1, *[PUT_KEY] * 4097),
    ],
)
async def test_agent_damaged_order_sends_nothing_to_the_card(damaged: dict[str, Any]) -> None:
    card = ScriptedCard()
    async with (
        SeramServer([damaged, seram_order(1, STORE_1), STOP], one_try=True) as server,
        linked(server, FakeClock()) as link,
    ):
        await agent_for(link, card).run()
    assert server.reports[1]["refused"]["reason"] == "MALFORMED"
    assert card.seen == [STORE_1]


async def test_agent_order_for_another_card_is_refused() -> None:
    card = ScriptedCard()
    other = seram_order(1, PUT_KEY, chosenSecureElement={"seType": "eSE", "seId": "another"})
    async with SeramServer([other, STOP], one_try=True) as server, linked(server, FakeClock()) as link:
        await agent_for(link, card).run()
    assert server.reports[1]["refused"] == {"reason": "OTHER_SE", "orderSequence": 1}
    assert server.reports[1]["localAgentStatus"]["localAgentStatusEnum"] == "UNAVAILABLE_SE"
    assert card.seen == []


async def test_agent_asked_to_leave_in_an_order_finishes_it_and_journals_it() -> None:
    store = MemoryStore()

    class Leaving(ScriptedCard):
        async def transmit(self, apdu: bytes) -> bytes:
            agent.leave()
            return await super().transmit(apdu)

    card = Leaving()
    orders = [seram_order(1, PUT_KEY, STORE_1), STOP]
    async with SeramServer(orders) as server, linked(server, FakeClock()) as link:
        agent = agent_for(link, card, store)
        assert await agent.run() is Ending.LEFT
        assert reported(server) == []
        assert agent.state is AgentState.CLOSED
        await agent_for(link, card, store).run()
    assert card.seen == [PUT_KEY, STORE_1]
    assert reported(server)[0]["ramResponses"][0]["listOfRAPDU"] == ["9000", "9000"]


async def test_agent_asked_to_leave_in_a_long_poll_leaves_at_once() -> None:
    async with SeramServer([]) as server, linked(server, FakeClock()) as link:
        agent = agent_for(link, ScriptedCard())
        running = asyncio.create_task(agent.run())
        await server.idle.wait()
        agent.leave()
        assert await running is Ending.LEFT
