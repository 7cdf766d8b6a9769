"""A bank card as its service provider would personalise it; test values only.

Issuer master key, PAN and transaction data of the public vector for cryptogram version 18, made on an HSM
(knovichikhin/pyemv, tests/test_cvn_hsm.py, test_visa_cvn18).
"""

from tests.unit.vse.applets.applet_card import AppletCard, Dgi

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.applets.bank_card import BankCard

BANK_AID = Aid.from_hex("A0000000041010")
ISSUER_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
PAN, PSN = "1234567890123456", "00"
# Option A of ISSUER_KEY for this PAN and PSN
ICC_KEY = bytes.fromhex("154F349D8585CB7F6B0798E9839B10C1")
PDOL = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")
VERSION = (0xDF01, b"bank-1")
RECORD_1 = encode_tlv(0x70, encode_tlv(0x57, bytes.fromhex("1234567890123456D3012201000000000F")))
RECORD_2 = encode_tlv(
    0x70, b"".join(bytes.fromhex(part) for part in ("5A081234567890123456", "5F3401 00", "5F2403301231"))
)


def fci(label: bytes = b"TEST BANK", priority: int = 1) -> bytes:
    tags = encode_tlv(0x50, label) + encode_tlv(0x87, bytes((priority,))) + encode_tlv(0x9F38, PDOL)
    return encode_tlv(0xA5, tags)


def plain_dgis(label: bytes = b"TEST BANK", priority: int = 1) -> list[Dgi]:
    return [
        (0x9103, fci(label, priority)),
        (0xB104, bytes.fromhex("82021800 9408 08010100 10010100 5F340100")),
        (0x9200, bytes.fromhex("06011203A0B800")),
        (0x0101, RECORD_1),
        (0x0201, RECORD_2),
        VERSION,
    ]


KEY_DGIS: list[Dgi] = [(0x8000, ICC_KEY)]


def personalized_bank_card(
    aid: Aid = BANK_AID, label: bytes = b"TEST BANK", priority: int = 1, card: AppletCard | None = None
) -> AppletCard:
    card = card or AppletCard()
    card.install(BankCard, aid)
    assert card.personalize(aid, plain_dgis(label, priority), KEY_DGIS) == 0x9000
    return card
