"""The point of sale with the project's own cards, and with cards that lie.

Vector of the issuer's arithmetic: knovichikhin/pyemv, tests/test_cvn_hsm.py (HSM) and kd.py (Option A).
"""

from dataclasses import replace

import pytest
from tests.unit.vse.applets.applet_card import AppletCard
from tests.unit.vse.applets.bank_card_data import BANK_AID, ISSUER_KEY, PAN, PSN, personalized_bank_card

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.demo.terminals.issuer import Authorization, Issuer, cryptogram, icc_master_key
from opentsm.demo.terminals.link import (
    CardLink,
    CardRefusedError,
    NoApplicationError,
    TerminalError,
)
from opentsm.demo.terminals.pos import Payment, list_applications, pay
from opentsm.vse.applets.ppse import PPSE_AID, Ppse

PAYMENT = Payment(amount=1995, unpredictable=bytes.fromhex("01020304"), date="261122")
OTHER_AID = Aid.from_hex("A0000000031010")
VECTOR = Authorization(
    pan=PAN,
    psn=PSN,
    terminal_data=bytes.fromhex("000000004000 000000000000 0124 8000048000 0124 191105 01 52BF4585"),
    aip=bytes.fromhex("1800"),
    atc=bytes.fromhex("001C"),
    issuer_data=bytes.fromhex("06011203A0B800"),
    cryptogram=bytes.fromhex("7A788EA6B8A3E733"),
)


def wallet() -> AppletCard:
    card = AppletCard()
    card.install(Ppse, PPSE_AID)
    personalized_bank_card(OTHER_AID, b"SECOND", 2, card)
    return personalized_bank_card(BANK_AID, b"FIRST", 1, card)


def issuer() -> Issuer:
    return Issuer(Secret(ISSUER_KEY))


def test_option_a_key_equals_the_published_value() -> None:
    key = icc_master_key(Secret(ISSUER_KEY), "99012345678901234", "45")
    assert key.reveal().hex() == "67f8292358083e5ea7ab7fda58d53b6b"


def test_cryptogram_equals_the_published_value() -> None:
    key = icc_master_key(Secret(ISSUER_KEY), PAN, PSN)
    assert cryptogram(key, VECTOR) == VECTOR.cryptogram


def test_issuer_refuses_a_repeated_or_lower_counter_and_a_changed_amount() -> None:
    bank = issuer()
    changed = replace(VECTOR, terminal_data=b"\x00\x00\x00\x00\x50\x00" + VECTOR.terminal_data[6:])
    assert not bank.authorize(changed)
    assert bank.authorize(VECTOR)
    assert not bank.authorize(VECTOR)


async def test_payment_uses_the_application_with_the_best_priority() -> None:
    card, bank = wallet(), issuer()
    assert [found.label for found in await list_applications(card.exchange)] == ["FIRST", "SECOND"]
    result = await pay(card.exchange, PAYMENT, bank.authorize)
    assert result.aid == BANK_AID
    assert (result.label, result.card, result.counter, result.approved) == ("FIRST", "**** 3456", 1, True)
    assert result.apdus == 5
    assert (await pay(card.exchange, PAYMENT, bank.authorize)).counter == 2


async def test_payment_with_another_issuers_key_is_declined() -> None:
    result = await pay(wallet().exchange, PAYMENT, Issuer(Secret(bytes(16))).authorize)
    assert not result.approved


async def test_card_without_payment_application_is_no_candidate() -> None:
    card = AppletCard()
    card.install(Ppse, PPSE_AID)
    with pytest.raises(NoApplicationError):
        await pay(card.exchange, PAYMENT, issuer().authorize)


async def test_card_without_ppse_is_refused() -> None:
    with pytest.raises(CardRefusedError, match="SELECT with 6A82"):
        await pay(AppletCard().exchange, PAYMENT, issuer().authorize)


async def test_directory_or_application_that_answers_rubbish_is_an_error() -> None:
    async def rubbish(_: bytes) -> bytes:
        return bytes.fromhex("6F01019000")

    with pytest.raises(TerminalError, match="no directory"):
        await pay(rubbish, PAYMENT, issuer().authorize)

    card = wallet()

    async def half(raw: bytes) -> bytes:
        return bytes.fromhex("77009000") if raw[1] == 0xA8 else card.transmit(raw)

    with pytest.raises(TerminalError, match="no payment data"):
        await pay(half, PAYMENT, issuer().authorize)


async def test_pdol_that_is_cut_off_is_an_error() -> None:
    card = wallet()

    async def cut(raw: bytes) -> bytes:
        if raw[1] == 0xA4 and bytes(BANK_AID) in raw:
            return encode_tlv(0x6F, encode_tlv(0xA5, bytes.fromhex("9F38029F02"))) + b"\x90\x00"
        return card.transmit(raw)

    with pytest.raises(TerminalError, match="cut off"):
        await pay(cut, PAYMENT, issuer().authorize)


async def test_link_collects_61xx_and_repeats_after_6cxx() -> None:
    answers = [bytes.fromhex(text) for text in ("6C05", "01026103", "03046101", "059000")]
    sent: list[bytes] = []

    async def transmit(raw: bytes) -> bytes:
        sent.append(raw)
        return answers[len(sent) - 1]

    answer = await CardLink(transmit).send(CommandApdu(0x00, 0xB0, 0, 0, ne=256))
    assert (answer.data.hex(), answer.sw) == ("0102030405", 0x9000)
    assert [raw.hex() for raw in sent] == ["00b0000000", "00b0000005", "00c0000003", "00c0000001"]
