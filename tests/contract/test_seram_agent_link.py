"""The link of an enrolled device: tokens, sessions, retries, negotiation, and what may be read in a log.

Specification: SERAM 2.0.0 HTTP REST binding; docs/reference/agent-protocol.md.
"""

import asyncio
import logging
import traceback

import httpx
import pytest
from tests.contract.seram_cards import FakeClock, ScriptedCard
from tests.contract.seram_harness import SE, agent_for, linked
from tests.contract.seram_server import CODE, START, STOP, Fault, SeramServer, seram_order

from opentsm.agent.backoff import Patience
from opentsm.agent.device_key import DeviceIdentity, DeviceKey
from opentsm.agent.errors import (
    DeviceRefusedError,
    LinkError,
    NegotiationError,
    ServerRefusedError,
    ServerUnreachableError,
)
from opentsm.agent.http_exchange import http_client, redact
from opentsm.agent.loop import AgentState, Ending, LoopSettings
from opentsm.agent.observer import CountingObserver, SilentObserver
from opentsm.agent.server_link import LinkSettings, ServerLink, SessionId, enrol

TOKENS, SESSIONS = "/v1/device-tokens", "/v1/device-sessions"
HANDSHAKE, MANAGE = "/gp/seram/handshake", "/gp/seram/remoteManagement"


@pytest.mark.parametrize("path", [HANDSHAKE, MANAGE])
async def test_agent_session_that_is_lost_is_opened_anew(path: str) -> None:
    card = ScriptedCard()
    orders = [START, seram_order(1, "80CA006600"), STOP]
    async with (
        SeramServer(orders, faults=[Fault(path, 1, 404)]) as server,
        linked(server, FakeClock()) as link,
    ):
        assert await agent_for(link, card).run() is Ending.STOPPED_BY_SERVER
    assert server.requests.count(SESSIONS) == 2
    assert len(server.sessions) == 2
    assert card.seen == ["80CA006600"]


async def test_agent_server_that_forgets_every_session_is_left_after_five_minutes() -> None:
    clock = FakeClock()
    faults = [Fault(MANAGE, number, 404) for number in range(1, 100)]
    async with SeramServer([], faults=faults) as server, linked(server, clock) as link:
        with pytest.raises(ServerUnreachableError, match="session is lost"):
            await agent_for(link, ScriptedCard(), clock=clock).run()
    assert clock.slept[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert max(clock.slept) == 30.0
    assert 270 < sum(clock.slept) <= 300


async def test_agent_token_that_has_expired_is_renewed_before_use() -> None:
    clock = FakeClock()
    orders = [{"delay": 200_000}, {"delay": 200_000}, STOP]
    async with SeramServer(orders) as server, linked(server, clock) as link:
        await agent_for(link, ScriptedCard(), clock=clock).run()
    assert server.requests.count(TOKENS) == 2
    assert server.requests.count(SESSIONS) == 1


async def test_agent_token_that_the_server_dropped_is_renewed_once() -> None:
    async with SeramServer([START, STOP]) as server, linked(server, FakeClock()) as link:
        server.faults.append(Fault(MANAGE, 2, 401))
        assert await agent_for(link, ScriptedCard()).run() is Ending.STOPPED_BY_SERVER
    assert server.requests.count(TOKENS) == 2


async def test_agent_device_that_is_revoked_leaves() -> None:
    async with SeramServer([START, STOP]) as server, linked(server, FakeClock()) as link:
        server.devices.clear()
        with pytest.raises(DeviceRefusedError, match="device_unknown"):
            await agent_for(link, ScriptedCard()).run()


async def test_agent_token_refused_twice_leaves() -> None:
    faults = [Fault(MANAGE, 1, 401), Fault(MANAGE, 2, 401)]
    async with SeramServer([], faults=faults) as server, linked(server, FakeClock()) as link:
        with pytest.raises(DeviceRefusedError, match="HTTP 401"):
            await agent_for(link, ScriptedCard()).run()


async def test_agents_of_one_device_share_its_token() -> None:
    async with SeramServer([]) as server, linked(server, FakeClock()) as link:
        await asyncio.gather(*(link.open_session(SE, SilentObserver()) for _ in range(20)))
    assert server.requests.count(TOKENS) == 1
    assert len(server.sessions) == 20


async def test_agent_server_out_of_reach_is_tried_for_five_minutes() -> None:
    clock = FakeClock()
    async with http_client("http://127.0.0.1:9") as client:
        identity = DeviceIdentity("device-1", DeviceKey.generate())
        link = ServerLink(client, identity, clock=clock, settings=LinkSettings(random=lambda: 1.0))
        with pytest.raises(ServerUnreachableError, match="gave up after"):
            await agent_for(link, ScriptedCard(), clock=clock).run()
    assert sum(clock.slept) <= 300


async def test_agent_without_an_end_to_its_patience_waits_for_the_server() -> None:
    settings = LinkSettings(patience=Patience(give_up_after_s=None), random=lambda: 0.0)
    faults = [Fault(SESSIONS, number, 503) for number in range(1, 200)]
    clock = FakeClock()
    async with SeramServer([STOP], faults=faults) as server, linked(server, clock, settings) as link:
        assert await agent_for(link, ScriptedCard(), clock=clock).run() is Ending.STOPPED_BY_SERVER
    assert sum(clock.slept) > 1000


async def test_agent_comes_back_after_a_stop_when_told_so() -> None:
    async with SeramServer([START, STOP]) as server, linked(server, FakeClock()) as link:
        agent = agent_for(link, ScriptedCard(), settings=LoopSettings(come_back=True))
        running = asyncio.create_task(agent.run())
        await server.idle.wait()
        assert agent.state is AgentState.SERVER_ORDERS
        agent.leave()
        assert await running is Ending.LEFT
    assert server.requests.count(SESSIONS) == 2


@pytest.mark.parametrize(("delay", "waited"), [(0, []), (750, [0.75]), (None, [1.0]), (10**9, [300.0])])
async def test_agent_keeps_the_delay_of_an_idle_order(delay: int | None, waited: list[float]) -> None:
    clock = FakeClock()
    idle = {} if delay is None else {"delay": delay}
    async with SeramServer([idle, STOP]) as server, linked(server, clock) as link:
        await agent_for(link, ScriptedCard(), clock=clock).run()
    assert clock.slept == waited


@pytest.mark.parametrize(("version", "waited"), [("2.0.0", [0.1]), ("2.0.0+opentsm.1", [])])
async def test_agent_order_without_delay_waits_in_plain_mode_only(version: str, waited: list[float]) -> None:
    clock = FakeClock()
    order = seram_order(1, "80CA006600")
    del order["delay"]
    async with SeramServer([order, STOP], version) as server, linked(server, clock) as link:
        await agent_for(link, ScriptedCard(), clock=clock).run()
    assert clock.slept == waited


async def test_agent_plain_mode_sends_every_command_whatever_the_answers() -> None:
    card = ScriptedCard({"80CA006600": "6A88", "80CA9F7F00": "6100", "00C0000000": "AA9000"})
    order = seram_order(1, "80CA006600", "80CA9F7F00", expect=[{"sw": ["9000"]}, None])
    async with (
        SeramServer([START, order, order, STOP], "2.0.0") as server,
        linked(server, FakeClock()) as link,
    ):
        await agent_for(link, card).run()
    assert len(card.seen) == 6  # no numbers, so a repeated order is a new one
    assert server.reports[2] == {
        "localAgentStatus": {"localAgentStatusEnum": "PROCESSED", "executedSeRamCommands": 1},
        "ramResponses": [{"ramResponseType": "seRamResponse", "listOfRAPDU": ["6A88", "AA9000"]}],
    }


async def test_agent_that_offers_plain_only_gets_plain() -> None:
    settings = LinkSettings(versions=("2.0.0",))
    async with SeramServer([STOP]) as server, linked(server, FakeClock(), settings) as link:
        with pytest.raises(NegotiationError, match="no common version"):
            await agent_for(link, ScriptedCard()).run()


@pytest.mark.parametrize(
    "choice",
    [
        {"chosenVersion": "3.0.0"},
        {"chosenTransportProtocol": "MQTT"},
        {"chosenDataFormat": "application/cbor"},
        {"chosenDataFormat": None, "chosenDataProtocol": "application/cbor"},
    ],
)
async def test_agent_choice_that_was_not_offered_is_refused(choice: dict[str, str | None]) -> None:
    async with SeramServer([STOP], choice=choice) as server, linked(server, FakeClock()) as link:
        with pytest.raises(NegotiationError):
            await agent_for(link, ScriptedCard()).run()


async def test_agent_choice_by_either_name_of_the_document_is_taken() -> None:
    for name in ("chosenDataFormat", "chosenDataProtocol"):
        async with SeramServer([STOP], choice={name: None}) as server, linked(server, FakeClock()) as link:
            assert await agent_for(link, ScriptedCard()).run() is Ending.STOPPED_BY_SERVER


async def test_agent_notification_reaches_the_observer() -> None:
    class Hearing(CountingObserver):
        heard = ""

        def notification(self, text: str) -> None:
            self.heard += text

    observer = Hearing()
    order = {"ramCommands": [{"ramCommandType": "notificationCommand", "deviceAppNotification": "step1/OK"}]}
    async with SeramServer([order, STOP]) as server, linked(server, FakeClock()) as link:
        await agent_for(link, ScriptedCard(), observer=observer).run()
    assert observer.heard == "step1/OK"
    assert server.reports[1]["localAgentStatus"] == {
        "localAgentStatusEnum": "PROCESSED",
        "executedSeRamCommands": 0,
    }


async def test_enrol_code_that_is_wrong_is_refused_with_the_servers_words() -> None:
    async with SeramServer([]) as server, http_client(server.url) as client:
        with pytest.raises(ServerRefusedError, match="enrolment_code_invalid: the code is not valid"):
            await enrol(client, "guess", DeviceKey.generate(), "device")


async def test_enrol_lost_answer_sends_code_and_key_again() -> None:
    key = DeviceKey.generate()
    faults = [Fault("/v1/devices", 1, "lose")]
    async with SeramServer([], faults=faults) as server, http_client(server.url) as client:
        assert await enrol(client, CODE, key, "device", clock=FakeClock()) == "device-1"
    assert server.requests == ["/v1/devices"] * 2


async def test_agent_session_id_stands_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    faults = [Fault(MANAGE, 2, "drop"), Fault(MANAGE, 4, 400)]
    notices: list[str] = []

    class Noting(SilentObserver):
        def notice(self, text: str) -> None:
            notices.append(text)

    async with (
        SeramServer([START, START, START], faults=faults) as server,
        linked(server, FakeClock()) as link,
    ):
        with pytest.raises(ServerRefusedError) as raised:
            await agent_for(link, ScriptedCard(), observer=Noting()).run()
    (session,) = server.sessions
    told = "".join([caplog.text, *notices, *traceback.format_exception(raised.value)])
    assert session not in told
    assert not any(token in told for token in server.tokens)
    assert "sessionId=[hidden]" in caplog.text  # the HTTP client's own line went through the filter
    assert session not in repr(SessionId(session))


async def test_agent_answer_without_end_is_cut_off() -> None:
    def endless(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"x" * (9 * 1024 * 1024))

    clock = FakeClock()
    async with http_client("http://127.0.0.1", transport=httpx.MockTransport(endless)) as client:
        link = ServerLink(client, DeviceIdentity("device-1", DeviceKey.generate()), clock=clock)
        with pytest.raises(ServerUnreachableError, match="exceeds"):
            await link.open_session(SE, SilentObserver())


@pytest.mark.parametrize("url", ["http://tsm.example", "ftp://127.0.0.1", "127.0.0.1:8080"])
def test_http_client_refuses_to_carry_orders_in_the_clear(url: str) -> None:
    with pytest.raises(LinkError, match="only https"):
        http_client(url)


def test_redact_hides_every_session_of_a_text() -> None:
    text = "POST /x?sessionId=0123&y=1 then '/x?sessionId=4567'"
    assert redact(text) == "POST /x?sessionId=[hidden]&y=1 then '/x?sessionId=[hidden]'"
