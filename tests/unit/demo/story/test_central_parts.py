"""Parts of the central path without processes: attempts on cards, the matrix, the provider's own scripts."""

import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import httpx
import pytest
from rich.console import Console
from tests.unit.vse.applets.applet_card import AppletCard

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.diversification import diversify
from opentsm.card.gp.keys import StaticKeys
from opentsm.demo.cards import DemoCard, issue_card, new_central_master, new_masters
from opentsm.demo.central import attempts
from opentsm.demo.central.arranging import BLANK, CENTRAL_SD, CERTIFIED, arrangement, require_matrix
from opentsm.demo.central.own_tsm import Conversation, DomainKeys, OwnTsm
from opentsm.demo.counters import Door
from opentsm.demo.errors import VerificationError
from opentsm.demo.http_api import Caller
from opentsm.demo.issuer_session import read_card, require_same
from opentsm.demo.parties import BadgeMasters
from opentsm.demo.services import BADGE
from opentsm.demo.teller import Teller
from opentsm.demo.terminals.link import Transmit
from opentsm.vse.applets.access_badge import AccessBadge

T = TypeVar("T")
CENTRAL = Aid.from_hex(CENTRAL_SD)
KVN = CERTIFIED.central_kvn
HUB = new_central_master()


def card() -> DemoCard:
    """Return a card of configuration 700 as it leaves the factory, with the hub's keys in its domain."""
    return issue_card("SE 4", CERTIFIED.profile, new_masters(), domains={CENTRAL_SD: HUB})


def hub_keys(made: DemoCard) -> StaticKeys:
    return diversify(HUB.key, made.identity.kdd, HUB.method)


# --- attempts ------------------------------------------------------------------------------------------


async def test_keys_when_they_are_the_domains_then_they_open_it() -> None:
    made = card()
    await attempts.session_opens(made, CENTRAL, KVN, hub_keys(made))
    with pytest.raises(VerificationError, match="does not take these keys"):
        await attempts.session_opens(made, CENTRAL, KVN, made.keys)


async def test_version_when_the_domain_has_none_such_then_the_card_refuses() -> None:
    made = card()
    assert "6A88" in await attempts.keys_are_unknown(made, CENTRAL, 0x3F)
    with pytest.raises(VerificationError, match="lets a party do"):
        await attempts.keys_are_unknown(made, CENTRAL, KVN)


async def test_keys_when_they_are_anothers_then_the_card_refuses_whoever_ignores_its_cryptogram() -> None:
    made = card()
    assert "EXTERNAL AUTHENTICATE" in await attempts.keys_are_wrong(made, CENTRAL, KVN, made.keys)
    with pytest.raises(VerificationError, match="lets a party do"):
        await attempts.keys_are_wrong(made, CENTRAL, KVN, hub_keys(made))


async def test_issuer_when_its_domain_is_not_restricted_then_the_attempt_is_no_proof() -> None:
    with pytest.raises(VerificationError, match="lets a party do"):
        await attempts.issuer_cannot_load(card())


# --- matrix and readings -------------------------------------------------------------------------------


async def test_matrix_when_the_card_is_as_the_data_say_then_returned() -> None:
    made = card()
    matrix = require_matrix(made, await read_card(made), arrangement(CERTIFIED, "issuer", made))
    assert [column.role and column.role.name for column in matrix.columns] == [
        "ISD",
        "Central SD",
        "MDPH SD",
        "CA SD",
    ]


async def test_matrix_when_a_domain_is_missing_or_has_other_privileges_then_refused() -> None:
    blank = issue_card("SE 3", BLANK.profile, new_masters())
    with pytest.raises(
        VerificationError, match=f"there is no {CENTRAL_SD}; there is no domain with the role"
    ):
        require_matrix(blank, await read_card(blank), arrangement(BLANK, "issuer", blank))
    plain = issue_card("SE 1", "scp03-i70", new_masters())
    with pytest.raises(VerificationError, match=r"ISD (has|lacks)"):
        require_matrix(plain, await read_card(plain), {"domains": []})


async def test_reading_when_registry_or_memory_changed_then_refused() -> None:
    made = card()
    reading = await read_card(made)
    require_same(made, reading, await read_card(made), "before")
    with pytest.raises(VerificationError, match="registry of SE 4 is not as it was before"):
        require_same(made, reading, replace(reading, entries=reading.entries[1:]), "before")
    with pytest.raises(VerificationError, match="3 bytes of SE 4 did not come back"):
        require_same(made, reading, replace(reading, free_memory=reading.free_memory - 3), "before")


def test_lines_when_told_then_each_is_printed_as_it_is() -> None:
    out = io.StringIO()
    Teller(Console(file=out, width=100), 1).lines(["ISD  [x]"])
    assert out.getvalue() == "      ISD  [x]\n"


# --- the door ------------------------------------------------------------------------------------------


class Held(DemoCard):
    """A card in whose place a badge is held to the reader."""

    badge = AppletCard()

    async def tap(self, terminal: Callable[[Transmit], Awaitable[T]]) -> T:
        return await terminal(self.badge.exchange)


async def test_door_when_rights_or_keys_are_others_then_told() -> None:
    made, masters, badge_id = card(), BadgeMasters.generate(), bytes(4)
    held = Held(made.name, made.profile, made.identity, made.master, made.card)
    keys, aid = masters.keys_of(badge_id), Aid.from_hex(BADGE.instance)
    held.badge.install(AccessBadge, aid)
    plain = [(0x6001, badge_id), (0x6002, b"\x03"), (0x6003, b"HALL"), (0xDF01, b"badge-1")]
    secret = [(0x8001, keys.reader.reveal()), (0x8002, keys.badge.reveal())]
    assert held.badge.personalize(aid, plain, secret) == 0x9000
    assert "rights «HALL», use 1" in await Door(masters).opens(held, "HALL")
    with pytest.raises(VerificationError, match="other rights than CELLAR"):
        await Door(masters).opens(held, "CELLAR")
    with pytest.raises(VerificationError, match="the door stays shut"):
        await Door(BadgeMasters.generate()).opens(held, "HALL")


# --- the provider's own TSM ------------------------------------------------------------------------------


def envelope(data: dict[str, Any], status: str = "Executed-Success") -> httpx.Response:
    return httpx.Response(200, json={"FunctionExecutionStatus": {"Status": status}, "ResponseData": data})


def caller(made: DemoCard, refuse: str = "") -> Caller:
    """Return a provider whose scripts reach a card as a server and a device would bring them."""

    def answer(request: httpx.Request) -> httpx.Response:
        function = request.url.path.rsplit("/", 1)[-1]
        if function == refuse:
            return envelope({}, "Failed")
        if function != "SendScript":
            state = "OPEN" if function == "BeginConversation" else "ENDED"
            return envelope({"ConversationID": 7, "ConversationState": state, "ProcessReference": "op"})
        answers = []
        for raw in json.loads(request.content)["CommandAPDU"]:
            answers.append(made.card.transmit(bytes.fromhex(raw)).hex())
            if not answers[-1].endswith("9000"):
                return envelope({"ResponseAPDU": answers, "FailedAPDUIndex": len(answers)})
        return envelope({"ResponseAPDU": answers})

    transport = httpx.MockTransport(answer)
    return Caller(httpx.AsyncClient(transport=transport, base_url="http://tsm"), "token")


async def begun(made: DemoCard) -> Conversation:
    made.card.power_on()
    return await OwnTsm(caller(made)).begin("se", CENTRAL)


async def test_rotation_when_sent_as_own_scripts_then_the_card_takes_the_new_keys_only() -> None:
    made = card()
    conversation = await begun(made)
    present = DomainKeys(CENTRAL, KVN, hub_keys(made))
    new = present.successor()
    await conversation.rotate(present, new)
    await conversation.end()
    await attempts.session_opens(made, CENTRAL, new.kvn, new.keys)
    assert "6A88" in await attempts.keys_are_unknown(made, CENTRAL, KVN)


async def test_rotation_when_the_present_keys_are_wrong_then_refused_and_nothing_changes() -> None:
    made = card()
    conversation = await begun(made)
    wrong = DomainKeys(CENTRAL, KVN, made.keys)
    with pytest.raises(VerificationError, match="not authentic"):
        await conversation.rotate(wrong, wrong.successor())
    with pytest.raises(VerificationError, match="command 2 of the script"):
        await conversation.rotate(replace(wrong, kvn=0x3F), wrong.successor())
    await attempts.session_opens(made, CENTRAL, KVN, hub_keys(made))


async def test_conversation_when_refused_then_told() -> None:
    with pytest.raises(VerificationError, match="BeginConversation: Failed"):
        await OwnTsm(caller(card(), refuse="BeginConversation")).begin("se", CENTRAL)


# --- refusals of the server --------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "words"), [(200, "is not refused"), (403, "otherwise than it should")])
async def test_request_when_not_refused_as_it_should_then_told(status: int, words: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json={"code": "x", "detail": "y"}))
    party = Caller(httpx.AsyncClient(transport=transport, base_url="http://tsm"), "token")
    assert await party.refused(403, "GET", "/x") == "403 x" if status == 403 else True
    with pytest.raises(VerificationError, match=words):
        await party.refused(404, "GET", "/x")
