"""The transit purse, driven by the host's own reading of the same document, in both forms."""

from dataclasses import replace

import pytest
from tests.unit.vse.applets.applet_card import AppletCard, PowerCutError
from tests.unit.vse.applets.purse_data import (
    KEY_DGIS,
    LIMIT,
    MOMENT,
    PURSE_AID,
    PURSE_ID,
    TAC_KEY,
    TERMINAL,
    Host,
    personalized_purse,
    plain_dgis,
    transaction_id,
)

from opentsm.card import purse
from opentsm.card.crypto.kcv import kcv_aes, kcv_des
from opentsm.card.crypto.secret import Secret
from opentsm.card.purse import PurseForm, TransactionType
from opentsm.vse.applets.transit_purse import TransitPurse

FORMS = list(PurseForm)
both_forms = pytest.mark.parametrize("form", FORMS)


def new_host(form: PurseForm = PurseForm.AES) -> Host:
    return Host(personalized_purse(form), form)


def log(host: Host, type_: TransactionType) -> list[purse.LogRecord]:
    records = []
    for number in range(1, 12):
        answer = host.card.send(purse.read_log(type_, number))
        if answer.sw == purse.SW_RECORD_NOT_FOUND:
            break
        assert answer.sw == 0x9000
        records.append(purse.parse_log_record(host.form, answer.data))
    return records


@both_forms
def test_select_tells_who_the_purse_is(form: PurseForm) -> None:
    answer = new_host(form).card.select(PURSE_AID)
    identity = purse.parse_fci(answer.data)
    assert identity == purse.PurseIdentity("CITY PASS", PURSE_ID, form, 1, bytes.fromhex("0978"))


def test_before_personalization_every_command_is_refused() -> None:
    card = AppletCard()
    card.install(TransitPurse, PURSE_AID)
    assert card.select(PURSE_AID).sw == 0x9000
    host = Host(card)
    assert host.card.send(purse.get_balance()).sw == 0x6985
    assert host.initialize_load(1)[1].sw == 0x6985
    assert host.initialize_purchase(1)[1].sw == 0x6985
    assert card.apdu("8052000000").sw == 0x6985
    assert card.apdu("805A00020400000000").sw == 0x6985
    assert card.send(purse.read_log(TransactionType.LOAD, 1)).sw == 0x6985


@both_forms
def test_load_and_purchase_move_balance_and_their_own_counters(form: PurseForm) -> None:
    host = new_host(form)
    assert host.load(5000, 1).counter == 0
    assert host.load(2000, 2).counter == 1
    assert host.purchase(240, 7).counter == 0
    assert host.purchase(260, 8).counter == 1
    assert host.balance() == 6500


@both_forms
def test_load_with_a_wrong_mac2_is_refused_and_closes_the_transaction(form: PurseForm) -> None:
    host = new_host(form)
    request, answer = host.initialize_load(100)
    offer = purse.parse_load_offer(form, answer.data)
    assert host.card.send(purse.credit_for_load(MOMENT, bytes(form.tag_length))).sw == purse.SW_WRONG_MAC
    assert host.credit(request, offer).sw == 0x6985
    assert host.balance() == 0


@both_forms
def test_credit_sent_twice_is_refused(form: PurseForm) -> None:
    host = new_host(form)
    request, answer = host.initialize_load(100)
    offer = purse.parse_load_offer(form, answer.data)
    assert host.credit(request, offer).sw == 0x9000
    assert host.credit(request, offer).sw == 0x6985
    assert host.balance() == 100


def test_credit_of_an_earlier_session_is_refused_in_a_new_one() -> None:
    host = new_host()
    request, answer = host.initialize_load(100)
    host.card.select(PURSE_AID)
    host.initialize_load(100)
    assert host.credit(request, purse.parse_load_offer(host.form, answer.data)).sw == purse.SW_WRONG_MAC
    assert host.balance() == 0


def test_load_with_a_transaction_id_of_the_log_is_refused() -> None:
    host = new_host()
    host.load(100, 1)
    assert host.initialize_load(100, 1)[1].sw == purse.SW_ALREADY_LOADED
    host.load(100, 2)
    assert host.balance() == 200


@pytest.mark.parametrize("between", ["805C000204", "80CADF0100", "00B201CC00", "80FE0000"])
def test_any_other_command_closes_the_transaction(between: str) -> None:
    host = new_host()
    request, answer = host.initialize_load(100)
    host.card.apdu(between)
    assert host.credit(request, purse.parse_load_offer(host.form, answer.data)).sw == 0x6985


def test_credit_without_initialize_or_after_the_other_one_is_refused() -> None:
    host = new_host()
    credit = purse.credit_for_load(MOMENT, bytes(8))
    assert host.card.send(credit).sw == 0x6985
    host.load(100)
    request, answer = host.initialize_purchase(50)
    assert host.card.send(credit).sw == 0x6985
    assert host.debit(request, purse.parse_purchase_offer(host.form, answer.data)).sw == 0x6985


@both_forms
def test_purchase_with_a_wrong_mac1_is_refused(form: PurseForm) -> None:
    host = new_host(form)
    host.load(100)
    request, _ = host.initialize_purchase(40)
    wrong = purse.debit_for_purchase(request, MOMENT, bytes(form.tag_length))
    assert host.card.send(wrong).sw == purse.SW_WRONG_MAC
    assert host.balance() == 100


def test_purchase_of_more_than_the_balance_is_refused() -> None:
    host = new_host()
    host.load(100)
    assert host.initialize_purchase(101)[1].sw == 0x9401
    host.purchase(100)
    assert host.balance() == 0


def test_load_over_the_limit_is_refused() -> None:
    host = new_host()
    host.load(LIMIT - 1, 1)
    assert host.initialize_load(2, 2)[1].sw == 0x6A80
    host.load(1, 3)


@both_forms
@pytest.mark.parametrize(
    ("header", "key_index", "amount", "sw"),
    [
        ("80500002", "02", "00000001", 0x9403),
        ("80500002", "01", "00000000", 0x6A80),
        ("80500001", "01", "00000001", 0x6A86),
        ("80500202", "01", "00000001", 0x6A86),
        ("80500102", "02", "00000001", 0x9403),
        ("80500102", "01", "00000000", 0x6A80),
    ],
)
def test_initialize_with_wrong_values_is_refused(
    form: PurseForm, header: str, key_index: str, amount: str, sw: int
) -> None:
    host = new_host(form)
    data = bytes.fromhex(key_index + amount) + TERMINAL
    if header == "80500002" and form is PurseForm.AES:
        data += transaction_id(1)
    assert host.card.apdu(header + f"{len(data):02X}" + data.hex() + "00").sw == sw


@both_forms
def test_commands_of_a_wrong_length_are_refused(form: PurseForm) -> None:
    host = new_host(form)
    assert host.card.apdu("8050000202010000").sw == 0x6700
    assert host.card.apdu("8050010202010000").sw == 0x6700
    assert host.card.apdu("805C00020100").sw == 0x6700
    assert host.card.apdu("805A0002010000").sw == 0x6700
    host.initialize_load(1)
    assert host.card.apdu("80520000020000").sw == 0x6700
    host.load(5, 2)
    host.initialize_purchase(1)
    assert host.card.apdu("80540100020000").sw == 0x6700


@pytest.mark.parametrize(
    ("apdu", "sw"),
    [
        ("805C000104", 0x6A86),
        ("805A000404 00000000", 0x6A86),
        ("00B201C500", 0x6A86),
        ("00B200C400", 0x6A86),
        ("00B2010C00", 0x6A82),
        ("00B201C400", 0x6A83),
    ],
)
def test_reading_with_wrong_parameters_is_refused(apdu: str, sw: int) -> None:
    assert new_host().card.apdu(apdu).sw == sw


def test_credit_and_debit_with_wrong_parameters_are_refused() -> None:
    host = new_host()
    host.load(10)
    host.initialize_load(1, 2)
    assert host.card.apdu("8052010000").sw == 0x6A86
    host.initialize_purchase(1)
    assert host.card.apdu("8054000000").sw == 0x6A86


@both_forms
def test_counter_at_its_end_refuses_new_transactions(form: PurseForm) -> None:
    host = new_host(form)
    end = (256**form.counter_length - 1).to_bytes(4, "big")
    host.card.stores[PURSE_AID]["balance"] = (50).to_bytes(4, "big") + end + end
    assert host.initialize_load(1)[1].sw == 0x9402
    assert host.initialize_purchase(1)[1].sw == 0x9402


def test_log_record_of_a_load_names_the_hosts_transaction_and_is_authentic() -> None:
    host = new_host()
    offer = host.load(500, 42)
    (record,) = log(host, TransactionType.LOAD)
    assert record.type is TransactionType.LOAD
    assert (record.counter, record.amount, record.balance) == (offer.counter, 500, 500)
    assert record.reference == transaction_id(42)
    assert record.moment == MOMENT
    purse.verify_record(Secret(TAC_KEY), record)
    with pytest.raises(purse.PurseMacError):
        purse.verify_record(Secret(TAC_KEY), replace(record, amount=501))


def test_load_log_keeps_ten_and_purchases_do_not_push_loads_out() -> None:
    host = new_host()
    for number in range(1, 13):
        host.load(100, number)
    for number in range(1, 13):
        host.purchase(10, number)
    loads = log(host, TransactionType.LOAD)
    purchases = log(host, TransactionType.PURCHASE)
    assert [record.reference for record in loads] == [transaction_id(number) for number in range(12, 2, -1)]
    assert [record.counter for record in purchases] == list(range(11, 1, -1))
    for record in (*loads, *purchases):
        purse.verify_record(Secret(TAC_KEY), record)


def test_pboc_log_record_has_the_fields_of_the_standard() -> None:
    host = new_host(PurseForm.PBOC)
    host.load(500)
    host.purchase(20)
    (record,) = log(host, TransactionType.PURCHASE)
    assert record == purse.LogRecord(TransactionType.PURCHASE, 0, 20, TERMINAL, MOMENT)


def test_prove_by_transaction_id_tells_whether_a_load_happened() -> None:
    host = new_host()
    host.load(500, 1)
    found = host.card.send(purse.prove_load(transaction_id(1)))
    assert purse.parse_log_record(host.form, found.data) == log(host, TransactionType.LOAD)[0]
    assert host.card.send(purse.prove_load(transaction_id(2))).sw == purse.SW_NO_PROOF


@both_forms
def test_prove_by_counter_gives_mac2_and_tac_again(form: PurseForm) -> None:
    host = new_host(form)
    request, answer = host.initialize_load(500)
    offer = purse.parse_load_offer(form, answer.data)
    tac = host.credit(request, offer).data
    proof = host.card.send(purse.prove_transaction(form, TransactionType.LOAD, offer.counter))
    assert proof.data[form.tag_length :] == tac
    host.purchase(20)
    assert host.card.send(purse.prove_transaction(form, TransactionType.PURCHASE, 0)).sw == 0x9000
    assert host.card.send(purse.prove_transaction(form, TransactionType.PURCHASE, 1)).sw == purse.SW_NO_PROOF


@both_forms
@pytest.mark.parametrize("after", [False, True])
def test_power_cut_in_a_credit_leaves_all_or_nothing(form: PurseForm, after: bool) -> None:
    host = new_host(form)
    request, answer = host.initialize_load(500)
    offer = purse.parse_load_offer(form, answer.data)
    _cut(host.card, after=after)
    with pytest.raises(PowerCutError):
        host.credit(request, offer)
    host.card.restart()
    host.card.select(PURSE_AID)
    assert host.balance() == (500 if after else 0)
    assert len(log(host, TransactionType.LOAD)) == (1 if after else 0)
    proof = host.card.send(purse.prove_transaction(form, TransactionType.LOAD, 0))
    assert proof.sw == (0x9000 if after else purse.SW_NO_PROOF)
    assert host.credit(request, offer).sw == 0x6985
    assert host.load(1, 2).counter == (1 if after else 0)


@both_forms
@pytest.mark.parametrize("after", [False, True])
def test_power_cut_in_a_debit_leaves_all_or_nothing(form: PurseForm, after: bool) -> None:
    host = new_host(form)
    host.load(500)
    request, answer = host.initialize_purchase(200)
    offer = purse.parse_purchase_offer(form, answer.data)
    _cut(host.card, after=after)
    with pytest.raises(PowerCutError):
        host.debit(request, offer)
    host.card.restart()
    host.card.select(PURSE_AID)
    assert host.balance() == (300 if after else 500)
    assert len(log(host, TransactionType.PURCHASE)) == (1 if after else 0)
    assert host.debit(request, offer).sw == 0x6985


def _cut(card: AppletCard, *, after: bool) -> None:
    if after:
        card.cut_after_save = card.saves + 1
    else:
        card.cut_before_save = card.saves + 1


def test_each_transaction_is_one_save() -> None:
    host = new_host()
    before = host.card.saves
    host.load(500)
    host.purchase(20)
    assert host.card.saves == before + 2


def test_update_keeps_balance_and_log_and_may_raise_the_limit() -> None:
    host = new_host()
    host.load(LIMIT)
    dgis = [(0x5004, (LIMIT + 1).to_bytes(4, "big")), (0xDF01, b"purse-2")]
    assert host.card.personalize(PURSE_AID, dgis) == 0x9000
    host.load(1, 2)
    assert host.balance() == LIMIT + 1


def test_personalization_with_an_unknown_form_or_wrong_kcv_is_refused() -> None:
    form = PurseForm.AES
    right = b"".join(kcv_aes(key) for _, key in KEY_DGIS)
    cases = [
        ((0x5001, bytes.fromhex("03010978")), 0x6A80),
        ((0x9000, bytes(9)), 0x6982),
        ((0x9000, right), 0x9000),
    ]
    for dgi, sw in cases:
        card = AppletCard()
        card.install(TransitPurse, PURSE_AID)
        assert card.personalize(PURSE_AID, [*plain_dgis(form), dgi], KEY_DGIS) == sw


def test_pboc_key_check_values_are_those_of_triple_des() -> None:
    kcvs = b"".join(kcv_des(key) for _, key in KEY_DGIS)
    card = AppletCard()
    card.install(TransitPurse, PURSE_AID)
    assert card.personalize(PURSE_AID, [*plain_dgis(PurseForm.PBOC), (0x9000, kcvs)], KEY_DGIS) == 0x9000
