"""Every message of the Local Agent against the published SERAM 2.0.0 document with our overlay.

Reports «not run» when the document is not at hand: it is not part of this project.
"""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from tests.contract.seram_cards import FakeClock, ScriptedCard
from tests.contract.seram_document import OVERLAY, SeramChecker, seram_document_path
from tests.contract.seram_harness import agent_for, linked
from tests.contract.seram_server import START, STOP, SeramServer, seram_order

from opentsm.agent.loop import Ending


@pytest.fixture(scope="module")
def checker() -> Callable[[bool], SeramChecker]:
    path = seram_document_path()
    if path is None:
        pytest.skip("not run: no gpseram-2.0.0.yaml; name it in OPENTSM_SERAM_DOCUMENT")
    return lambda extension: SeramChecker(path, extension=extension)


@pytest.mark.parametrize("extension", [True, False])
def test_examples_of_the_document_when_mended_fit_their_schemas(
    checker: Callable[[bool], SeramChecker], extension: bool
) -> None:
    check = checker(extension)
    for name, example in check.document["components"]["examples"].items():
        check(_schema_of_example(name), example["value"])
    assert len(check.checked) == 10


def _schema_of_example(name: str) -> str:
    if name.endswith("Order"):
        return "remoteManagementOrder"
    return {"handshakeRequest": "ramHandshakeCommand", "handshakeResponse": "ramHandshakeResponse"}.get(
        name, "remoteManagementReport"
    )


def test_overlay_every_action_has_a_reason_and_an_effect(checker: Callable[[bool], SeramChecker]) -> None:
    actions = yaml.safe_load(OVERLAY.read_text())["actions"]
    assert all(action["description"] for action in actions)
    assert all(("update" in action) != ("remove" in action) for action in actions)
    checker(True)  # a target that is not there raises


@pytest.mark.parametrize(
    "damaged",
    [
        {"ramCommands": [{"ramCommandType": "seRamCommand"}]},
        {"ramCommands": [{"ramCommandType": "seRamCommand", "listOfCAPDU": ["00A4O4"]}]},
        {"ramCommands": [{"ramCommandType": "rmStopCommand"}]},
        {"ramCommands": []},
    ],
)
def test_overlay_damaged_order_is_refused(
    checker: Callable[[bool], SeramChecker], damaged: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        checker(True)("remoteManagementOrder", damaged)


async def test_agent_extended_mode_every_message_fits(checker: Callable[[bool], SeramChecker]) -> None:
    check = checker(True)
    orders = [
        {"delay": 0},
        START,
        seram_order(1, "00A4040000", "80CA006600", expect=[{"sw": ["9000", "61??"]}, None]),
        {
            "delay": 0,
            "ramCommands": [{"ramCommandType": "notificationCommand", "deviceAppNotification": "x"}],
        },
        seram_order(2, "80F28000024F00", "80CA006600", expect=[{"sw": ["6310"]}, None]),
        STOP,
    ]
    card = ScriptedCard({"00A4040000": "6F009000"})
    async with SeramServer(orders, check=check) as server, linked(server, FakeClock()) as link:
        assert await agent_for(link, card).run() is Ending.STOPPED_BY_SERVER
    assert check.checked.count("remoteManagementReport") == 6
    assert server.reports[-1]["stopped"] == {"index": 0, "reason": "MISMATCH"}


async def test_agent_plain_mode_sends_no_field_of_the_extension(
    checker: Callable[[bool], SeramChecker],
) -> None:
    check = checker(False)
    orders = [seram_order(1, "00A4040000", "80CA006600", "80CA9F7F00"), STOP]
    del orders[0]["orderSequence"]
    card = ScriptedCard({"00A4040000": "6A82"}, lost_at=2)
    async with SeramServer(orders, "2.0.0", check=check) as server, linked(server, FakeClock()) as link:
        assert await agent_for(link, card).run() is Ending.STOPPED_BY_SERVER
    assert server.reports[-1] == {
        "localAgentStatus": {
            "localAgentStatusEnum": "UNAVAILABLE_SE",
            "executedSeRamCommands": 0,
            "errorMsg": "the card was pulled out",
        },
        "ramResponses": [{"ramResponseType": "seRamResponse", "listOfRAPDU": ["6A82", ""]}],
    }
