"""The host's purse arithmetic: published PBOC values, own values of the AES form, and every refusal.

Source: PBOC 2.0 part 1 §7 (vectors of public PBOC purse applets, recomputed); docs/reference/applets.md.
The published load vector is of type 01 (electronic deposit), which no request of ours makes: its two MACs
are tested on the card's side, here the session key.
"""

from dataclasses import replace

import pytest

from opentsm.card import purse
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError, ResponseFormatError
from opentsm.card.purse import LogRecord, PurseForm, TransactionType

KEY = Secret(bytes.fromhex("11223344556677888877665544332211"))
TERMINAL = bytes.fromhex("001122334455")
MOMENT = bytes.fromhex("20111221214822")
REQUEST = purse.LoadRequest(0x1000, TERMINAL, bytes.fromhex("0102030405060708"))


def test_pboc_load_session_key_equals_the_vector() -> None:
    offer = purse.LoadOffer(0, 0, 1, 0, bytes.fromhex("11223344"), b"")
    assert purse.load_session_key(PurseForm.PBOC, KEY, offer).reveal().hex() == "9b1d924e05595603"


def test_pboc_purchase_session_key_and_macs_equal_the_vector() -> None:
    request = purse.PurchaseRequest(0x1000, TERMINAL, 1)
    offer = purse.PurchaseOffer(0x2000, 0, 0, 1, 0, bytes.fromhex("11223344"))
    session = purse.purchase_session_key(PurseForm.PBOC, KEY, request, offer)
    moment = bytes.fromhex("20120229135100")
    assert session.reveal().hex() == "003238abc57659dd"
    assert purse.purchase_mac1(PurseForm.PBOC, session, request, moment).hex() == "f15cab75"
    assert purse.purchase_mac2(PurseForm.PBOC, session, request, offer).hex() == "56988a13"


def test_aes_load_follows_the_documented_layout() -> None:
    random = bytes.fromhex("A1A2A3A4A5A6A7A8")
    offer = purse.LoadOffer(0x2000, 5, 1, 1, random, b"")
    session = cmac(KEY.reveal(), b"\x02" + random + bytes.fromhex("00000005 00000000"))
    mac1 = cmac(session, bytes.fromhex("01 00002000 00001000 02") + TERMINAL + REQUEST.transaction_id)[:8]
    mac2 = cmac(session, bytes.fromhex("02 00001000 02") + TERMINAL + MOMENT + REQUEST.transaction_id)[:8]
    tac = bytes.fromhex("00003000 00000005 00001000 02") + TERMINAL + REQUEST.transaction_id + MOMENT
    signed = replace(offer, mac1=mac1)
    assert purse.authorize_load(PurseForm.AES, KEY, REQUEST, signed, MOMENT) == mac2
    assert purse.load_tac(PurseForm.AES, KEY, REQUEST, signed, MOMENT) == cmac(KEY.reveal(), tac)[:8]


@pytest.mark.parametrize("form", list(PurseForm))
def test_wrong_mac1_is_refused_before_anything_is_authorized(form: PurseForm) -> None:
    offer = purse.LoadOffer(0, 0, 1, 1, bytes(form.random_length), bytes(form.tag_length))
    with pytest.raises(purse.PurseMacError):
        purse.authorize_load(form, KEY, REQUEST, offer, MOMENT)


@pytest.mark.parametrize("form", list(PurseForm))
@pytest.mark.parametrize("tac", [b"", bytes(4), bytes(8)])
def test_wrong_or_missing_tac_is_refused(form: PurseForm, tac: bytes) -> None:
    offer = purse.LoadOffer(0, 0, 1, 1, bytes(form.random_length), b"")
    with pytest.raises(purse.PurseMacError):
        purse.verify_load_tac(tac, form=form, key=KEY, request=REQUEST, offer=offer, moment=MOMENT)


def test_commands_have_the_documented_bytes() -> None:
    aes, pboc = PurseForm.AES, PurseForm.PBOC
    head = "01 00001000 001122334455"
    buy = purse.PurchaseRequest(0x1000, TERMINAL, 7)
    expected = {
        purse.get_balance(): "805C000204",
        purse.initialize_for_load(aes, REQUEST): f"8050000213 {head} 0102030405060708 00",
        purse.initialize_for_load(pboc, REQUEST): f"805000020B {head} 00",
        purse.initialize_for_purchase(buy): f"805001020B {head} 00",
        purse.credit_for_load(MOMENT, bytes(8)): f"805200000F {MOMENT.hex()} {'00' * 8} 00",
        purse.debit_for_purchase(buy, MOMENT, bytes(4)): f"805401000F 00000007 {MOMENT.hex()} 00000000 00",
        purse.prove_load(bytes(8)): "805A000208 0000000000000000 00",
        purse.prove_transaction(pboc, TransactionType.PURCHASE, 3): "805A000602 0003 00",
        purse.prove_transaction(aes, TransactionType.LOAD, 3): "805A000204 00000003 00",
        purse.read_log(TransactionType.PURCHASE, 1): "00B201C400",
        purse.read_log(TransactionType.LOAD, 2): "00B202CC00",
    }
    for command, text in expected.items():
        assert command.to_bytes() == bytes.fromhex(text)


@pytest.mark.parametrize(
    ("form", "load", "purchase", "record"), [(PurseForm.AES, 26, 21, 50), (PurseForm.PBOC, 16, 15, 23)]
)
def test_answers_of_another_length_are_refused(
    form: PurseForm, load: int, purchase: int, record: int
) -> None:
    for length in (0, load - 1, load + 1):
        with pytest.raises(ResponseFormatError):
            purse.parse_load_offer(form, bytes(length))
    with pytest.raises(ResponseFormatError):
        purse.parse_purchase_offer(form, bytes(purchase + 1))
    with pytest.raises(ResponseFormatError):
        purse.parse_log_record(form, bytes(record + 1))
    with pytest.raises(ResponseFormatError, match="type"):
        purse.parse_log_record(form, bytes(record))


def test_pboc_record_alone_has_no_tac() -> None:
    record = LogRecord(TransactionType.LOAD, 0, 1, TERMINAL, MOMENT)
    with pytest.raises(ResponseFormatError):
        purse.record_tac(PurseForm.PBOC, KEY, record)


@pytest.mark.parametrize(
    "data",
    ["", "6F00", "6F088402F04FA5025000", "6F1A A518 5000 BF0C13 DF1108 0000000000000000 DF1204 09010978"],
)
def test_fci_that_is_not_a_purses_is_refused(data: str) -> None:
    with pytest.raises(ResponseFormatError):
        purse.parse_fci(bytes.fromhex(data))


def test_fci_with_wrong_lengths_is_refused() -> None:
    with pytest.raises(ResponseFormatError, match="wrong length"):
        purse.parse_fci(bytes.fromhex("6F 14 A5 12 500141 BF0C0C DF1104 00000000 DF1202 0101"))


def test_requests_that_cannot_be_coded_are_refused() -> None:
    for amount in (0, -1, 1 << 32):
        with pytest.raises(CardError):
            purse.LoadRequest(amount, TERMINAL, bytes(8))
    with pytest.raises(CardError):
        purse.LoadRequest(1, bytes(5), bytes(8))
    with pytest.raises(CardError):
        purse.LoadRequest(1, TERMINAL, bytes(7))
    with pytest.raises(CardError):
        purse.PurchaseRequest(1, TERMINAL, 1 << 32)
    with pytest.raises(CardError):
        purse.credit_for_load(bytes(6), bytes(8))
