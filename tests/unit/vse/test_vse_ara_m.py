"""The ARA-M on a virtual card: rules in through the security domain, rules out to everybody (SEAC 1.1)."""

import pytest
from tests.unit.vse.card_host import INSTANCE, ISD, CardHost, load_file, make_card

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.gp import commands
from opentsm.card.gp.access_rules import (
    ARA_M_AID,
    ARA_M_PACKAGE,
    TAG_ALL,
    TAG_NEXT,
    TAG_REFRESH,
    AccessRule,
    RuleTarget,
    delete_rules,
    get_clients,
    get_configuration,
    get_rules,
    get_specific,
    missing_bytes,
    parse_clients,
    parse_refresh_tag,
    parse_rules,
    parse_specific,
    register_clients,
    store_rule,
    update_refresh_tag,
)
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.privileges import Privilege

HASH = b"\x11" * 20
RULE = AccessRule(RuleTarget(INSTANCE, device=HASH), apdu=True)


def ara_m(c9: bytes = b"", *, memory: int = 131072) -> CardHost:
    """A card with an ARA-M instance."""
    host = CardHost(make_card(memory=memory))
    host.select()
    host.authenticate()
    host.ok(commands.install_for_load(ARA_M_PACKAGE, None))
    block = load_file(bytes(ARA_M_PACKAGE), (bytes(ARA_M_AID),), size=100)
    for command in commands.load_blocks(block, block_size=200):
        host.ok(command)
    host.ok(
        commands.install_for_install(
            ARA_M_PACKAGE,
            ARA_M_AID,
            ARA_M_AID,
            Privilege.NONE,
            application_parameters(c9),
            make_selectable=True,
        )
    )
    return host


def write(host: CardHost, command: CommandApdu) -> ResponseApdu:
    """Send STORE DATA to the ARA-M through its security domain."""
    host.select()
    host.authenticate()
    host.ok(commands.install_for_personalization(ARA_M_AID))
    return host.send(command)


def read(host: CardHost, command: CommandApdu) -> ResponseApdu:
    """Ask the ARA-M as a device does."""
    host.select(ARA_M_AID)
    return host.raw(command)


def refresh(host: CardHost) -> bytes:
    return parse_refresh_tag(read(host, get_rules(TAG_REFRESH)).data)


def all_rules(host: CardHost) -> tuple[AccessRule, ...]:
    data = read(host, get_rules(TAG_ALL)).data
    while missing_bytes(data):
        answer = host.raw(get_rules(TAG_NEXT))
        assert answer.sw == 0x9000
        data += answer.data
    return parse_rules(data)


def test_get_all_when_empty_then_ff4000() -> None:
    assert read(ara_m(), get_rules(TAG_ALL)) == ResponseApdu(bytes.fromhex("FF4000"), 0x9000)


def test_store_when_through_the_domain_then_read_and_refresh_tag_is_new() -> None:
    host = ara_m()
    before = refresh(host)
    host.card._random = lambda length: bytes(range(0x51, 0x51 + length))
    host.card.power_on()
    assert write(host, store_rule(RULE)).sw == 0x9000
    assert all_rules(host) == (RULE,) and refresh(host) != before


def test_store_when_not_through_the_domain_then_6982() -> None:
    host = ara_m()
    assert read(host, store_rule(RULE)).sw == 0x6982
    assert all_rules(host) == ()


def test_store_when_instance_is_open_then_anybody_may() -> None:
    host = ara_m(b"\x01")
    assert read(host, store_rule(RULE)).sw == 0x9000
    assert all_rules(host) == (RULE,)


def test_get_all_when_longer_than_an_answer_then_in_parts() -> None:
    host = ara_m(b"\x01")
    rules = tuple(
        AccessRule(RuleTarget(Aid(bytes((0xF0, 0, 0, 0, n))), device=HASH), nfc=True) for n in range(12)
    )
    for rule in rules:
        assert read(host, store_rule(rule)).sw == 0x9000
    assert len(read(host, get_rules(TAG_ALL)).data) <= 256
    assert all_rules(host) == rules
    assert host.raw(get_rules(TAG_NEXT)).sw == 0x6985


def test_get_next_when_rules_changed_in_between_then_6a84() -> None:
    host = ara_m(b"\x01")
    for n in range(24):
        read(host, store_rule(AccessRule(RuleTarget(Aid(bytes((0xF0, 0, 0, 0, n)))), nfc=True)))
    read(host, get_rules(TAG_ALL))
    assert host.raw(update_refresh_tag()).sw == 0x9000
    assert host.raw(get_rules(TAG_NEXT)).sw == 0x6A84


def test_get_specific_when_target_has_rules_then_theirs_only() -> None:
    host = ara_m(b"\x01")
    other = AccessRule(RuleTarget(INSTANCE), apdu=False)
    read(host, store_rule(RULE))
    read(host, store_rule(other))
    assert parse_specific(read(host, get_specific(RULE.target)).data, RULE.target) == (RULE,)
    assert parse_specific(read(host, get_specific(other.target)).data, other.target) == (other,)
    assert read(host, get_specific(RuleTarget(ISD))).sw == 0x6A88
    assert read(host, CommandApdu(0x80, 0xCA, 0xFF, 0x50, b"", 256)).sw == 0x6A80


def test_store_when_target_has_a_rule_then_stored_with_warning_and_never_twice() -> None:
    host = ara_m(b"\x01")
    second = AccessRule(RULE.target, nfc=False)
    assert read(host, store_rule(RULE)).sw == 0x9000
    assert read(host, store_rule(second)).sw == 0x6381
    assert all_rules(host) == (RULE, second)
    assert read(host, store_rule(RULE)).sw == 0x6381
    assert all_rules(host) == (RULE, second)


def test_store_when_something_is_unknown_then_dropped_with_warning() -> None:
    host = ara_m(b"\x01")
    # Tag DF70 stands beside the APDU rule.
    unknown = bytes.fromhex("F013E211E1044F00C100E309D00101DF70030A0B0C")
    assert read(host, CommandApdu(0x80, 0xE2, 0x90, 0x00, unknown)).sw == 0x6382
    assert all_rules(host) == (AccessRule(RuleTarget(), apdu=True),)


@pytest.mark.parametrize(
    ("data", "sw"),
    [
        ("F000", 0x6A80),
        ("F002E200", 0x6A80),
        ("F00BE209E1024F00E303D00102", 0x6A80),
        ("F00BE209E1024FF0E303D00101", 0x6A80),
        ("F00CE20AE1034F01F0E303D00101", 0x6A80),
        ("F00AE208E1024F00E302D000", 0x6A80),
        ("F00DE20BE1044F00C001E303D00101", 0x6A80),
        ("F9", 0x6A80),
        ("F900", 0x6981),
        ("E703000010", 0x6981),
        ("F1024F00", 0x6A88),
    ],
)
def test_store_when_refused_then_nothing_changed(data: str, sw: int) -> None:
    host = ara_m(b"\x01")
    before = host.card.image()
    assert read(host, CommandApdu(0x80, 0xE2, 0x90, 0x00, bytes.fromhex(data))).sw == sw
    assert host.card.image() == before


def test_delete_when_each_form_then_only_what_it_names() -> None:
    host = ara_m(b"\x01")
    anybody, implicit = (
        AccessRule(RuleTarget(INSTANCE), nfc=True),
        AccessRule(RuleTarget(implicit=True), apdu=True),
    )
    for one in (RULE, anybody, implicit):
        read(host, store_rule(one))
    assert read(host, delete_rules(RULE)).sw == 0x9000
    assert all_rules(host) == (anybody, implicit)
    assert read(host, delete_rules(RULE.target)).sw == 0x6A88
    assert read(host, delete_rules(INSTANCE)).sw == 0x9000
    assert all_rules(host) == (implicit,)
    assert read(host, delete_rules()).sw == 0x9000
    assert all_rules(host) == () and read(host, delete_rules()).sw == 0x9000


def test_memory_when_rules_come_and_go_then_the_same_again_and_full_is_6581() -> None:
    host = ara_m(b"\x01", memory=3000)
    free = host.card.profile.memory
    first = read(host, store_rule(RULE)).sw
    read(host, delete_rules())
    before = host.card.image()
    results = [
        read(host, store_rule(AccessRule(RuleTarget(Aid(n.to_bytes(5, "big")), device=HASH), apdu=True))).sw
        for n in range(1, 200)
    ]
    assert first == 0x9000 and free == 3000
    assert set(results) == {0x9000, 0x6581} and results == sorted(results, reverse=True)
    read(host, delete_rules())
    assert [sorted(one.store) for one in host.card.image().instances] == [
        sorted(one.store) for one in before.instances
    ]


def test_clients_when_registered_then_listed() -> None:
    host = ara_m()
    assert write(host, register_clients([INSTANCE, ISD])).sw == 0x9000
    answer = write(host, get_clients())
    assert answer.sw == 0x9000 and parse_clients(answer.data) == (INSTANCE, ISD)


def test_configuration_when_device_tells_its_version_then_kept_and_answered() -> None:
    host = ara_m(b"\x01")
    assert (
        read(host, get_configuration(b"\x01\x00\x00")).data.hex()
        == "df2107e505e603010100"[:0] + "df2107e505e603010100"
    )
    answer = host.raw(CommandApdu(0x80, 0xE2, 0x91, 0x00, b"\xf8\x00", 256))
    assert answer.data.hex() == "ff7f07e405e603010000"


def test_power_when_cut_after_store_then_the_rule_is_there() -> None:
    host = ara_m(b"\x01")
    read(host, store_rule(RULE))
    host.card.power_off()
    host.card.power_on()
    assert all_rules(host) == (RULE,)
