"""The badge reader with the project's own badge, and with badges that lie."""

import pytest
from tests.unit.vse.applets.applet_card import AppletCard
from tests.unit.vse.applets.bank_card_data import BANK_AID, personalized_bank_card

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.demo.terminals.door import AccessResult, BadgeKeys, open_door
from opentsm.demo.terminals.link import CardRefusedError, NotAuthenticError, TerminalError
from opentsm.vse.applets.access_badge import AccessBadge

AID = Aid.from_hex("F04F54534D03000001")
BADGE_ID = bytes.fromhex("0BAD6E01")
READER_KEY, BADGE_KEY = bytes(range(16)), bytes(range(16, 32))
CHALLENGE = bytes.fromhex("C0" * 16)


def personalized_badge() -> AppletCard:
    card = AppletCard()
    card.install(AccessBadge, AID)
    plain = [(0x6001, BADGE_ID), (0x6002, b"\x03"), (0x6003, b"FLOOR-3"), (0xDF01, b"badge-1")]
    assert card.personalize(AID, plain, [(0x8001, READER_KEY), (0x8002, BADGE_KEY)]) == 0x9000
    return card


def keys_of(badge_id: bytes) -> BadgeKeys:
    assert badge_id == BADGE_ID
    return BadgeKeys(Secret(READER_KEY), Secret(BADGE_KEY))


async def test_door_opens_for_an_authentic_badge() -> None:
    card = personalized_badge()
    assert await open_door(card.exchange, AID, CHALLENGE, keys_of) == AccessResult(BADGE_ID, b"FLOOR-3", 1, 4)
    assert (await open_door(card.exchange, AID, CHALLENGE, keys_of)).uses == 2


async def test_reader_with_a_wrong_key_is_refused_by_the_badge() -> None:
    wrong = BadgeKeys(Secret(bytes(16)), Secret(BADGE_KEY))
    with pytest.raises(CardRefusedError, match="EXTERNAL AUTHENTICATE with 63C2"):
        await open_door(personalized_badge().exchange, AID, CHALLENGE, lambda _: wrong)


@pytest.mark.parametrize("place", [0, 5, -3])
async def test_door_stays_shut_when_counter_rights_or_proof_are_changed(place: int) -> None:
    card = personalized_badge()

    async def transmit(raw: bytes) -> bytes:
        answer = bytearray(card.transmit(raw))
        if raw[1] == 0x88:
            answer[place] ^= 0x01
        return bytes(answer)

    with pytest.raises(NotAuthenticError):
        await open_door(transmit, AID, CHALLENGE, keys_of)


async def test_another_application_is_no_badge() -> None:
    with pytest.raises(TerminalError, match="no badge"):
        await open_door(personalized_bank_card().exchange, BANK_AID, CHALLENGE, keys_of)
