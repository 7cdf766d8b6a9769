"""The contactless registry, the CRS application and what the PPSE makes of it (Amendment C)."""

import pytest
from tests.unit.vse.applets import bank_card_data
from tests.unit.vse.card_host import CardHost, load_file, make_card

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.gp import commands
from opentsm.card.gp.contactless import (
    CRS_AID,
    CRS_PACKAGE,
    PPSE_AID,
    Activation,
    ContactlessEntry,
    ContactlessParameters,
    Interface,
    PriorityChange,
    ProtocolData,
    crs_status,
    parse_crs_counter,
    parse_crs_status,
    parse_ppse,
    parse_set_status,
    set_availability,
    set_interface,
    set_priority,
)
from opentsm.card.gp.install_params import SystemParameters, application_parameters
from opentsm.card.gp.instructions import StoreDataEncryption, StoreDataStructure
from opentsm.card.gp.privileges import Privilege
from opentsm.vse.contactless import set_own_state
from opentsm.vse.environment import Environment
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.status import StatusError

BANK, BANK_MODULE = Aid.from_hex("F04F54534D01"), Aid.from_hex("F04F54534D0101")
ONE, TWO, THREE = (Aid.from_hex(f"A00000000410{n}") for n in ("01", "02", "03"))
ACTIVE = ContactlessParameters(activation=Activation.ACTIVATED)
IDLE = ContactlessParameters(activation=Activation.DEACTIVATED)
TYPE_A = ProtocolData(bytes.fromhex("8002AA01"), bytes.fromhex("8002FF00"))
OTHER_TYPE_A = ProtocolData(bytes.fromhex("8002BB01"), bytes.fromhex("80020000"))
LIKE_TYPE_A = ProtocolData(bytes.fromhex("8002AA02"), bytes.fromhex("8002F000"))


class Wallet:
    """A card with the CRS and bank cards."""

    def __init__(
        self, *, privileges: Privilege = Privilege.CONTACTLESS_ACTIVATION, **changes: object
    ) -> None:
        self.host = CardHost(make_card(**changes))  # type: ignore[arg-type]
        self.open()
        assert self.host.load(load_file(CRS_PACKAGE, (CRS_AID,)), package=CRS_PACKAGE) == 0x9000
        assert (
            self.host.install(CRS_AID, module=CRS_AID, package=CRS_PACKAGE, privileges=privileges) == 0x9000
        )
        assert self.host.load(load_file(BANK, (BANK_MODULE,)), package=BANK) == 0x9000

    def open(self) -> None:
        self.host.select()
        self.host.authenticate()

    def add(self, aid: Aid, parameters: ContactlessParameters | None = None) -> int:
        system = SystemParameters(contactless=b"" if parameters is None else parameters.to_bytes())
        self.open()
        return self.host.sw(
            commands.install_for_install(
                BANK,
                BANK_MODULE,
                aid,
                Privilege.NONE,
                application_parameters(system=system),
                make_selectable=True,
            )
        )

    def bank_card(
        self, aid: Aid, parameters: ContactlessParameters | None = None, *, priority: int = 1
    ) -> None:
        assert self.add(aid, parameters) == 0x9000
        host, dek = self.host, self.host.dek
        assert dek is not None
        host.ok(commands.install_for_personalization(aid))
        plain = b"".join(encode_dgi(*dgi) for dgi in bank_card_data.plain_dgis(priority=priority))
        secret = b"".join(encode_dgi(dgi, dek.encrypt(value)) for dgi, value in bank_card_data.KEY_DGIS)
        host.ok(commands.store_data(plain, 0, last=False, structure=StoreDataStructure.DGI))
        host.ok(
            commands.store_data(
                secret,
                1,
                last=False,
                structure=StoreDataStructure.DGI,
                encryption=StoreDataEncryption.ENCRYPTED,
            )
        )
        host.ok(commands.store_data(encode_dgi(0x7FFF, b""), 2, last=True, structure=StoreDataStructure.DGI))

    def crs(self, command: CommandApdu) -> ResponseApdu:
        self.host.select(CRS_AID)
        return self.host.raw(command)

    def entry(self, aid: Aid) -> ContactlessEntry:
        (found,) = parse_crs_status(self.crs(crs_status(aid)).data)
        return found

    def listed(self) -> list[tuple[Aid, int | None]]:
        return [(one.aid, one.priority) for one in parse_ppse(self.host.select(PPSE_AID).data)]


def test_ppse_when_applications_are_switched_then_lists_what_is_activated() -> None:
    wallet = Wallet()
    wallet.bank_card(ONE, ACTIVE, priority=2)
    wallet.bank_card(TWO, IDLE, priority=1)
    assert wallet.listed() == [(ONE, 2)]
    assert wallet.crs(set_availability([TWO], activate=True)).sw == 0x9000
    assert wallet.listed() == [(TWO, 1), (ONE, 2)]
    assert wallet.crs(set_availability([ONE, TWO], activate=False)).sw == 0x9000
    assert wallet.listed() == []


def test_ppse_when_user_sets_an_order_then_it_replaces_the_cards_own() -> None:
    wallet = Wallet()
    for aid, priority in ((ONE, 1), (TWO, 2), (THREE, 3)):
        wallet.bank_card(aid, priority=priority)
    assert [aid for aid, _ in wallet.listed()] == [ONE, TWO, THREE]
    assert wallet.crs(set_priority([THREE], PriorityChange.HIGHEST)).sw == 0x9000
    order = [aid for aid, _ in wallet.listed()]
    assert order == [THREE, ONE, TWO]
    assert [rank for _, rank in wallet.listed()] == sorted(rank or 0 for _, rank in wallet.listed())
    wallet.crs(set_priority([ONE], PriorityChange.LOWEST))
    wallet.crs(set_priority([TWO], PriorityChange.VOLATILE))
    assert [aid for aid, _ in wallet.listed()] == [TWO, THREE, ONE]
    assert wallet.entry(TWO).priority == 1
    wallet.crs(set_priority([], PriorityChange.RESET_VOLATILE))
    assert [aid for aid, _ in wallet.listed()] == [THREE, TWO, ONE]
    wallet.crs(set_priority([TWO], PriorityChange.VOLATILE))
    wallet.host.card.power_on()
    assert [aid for aid, _ in wallet.listed()] == [THREE, TWO, ONE]


def test_ppse_when_proximity_is_off_then_empty() -> None:
    wallet = Wallet()
    wallet.bank_card(ONE)
    assert wallet.crs(set_interface(Interface.PROXIMITY, on=False)).sw == 0x9000
    assert wallet.listed() == []
    wallet.crs(set_interface(Interface.PROXIMITY, on=True))
    assert [aid for aid, _ in wallet.listed()] == [ONE]


@pytest.mark.parametrize(("switch", "state"), [(True, Activation.ACTIVATED), (False, Activation.DEACTIVATED)])
def test_initial_state_when_install_says_nothing_then_as_the_profile_has_it(
    switch: bool, state: Activation
) -> None:
    wallet = Wallet(contactless_activated=switch)
    assert wallet.add(ONE) == 0x9000
    assert wallet.entry(ONE).activation == state


@pytest.mark.parametrize("privilege", [Privilege.NONE, Privilege.CONTACTLESS_SELF_ACTIVATION])
def test_crs_when_without_contactless_activation_then_6982_and_nothing_changes(privilege: Privilege) -> None:
    wallet = Wallet(privileges=privilege)
    wallet.add(ONE, IDLE)
    before = wallet.host.card.image()
    for command in (
        set_availability([ONE], activate=True),
        set_priority([ONE], PriorityChange.HIGHEST),
        set_priority([ONE], PriorityChange.VOLATILE),
        set_interface(Interface.PROXIMITY, on=False),
    ):
        assert wallet.crs(command).sw == 0x6982
    assert wallet.host.card.image() == before
    assert wallet.crs(crs_status(ONE)).sw == 0x9000


# --- conflicts and groups ----------------------------------------------------------------------


def test_activation_when_mandatory_protocol_data_differ_then_6320_with_both_lists() -> None:
    wallet = Wallet()
    assert wallet.add(ONE, ContactlessParameters(activation=Activation.ACTIVATED, type_a=TYPE_A)) == 0x9000
    assert (
        wallet.add(TWO, ContactlessParameters(activation=Activation.ACTIVATED, type_a=OTHER_TYPE_A)) == 0x9000
    )
    assert wallet.entry(TWO).activation == Activation.DEACTIVATED
    answer = wallet.crs(set_availability([TWO], activate=True))
    failure = parse_set_status(answer.data)
    assert answer.sw == 0x6320 and failure.conflicting == (ONE,) and failure.failed == (TWO,)
    wallet.crs(set_availability([ONE], activate=False))
    assert wallet.crs(set_availability([TWO], activate=True)).sw == 0x9000


def test_activation_when_only_free_bits_differ_then_both_are_active() -> None:
    wallet = Wallet()
    wallet.add(ONE, ContactlessParameters(activation=Activation.ACTIVATED, type_a=TYPE_A))
    wallet.add(TWO, ContactlessParameters(activation=Activation.ACTIVATED, type_a=LIKE_TYPE_A))
    assert wallet.entry(TWO).activation == Activation.ACTIVATED


def test_activation_when_policy_names_the_other_then_conflict_from_either_side() -> None:
    wallet = Wallet()
    wallet.add(ONE, ACTIVE)
    wallet.add(TWO, ContactlessParameters(activation=Activation.DEACTIVATED, policy=(ONE,)))
    assert wallet.crs(set_availability([TWO], activate=True)).sw == 0x6320
    wallet.crs(set_availability([ONE], activate=False))
    wallet.crs(set_availability([TWO], activate=True))
    assert wallet.crs(set_availability([ONE], activate=True)).sw == 0x6320


def test_group_when_head_lets_a_member_in_then_shown_and_never_in_conflict() -> None:
    wallet = Wallet()
    wallet.add(ONE, ContactlessParameters(activation=Activation.ACTIVATED, type_a=TYPE_A, joinable=(TWO,)))
    member = ContactlessParameters(activation=Activation.ACTIVATED, type_a=OTHER_TYPE_A, head=ONE)
    assert wallet.add(TWO, member) == 0x9000
    assert wallet.entry(TWO).activation == Activation.ACTIVATED and wallet.entry(TWO).head == ONE
    assert wallet.entry(ONE).members == (TWO,)
    assert wallet.add(THREE, ContactlessParameters(head=ONE)) == 0x6985
    assert wallet.add(THREE, ContactlessParameters(head=TWO)) == 0x6985
    assert wallet.add(THREE, ContactlessParameters(head=THREE)) == 0x6A80
    assert wallet.add(THREE, ContactlessParameters(head=PPSE_AID)) == 0x6985
    assert wallet.add(THREE, ContactlessParameters(head=Aid.from_hex("F0000000FF"))) == 0x6A88
    assert wallet.host.card.image().instance(THREE) is None


def test_group_when_head_withdraws_then_the_member_is_alone() -> None:
    wallet = Wallet()
    wallet.add(ONE, ContactlessParameters(joinable=(TWO,)))
    wallet.add(TWO, ContactlessParameters(head=ONE))
    wallet.open()
    out = SystemParameters(contactless=ContactlessParameters(not_joinable=(TWO,)).to_bytes()).to_bytes()
    parameters = b"\xef" + bytes([len(out)]) + out
    wallet.host.ok(commands.install_for_registry_update(ONE, parameters=parameters))
    assert wallet.entry(TWO).head is None and wallet.entry(ONE).members == ()


# --- CRS commands ------------------------------------------------------------------------------


def test_status_when_filtered_then_all_criteria_hold_and_only_wanted_tags() -> None:
    wallet = Wallet()
    wallet.add(
        ONE, ContactlessParameters(activation=Activation.ACTIVATED, family=1, display_required=1, privacy=0)
    )
    wallet.add(TWO, ContactlessParameters(activation=Activation.DEACTIVATED, family=1))
    answer = wallet.crs(crs_status(activation=Activation.ACTIVATED, family=1))
    assert [one.aid for one in parse_crs_status(answer.data)] == [ONE]
    only = wallet.crs(crs_status(ONE, tag_list=b"\x87")).data
    assert only.hex().upper().endswith("9F70020701870101")
    assert wallet.crs(crs_status(Aid.from_hex("F0000000FF"))).sw == 0x6A88


def test_status_when_long_then_6310_and_the_rest() -> None:
    wallet = Wallet()
    discretionary = ContactlessParameters(discretionary=bytes(100))
    for aid in (ONE, TWO, THREE):
        wallet.add(aid, discretionary)
    answer = wallet.crs(crs_status(ONE[:5]))
    data, parts = answer.data, 1
    while answer.sw == 0x6310:
        answer = wallet.host.raw(crs_status(next=True))
        data, parts = data + answer.data, parts + 1
    assert [one.aid for one in parse_crs_status(data)] == [ONE, TWO, THREE] and parts > 1
    assert wallet.host.raw(crs_status(next=True)).sw == 0x6985


@pytest.mark.parametrize(
    ("command", "sw"),
    [
        ("80F24000", 0x6A80),
        ("80F2400002 5C00", 0x6A80),
        ("80F2400004 4F009000", 0x6A80),
        ("80F2800002 4F00", 0x6A86),
        ("80F2400202 4F00", 0x6A86),
        ("80F0018009 4F07A0000000041001", 0x6A86),
        ("80F0010209 4F07A0000000041001", 0x6A80),
        ("80F00101", 0x6A80),
        ("80F0010102 5C00", 0x6A80),
        ("80F0020909 4F07A0000000041001", 0x6A86),
        ("80F0080009 4F07A0000000041001", 0x6A86),
        ("80F00480", 0x6A80),
        ("80F08000", 0x6985),
        ("80CA00C1", 0x6A88),
        ("80E40000", 0x6D00),
        ("00F24000", 0x6E00),
    ],
)
def test_crs_when_command_is_wrong_then_its_status_word_and_no_change(command: str, sw: int) -> None:
    wallet = Wallet()
    wallet.add(ONE, IDLE)
    before = wallet.host.card.image()
    wallet.host.select(CRS_AID)
    assert wallet.host.raw(command).sw == sw
    assert wallet.host.card.image() == before


def test_counters_when_something_changes_then_they_move_once() -> None:
    wallet = Wallet()
    wallet.add(ONE, IDLE)
    first = parse_crs_counter(wallet.host.select(CRS_AID).data)
    wallet.crs(set_availability([ONE], activate=True))
    wallet.crs(set_availability([ONE], activate=True))
    assert parse_crs_counter(wallet.crs(commands.get_data(0xA5)).data) == first + 1
    assert wallet.entry(ONE).counter == 1


def test_activation_when_application_is_unknown_locked_or_a_domain_then_in_the_list_of_failures() -> None:
    wallet = Wallet()
    wallet.add(ONE, IDLE)
    wallet.host.ok(commands.lock(ONE))
    unknown, isd = Aid.from_hex("F0000000FF"), Aid.from_hex("A000000151000000")
    answer = wallet.crs(set_availability([unknown, isd, ONE], activate=True))
    assert answer.sw == 0x6320 and parse_set_status(answer.data).failed == (unknown, isd, ONE)


def test_own_state_when_application_asks_then_only_what_it_may() -> None:
    """What an applet may do by itself; no applet of this project does."""
    wallet = Wallet()
    wallet.add(ONE, IDLE)
    card = wallet.host.card
    environment = Environment(card.image(), card.profile, MemoryNvm(), bytes)
    instance = environment.image.instance(ONE)
    assert instance is not None
    with pytest.raises(StatusError) as refused:
        set_own_state(environment, instance, Activation.ACTIVATED)
    assert refused.value.sw == 0x6982
    set_own_state(environment, instance, Activation.NON_ACTIVATABLE)
    instance.privileges |= Privilege.CONTACTLESS_SELF_ACTIVATION
    set_own_state(environment, instance, Activation.ACTIVATED)
    assert instance.contactless is not None and instance.contactless.state == Activation.ACTIVATED


def test_delete_when_application_had_an_order_then_its_aid_begins_afresh() -> None:
    wallet = Wallet()
    wallet.add(ONE)
    wallet.add(TWO, IDLE)
    wallet.crs(set_priority([TWO], PriorityChange.HIGHEST))
    wallet.open()
    wallet.host.ok(commands.delete(TWO))
    wallet.add(TWO)
    assert bytes(TWO) not in wallet.host.card.image().contactless_order
    assert wallet.entry(TWO).activation == Activation.ACTIVATED


@pytest.mark.parametrize("system", ["A003810180", "A003990100", "A1039F0100", "A1054F03A00000"])
def test_install_when_parameters_are_wrong_then_6a80_and_no_instance(system: str) -> None:
    wallet = Wallet()
    parameters = application_parameters(system=SystemParameters(contactless=bytes.fromhex(system)))
    wallet.open()
    command = commands.install_for_install(
        BANK, BANK_MODULE, ONE, Privilege.NONE, parameters, make_selectable=True
    )
    assert wallet.host.sw(command) == 0x6A80
    assert wallet.host.card.image().instance(ONE) is None
