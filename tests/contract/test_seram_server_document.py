"""The Remote Agent against GlobalPlatform SERAM 2.0.0: every message of it fits the published document."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.contract.seram_document import OVERLAY, SeramChecker, overlaid, seram_document_path
from tests.scenario.api_bench import ApiBench, problem

from opentsm.tsm.domain.exchange import Command, Expected, OrderAnswer, StopReason
from opentsm.tsm.roles.hub.services import device_topic

Json = dict[str, Any]
EXTENDED, PLAIN = "2.0.0+opentsm.1", "2.0.0"
POLLING: Json = {"localAgentStatus": {"localAgentStatusEnum": "POLLING", "executedSeRamCommands": 0}}
SELECT = Command(
    apdu="00A4040008A000000151000000", expected=Expected(status_words=("9000", "61??")), meaning="select"
)
UPDATE = Command(
    apdu="8050300008AABBCCDDEEFF0011",
    expected=Expected(status_words=("9000",), data="00FF", mask="00FF"),
    meaning="open",
    barrier=False,
)
READ = Command(apdu="80CA006600", expected=Expected(), meaning="read")


@pytest.fixture
async def api(dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a TSM whose long polls are short."""
    async with ApiBench.open(dsn, tmp_path, device__poll_timeout_s="0.05") as bench:
        yield bench


class RemoteAgent:
    """The Remote Agent as a device sees it; checks every message against the document when it is at hand."""

    def __init__(self, api: ApiBench, cin: str, session: str, *, extended: bool) -> None:
        self.api, self.cin, self.session = api, cin, session
        self.version = EXTENDED if extended else PLAIN
        path = seram_document_path()
        self._check = None if path is None else SeramChecker(path, extension=extended)

    async def shake(self, **more: object) -> httpx.Response:
        offer = {
            "secureElements": [{"seType": "eSE", "seId": self.cin}],
            "supportedVersions": [EXTENDED, PLAIN] if self.version == EXTENDED else [PLAIN],
            **more,
        }
        answer = await self._post("handshake", offer)
        if answer.status_code == 200 and self._check is not None:
            self._check("ramHandshakeResponse", answer.json())
        return answer

    async def report(self, report: Json) -> Json:
        answer = await self._post("remoteManagement", report)
        assert answer.status_code == 200, answer.text
        order: Json = answer.json()
        if self._check is not None:
            self._check("remoteManagementReport", report)
            self._check("remoteManagementOrder", order)
        return order

    async def _post(self, path: str, body: Json) -> httpx.Response:
        params = {"sessionId": self.session}
        return await self.api.post("device", f"/gp/seram/{path}", body, params=params)


async def remote(api: ApiBench, *, extended: bool = True) -> tuple[RemoteAgent, str]:
    """Return an agent's view of the server, and the secure element's id."""
    cin = api.world.new_id()
    se = await api.element(cin)
    await api.device()
    agent = RemoteAgent(api, cin, await api.session(cin), extended=extended)
    return agent, se["id"]


async def started(api: ApiBench, *, extended: bool = True) -> tuple[RemoteAgent, str]:
    """Return the same after handshake and start."""
    agent, se_id = await remote(api, extended=extended)
    assert (await agent.shake()).json()["chosenVersion"] == agent.version
    order = await agent.report(POLLING)
    assert order["ramCommands"] == [{"ramCommandType": "ramStartCommand"}]
    return agent, se_id


def answered(*responses: str, **more: object) -> Json:
    return {
        "localAgentStatus": {"localAgentStatusEnum": "PROCESSED", "executedSeRamCommands": 1},
        "ramResponses": [{"ramResponseType": "seRamResponse", "listOfRAPDU": list(responses)}],
        **more,
    }


# --- handshake -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("extended", [True, False])
async def test_handshake_then_the_best_common_version_under_both_names_of_the_data_format(
    api: ApiBench, extended: bool
) -> None:
    agent, _ = await remote(api, extended=extended)
    assert (await agent.shake()).json() == {
        "chosenTransportProtocol": "HTTPS",
        "chosenDataFormat": "application/json",
        "chosenDataProtocol": "application/json",
        "chosenVersion": EXTENDED if extended else PLAIN,
    }


async def test_handshake_when_nothing_but_the_element_is_offered_then_the_defaults_of_the_document(
    api: ApiBench,
) -> None:
    agent, _ = await remote(api)
    offer = {"secureElements": [{"seType": "eSE", "seId": agent.cin}], "supportedVersion": [PLAIN]}
    assert (await agent._post("handshake", offer)).json()["chosenVersion"] == PLAIN


@pytest.mark.parametrize(
    "offer",
    [
        {"supportedVersions": ["3.0.0"]},
        {"supportedTransportProtocols": ["SMS"]},
        {"supportedDataFormats": ["application/cbor"]},
    ],
)
async def test_handshake_when_nothing_is_acceptable_then_406(api: ApiBench, offer: Json) -> None:
    agent, _ = await remote(api)
    problem(await agent.shake(**offer), 406, "not_acceptable")


async def test_session_when_unknown_or_anothers_or_over_then_404_and_without_a_token_401(
    api: ApiBench,
) -> None:
    agent, _ = await remote(api)
    mine, token = agent.session, api.tokens["device"]
    for path, body in (("handshake", {"secureElements": []}), ("remoteManagement", POLLING)):
        agent.session = "00" * 16
        problem(await agent._post(path, body), 404, "not_found")
        agent.session = mine
        await api.device()
        problem(await agent._post(path, body), 404, "not_found")
        api.tokens["device"] = token
        answer = await api.post(None, f"/gp/seram/{path}", body, params={"sessionId": mine})
        problem(answer, 401, "unauthenticated")
        answer = await api.post("issuer", f"/gp/seram/{path}", body, params={"sessionId": mine})
        problem(answer, 403, "forbidden")


# --- extended ------------------------------------------------------------------------------------------


async def test_extended_when_an_order_waits_then_it_comes_whole_with_expectations(api: ApiBench) -> None:
    agent, se_id = await started(api)
    await api.order(se_id, SELECT, UPDATE, READ)
    order = await agent.report(POLLING)
    assert order == {
        "delay": 0,
        "orderSequence": 1,
        "ackSequence": 0,
        "ramCommands": [
            {
                "ramCommandType": "seRamCommand",
                "listOfCAPDU": [SELECT.apdu, UPDATE.apdu, READ.apdu],
                "listOfExpectations": [
                    {"sw": ["9000", "61??"]},
                    {"sw": ["9000"], "data": "00FF", "mask": "00FF"},
                    None,
                ],
            }
        ],
    }
    assert await agent.report(POLLING) == order


async def test_extended_when_started_anew_then_the_start_command_comes_first_with_the_order(
    api: ApiBench,
) -> None:
    agent, se_id = await remote(api)
    await agent.shake()
    await api.order(se_id, SELECT)
    order = await agent.report(POLLING)
    assert [c["ramCommandType"] for c in order["ramCommands"]] == ["ramStartCommand", "seRamCommand"]


async def test_extended_when_answered_then_stored_once_and_acknowledged(api: ApiBench) -> None:
    agent, se_id = await started(api)
    operation = await api.order(se_id, SELECT, READ)
    await agent.report(POLLING)
    report = answered("6F109000", "6A88", orderSequence=1)
    assert (await agent.report(report))["ackSequence"] == 1
    assert await api.answer(se_id) == OrderAnswer(responses=("6F109000", "6A88"))
    await agent.report(answered("9000", "9000", orderSequence=1))
    assert await api.answer(se_id) == OrderAnswer(responses=("6F109000", "6A88"))
    shown = (await api.get("provider", f"/v1/operations/{operation.id}")).json()
    assert (shown["apdus"], shown["round_trips"]) == (2, 1)


@pytest.mark.parametrize("reason", ["MISMATCH", "CARD_LOST", "INTERRUPTED", "EXPIRED"])
async def test_extended_when_stopped_early_then_where_and_why_are_stored(api: ApiBench, reason: str) -> None:
    agent, se_id = await started(api)
    await api.order(se_id, SELECT, READ)
    await agent.report(POLLING)
    await agent.report(answered("9000", orderSequence=1, stopped={"index": 1, "reason": reason}))
    stored = OrderAnswer(responses=("9000",), stopped=StopReason(reason), index=1)
    assert await api.answer(se_id) == stored


async def test_extended_when_the_report_is_for_another_order_then_nothing_is_taken(api: ApiBench) -> None:
    agent, se_id = await started(api)
    await api.order(se_id, SELECT)
    await agent.report(POLLING)
    for report in (answered("9000", orderSequence=2), answered("9000"), POLLING):
        assert (await agent.report(report))["orderSequence"] == 1
        assert await api.answer(se_id) is None


@pytest.mark.parametrize(
    ("reason", "stored"),
    [("NOT_NEWER", StopReason.INTERRUPTED), ("OTHER_SE", StopReason.CARD_LOST), ("JOURNAL_FULL", None)],
)
async def test_extended_when_the_agent_refuses_then_only_a_full_journal_keeps_the_order(
    api: ApiBench, reason: str, stored: StopReason | None
) -> None:
    agent, se_id = await started(api)
    await api.order(se_id, SELECT)
    await agent.report(POLLING)
    status = {"localAgentStatusEnum": "UNKNOWN_FAILURE", "executedSeRamCommands": 0}
    await agent.report({"localAgentStatus": status, "refused": {"reason": reason, "orderSequence": 1}})
    answer = await api.answer(se_id)
    assert (answer.stopped if answer else None) is stored


async def test_poll_when_an_order_arrives_then_it_is_answered_with_it(dsn: str, tmp_path: Path) -> None:
    async with ApiBench.open(dsn, tmp_path, device__poll_timeout_s="20") as api:
        agent, se_id = await started(api)
        await api.notifier.awaited(device_topic(se_id))  # by the start
        polling = asyncio.create_task(agent.report(POLLING))
        await api.notifier.awaited(device_topic(se_id))
        await api.order(se_id, SELECT)
        async with asyncio.timeout(120):
            assert (await polling)["orderSequence"] == 1


async def test_poll_when_nothing_comes_then_an_order_without_commands(api: ApiBench) -> None:
    agent, _ = await started(api)
    assert await agent.report(POLLING) == {"delay": 0, "ackSequence": 0}


# --- plain 2.0.0 ---------------------------------------------------------------------------------------


async def test_plain_when_an_order_waits_then_only_what_is_safe_blindly_and_no_field_of_ours(
    api: ApiBench,
) -> None:
    agent, se_id = await started(api, extended=False)
    await api.order(se_id, SELECT, UPDATE, READ)
    first = await agent.report(POLLING)
    assert first == {
        "delay": 0,
        "ramCommands": [{"ramCommandType": "seRamCommand", "listOfCAPDU": [SELECT.apdu, UPDATE.apdu]}],
    }
    second = await agent.report(answered("9000", "00FF9000"))
    assert second["ramCommands"][0]["listOfCAPDU"] == [READ.apdu]
    await agent.report(answered("669000"))
    assert await api.answer(se_id) == OrderAnswer(responses=("9000", "00FF9000", "669000"))


@pytest.mark.parametrize("responses", [["9000", ""], ["9000"]])
async def test_plain_when_an_answer_is_missing_or_empty_then_the_card_was_lost_there(
    api: ApiBench, responses: list[str]
) -> None:
    agent, se_id = await started(api, extended=False)
    await api.order(se_id, SELECT, UPDATE)
    await agent.report(POLLING)
    await agent.report(answered(*responses))
    stored = OrderAnswer(responses=("9000",), stopped=StopReason.CARD_LOST, index=1)
    assert await api.answer(se_id) == stored


async def test_plain_when_the_agent_polls_again_then_the_answer_was_lost(api: ApiBench) -> None:
    agent, se_id = await started(api, extended=False)
    await api.order(se_id, SELECT)
    await agent.report(POLLING)
    await agent.report(POLLING)
    answer = await api.answer(se_id)
    assert answer is not None
    assert answer.stopped is StopReason.ANSWER_LOST


# --- the document --------------------------------------------------------------------------------------


def _examples(kind: str) -> list[Json]:
    path = seram_document_path()
    if path is None:
        return []
    document = overlaid(
        yaml.safe_load(path.read_text()), yaml.safe_load(OVERLAY.read_text()), extension=False
    )
    return [
        example["value"]
        for name, example in document["components"]["examples"].items()
        if ("handshake" in name) == (kind == "handshake") and name in _REQUESTS
    ]


_REQUESTS = ("handshakeRequest", "remoteManagementPolling", "apdusRemoteManagement")


async def test_document_when_its_examples_are_sent_then_they_are_taken(api: ApiBench) -> None:
    agent, _ = await remote(api, extended=False)
    for example in _examples("handshake"):
        assert (await agent._post("handshake", example)).status_code == 200
    for example in _examples("report"):
        assert (await agent._post("remoteManagement", example)).status_code == 200


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"localAgentStatus": {"localAgentStatusEnum": "BORED"}},
        answered("900"),
        answered("XX"),
        {**POLLING, "stopped": {"index": -1, "reason": "MISMATCH"}},
    ],
)
async def test_report_when_malformed_then_a_problem_and_the_order_stays(api: ApiBench, report: Json) -> None:
    agent, se_id = await started(api)
    await api.order(se_id, SELECT)
    await agent.report(POLLING)
    problem(await agent._post("remoteManagement", report), 400, "invalid_input")
    assert await api.answer(se_id) is None
