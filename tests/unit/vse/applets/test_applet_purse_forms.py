"""The PBOC form's arithmetic on the card's side, against published values.

Source: PBOC 2.0 part 1 §7 (vectors of public PBOC purse applets, recomputed).
"""

from opentsm.card.crypto.cipher import single_des
from opentsm.card.crypto.mac import tdes_mac
from opentsm.card.crypto.padding import pad80
from opentsm.vse.applets.purse_forms import LOAD, PURCHASE, Offer, PbocForm, form_of
from opentsm.vse.applets.purse_log import LogEntry

KEY = bytes.fromhex("11223344556677888877665544332211")
RANDOM = bytes.fromhex("11223344")
TERMINAL = bytes.fromhex("001122334455")
LOAD_MOMENT = bytes.fromhex("20111221214822")
PURCHASE_MOMENT = bytes.fromhex("20120229135100")
ED_LOAD = 0x01  # the vector loads an electronic deposit


def offer(kind: int) -> Offer:
    return Offer(kind=kind, balance=0, counter=0, amount=0x1000, terminal=TERMINAL, random=RANDOM)


def test_load_session_key_and_macs_equal_the_vector() -> None:
    form = PbocForm()
    session = form.session_key(KEY, offer(LOAD), bytes(4))
    assert session.hex() == "9b1d924e05595603"
    assert form.load_mac1(session, offer(ED_LOAD)).hex() == "2988ae5a"
    assert form.load_mac2(session, offer(ED_LOAD), LOAD_MOMENT).hex() == "3a845bf0"


def test_purchase_session_key_and_macs_equal_the_vector() -> None:
    form = PbocForm()
    session = form.session_key(KEY, offer(PURCHASE), bytes.fromhex("00000001"))
    assert session.hex() == "003238abc57659dd"
    assert form.purchase_mac1(session, offer(PURCHASE), PURCHASE_MOMENT).hex() == "f15cab75"
    assert form.purchase_mac2(session, offer(PURCHASE)).hex() == "56988a13"


def test_tac_covers_24_bytes_for_a_load_and_22_for_a_purchase() -> None:
    folded = bytes(left ^ right for left, right in zip(KEY[:8], KEY[8:], strict=True))
    number = bytes.fromhex("0000000000000007")
    entry = LogEntry(3, LOAD, 0x1000, 0x2000, TERMINAL, LOAD_MOMENT, number, bytes(4))
    load = bytes.fromhex("00002000 0003 00001000 02") + TERMINAL + LOAD_MOMENT
    bought = LogEntry(3, PURCHASE, 0x1000, 0x2000, TERMINAL, LOAD_MOMENT, number, bytes(4))
    purchase = bytes.fromhex("00001000 06") + TERMINAL + bytes.fromhex("00000007") + LOAD_MOMENT
    assert (len(load), len(purchase)) == (24, 22)
    assert PbocForm().tac(KEY, entry) == tdes_mac(single_des(folded), pad80(load, 8))[:4]
    assert PbocForm().tac(KEY, bought) == tdes_mac(single_des(folded), pad80(purchase, 8))[:4]


def test_form_of_an_unknown_code_is_none() -> None:
    assert form_of(0x03) is None
