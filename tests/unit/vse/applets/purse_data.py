"""A transit purse as its service provider would personalise it, and a host for it; test values only."""

from dataclasses import dataclass

from tests.unit.vse.applets.applet_card import AppletCard, Dgi

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.vse.applets.transit_purse import TransitPurse

PURSE_AID = Aid.from_hex("F04F54534D02000001")
PURSE_ID = bytes.fromhex("8600000012345678")
LOAD_KEY, PURCHASE_KEY, TAC_KEY = (
    bytes.fromhex(key)
    for key in (
        "11223344556677888877665544332211",
        "21223344556677888877665544332212",
        "31223344556677888877665544332213",
    )
)
KEY_DGIS: list[Dgi] = [(0x8001, LOAD_KEY), (0x8002, PURCHASE_KEY), (0x8003, TAC_KEY)]
TERMINAL = bytes.fromhex("001122334455")
MOMENT = bytes.fromhex("20261122181500")
LIMIT = 100_000


def plain_dgis(form: purse.PurseForm, limit: int = LIMIT) -> list[Dgi]:
    return [
        (0x5001, bytes((form.code, 0x01)) + bytes.fromhex("0978")),
        (0x5002, PURSE_ID),
        (0x5003, b"CITY PASS"),
        (0x5004, limit.to_bytes(4, "big")),
        (0xDF01, b"purse-1"),
    ]


def personalized_purse(
    form: purse.PurseForm = purse.PurseForm.AES, card: AppletCard | None = None
) -> AppletCard:
    card = card or AppletCard()
    card.install(TransitPurse, PURSE_AID)
    assert card.personalize(PURSE_AID, plain_dgis(form), KEY_DGIS) == 0x9000
    card.select(PURSE_AID)
    return card


def transaction_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


@dataclass(frozen=True)
class Host:
    """Tops up and debits with the host's own arithmetic."""

    card: AppletCard
    form: purse.PurseForm = purse.PurseForm.AES

    def initialize_load(self, amount: int, number: int = 1) -> tuple[purse.LoadRequest, ResponseApdu]:
        request = purse.LoadRequest(amount, TERMINAL, transaction_id(number))
        return request, self.card.send(purse.initialize_for_load(self.form, request))

    def credit(self, request: purse.LoadRequest, offer: purse.LoadOffer) -> ResponseApdu:
        mac2 = purse.authorize_load(self.form, Secret(LOAD_KEY), request, offer, MOMENT)
        return self.card.send(purse.credit_for_load(MOMENT, mac2))

    def load(self, amount: int, number: int = 1) -> purse.LoadOffer:
        request, answer = self.initialize_load(amount, number)
        assert answer.sw == 0x9000
        offer = purse.parse_load_offer(self.form, answer.data)
        credited = self.credit(request, offer)
        assert credited.sw == 0x9000
        purse.verify_load_tac(
            credited.data, form=self.form, key=Secret(TAC_KEY), request=request, offer=offer, moment=MOMENT
        )
        return offer

    def initialize_purchase(self, amount: int, number: int = 1) -> tuple[purse.PurchaseRequest, ResponseApdu]:
        request = purse.PurchaseRequest(amount, TERMINAL, number)
        return request, self.card.send(purse.initialize_for_purchase(request))

    def debit(self, request: purse.PurchaseRequest, offer: purse.PurchaseOffer) -> ResponseApdu:
        session = purse.purchase_session_key(self.form, Secret(PURCHASE_KEY), request, offer)
        mac1 = purse.purchase_mac1(self.form, session, request, MOMENT)
        return self.card.send(purse.debit_for_purchase(request, MOMENT, mac1))

    def purchase(self, amount: int, number: int = 1) -> purse.PurchaseOffer:
        request, answer = self.initialize_purchase(amount, number)
        assert answer.sw == 0x9000
        offer = purse.parse_purchase_offer(self.form, answer.data)
        debited = self.debit(request, offer)
        session = purse.purchase_session_key(self.form, Secret(PURCHASE_KEY), request, offer)
        tac = purse.purchase_tac(self.form, Secret(TAC_KEY), request, offer, MOMENT)
        assert debited.sw == 0x9000
        assert debited.data == tac + purse.purchase_mac2(self.form, session, request, offer)
        return offer

    def balance(self) -> int:
        answer = self.card.send(purse.get_balance())
        assert answer.sw == 0x9000
        return int.from_bytes(answer.data, "big")
