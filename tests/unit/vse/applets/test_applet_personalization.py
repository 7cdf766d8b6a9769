"""Personalisation by STORE DATA: what every applet does with DGIs, shown with the bank card.

Source: GPCS 2.3.1 §11.11; EMV CPS 1.1 §2.2; docs/reference/applets.md.
"""

import pytest
from tests.unit.vse.applets import purse_data
from tests.unit.vse.applets.applet_card import AppletCard, PowerCutError, encrypt_dek
from tests.unit.vse.applets.bank_card_data import BANK_AID, KEY_DGIS, RECORD_1, VERSION, plain_dgis

from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.crypto.kcv import kcv_des
from opentsm.card.crypto.padding import pad80
from opentsm.card.purse import PurseForm
from opentsm.vse.applets.bank_card import BankCard
from opentsm.vse.applets.base import Applet
from opentsm.vse.applets.dgi_stream import split_dgis
from opentsm.vse.applets.transit_purse import TransitPurse
from opentsm.vse.status import StatusError

PROBE = "80CADF0100"
DONE = encode_dgi(0x7FFF, b"")


def new_card() -> AppletCard:
    card = AppletCard()
    card.install(BankCard, BANK_AID)
    return card


def probe(card: AppletCard) -> tuple[bytes, int]:
    card.select(BANK_AID)
    answer = card.apdu(PROBE)
    return answer.data, answer.sw


def test_install_with_application_parameters_is_refused() -> None:
    with pytest.raises(StatusError, match="6A80"):
        AppletCard().install(BankCard, BANK_AID, b"\x01")


def test_probe_before_personalization_is_not_found() -> None:
    assert probe(new_card()) == (b"", 0x6A88)


def test_probe_after_completion_tells_the_version() -> None:
    card = new_card()
    assert card.personalize(BANK_AID, plain_dgis(), KEY_DGIS) == 0x9000
    assert probe(card) == (bytes.fromhex("DF0106") + b"bank-1", 0x9000)


def test_probe_before_completion_is_not_found() -> None:
    card = new_card()
    assert card.personalize(BANK_AID, plain_dgis(), KEY_DGIS, complete=False) == 0x9000
    assert probe(card) == (b"", 0x6A88)


def test_completion_in_a_second_series_after_a_closed_one_is_accepted() -> None:
    card = new_card()
    card.personalize(BANK_AID, plain_dgis(), KEY_DGIS, complete=False)
    assert card.store_data(BANK_AID, DONE) == 0x9000
    assert probe(card)[1] == 0x9000


@pytest.mark.parametrize("missing", [0x9103, 0xB104, 0x9200, 0xDF01, 0x0101, 0x0201])
def test_completion_without_a_required_dgi_is_refused(missing: int) -> None:
    card = new_card()
    dgis = [dgi for dgi in plain_dgis() if dgi[0] != missing]
    assert card.personalize(BANK_AID, dgis, KEY_DGIS) == 0x6A80
    assert probe(card) == (b"", 0x6A88)


def test_completion_without_the_key_is_refused() -> None:
    assert new_card().personalize(BANK_AID, plain_dgis()) == 0x6A80


def test_key_that_comes_in_clear_is_refused() -> None:
    assert new_card().store_data(BANK_AID, encode_dgi(*KEY_DGIS[0]), p1=0x08) == 0x6A80


def test_plain_dgi_that_comes_encrypted_is_refused() -> None:
    data = encode_dgi(0xDF01, encrypt_dek(pad80(b"1", 16)))
    assert new_card().store_data(BANK_AID, data, p1=0x68) == 0x6A80


def test_encrypted_key_that_is_not_whole_blocks_is_refused() -> None:
    assert new_card().store_data(BANK_AID, encode_dgi(0x8000, bytes(15)), p1=0x68) == 0x6A80


def test_unknown_dgi_is_not_found_and_nothing_of_its_command_is_kept() -> None:
    card = new_card()
    data = encode_dgi(*VERSION) + encode_dgi(0x7777, b"1")
    assert card.store_data(BANK_AID, data, p1=0x08) == 0x6A88
    assert card.stores[BANK_AID] == {}


@pytest.mark.parametrize("length", [0, 17])
def test_version_of_a_wrong_length_is_refused(length: int) -> None:
    assert new_card().store_data(BANK_AID, encode_dgi(0xDF01, bytes(length))) == 0x6A80


@pytest.mark.parametrize("p1", [0x90, 0x98, 0xA8, 0xC8])
def test_store_data_with_other_structure_or_encryption_is_refused(p1: int) -> None:
    assert new_card().store_data(BANK_AID, encode_dgi(*VERSION), p1=p1) == 0x6A86


def test_store_data_without_structure_bits_is_accepted_as_emv_cps_has_it() -> None:
    assert new_card().store_data(BANK_AID, encode_dgi(*VERSION), p1=0x80) == 0x9000


def test_dgi_over_two_commands_is_put_together() -> None:
    card = new_card()
    data = b"".join(encode_dgi(*dgi) for dgi in plain_dgis())
    for number, part in enumerate((data[:3], data[3:60], data[60:61], data[61:])):
        assert card.store_data(BANK_AID, part, number, p1=0x08) == 0x9000
    assert card.store_data(BANK_AID, encode_dgi(0x8000, encrypt_dek(KEY_DGIS[0][1])), 4, p1=0x68) == 0x9000
    assert card.store_data(BANK_AID, DONE, 5) == 0x9000
    assert probe(card)[1] == 0x9000


def test_last_command_with_half_a_dgi_is_refused() -> None:
    assert new_card().store_data(BANK_AID, encode_dgi(*VERSION)[:-1]) == 0x6A80


def test_half_a_plain_dgi_continued_as_encrypted_is_refused() -> None:
    card = new_card()
    data = encode_dgi(*VERSION)
    assert card.store_data(BANK_AID, data[:5], 0, p1=0x08) == 0x9000
    assert card.store_data(BANK_AID, data[5:], 1, p1=0x68) == 0x6A80


def test_half_a_dgi_before_a_new_series_is_forgotten() -> None:
    card = new_card()
    card.store_data(BANK_AID, encode_dgi(*VERSION)[:5], 0, p1=0x08)
    assert card.store_data(BANK_AID, encode_dgi(*VERSION), 0) == 0x9000


def test_completion_before_other_dgis_is_refused() -> None:
    card = new_card()
    card.personalize(BANK_AID, plain_dgis(), KEY_DGIS, complete=False)
    assert card.store_data(BANK_AID, DONE + encode_dgi(*VERSION)) == 0x6A80
    assert card.store_data(BANK_AID, encode_dgi(0x7FFF, b"\x01")) == 0x6A80


def test_torn_series_is_dropped_when_a_new_one_begins() -> None:
    card = new_card()
    data = b"".join(encode_dgi(*dgi) for dgi in plain_dgis())
    assert card.store_data(BANK_AID, data, 0, p1=0x08) == 0x9000
    card.restart()
    assert card.personalize(BANK_AID, [VERSION], KEY_DGIS) == 0x6A80  # the torn series does not fill the gaps
    assert card.personalize(BANK_AID, plain_dgis(), KEY_DGIS) == 0x9000


def test_new_series_when_its_first_command_is_refused_keeps_the_torn_one() -> None:
    card = new_card()
    assert card.store_data(BANK_AID, encode_dgi(*VERSION), p1=0x08) == 0x9000
    before = dict(card.stores[BANK_AID])
    assert card.store_data(BANK_AID, encode_dgi(0x6666, b"\x01"), p1=0x08) == 0x6A88
    assert card.stores[BANK_AID] == before


def test_kcv_of_the_right_key_is_accepted_and_of_another_refused() -> None:
    right, wrong = kcv_des(KEY_DGIS[0][1]), kcv_des(bytes(16))
    assert new_card().personalize(BANK_AID, [*plain_dgis(), (0x9000, right)], KEY_DGIS) == 0x9000
    assert new_card().personalize(BANK_AID, [*plain_dgis(), (0x9000, wrong)], KEY_DGIS) == 0x6982


def test_update_after_completion_comes_into_force_with_its_completion_only() -> None:
    card = new_card()
    card.personalize(BANK_AID, plain_dgis(), KEY_DGIS)
    assert card.store_data(BANK_AID, encode_dgi(0xDF01, b"bank-2"), 0, p1=0x08) == 0x9000
    assert probe(card)[0].endswith(b"bank-1")
    assert card.store_data(BANK_AID, DONE, 1) == 0x9000
    assert probe(card)[0].endswith(b"bank-2")


@pytest.mark.parametrize("key", [True, False])
def test_update_of_a_dgi_that_is_not_updatable_is_refused(key: bool) -> None:
    card = new_card()
    card.personalize(BANK_AID, plain_dgis(), KEY_DGIS)
    data = encode_dgi(0x8000, encrypt_dek(bytes(16))) if key else encode_dgi(0x9000, bytes(3))
    assert card.store_data(BANK_AID, data, p1=0xE8 if key else 0x88) == 0x6985


def test_power_cut_at_completion_leaves_all_or_nothing() -> None:
    for after in (False, True):
        card = new_card()
        card.personalize(BANK_AID, plain_dgis(), KEY_DGIS, complete=False)
        if after:
            card.cut_after_save = card.saves + 1
        else:
            card.cut_before_save = card.saves + 1
        with pytest.raises(PowerCutError):
            card.store_data(BANK_AID, DONE)
        card.restart()
        assert probe(card)[1] == (0x9000 if after else 0x6A88)


def test_class_and_instruction_that_the_applet_does_not_know_are_refused() -> None:
    card = new_card()
    card.select(BANK_AID)
    assert card.apdu("00CADF0100").sw == 0x6E00
    assert card.apdu("80FE000000").sw == 0x6D00
    assert card.apdu("80CA123400").sw == 0x6A88


def test_split_dgis_with_long_lengths_leaves_the_unfinished_part() -> None:
    long = encode_dgi(0x0101, bytes(300))
    assert split_dgis(long + long[:200]) == ([(0x0101, bytes(300))], long[:200])
    for cut in range(5):
        assert split_dgis(long[:cut]) == ([], long[:cut])
    assert split_dgis(encode_dgi(0x0101, RECORD_1)) == ([(0x0101, RECORD_1)], b"")


class SmallStore(dict[str, bytes]):
    """A store that refuses what does not fit, as the card's does."""

    room = 0

    def __setitem__(self, name: str, value: bytes) -> None:
        used = sum(len(key) + len(kept) for key, kept in self.items() if key != name)
        if used + len(name) + len(value) > self.room:
            raise StatusError(0x6A84)
        super().__setitem__(name, value)


@pytest.mark.parametrize("applet", [BankCard, TransitPurse])
def test_full_card_refuses_a_step_of_the_personalization_as_a_whole(applet: type[Applet]) -> None:
    bank = applet is BankCard
    plain = plain_dgis() if bank else purse_data.plain_dgis(PurseForm.AES)
    keys = KEY_DGIS if bank else purse_data.KEY_DGIS
    accepted = set()
    for room in range(0, 1600, 7):
        card = AppletCard()
        card.install(applet, BANK_AID)
        store = card.stores[BANK_AID] = SmallStore()
        store.room = room
        card.restart_applet(BANK_AID)
        before: dict[str, bytes] = {}
        for number, (group, p1) in enumerate(((plain, 0x08), (keys, 0x68), ([(0x7FFF, b"")], 0x88))):
            data = b"".join(encode_dgi(dgi, encrypt_dek(v) if p1 == 0x68 else v) for dgi, v in group)
            sw = card.store_data(BANK_AID, data, number, p1=p1)
            if sw != 0x9000:
                assert (sw, dict(store)) == (0x6A84, before)
                break
            before = dict(store)
        accepted.add("personalized" in store)
    assert accepted == {False, True}


def test_no_purse_transaction_needs_more_memory_than_the_personalization_took() -> None:
    host = purse_data.Host(purse_data.personalized_purse())
    store = host.card.stores[purse_data.PURSE_AID]
    sizes = {name: len(value) for name, value in store.items()}
    for number in range(1, 13):
        host.load(10, number)
        host.purchase(5, number)
    assert {name: len(value) for name, value in store.items()} == sizes
