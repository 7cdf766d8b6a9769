"""The Local Agent against a Remote Agent: handshake, orders, reports, exactly once.

Specification: GlobalPlatform SERAM 2.0.0; docs/reference/agent-protocol.md for 2.0.0+opentsm.1.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentsm.agent.device_key import DeviceIdentity, DeviceKey
from opentsm.agent.journal import MemoryStore
from opentsm.agent.loop import Ending, LocalAgent
from opentsm.agent.messages import SecureElement
from opentsm.agent.observer import CountingObserver
from opentsm.agent.server_link import ServerLink, enrol, http_client
from tests.contract.seram_cards import FakeClock, ScriptedCard
from tests.contract.seram_server import CODE, START, STOP, SeramServer, seram_order

SE = SecureElement("eSE", "89001012012341234012345678901224")


@asynccontextmanager
async def linked(server: SeramServer, clock: FakeClock) -> AsyncIterator[ServerLink]:
    """Enrol a device and give its link."""
    async with http_client(server.url) as client:
        key = DeviceKey.generate()
        device = await enrol(client, CODE, key, "test device")
        yield ServerLink(client, DeviceIdentity(device, key), clock=clock)


async def test_agent_runs_one_order_and_reports_it() -> None:
    card, clock, observer = ScriptedCard({"00A4040000": "6F009000"}), FakeClock(), CountingObserver()
    orders = [START, seram_order(1, "00A4040000", "80CA006600"), STOP]
    async with SeramServer(orders) as server, linked(server, clock) as link:
        agent = LocalAgent(SE, card, MemoryStore(), link, clock=clock, observer=observer)
        assert await agent.run() is Ending.STOPPED_BY_SERVER
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
