"""The applets where they live: loaded, installed, personalised over a secure channel, used by terminals."""

from collections.abc import Iterable

import pytest
from tests.unit.vse.applets import bank_card_data, purse_data
from tests.unit.vse.applets.applet_card import Dgi
from tests.unit.vse.card_host import FACTORY_KEYS, CardHost, load_file, make_card

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusTarget, StoreDataEncryption, StoreDataStructure
from opentsm.demo.terminals import door, gate, kiosk, pos
from opentsm.demo.terminals.issuer import Issuer
from opentsm.vse.faults import FaultPlan, TornError

PROFILES = ["scp03-i70", "scp03-s16-i71", "scp02-i55"]
BADGE_AID = Aid.from_hex("F04F54534D03000001")
BADGE_PLAIN: list[Dgi] = [(0x6001, b"BADGE-1"), (0x6002, b"\x03"), (0x6003, b"FLOOR-3"), (0xDF01, b"badge-1")]
BADGE_KEYS: list[Dgi] = [(0x8001, bytes(range(16))), (0x8002, bytes(range(16, 32)))]
on_every_kind_of_card = pytest.mark.parametrize("profile", PROFILES)


class Holder:
    """A card with one applet, in front of a terminal."""

    def __init__(self, profile: str, package: str, instance: Aid) -> None:
        self.host = CardHost(make_card(profile), host_challenge=bytes(16 if "s16" in profile else 8))
        self.instance = instance
        self.host.select()
        self.authenticate()
        elf, module = Aid.from_hex(package), Aid.from_hex(f"{package}01")
        assert self.host.load(load_file(elf, (module,)), package=elf) == 0x9000
        assert self.host.install(instance, module=module, package=elf) == 0x9000

    def authenticate(self) -> None:
        scp02 = self.host.card.profile.name.startswith("scp02")
        self.host.authenticate(FACTORY_KEYS, level=0x03 if scp02 else 0x33, i=0x55)

    def personalize(self, plain: Iterable[Dgi], keys: Iterable[Dgi]) -> None:
        assert self.host.dek is not None
        dek = self.host.dek
        self.host.ok(commands.install_for_personalization(self.instance))
        self._store(b"".join(encode_dgi(*dgi) for dgi in plain), 0)
        wrapped = b"".join(encode_dgi(dgi, dek.encrypt(value)) for dgi, value in keys)
        self._store(wrapped, 1, encryption=StoreDataEncryption.ENCRYPTED)
        self._store(encode_dgi(0x7FFF, b""), 2, last=True)

    def _store(
        self,
        data: bytes,
        number: int,
        *,
        last: bool = False,
        encryption: StoreDataEncryption = StoreDataEncryption.NONE,
    ) -> None:
        self.host.ok(
            commands.store_data(
                data, number, last=last, encryption=encryption, structure=StoreDataStructure.DGI
            )
        )

    async def exchange(self, raw: bytes) -> bytes:
        return self.host.card.transmit(raw)


def purse_keys(_: bytes) -> kiosk.PurseKeys:
    return kiosk.PurseKeys(Secret(purse_data.LOAD_KEY), Secret(purse_data.TAC_KEY))


def purse_holder(profile: str = "scp03-i70") -> Holder:
    holder = Holder(profile, "F04F54534D02", purse_data.PURSE_AID)
    holder.personalize(purse_data.plain_dgis(purse.PurseForm.AES), purse_data.KEY_DGIS)
    return holder


@on_every_kind_of_card
async def test_bank_card_pays_at_the_point_of_sale_and_not_while_locked(profile: str) -> None:
    holder = Holder(profile, "F04F54534D01", bank_card_data.BANK_AID)
    holder.personalize(bank_card_data.plain_dgis(), bank_card_data.KEY_DGIS)
    payment = pos.Payment(1995, bytes(4), "261122")
    bank = Issuer(Secret(bank_card_data.ISSUER_KEY))
    result = await pos.pay(holder.exchange, payment, bank.authorize)
    assert (result.approved, result.counter) == (True, 1)
    holder.host.select()
    holder.authenticate()
    assert holder.host.sw(commands.set_status(StatusTarget.APPLICATION, 0x80, holder.instance)) == 0x9000
    assert await pos.list_applications(holder.exchange) == ()


@on_every_kind_of_card
async def test_purse_is_topped_up_and_debited(profile: str) -> None:
    holder = purse_holder(profile)
    request = purse.LoadRequest(1000, purse_data.TERMINAL, purse_data.transaction_id(1))
    aid = holder.instance
    loaded = await kiosk.top_up(holder.exchange, aid, request, purse_data.MOMENT, purse_keys)
    fare = purse.PurchaseRequest(240, purse_data.TERMINAL, 7)
    key = Secret(purse_data.PURCHASE_KEY)
    passed = await gate.debit(holder.exchange, aid, fare, purse_data.MOMENT, lambda _: key, journal={})
    assert (loaded.balance, passed.balance) == (1000, 760)
    holder.host.card.power_off()
    holder.host.card.power_on()
    assert (await kiosk.read_statement(holder.exchange, aid)).balance == 760


@on_every_kind_of_card
async def test_badge_opens_the_door(profile: str) -> None:
    holder = Holder(profile, "F04F54534D03", BADGE_AID)
    holder.personalize(BADGE_PLAIN, BADGE_KEYS)
    keys = door.BadgeKeys(*(Secret(value) for _, value in BADGE_KEYS))
    result = await door.open_door(holder.exchange, BADGE_AID, bytes(16), lambda _: keys)
    assert (result.badge_id, result.rights) == (b"BADGE-1", b"FLOOR-3")


@pytest.mark.parametrize("fault", ["cut_before_apdu", "cut_after_apdu", "lose_answer"])
@pytest.mark.parametrize("command", [1, 2, 3])
async def test_top_up_happens_once_whatever_command_is_lost(fault: str, command: int) -> None:
    holder = purse_holder()
    card, aid = holder.host.card, holder.instance
    request = purse.LoadRequest(1000, purse_data.TERMINAL, purse_data.transaction_id(1))
    card.arm(FaultPlan(**{fault: command}))
    with pytest.raises(TornError):
        await kiosk.top_up(holder.exchange, aid, request, purse_data.MOMENT, purse_keys)
    card.arm(FaultPlan())
    card.power_on()
    found = await kiosk.find_top_up(holder.exchange, aid, request.transaction_id, purse_keys)
    assert (found is not None) == (command == 3 and fault != "cut_before_apdu")
    if found is None:
        await kiosk.top_up(holder.exchange, aid, request, purse_data.MOMENT, purse_keys)
    assert (await kiosk.read_statement(holder.exchange, aid)).balance == 1000
