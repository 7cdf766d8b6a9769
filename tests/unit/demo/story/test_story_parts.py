"""Parts of the demo without processes: the teller, the cards, the looks at a card, the words of refusals."""

import io
from typing import Any

import httpx
import pytest
from rich.console import Console

from opentsm.demo import verification as verify
from opentsm.demo.cards import DemoCard, issue_card, new_masters
from opentsm.demo.errors import ApiError, DemoError, VerificationError
from opentsm.demo.http_api import Caller
from opentsm.demo.issuer_session import read_card
from opentsm.demo.operations import Operations
from opentsm.demo.teller import Teller

PLAN = ["A000000151000000 · load [F04F54534D01]"]


def teller() -> tuple[Teller, io.StringIO]:
    out = io.StringIO()
    return Teller(Console(file=out, width=200), 3), out


def card(profile: str = "scp03-i70") -> DemoCard:
    made = issue_card("SE 1", profile, new_masters())
    made.id = "se"
    return made


def caller(answers: list[httpx.Response]) -> Caller:
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: answers.pop(0)), base_url="http://tsm"
    )
    return Caller(client, "token")


def operation(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "type": "DEPLOY",
        "state": state,
        "plan": PLAN if state != "REQUESTED" else [],
        "apdus": 3,
        "bytes": 99,
        "round_trips": 1,
        "duration_ms": 7,
        "failure": None,
        **more,
    }


async def asked(document: dict[str, Any]) -> dict[str, Any]:
    return document


# --- the teller and operations -------------------------------------------------------------------------


async def test_operation_when_followed_then_its_plan_is_told_once_before_its_result() -> None:
    telling, out = teller()
    operations = Operations(telling)
    answers = [httpx.Response(200, json=operation(s)) for s in ("PREPARING", "AWAITING_DEVICE", "SUCCEEDED")]
    request = asked(operation("REQUESTED"))
    await operations.run("deploy", caller(answers), card(), request, service="Bank")
    told = out.getvalue()
    assert told.count("plan for: deploy") == 1
    assert told.index("load [F04F54534D01]") < told.index("✔ deploy")
    assert "3 APDUs, 99 bytes, 1 round trips" in told
    (kept,) = operations.documents
    assert (kept["state"], kept["service"], kept["card"]) == ("SUCCEEDED", "Bank", "SE 1")


async def test_operation_when_it_fails_then_step_reason_and_advice_are_told() -> None:
    telling, out = teller()
    failure = {"detail": "The card is full.", "advice": "Delete.", "step": "load", "status_word": "6A84"}
    operations = Operations(telling)
    request = asked(operation("FAILED", failure=failure))
    with pytest.raises(DemoError) as caught:
        await operations.run("deploy", caller([]), card(), request)
    assert str(caught.value) == "DEPLOY FAILED at «load»: The card is full., status word 6A84"
    assert caught.value.advice == "Delete."
    assert telling.step == "deploy"
    assert "✔" not in out.getvalue()
    assert operations.documents[0]["state"] == "FAILED"


def test_step_when_it_fails_then_no_line_says_that_it_was_done() -> None:
    telling, out = teller()
    with pytest.raises(VerificationError), telling.doing("look at the card"):
        raise VerificationError("nothing there")
    assert "✔" not in out.getvalue()
    assert telling.step == "look at the card"


# --- requests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(409, json={"code": "conflict", "detail": "Taken."}), "409 conflict: Taken."),
        (httpx.Response(400, json={"errorCategory": 1007, "errorMessage": "Unknown."}), "400 1007: Unknown."),
        (httpx.Response(502, text="<html>bad"), "502 Bad Gateway: <html>bad"),
        (httpx.Response(500, json=["?"]), "500 Internal Server Error"),
    ],
)
async def test_refusal_when_answered_then_told_in_its_own_words(answer: httpx.Response, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        await caller([answer]).post("/v1/parties", {})
    assert str(caught.value).startswith("POST /v1/parties was answered ")
    assert words in str(caught.value)


# --- the looks at a card -------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["scp03-i70", "scp03-i60", "scp02-i55"])
async def test_issuer_when_reading_past_the_tsm_then_sees_what_the_memory_holds(profile: str) -> None:
    made = card(profile)
    reading = await read_card(made)
    there = verify.content_of(made)
    assert {str(entry.aid): entry.state for entry in reading.entries} == there.states
    assert reading.free_memory == there.free_memory
    assert not made.card.is_powered


async def test_issuer_when_it_has_other_keys_then_cannot_read() -> None:
    made = card()
    made.master = new_masters()[3]
    with pytest.raises(VerificationError, match="the issuer cannot read card SE 1"):
        await read_card(made)


def shown(made: DemoCard, **changes: Any) -> dict[str, Any]:
    there = verify.content_of(made)
    objects = [{"aid": aid, "state": state} for aid, state in there.states.items()]
    return {"objects": objects, "fresh": True, "free_memory": there.free_memory, **changes}


async def test_pictures_when_they_agree_then_returned() -> None:
    made = card()
    picture = shown(made)
    assert await verify.require_agreement(caller([httpx.Response(200, json=picture)]), made) == picture


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": []}, "server nothing"),
        ({"fresh": False}, "not fresh"),
        ({"free_memory": 1}, "free memory: card"),
    ],
)
async def test_pictures_when_they_differ_then_refused_with_the_difference(
    change: dict[str, Any], words: str
) -> None:
    made = card()
    answer = httpx.Response(200, json=shown(made, **change))
    with pytest.raises(VerificationError, match=words):
        await verify.require_agreement(caller([answer]), made)


def test_objects_when_missing_or_left_or_not_locked_then_refused() -> None:
    made = card()
    isd = str(made.profile.isd_aid)
    verify.require_present(made, [isd])
    verify.require_absent(made, ["F04F54534D01"])
    with pytest.raises(VerificationError, match="does not hold"):
        verify.require_present(made, ["F04F54534D01"])
    with pytest.raises(VerificationError, match="still holds"):
        verify.require_absent(made, [isd])
    with pytest.raises(VerificationError, match="should be locked"):
        verify.require_locked(made, isd)


async def test_tap_when_the_agent_left_the_card_on_then_it_is_on_again_and_reset() -> None:
    made = card()
    made.card.power_on()
    await read_card(made)
    assert made.card.is_powered
