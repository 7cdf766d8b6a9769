"""The PPSE lists payment instances. Source: EMV Contactless Book B §3.3."""

from tests.unit.vse.applets.applet_card import AppletCard
from tests.unit.vse.applets.bank_card_data import personalized_bank_card

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import find_all, parse_tlv, parse_tlvs, require
from opentsm.vse.applets.bank_card import BankCard
from opentsm.vse.applets.ppse import PPSE_AID, Ppse

FIRST, SECOND, THIRD = (Aid.from_hex(f"A00000000410{n}") for n in ("01", "02", "03"))


def listed(card: AppletCard) -> list[bytes]:
    template = parse_tlvs(parse_tlv(card.select(PPSE_AID).data).value)
    assert require(template, 0x84) == b"2PAY.SYS.DDF01"
    directory = parse_tlvs(require(parse_tlvs(require(template, 0xA5)), 0xBF0C))
    return [require(parse_tlvs(entry), 0x4F) for entry in find_all(directory, 0x61)]


def test_entries_come_by_priority_and_none_last() -> None:
    card = AppletCard()
    card.install(Ppse, PPSE_AID)
    personalized_bank_card(FIRST, priority=0, card=card)
    personalized_bank_card(SECOND, priority=2, card=card)
    personalized_bank_card(
        THIRD, priority=0x81, card=card
    )  # b8: cardholder confirmation, no part of the rank
    assert listed(card) == [THIRD, SECOND, FIRST]


def test_instance_that_is_not_personalized_is_not_listed() -> None:
    card = AppletCard()
    card.install(Ppse, PPSE_AID)
    card.install(BankCard, FIRST)
    assert listed(card) == []


def test_ppse_takes_a_version_as_its_probe() -> None:
    card = AppletCard()
    card.install(Ppse, PPSE_AID)
    card.select(PPSE_AID)
    assert card.apdu("80CADF0100").sw == 0x6A88
    assert card.personalize(PPSE_AID, [(0xDF01, b"1")]) == 0x9000
    assert card.apdu("80CADF0100").data.hex() == "df010131"
    assert card.apdu("80A8000000").sw == 0x6D00
