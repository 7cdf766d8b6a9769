"""The server on a socket: ready, a real agent at work, drained."""

import asyncio
import io
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import structlog
from tests.contract.seram_cards import ScriptedCard
from tests.scenario.api_bench import ApiBench

from opentsm.agent.device_key import DeviceIdentity
from opentsm.agent.http_exchange import http_client
from opentsm.agent.journal import MemoryStore
from opentsm.agent.loop import Ending, LocalAgent
from opentsm.agent.messages import SecureElement
from opentsm.agent.server_link import ServerLink
from opentsm.api.logs import configure_logs
from opentsm.api.server import serve
from opentsm.tsm.config import LogFormat, LogLevel, LogSettings
from opentsm.tsm.domain.exchange import Command, Expected, OrderAnswer
from opentsm.tsm.roles.hub.services import device_topic, operation_topic

SELECT = Command(apdu="00A4040008A000000151000000", expected=Expected(status_words=("9000",)), meaning="s")
READ = Command(apdu="80CA006600", expected=Expected(data="66", status_words=("9000",)), meaning="r")


@asynccontextmanager
async def serving(api: ApiBench) -> AsyncIterator[tuple[str, asyncio.Event, "asyncio.Task[None]"]]:
    """Serve on a free port; leaving stops the server and waits for it."""
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(api.container, "127.0.0.1", 0, on_ready=ready.set_result, stop=stop))
    task.add_done_callback(lambda _: ready.cancel())
    try:
        yield f"http://127.0.0.1:{await ready}", stop, task
    finally:
        stop.set()
        async with asyncio.timeout(120):
            await task


async def test_server_when_an_agent_works_then_the_order_is_run_once_and_its_answer_stored(
    api: ApiBench,
) -> None:
    cin = api.world.new_id()
    se = await api.element(cin)
    device_id, key = await api.device()
    await api.order(se["id"], SELECT, READ)
    card = ScriptedCard(answers={READ.apdu: "669000"})
    async with serving(api) as (url, _, _), http_client(url) as client:
        link = ServerLink(client, DeviceIdentity(device_id, key))
        agent = LocalAgent(SecureElement("eSE", cin), card, MemoryStore(), link)
        running = asyncio.create_task(agent.run())
        async with asyncio.timeout(120):
            while await api.answer(se["id"]) is None:
                await api.notifier.wait("outbox", 0.2)
        agent.leave()
        assert await running is Ending.LEFT
    assert card.seen == [SELECT.apdu, READ.apdu]
    assert await api.answer(se["id"]) == OrderAnswer(responses=("9000", "669000"))


async def test_server_when_told_to_stop_then_waiting_requests_are_answered_early_and_new_ones_refused(
    api: ApiBench,
) -> None:
    cin = api.world.new_id()
    se = await api.element(cin)
    await api.device()
    session = await api.session(cin)
    operation = await api.operation(se["id"])
    device = {"Authorization": f"Bearer {api.tokens['device']}"}
    provider = {"Authorization": f"Bearer {api.tokens['provider']}"}
    polling = {"localAgentStatus": {"localAgentStatusEnum": "POLLING"}}
    async with serving(api) as (url, stop, task), httpx.AsyncClient(base_url=url, timeout=120) as client:
        exchange = f"/gp/seram/remoteManagement?sessionId={session}"
        offer = {"secureElements": [], "supportedVersions": ["2.0.0+opentsm.1"]}
        await client.post(f"/gp/seram/handshake?sessionId={session}", json=offer, headers=device)
        await client.post(exchange, json=polling, headers=device)
        await api.notifier.awaited(device_topic(se["id"]))
        poll = asyncio.create_task(client.post(exchange, json=polling, headers=device))
        wait = asyncio.create_task(client.get(f"/v1/operations/{operation.id}?wait=25", headers=provider))
        await api.notifier.awaited(device_topic(se["id"]))
        await api.notifier.awaited(operation_topic(operation.id))
        stop.set()
        async with asyncio.timeout(120):
            assert (await poll).json() == {"delay": 1000, "ackSequence": 0}
            assert (await wait).json()["id"] == operation.id
            await task
        with pytest.raises(httpx.TransportError):
            await client.get("/healthz")


async def test_server_when_it_gets_sigterm_then_it_returns_and_the_process_goes_on(api: ApiBench) -> None:
    async with serving(api) as (url, _, task):
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            assert (await client.get("/readyz")).json() == {"status": "ready"}
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(120):
            await task


async def test_server_when_the_address_is_taken_then_an_error(api: ApiBench) -> None:
    async with serving(api) as (url, _, _):
        with pytest.raises(OSError, match="in use"):
            await serve(api.container, "127.0.0.1", int(url.rsplit(":", 1)[1]))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Give what is logged as JSON; afterwards logging is as before."""
    out = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    configure_logs(LogSettings(level=LogLevel.DEBUG, format=LogFormat.JSON), out)
    monkeypatch.setattr(sys, "stderr", out)
    return out.getvalue


async def test_log_then_names_request_and_operation_and_no_token_session_or_key(
    api: ApiBench, log: Callable[[], str]
) -> None:
    try:
        cin = api.world.new_id()
        se = await api.element(cin)
        await api.device()
        session = await api.session(cin)
        params = {"sessionId": session}
        await api.post("device", "/gp/seram/handshake", {"secureElements": []}, params=params)
        audit = await api.post("issuer", f"/v1/secure-elements/{se['id']}/audits")
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in log().splitlines()]
    mine = [line for line in lines if line.get("request_id") == audit.headers["x-request-id"]]
    assert [line["operation_id"] for line in mine] == [audit.json()["id"]]
    assert {"/gp/seram/handshake", "/v1/device-sessions"} <= {line.get("route") for line in lines}
    for secret in (*api.tokens.values(), session, bytes(range(16)).hex()):
        assert secret not in log()


async def test_metrics_then_requests_and_exchanges_are_counted_by_route(api: ApiBench) -> None:
    se = await api.element()
    await api.operation(se["id"])
    await api.get("issuer", "/v1/nothing/there")
    text = (await api.get(None, "/metrics")).text
    wanted = 'opentsm_http_requests_total{method="POST",route="/v1/secure-elements",status="201"} 1.0'
    assert wanted in text
    assert 'route="unmatched",status="404"' in text
    assert "opentsm_device_exchanges_total" in text
    requested = next(line for line in text.splitlines() if line.startswith('opentsm_operations{state="REQ'))
    assert float(requested.split()[1]) >= 1
    assert "opentsm_outbox_lag_seconds" in text


async def test_metrics_when_a_message_is_late_then_the_lag_tells(api: ApiBench) -> None:
    se = await api.element()
    await api.post("issuer", f"/v1/secure-elements/{se['id']}/audits")
    api.world.shift += timedelta(minutes=5)
    text = (await api.get(None, "/metrics")).text
    lag = next(line for line in text.splitlines() if line.startswith("opentsm_outbox_lag_seconds "))
    assert float(lag.split()[1]) >= 300


async def test_metrics_when_the_database_is_away_then_the_rest_is_still_told(api: ApiBench) -> None:
    await api.storage.close()
    answer = await api.get(None, "/metrics")
    assert answer.status_code == 200
    assert "opentsm_outbox_lag_seconds NaN" in answer.text
    await api.storage.open()


async def test_readiness_when_the_database_is_away_then_503(api: ApiBench, tmp_path: Path) -> None:
    await api.storage.close()
    answer = await api.get(None, "/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert (await api.get(None, "/healthz")).status_code == 200
    await api.storage.open()
