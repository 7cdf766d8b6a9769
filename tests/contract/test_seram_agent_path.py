"""The Local Agent against a Remote Agent: handshake, orders, reports, exactly once.

Specification: GlobalPlatform SERAM 2.0.0; docs/reference/agent-protocol.md for 2.0.0+opentsm.1.
"""

from tests.contract.seram_cards import FakeClock, ScriptedCard
from tests.contract.seram_harness import agent_for, linked
from tests.contract.seram_server import START, STOP, SeramServer, seram_order

from opentsm.agent.loop import Ending
from opentsm.agent.observer import CountingObserver


async def test_agent_runs_one_order_and_reports_it() -> None:
    card, clock, observer = ScriptedCard({"00A4040000": "6F009000"}), FakeClock(), CountingObserver()
    orders = [START, seram_order(1, "00A4040000", "80CA006600"), STOP]
    async with SeramServer(orders) as server, linked(server, clock) as link:
        assert await agent_for(link, card, observer=observer).run() is Ending.STOPPED_BY_SERVER
    assert card.seen == ["00A4040000", "80CA006600"]
    assert server.reports == [
        {"localAgentStatus": {"localAgentStatusEnum": "POLLING", "executedSeRamCommands": 0}},
        {"localAgentStatus": {"localAgentStatusEnum": "PROCESSED", "executedSeRamCommands": 0}},
        {
            "localAgentStatus": {"localAgentStatusEnum": "PROCESSED", "executedSeRamCommands": 1},
            "ramResponses": [{"ramResponseType": "seRamResponse", "listOfRAPDU": ["6F009000", "9000"]}],
            "orderSequence": 1,
        },
    ]
    assert (observer.apdus, observer.orders) == (2, 3)
