"""The bank card: transaction, cryptogram, counter. Vector: see bank_card_data."""

import pytest
from tests.unit.vse.applets.applet_card import AppletCard, PowerCutError
from tests.unit.vse.applets.bank_card_data import (
    BANK_AID,
    ICC_KEY,
    KEY_DGIS,
    RECORD_1,
    RECORD_2,
    fci,
    personalized_bank_card,
    plain_dgis,
)

from opentsm.card.codec.tlv import encode_tlv, parse_tlv, parse_tlvs, require
from opentsm.card.crypto.kcv import kcv_des
from opentsm.vse.applets.bank_card import BankCard
from opentsm.vse.applets.dol import parse_dol, split_values

TERMINAL = "27000000 000000004000 000000000000 0124 8000048000 0124 191105 01 52BF4585"
GPO = "80A8000023 8321" + TERMINAL + "00"


def transaction(card: AppletCard) -> dict[int, bytes]:
    card.select(BANK_AID)
    answer = card.apdu(GPO)
    assert answer.sw == 0x9000
    template = parse_tlv(answer.data)
    assert template.tag == 0x77
    return {tlv.tag: tlv.value for tlv in parse_tlvs(template.value)}


def test_cryptogram_equals_the_published_vector() -> None:
    card = personalized_bank_card()
    card.stores[BANK_AID]["atc"] = bytes.fromhex("001B")
    answer = transaction(card)
    assert answer[0x9F36].hex() == "001c"
    assert answer[0x9F26].hex() == "7a788ea6b8a3e733"
    assert kcv_des(ICC_KEY).hex().startswith("bab0")


def test_transaction_gives_static_and_dynamic_data() -> None:
    answer = transaction(personalized_bank_card())
    assert answer[0x82].hex() == "1800"
    assert answer[0x94].hex() == "0801010010010100"
    assert answer[0x9F36].hex() == "0001"
    assert answer[0x9F10].hex() == "06011203a0b800"
    assert answer[0x9F27] == b"\x80"
    assert answer[0x5F34] == b"\x00"


def test_fci_names_the_application_and_its_pdol() -> None:
    card = personalized_bank_card()
    template = parse_tlvs(parse_tlv(card.select(BANK_AID).data).value)
    assert require(template, 0x84) == BANK_AID
    assert encode_tlv(0xA5, require(template, 0xA5)) == fci()


def test_before_personalization_everything_is_refused_but_select() -> None:
    card = AppletCard()
    card.install(BankCard, BANK_AID)
    assert card.select(BANK_AID).sw == 0x9000
    assert card.apdu(GPO).sw == 0x6985
    assert card.apdu("00B2010C00").sw == 0x6985
    assert card.applets[BANK_AID].ppse_entry() is None


def test_second_transaction_in_one_selection_is_refused() -> None:
    card = personalized_bank_card()
    transaction(card)
    assert card.apdu(GPO).sw == 0x6985
    assert transaction(card)[0x9F36].hex() == "0002"


@pytest.mark.parametrize(
    ("apdu", "sw"),
    [
        ("80A8010002830000", 0x6A86),
        ("80A8000002830000", 0x6A80),
        ("80A8000003840100 00", 0x6A80),
        ("80A80000", 0x6A80),
        ("80A8000024 8322" + TERMINAL + "0000", 0x6A80),
        ("80A8000023 8322" + TERMINAL + "00", 0x6A80),
    ],
)
def test_options_with_wrong_data_are_refused_and_count_nothing(apdu: str, sw: int) -> None:
    card = personalized_bank_card()
    card.select(BANK_AID)
    assert card.apdu(apdu).sw == sw
    assert card.apdu("80CA9F3600").data.hex() == "9f36020000"


def test_records_are_read_as_the_file_locator_says() -> None:
    card = personalized_bank_card()
    card.select(BANK_AID)
    assert card.apdu("00B2010C00").data == RECORD_1
    assert card.apdu("00B2011400").data == RECORD_2


@pytest.mark.parametrize(
    ("apdu", "sw"),
    [("00B2020C00", 0x6A83), ("00B2011C00", 0x6A82), ("00B2010D00", 0x6A86), ("00B2000C00", 0x6A86)],
)
def test_record_that_is_not_there_is_refused(apdu: str, sw: int) -> None:
    card = personalized_bank_card()
    card.select(BANK_AID)
    assert card.apdu(apdu).sw == sw


def test_counter_is_saved_before_the_cryptogram_leaves() -> None:
    card = personalized_bank_card()
    card.select(BANK_AID)
    card.cut_after_save = card.saves + 1
    with pytest.raises(PowerCutError):
        card.apdu(GPO)
    card.restart()
    assert transaction(card)[0x9F36].hex() == "0002"


def test_cut_before_the_counter_is_saved_leaves_no_cryptogram() -> None:
    card = personalized_bank_card()
    card.select(BANK_AID)
    card.cut_before_save = card.saves + 1
    with pytest.raises(PowerCutError):
        card.apdu(GPO)
    card.restart()
    assert transaction(card)[0x9F36].hex() == "0001"


def test_transaction_costs_exactly_one_save() -> None:
    card = personalized_bank_card()
    before = card.saves
    transaction(card)
    assert card.saves == before + 1


def test_counter_at_its_end_refuses_for_ever() -> None:
    card = personalized_bank_card()
    card.stores[BANK_AID]["atc"] = b"\xff\xff"
    card.select(BANK_AID)
    assert card.apdu(GPO).sw == 0x6985


def test_update_does_not_set_the_counter_back() -> None:
    card = personalized_bank_card()
    transaction(card)
    assert card.personalize(BANK_AID, [(0xDF01, b"bank-2")]) == 0x9000
    assert transaction(card)[0x9F36].hex() == "0002"


@pytest.mark.parametrize(
    "bad",
    [
        (0x9103, encode_tlv(0xA5, bytes.fromhex("500154 9F3803 9F0206"))),
        (0x9103, encode_tlv(0xA5, bytes.fromhex("500154"))),
        (0x9103, encode_tlv(0x61, parse_tlv(fci()).value)),
        (0x9103, b"\xa5\x20\x50\x01\x41"),
        (0x9103, encode_tlv(0xA5, bytes.fromhex("87020101") + parse_tlv(fci()).value)),
        (0xB104, bytes.fromhex("82021800 9408 08010100 10010200")),
        (0xB104, bytes.fromhex("82021800 9403 080101 5F340100")),
        (0xB104, bytes.fromhex("820118 9404 08010100 5F340100")),
        (0xB104, bytes.fromhex("82021800 9404 08010100 9F36020001")),
        (0xB104, bytes.fromhex("82021800 9404 08020100 5F340100")),
        (0x0101, bytes.fromhex("5A0112")),
        (0x0061, b"\x9f\x2a\x05"),
    ],
)
def test_personalization_with_data_that_does_not_fit_together_is_refused(bad: tuple[int, bytes]) -> None:
    card = AppletCard()
    card.install(BankCard, BANK_AID)
    dgis = [dgi for dgi in plain_dgis() if dgi[0] != bad[0]]
    assert card.personalize(BANK_AID, [*dgis, bad], KEY_DGIS) == 0x6A80


def test_ppse_entry_has_name_label_priority_and_additions() -> None:
    card = personalized_bank_card()
    assert card.personalize(BANK_AID, [(0x0061, bytes.fromhex("9F2A0103"))]) == 0x9000
    entry = card.applets[BANK_AID].ppse_entry()
    assert entry is not None
    assert [tlv.tag for tlv in parse_tlvs(entry)] == [0x4F, 0x50, 0x87, 0x9F2A]


def test_dol_that_is_cut_off_is_refused() -> None:
    with pytest.raises(Exception, match="cut off"):
        parse_dol(bytes.fromhex("9F02"))
    with pytest.raises(Exception, match="asks for 6 bytes"):
        split_values(bytes.fromhex("9F0206"), bytes(5))
