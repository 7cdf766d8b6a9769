"""A debit that is torn or unanswered at any point is read back from the purse before it is repeated."""

import pytest
from tests.unit.vse.applets.applet_card import AppletCard, PowerCutError
from tests.unit.vse.applets.purse_data import (
    MOMENT,
    PURCHASE_KEY,
    PURSE_AID,
    PURSE_ID,
    TAC_KEY,
    TERMINAL,
    Host,
    personalized_purse,
)

from opentsm.card import purse
from opentsm.card.crypto.secret import Secret
from opentsm.card.purse import PurseForm
from opentsm.demo.terminals.gate import Journal, PassageResult, debit
from opentsm.demo.terminals.kiosk import read_statement
from opentsm.demo.terminals.link import CardRefusedError, NotAuthenticError, TerminalError, Transmit

FARE, LOADED = 240, 1000
DEBIT, PROVE = 0x54, 0x5A
both_forms = pytest.mark.parametrize("form", list(PurseForm))


class Field:
    """The card in the gate's field: notes the instructions, and fails at the n-th as it is told."""

    def __init__(self, card: AppletCard, at: int = 0, moment: str = "") -> None:
        self.card, self.at, self.moment = card, at, moment
        self.seen: list[int] = []

    async def transmit(self, raw: bytes) -> bytes:
        fails = len(self.seen) + 1 == self.at
        if fails and self.moment == "cut before":
            raise PowerCutError
        self.seen.append(raw[1])
        answer = self.card.transmit(raw)
        if fails:
            raise PowerCutError
        return answer


def new_journal() -> Journal:
    return {}


def loaded_purse(form: PurseForm) -> AppletCard:
    card = personalized_purse(form)
    Host(card, form).load(LOADED)
    return card


async def passing(transmit: Transmit, journal: Journal, number: int = 77) -> PassageResult:
    request = purse.PurchaseRequest(FARE, TERMINAL, number)
    return await debit(transmit, PURSE_AID, request, MOMENT, lambda _: Secret(PURCHASE_KEY), journal=journal)


async def assert_debited_once(card: AppletCard, passed: PassageResult, form: PurseForm) -> None:
    statement = await read_statement(card.exchange, PURSE_AID)
    assert (passed.balance, statement.balance) == (LOADED - FARE, LOADED - FARE)
    assert [record.amount for record in statement.purchases] == [FARE]
    if form is PurseForm.AES:
        assert passed.tac == statement.purchases[0].tac
        purse.verify_record(Secret(TAC_KEY), statement.purchases[0])


@both_forms
@pytest.mark.parametrize("moment", ["cut before", "cut after", "answer lost"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_debit_when_torn_at_any_command_is_made_once(form: PurseForm, moment: str, at: int) -> None:
    card, journal = loaded_purse(form), new_journal()
    with pytest.raises(PowerCutError):
        await passing(Field(card, at, moment).transmit, journal)
    if moment != "answer lost":
        card.restart()
    again = Field(card)
    passed = await passing(again.transmit, journal, 78)
    await assert_debited_once(card, passed, form)
    assert (PROVE in again.seen) == (at == 3)
    if at == 3:
        # what may have been debited is asked for before anything else
        assert again.seen.index(PROVE) == 1
        assert (DEBIT in again.seen) == (moment == "cut before")
    assert journal == {}


@both_forms
@pytest.mark.parametrize("after", [False, True], ids=["before the save", "after the save"])
async def test_debit_when_cut_at_the_purses_write_is_made_once(form: PurseForm, after: bool) -> None:
    card, journal = loaded_purse(form), new_journal()
    setattr(card, "cut_after_save" if after else "cut_before_save", card.saves + 1)
    with pytest.raises(PowerCutError):
        await passing(card.exchange, journal)
    card.restart()
    again = Field(card)
    await assert_debited_once(card, await passing(again.transmit, journal), form)
    assert (DEBIT in again.seen) is not after


@both_forms
@pytest.mark.parametrize("at", [1, 2])
async def test_debit_when_its_settling_is_torn_too_is_still_made_once(form: PurseForm, at: int) -> None:
    card, journal = loaded_purse(form), new_journal()
    for field in (Field(card, 3, "cut after"), Field(card, at, "cut before"), Field(card, at, "cut after")):
        with pytest.raises(PowerCutError):
            await passing(field.transmit, journal)
        card.restart()
    await assert_debited_once(card, await passing(card.exchange, journal), form)


@both_forms
async def test_debit_when_the_pending_one_was_paid_charges_the_next_passage(form: PurseForm) -> None:
    card, journal = loaded_purse(form), new_journal()
    with pytest.raises(PowerCutError):
        await passing(Field(card, 3, "cut after").transmit, journal)
    card.restart()
    assert (await passing(card.exchange, journal, 78)).balance == LOADED - FARE
    assert (await passing(card.exchange, journal, 79)).balance == LOADED - 2 * FARE


@both_forms
@pytest.mark.parametrize(
    ("purchases", "error"),
    [
        # another terminal took the counter: its MAC2 proves nothing to this gate
        (1, NotAuthenticError),
        # ten later purchases pushed the record out of the log
        (11, TerminalError),
    ],
)
async def test_debit_when_the_purse_can_not_tell_is_not_repeated(
    form: PurseForm, purchases: int, error: type[Exception]
) -> None:
    card, journal = loaded_purse(form), new_journal()
    with pytest.raises(PowerCutError):
        await passing(Field(card, 3, "cut before").transmit, journal)
    card.restart()
    card.select(PURSE_AID)
    for number in range(purchases):
        Host(card, form).purchase(10, number)
    again = Field(card)
    with pytest.raises(error):
        await passing(again.transmit, journal)
    assert DEBIT not in again.seen
    assert set(journal) == {PURSE_ID}


async def test_debit_when_the_proof_is_refused_is_not_repeated() -> None:
    card, journal = loaded_purse(PurseForm.AES), new_journal()
    with pytest.raises(PowerCutError):
        await passing(Field(card, 3, "cut after").transmit, journal)
    card.restart()
    seen = []

    async def transmit(raw: bytes) -> bytes:
        seen.append(raw[1])
        return b"\x69\x85" if raw[1] == PROVE else card.transmit(raw)

    with pytest.raises(CardRefusedError, match="GET TRANSACTION PROVE with 6985"):
        await passing(transmit, journal)
    assert DEBIT not in seen


async def test_debit_when_the_purse_refuses_it_is_not_pending() -> None:
    card, journal = loaded_purse(PurseForm.AES), new_journal()
    request = purse.PurchaseRequest(FARE, TERMINAL, 77)
    with pytest.raises(CardRefusedError, match="9302"):
        await debit(card.exchange, PURSE_AID, request, MOMENT, lambda _: Secret(bytes(16)), journal=journal)
    assert journal == {}
