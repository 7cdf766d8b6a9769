"""Gate and kiosk with the project's own purse, and with purses that lie."""

import pytest
from tests.unit.vse.applets.applet_card import AppletCard, PowerCutError
from tests.unit.vse.applets.bank_card_data import BANK_AID, personalized_bank_card
from tests.unit.vse.applets.purse_data import (
    LOAD_KEY,
    MOMENT,
    PURCHASE_KEY,
    PURSE_AID,
    PURSE_ID,
    TAC_KEY,
    TERMINAL,
    personalized_purse,
    transaction_id,
)

from opentsm.card import purse
from opentsm.card.crypto.secret import Secret
from opentsm.card.purse import PurseForm
from opentsm.demo.terminals.gate import debit
from opentsm.demo.terminals.kiosk import PurseKeys, find_top_up, read_statement, top_up
from opentsm.demo.terminals.link import CardRefusedError, NotAuthenticError, TerminalError, Transmit

FARE = purse.PurchaseRequest(240, TERMINAL, 77)
both_forms = pytest.mark.parametrize("form", list(PurseForm))


def keys_of(purse_id: bytes) -> PurseKeys:
    assert purse_id == PURSE_ID
    return PurseKeys(Secret(LOAD_KEY), Secret(TAC_KEY))


def purchase_key_of(purse_id: bytes) -> Secret:
    assert purse_id == PURSE_ID
    return Secret(PURCHASE_KEY)


def request(number: int = 1, amount: int = 1000) -> purse.LoadRequest:
    return purse.LoadRequest(amount, TERMINAL, transaction_id(number))


def tampered(card: AppletCard, ins: int, place: int) -> Transmit:
    """Return a link that changes one byte of the answers to one instruction."""

    async def transmit(raw: bytes) -> bytes:
        answer = bytearray(card.transmit(raw))
        if raw[1] == ins:
            answer[place] ^= 0x01
        return bytes(answer)

    return transmit


@both_forms
async def test_top_up_then_passage_then_statement(form: PurseForm) -> None:
    card = personalized_purse(form)
    loaded = await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    assert (loaded.purse_id, loaded.amount, loaded.balance, loaded.counter) == (PURSE_ID, 1000, 1000, 0)
    passed = await debit(card.exchange, PURSE_AID, FARE, MOMENT, purchase_key_of, journal={})
    assert (passed.fare, passed.balance, passed.counter, passed.apdus) == (240, 760, 0, 3)
    statement = await read_statement(card.exchange, PURSE_AID)
    assert statement.balance == 760
    assert [record.amount for record in statement.loads] == [1000]
    assert [record.amount for record in statement.purchases] == [240]
    assert statement.identity.label == "CITY PASS"


async def test_full_log_is_read_to_its_tenth_record() -> None:
    card = personalized_purse()
    for number in range(11):
        await top_up(card.exchange, PURSE_AID, request(number), MOMENT, keys_of)
    assert len((await read_statement(card.exchange, PURSE_AID)).loads) == 10


async def test_gate_stays_shut_without_money() -> None:
    with pytest.raises(CardRefusedError, match="9401"):
        await debit(personalized_purse().exchange, PURSE_AID, FARE, MOMENT, purchase_key_of, journal={})


async def test_gate_with_a_wrong_key_is_refused_by_the_purse() -> None:
    card = personalized_purse()
    await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    with pytest.raises(CardRefusedError, match="9302"):
        await debit(card.exchange, PURSE_AID, FARE, MOMENT, lambda _: Secret(bytes(16)), journal={})


@both_forms
async def test_gate_stays_shut_when_mac2_is_wrong(form: PurseForm) -> None:
    card = personalized_purse(form)
    await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    with pytest.raises(NotAuthenticError):
        await debit(tampered(card, 0x54, -3), PURSE_AID, FARE, MOMENT, purchase_key_of, journal={})


@both_forms
@pytest.mark.parametrize("ins", [0x50, 0x52])
async def test_kiosk_refuses_a_purse_whose_mac1_or_tac_is_wrong(form: PurseForm, ins: int) -> None:
    card = personalized_purse(form)
    with pytest.raises(NotAuthenticError):
        await top_up(tampered(card, ins, -3), PURSE_AID, request(), MOMENT, keys_of)
    assert (await read_statement(card.exchange, PURSE_AID)).balance == (0 if ins == 0x50 else 1000)


async def test_top_up_repeated_with_the_same_id_is_refused_and_credits_once() -> None:
    card = personalized_purse()
    await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    with pytest.raises(CardRefusedError, match="INITIALIZE FOR LOAD with 6A89"):
        await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    assert (await read_statement(card.exchange, PURSE_AID)).balance == 1000


@pytest.mark.parametrize("after", [False, True])
async def test_lost_answer_is_settled_by_the_purses_log(after: bool) -> None:
    card = personalized_purse()
    if after:
        card.cut_after_save = card.saves + 1
    else:
        card.cut_before_save = card.saves + 1
    with pytest.raises(PowerCutError):
        await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    card.restart()
    found = await find_top_up(card.exchange, PURSE_AID, request().transaction_id, keys_of)
    assert (found is not None) == after
    if found is None:
        await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    assert (await read_statement(card.exchange, PURSE_AID)).balance == 1000


async def test_log_record_that_was_changed_is_not_believed() -> None:
    card = personalized_purse()
    await top_up(card.exchange, PURSE_AID, request(), MOMENT, keys_of)
    with pytest.raises(NotAuthenticError):
        await find_top_up(tampered(card, 0x5A, 8), PURSE_AID, request().transaction_id, keys_of)


async def test_pboc_purse_cannot_be_asked_by_transaction_id() -> None:
    card = personalized_purse(PurseForm.PBOC)
    with pytest.raises(CardRefusedError, match="6700"):
        await find_top_up(card.exchange, PURSE_AID, request().transaction_id, keys_of)


async def test_another_application_is_no_purse() -> None:
    card = personalized_bank_card()
    with pytest.raises(TerminalError, match="no personalised purse"):
        await read_statement(card.exchange, BANK_AID)
    with pytest.raises(TerminalError):
        await top_up(card.exchange, BANK_AID, request(), MOMENT, keys_of)
    with pytest.raises(TerminalError):
        await debit(card.exchange, BANK_AID, FARE, MOMENT, purchase_key_of, journal={})
    with pytest.raises(TerminalError):
        await find_top_up(card.exchange, BANK_AID, bytes(8), keys_of)


async def test_kiosk_reports_a_log_that_the_purse_refuses() -> None:
    card = personalized_purse()

    async def transmit(raw: bytes) -> bytes:
        return b"\x69\x82" if raw[1] == 0xB2 else card.transmit(raw)

    with pytest.raises(CardRefusedError, match="READ RECORD with 6982"):
        await read_statement(transmit, PURSE_AID)
