"""Global Services, and the cardholder's PIN for all applications of the card (GPCS 2.3.1 §8.1, §8.2)."""

import json
from collections.abc import Sequence

import pytest
from tests.unit.vse.card_host import CardHost, host_with_session, load_file, random_bytes

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.crypto.mac import cmac
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import SystemParameters, application_parameters
from opentsm.card.gp.instructions import StatusTarget, StoreDataEncryption, StoreDataStructure
from opentsm.card.gp.privileges import Privilege
from opentsm.vse import services
from opentsm.vse.description import describe
from opentsm.vse.environment import Environment
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import Instance
from opentsm.vse.status import StatusError

PIN_PACKAGE, PIN_MODULE = Aid.from_hex("F04F54534D04"), Aid.from_hex("F04F54534D0401")
BADGE_PACKAGE, BADGE_MODULE = Aid.from_hex("F04F54534D03"), Aid.from_hex("F04F54534D0301")
PIN, OTHER_PIN = Aid.from_hex("F04F54534D04000001"), Aid.from_hex("F04F54534D04000002")
BADGE, MANAGER = Aid.from_hex("F04F54534D03000001"), Aid.from_hex("F04F54534D03000002")
READER_KEY, BADGE_KEY = bytes(range(16)), bytes(range(16, 32))
SERVICE, MANAGEMENT = Privilege.GLOBAL_SERVICE, Privilege.CVM_MANAGEMENT
ASCII, BCD, HEX = 1, 2, 3
BLOCKED, VALIDATED, INVALID, ACTIVE = 4, 3, 2, 1


def pin_block(value: bytes = b"1234", kind: int = ASCII) -> bytes:
    """The value as STORE DATA brings it."""
    return (bytes([kind, len(value)]) + value).ljust(16, b"\x00")


class Desk:
    """A card with a CVM application and badges that ask for its PIN."""

    def __init__(self) -> None:
        self.host = host_with_session()
        for package, module in ((PIN_PACKAGE, PIN_MODULE), (BADGE_PACKAGE, BADGE_MODULE)):
            assert self.host.load(load_file(package, (module,)), package=package) == 0x9000

    def manage(self) -> CardHost:
        self.host.select()
        self.host.authenticate()
        return self.host

    def install(
        self, package: Aid, module: Aid, aid: Aid, privileges: Privilege, services: bytes = b""
    ) -> int:
        system = SystemParameters(services=services)
        return self.manage().sw(
            commands.install_for_install(
                package, module, aid, privileges, application_parameters(system=system), make_selectable=True
            )
        )

    def personalize(
        self, aid: Aid, plain: Sequence[tuple[int, bytes]], secret: Sequence[tuple[int, bytes]]
    ) -> int:
        """Clear groupings, encrypted ones, completion; the last status word."""
        host = self.manage()
        host.ok(commands.install_for_personalization(aid))
        assert host.dek is not None
        dek, structure = host.dek, StoreDataStructure.DGI
        blocks = b"".join(encode_dgi(*dgi) for dgi in plain)
        secrets = b"".join(encode_dgi(dgi, dek.encrypt(value)) for dgi, value in secret)
        host.ok(commands.store_data(blocks, 0, last=False, structure=structure))
        if secrets:
            encrypted = StoreDataEncryption.ENCRYPTED
            host.ok(commands.store_data(secrets, 1, last=False, structure=structure, encryption=encrypted))
        number = 2 if secrets else 1
        return host.sw(commands.store_data(encode_dgi(0x7FFF, b""), number, last=True, structure=structure))

    def pin(
        self,
        aid: Aid = PIN,
        *,
        privileges: Privilege = SERVICE,
        services: bytes = b"",
        block: bytes = pin_block(),
        identifier: int = 0x11,
        limit: int = 3,
    ) -> int:
        """Install and personalise a CVM application; the status word of the completion."""
        assert self.install(PIN_PACKAGE, PIN_MODULE, aid, privileges, services) == 0x9000
        plain = [(0x7001, bytes([identifier])), (0x7002, bytes([limit])), (0xDF01, b"pin-1")]
        return self.personalize(aid, plain, [(0x8001, block)])

    def badge(self, aid: Aid = BADGE, privileges: Privilege = Privilege.NONE) -> None:
        """Install and personalise a badge that asks for the global PIN."""
        assert self.install(BADGE_PACKAGE, BADGE_MODULE, aid, privileges) == 0x9000
        plain = [(0x6001, b"\x0b\xad\x6e\x01"), (0x6002, b"\x03"), (0x6003, b"FLOOR-3"), (0x6004, b"\x11")]
        plain.append((0xDF01, b"badge-1"))
        assert self.personalize(aid, plain, [(0x8001, READER_KEY), (0x8002, BADGE_KEY)]) == 0x9000

    def send(self, aid: Aid, *texts: str) -> list[int]:
        """Select an application and send commands; their status words."""
        assert self.host.select(aid).sw == 0x9000
        return [self.host.raw(text).sw for text in texts]

    def after_reader(self, aid: Aid, *texts: str) -> list[int]:
        """The same, for a reader that has proved itself to the badge before."""
        assert self.host.select(aid).sw == 0x9000
        challenge = self.host.raw("0084000010").data
        proof = cmac(READER_KEY, b"\x01" + challenge + bytes(16))
        assert self.host.raw(CommandApdu(0, 0x82, 0, 0, bytes(16) + proof)).sw == 0x9000
        return [self.host.raw(text).sw for text in texts]

    def state(self) -> int:
        self.host.select(PIN)
        return self.host.raw("80CADF3100").data[-1]


def verify(value: bytes, kind: int = ASCII) -> str:
    return (bytes([0x00, 0x20, 0x00, kind, len(value)]) + value).hex()


RIGHT, WRONG = verify(b"1234"), verify(b"4321")
ASK = "0088000000"
CHANGE, UNBLOCK = "002401010435363738", "002C0300"


def test_badge_when_it_asks_for_the_cardholder_then_proves_itself_after_the_right_pin_only() -> None:
    desk = Desk()
    assert desk.pin() == 0x9000
    desk.badge()
    assert desk.after_reader(BADGE, ASK) == [0x6982]
    assert desk.after_reader(BADGE, WRONG, ASK) == [0x63C2, 0x6982]
    assert desk.after_reader(BADGE, RIGHT, ASK) == [0x9000, 0x9000]


def test_pin_when_verified_by_one_application_then_is_so_for_the_others_until_the_session_ends() -> None:
    desk = Desk()
    desk.pin()
    desk.badge()
    assert desk.send(PIN, RIGHT) == [0x9000]
    assert desk.after_reader(BADGE, ASK) == [0x9000]
    desk.host.card.power_off()
    desk.host.card.power_on()
    assert desk.state() == ACTIVE
    assert desk.after_reader(BADGE, ASK) == [0x6982]


def test_pin_when_presented_goes_through_its_states() -> None:
    desk = Desk()
    desk.pin(limit=2)
    assert desk.state() == ACTIVE
    assert desk.send(PIN, "0020000100", WRONG) == [0x63C2, 0x63C1]
    assert desk.state() == INVALID
    assert desk.send(PIN, RIGHT, "0020000100") == [0x9000, 0x9000]
    assert desk.state() == VALIDATED
    assert desk.send(PIN, "0020FF00") == [0x9000]
    assert desk.state() == ACTIVE
    assert desk.send(PIN, WRONG, WRONG, RIGHT, "0020FF00", "0020000100") == [
        0x63C1, 0x6983, 0x6983, 0x6985, 0x6983,
    ]  # fmt: skip
    assert desk.state() == BLOCKED


def test_pin_when_the_session_ends_keeps_its_counter_and_its_block() -> None:
    desk = Desk()
    desk.pin()
    desk.send(PIN, WRONG)
    desk.host.card.power_on()
    assert desk.state() == ACTIVE
    assert desk.send(PIN, "0020000100", WRONG, WRONG) == [0x63C2, 0x63C1, 0x6983]
    desk.host.card.power_on()
    assert desk.state() == BLOCKED


def test_cvm_management_when_held_changes_and_unblocks_the_pin() -> None:
    desk = Desk()
    desk.pin(limit=1)
    desk.badge(MANAGER, MANAGEMENT)
    desk.send(PIN, WRONG)
    assert desk.state() == BLOCKED
    assert desk.after_reader(MANAGER, UNBLOCK, RIGHT) == [0x9000, 0x9000]
    assert desk.after_reader(MANAGER, CHANGE) == [0x9000]
    assert desk.state() == ACTIVE
    assert desk.send(PIN, verify(b"5678")) == [0x9000]
    assert desk.send(PIN, RIGHT) == [0x6983]


def test_cvm_management_when_absent_changes_and_unblocks_nothing() -> None:
    desk = Desk()
    desk.pin(limit=1)
    desk.badge()
    assert desk.after_reader(BADGE, CHANGE, UNBLOCK) == [0x6982, 0x6982]
    assert desk.send(PIN, WRONG) == [0x6983]
    before = desk.host.card.image()
    assert desk.after_reader(BADGE, UNBLOCK, CHANGE, RIGHT) == [0x6982, 0x6982, 0x6983]
    assert desk.host.card.image() == before


def test_manager_when_its_reader_has_not_proved_itself_is_refused() -> None:
    desk = Desk()
    desk.pin()
    desk.badge(MANAGER, MANAGEMENT)
    assert desk.send(MANAGER, CHANGE, UNBLOCK) == [0x6985, 0x6985]
    assert desk.send(PIN, RIGHT) == [0x9000]


@pytest.mark.parametrize(
    "change", ["00240101", "0024010104" + "80" * 4, "0024010201AB", "0024010412", "00240001"]
)
def test_new_value_when_malformed_is_refused(change: str) -> None:
    desk = Desk()
    desk.pin()
    desk.badge(MANAGER, MANAGEMENT)
    assert desk.after_reader(MANAGER, change)[0] in {0x6A80, 0x6A86, 0x6700}
    assert desk.send(PIN, RIGHT) == [0x9000]


@pytest.mark.parametrize(
    ("block", "value", "kind", "expected"),
    [
        (pin_block(b"12345"), bytes.fromhex("12345F"), BCD, 0x9000),
        (pin_block(bytes.fromhex("1234"), BCD), b"1234", ASCII, 0x9000),
        (pin_block(bytes.fromhex("12345F"), BCD), bytes.fromhex("12345F"), BCD, 0x9000),
        (pin_block(b"1234"), b"1234", HEX, 0x63C2),
        (pin_block(b"1234", HEX), b"1234", ASCII, 0x63C2),
        (pin_block(b"\x00\xff", HEX), b"\x00\xff", HEX, 0x9000),
        (pin_block(b"12AB"), bytes.fromhex("12AB"), BCD, 0x63C2),
    ],
)
def test_value_when_of_another_format_is_converted_between_digits_only(
    block: bytes, value: bytes, kind: int, expected: int
) -> None:
    """§8.2.2.3: nothing is converted from or to HEX."""
    desk = Desk()
    assert desk.pin(block=block) == 0x9000
    assert desk.send(PIN, verify(value, kind)) == [expected]


@pytest.mark.parametrize(
    "change",
    [
        {"block": pin_block(b"12\x80")},
        {"block": pin_block(bytes.fromhex("1A"), BCD)},
        {"block": pin_block(b"")},
        {"block": pin_block(kind=4)},
        {"block": pin_block()[:-1] + b"\x01"},
        {"limit": 0},
        {"limit": 16},
        {"identifier": 0},
    ],
)
def test_personalization_when_value_limit_or_identifier_is_wrong_is_refused(change: dict[str, int]) -> None:
    desk = Desk()
    assert desk.pin(**change) == 0x6A80  # type: ignore[arg-type]
    assert desk.send(PIN, RIGHT) == [0x6985]


def test_update_when_it_brings_a_value_or_a_limit_unblocks_the_pin() -> None:
    desk = Desk()
    desk.pin(limit=1)
    desk.send(PIN, WRONG)
    assert desk.personalize(PIN, [(0x7002, b"\x02")], []) == 0x9000
    assert desk.send(PIN, WRONG, RIGHT, WRONG, WRONG) == [0x63C1, 0x9000, 0x63C1, 0x6983]
    assert desk.personalize(PIN, [], [(0x8001, pin_block(b"9999"))]) == 0x9000
    assert desk.send(PIN, verify(b"9999")) == [0x9000]


def test_pin_value_when_stored_is_kept_once_and_not_in_the_description() -> None:
    desk = Desk()
    desk.pin(block=pin_block(b"80726354"))
    desk.badge(MANAGER, MANAGEMENT)
    desk.after_reader(MANAGER, CHANGE)
    kept = desk.host.card.image().instance(PIN)
    assert kept is not None
    assert not any(b"80726354" in value for value in kept.store.values())
    described = describe(desk.host.card.image(), 1 << 20)
    assert b"5678".hex() not in json.dumps(described)
    assert '"services": ["8211"]' in json.dumps(described)


# --- registration -------------------------------------------------------------------------------


def test_global_service_when_absent_then_registers_nothing_and_offers_nothing() -> None:
    desk = Desk()
    assert desk.pin(privileges=Privilege.NONE) == 0x6985
    assert desk.send(PIN, RIGHT) == [0x6985]
    desk.badge()
    assert desk.after_reader(BADGE, RIGHT, ASK) == [0x6A88, 0x6A88]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("", 0x9000),
        ("8211", 0x9000),
        ("8200", 0x9000),
        ("81038211", 0x9000),
        ("8212", 0x6985),
        ("8100", 0x6985),
        ("8311", 0x6985),
    ],
)
def test_unique_service_when_install_named_services_must_be_among_them(named: str, expected: int) -> None:
    assert Desk().pin(services=bytes.fromhex(named)) == expected


@pytest.mark.parametrize("named", [b"\x82", b"\x82\x11\x82", b"\x80\x01", b"\xff\x01"])
def test_service_parameters_when_malformed_are_refused(named: bytes) -> None:
    desk = Desk()
    assert desk.install(PIN_PACKAGE, PIN_MODULE, PIN, SERVICE, named) == 0x6A80
    assert bytes(PIN) not in desk.manage().states()


def test_unique_service_when_another_has_it_is_refused_until_that_one_is_deleted() -> None:
    desk = Desk()
    assert desk.pin() == 0x9000
    assert desk.pin(OTHER_PIN) == 0x6985
    desk.badge()
    assert desk.send(BADGE, RIGHT) == [0x9000]
    assert desk.manage().sw(commands.delete(PIN)) == 0x9000
    assert desk.send(BADGE, RIGHT) == [0x6A88]
    again = [(0x7001, b"\x11"), (0x7002, b"\x03"), (0xDF01, b"pin-2")]
    assert desk.personalize(OTHER_PIN, again, [(0x8001, pin_block())]) == 0x9000
    assert desk.send(BADGE, RIGHT) == [0x9000]


@pytest.mark.parametrize("lost", ["locked", "privilege"])
def test_service_when_its_application_is_locked_or_loses_the_privilege_is_not_there(lost: str) -> None:
    desk = Desk()
    desk.pin()
    desk.badge()
    host = desk.manage()
    if lost == "locked":
        host.ok(commands.set_status(StatusTarget.APPLICATION, 0x80, PIN))
    else:
        host.ok(commands.install_for_registry_update(PIN, privileges=Privilege.NONE))
    assert desk.after_reader(BADGE, RIGHT, ASK) == [0x6A88, 0x6A88]


def test_registry_update_when_it_names_services_replaces_them() -> None:
    desk = Desk()
    desk.install(PIN_PACKAGE, PIN_MODULE, PIN, SERVICE, b"\x81\x03")
    parameters = bytes.fromhex("EF04CB028211")
    host = desk.manage()
    host.ok(commands.install_for_registry_update(PIN, parameters=parameters))
    instance = host.card.image().instance(PIN)
    assert instance is not None and instance.services == b"\x82\x11"
    assert (
        host.sw(commands.install_for_registry_update(PIN, parameters=bytes.fromhex("EF03CB0182"))) == 0x6A80
    )


def open_environment(desk: Desk) -> tuple[Environment, Instance, Instance]:
    """The saved card without its commands, and the two CVM applications in it."""
    environment = Environment(desk.host.card.image(), desk.host.card.profile, MemoryNvm(), random_bytes)
    one, two = environment.image.instance(PIN), environment.image.instance(OTHER_PIN)
    assert one is not None and two is not None
    return environment, one, two


def test_service_access_when_asked_by_name_or_application_follows_registration_and_parameters() -> None:
    """§8.1.2: uniquely registered by name alone, recorded ones of an application that is named."""
    desk = Desk()
    desk.install(PIN_PACKAGE, PIN_MODULE, PIN, SERVICE, b"\x81\x03\xa0\x00")
    desk.install(PIN_PACKAGE, PIN_MODULE, OTHER_PIN, SERVICE, b"\x81\x03")
    environment, one, two = open_environment(desk)
    assert services.provider_of(environment, b"\x81\x03") is None
    assert services.provider_of(environment, b"\x81\x03", bytes(OTHER_PIN)) is two
    assert services.provider_of(environment, b"\x81\x00", bytes(PIN)) is one
    assert services.provider_of(environment, b"\xa0\x07", bytes(PIN)) is one
    assert services.provider_of(environment, b"\x82\x11", bytes(PIN)) is None
    services.register_unique(environment, two, b"\x81\x03")
    assert services.provider_of(environment, b"\x81\x03") is two
    assert services.provider_of(environment, b"\x81\x00") is two
    assert services.provider_of(environment, b"\x81\x02") is None


def test_service_when_given_up_is_free_and_only_its_holder_gives_it_up() -> None:
    desk = Desk()
    for aid in (PIN, OTHER_PIN):
        desk.install(PIN_PACKAGE, PIN_MODULE, aid, SERVICE)
    environment, one, two = open_environment(desk)
    services.register_unique(environment, one, b"\x82\x11")
    for refused in (services.deregister_unique, services.register_unique):
        with pytest.raises(StatusError, match="6985"):
            refused(environment, two, b"\x82\x11")
    services.deregister_unique(environment, one, b"\x82\x11")
    services.register_unique(environment, two, b"\x82\x11")
    assert services.provider_of(environment, b"\x82\x11") is two


def test_cvm_management_when_absent_refuses_limit_and_block_and_allows_them_when_held() -> None:
    desk = Desk()
    desk.pin()
    desk.install(PIN_PACKAGE, PIN_MODULE, OTHER_PIN, Privilege.NONE)
    environment, _, caller = open_environment(desk)
    handle = services.find_cvm(environment, caller, services.GLOBAL_PIN)
    for refused in (handle.block, handle.unblock, lambda: handle.set_limit(5)):
        with pytest.raises(StatusError, match="6982"):
            refused()
    assert (handle.state, handle.tries) == (ACTIVE, 3)
    caller.privileges = int(MANAGEMENT)
    handle.set_limit(5)
    assert handle.tries == 5
    handle.block()
    assert (handle.state, handle.tries) == (BLOCKED, 0)
    handle.unblock()
    assert (handle.state, handle.tries) == (ACTIVE, 5)
