"""The access badge: mutual authentication, retry limit."""

import pytest
from tests.unit.vse.applets.applet_card import AppletCard, Dgi, PowerCutError

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.crypto.kcv import kcv_aes
from opentsm.card.crypto.mac import cmac
from opentsm.vse.applets.access_badge import AccessBadge

AID = Aid.from_hex("F04F54534D03000001")
BADGE_ID = bytes.fromhex("0BAD6E01")
RIGHTS = b"FLOOR-3"
READER_KEY, BADGE_KEY = bytes(range(16)), bytes(range(16, 32))
KEYS: list[Dgi] = [(0x8001, READER_KEY), (0x8002, BADGE_KEY)]
PLAIN: list[Dgi] = [(0x6001, BADGE_ID), (0x6002, b"\x03"), (0x6003, RIGHTS), (0xDF01, b"badge-1")]
READER_CHALLENGE = bytes.fromhex("A0" * 16)


def personalized_badge() -> AppletCard:
    card = AppletCard()
    card.install(AccessBadge, AID)
    assert card.personalize(AID, PLAIN, KEYS) == 0x9000
    card.select(AID)
    return card


def authenticate(card: AppletCard, key: bytes = READER_KEY) -> tuple[bytes, ResponseApdu]:
    challenge = card.apdu("0084000010").data
    proof = cmac(key, b"\x01" + challenge + READER_CHALLENGE)
    return challenge, card.apdu("0082000020" + (READER_CHALLENGE + proof).hex())


def tries(card: AppletCard) -> int:
    return card.apdu("80CA9F1700").data[-1]


def test_reader_then_badge_prove_themselves() -> None:
    card = personalized_badge()
    for use in (1, 2):
        challenge, answer = authenticate(card)
        assert answer.sw == 0x9000
        shown = use.to_bytes(4, "big") + bytes((len(RIGHTS),)) + RIGHTS
        proof = cmac(BADGE_KEY, b"\x02" + READER_CHALLENGE + challenge + BADGE_ID + shown)
        assert card.apdu("0088000000") == ResponseApdu(shown + proof, 0x9000)


def test_select_gives_the_badge_id_only() -> None:
    card = personalized_badge()
    assert card.select(AID).data.endswith(bytes.fromhex("A50ABF0C07DF2104") + BADGE_ID)


def test_before_personalization_every_step_is_refused() -> None:
    card = AppletCard()
    card.install(AccessBadge, AID)
    assert card.select(AID).sw == 0x9000
    assert card.apdu("0084000010").sw == 0x6985
    assert card.apdu("0082000020" + bytes(32).hex()).sw == 0x6985
    assert card.apdu("0088000000").sw == 0x6985
    assert card.apdu("80CA9F1700").sw == 0x6A88


def test_badge_proves_nothing_to_a_reader_that_did_not() -> None:
    card = personalized_badge()
    assert card.apdu("0088000000").sw == 0x6985
    card.apdu("0084000010")
    assert card.apdu("0088000000").sw == 0x6985
    authenticate(card, BADGE_KEY)
    assert card.apdu("0088000000").sw == 0x6985


def test_badge_proves_itself_once_an_authentication() -> None:
    card = personalized_badge()
    authenticate(card)
    assert card.apdu("0088000000").sw == 0x9000
    assert card.apdu("0088000000").sw == 0x6985


def test_challenge_serves_once() -> None:
    card = personalized_badge()
    challenge, _ = authenticate(card)
    proof = cmac(READER_KEY, b"\x01" + challenge + READER_CHALLENGE)
    assert card.apdu("0082000020" + (READER_CHALLENGE + proof).hex()).sw == 0x6985
    assert tries(card) == 3


def test_wrong_reader_uses_up_the_tries_and_blocks_the_badge() -> None:
    card = personalized_badge()
    assert [authenticate(card, BADGE_KEY)[1].sw for _ in range(3)] == [0x63C2, 0x63C1, 0x63C0]
    assert card.apdu("0084000010").sw == 0x6983
    card.restart()
    card.select(AID)
    assert card.apdu("0082000020" + bytes(32).hex()).sw == 0x6983


def test_right_reader_gives_the_tries_back() -> None:
    card = personalized_badge()
    authenticate(card, BADGE_KEY)
    assert tries(card) == 2
    authenticate(card)
    assert tries(card) == 3


@pytest.mark.parametrize("after", [False, True])
def test_power_cut_at_the_comparison_gives_no_free_try(after: bool) -> None:
    card = personalized_badge()
    card.apdu("0084000010")
    if after:
        card.cut_after_save = card.saves + 1
    else:
        card.cut_before_save = card.saves + 1
    with pytest.raises(PowerCutError):
        card.apdu("0082000020" + bytes(32).hex())
    card.restart()
    card.select(AID)
    assert tries(card) == (2 if after else 3)  # cut before the save: nothing was compared


def test_new_limit_unblocks_the_badge() -> None:
    card = personalized_badge()
    for _ in range(3):
        authenticate(card, BADGE_KEY)
    assert card.personalize(AID, [(0xDF01, b"badge-2")]) == 0x9000
    card.select(AID)
    assert card.apdu("0084000010").sw == 0x6983
    assert card.personalize(AID, [(0x6002, b"\x05")]) == 0x9000
    card.select(AID)
    assert authenticate(card)[1].sw == 0x9000
    assert tries(card) == 5


@pytest.mark.parametrize(
    ("apdu", "sw"),
    [("0084010010", 0x6A86), ("008400000100", 0x6700), ("008200010100", 0x6A86), ("0088010000", 0x6A86)],
)
def test_commands_with_wrong_parameters_are_refused(apdu: str, sw: int) -> None:
    assert personalized_badge().apdu(apdu).sw == sw


def test_authentication_data_of_a_wrong_length_is_refused_without_a_try() -> None:
    card = personalized_badge()
    card.apdu("0084000010")
    assert card.apdu("008200001F" + bytes(31).hex()).sw == 0x6700
    assert tries(card) == 3
    authenticate(card)
    assert card.apdu("008800000100").sw == 0x6700


def test_counter_at_its_end_refuses_the_proof() -> None:
    card = personalized_badge()
    card.stores[AID]["uses"] = b"\xff" * 4
    authenticate(card)
    assert card.apdu("0088000000").sw == 0x9402


@pytest.mark.parametrize(
    ("dgi", "sw"),
    [
        ((0x6002, b"\x00"), 0x6A80),
        ((0x6002, b"\x10"), 0x6A80),
        ((0x9000, bytes(6)), 0x6982),
        ((0x9000, kcv_aes(READER_KEY) + kcv_aes(BADGE_KEY)), 0x9000),
        ((0x6003, bytes(65)), 0x6A80),
        ((0x6001, bytes(3)), 0x6A80),
    ],
)
def test_personalization_is_checked(dgi: Dgi, sw: int) -> None:
    card = AppletCard()
    card.install(AccessBadge, AID)
    assert card.personalize(AID, [*PLAIN, dgi], KEYS) == sw
