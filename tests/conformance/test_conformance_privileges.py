"""Conformance cases 39 to 51: privileges, which may be given, what each allows, what its absence refuses.

Source: GPCS 2.3.1 §6.6, §9.4.2, §9.5, §9.6, §11.1.2, §11.5.2.3. The privileges that concern tokens, receipts,
signatures and encryption are in the files of cases 83 to 101, the contactless ones with Amendment C.
"""

import pytest
from tests.conformance.delegation import (
    delete_command,
    delete_fields,
    install_command,
    install_fields,
    selectable_fields,
    update_fields,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    MODULE,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    SSD2,
    SSD_PRIVILEGES,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import restrict_parameters
from opentsm.card.gp.privileges import Privilege

KEYS = make_keys(0x66)
SECOND = Aid.from_hex("F0010203040102")


def host_in_domain(privileges: Privilege) -> CardHost:
    """A host in a session with SSD, which has these privileges; PACKAGE and INSTANCE belong to the issuer."""
    host = host_with_session()
    host.load()
    host.install()
    privileged_domain(host, SSD, privileges, KEYS)
    host.select(SSD)
    host.authenticate(KEYS)
    return host


def reset(host: CardHost) -> None:
    """Power the card off and on; the session is gone."""
    host.card.power_off()
    host.card.power_on()
    host.channel = None


@pytest.mark.parametrize(
    "pair",
    [
        Privilege.AUTHORIZED_MANAGEMENT | Privilege.DELEGATED_MANAGEMENT,
        Privilege.TOKEN_VERIFICATION | Privilege.DELEGATED_MANAGEMENT,
        Privilege.RECEIPT_GENERATION | Privilege.DELEGATED_MANAGEMENT,
        Privilege.MANDATED_DAP_VERIFICATION,
    ],
)
def test_case_039_exclusive_privileges_are_refused(pair: Privilege) -> None:
    assert host_with_session().create_domain(SSD, SSD_PRIVILEGES | pair) == 0x6A80


@pytest.mark.parametrize(
    "privilege",
    [
        Privilege.DAP_VERIFICATION,
        Privilege.DELEGATED_MANAGEMENT,
        Privilege.AUTHORIZED_MANAGEMENT,
        Privilege.CIPHERED_LOAD_FILE_DATA_BLOCK,
    ],
)
def test_case_040_domain_privileges_need_a_domain(privilege: Privilege) -> None:
    host = host_with_session()
    host.load()
    assert host.install(privileges=privilege) == 0x6A80


def test_case_041_one_privilege_byte_gives_a_domain_trusted_path() -> None:
    host = host_with_session()
    fields = b"".join(bytes([len(f)]) + f for f in (bytes(SD_PACKAGE), bytes(SD_MODULE), bytes(SSD), b"\x80"))
    data = fields + b"\x02\xc9\x00" + b"\x00"
    assert host.sw(CommandApdu(0x80, 0xE6, 0x0C, 0, data, 256)) == 0x9000
    assert host.field_of(SSD, 0xC5) == bytes.fromhex("808000")


def test_case_041_one_privilege_byte_leaves_the_issuer_its_defaults() -> None:
    """Table 6-2: 8 to 14 and 16; else the card would have nobody left who manages it."""
    host = host_with_session()
    assert host.sw(install_command(0x40, 0x00, update_fields(ISD, b"\x9a"))) == 0x9000
    assert host.field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9AFE80")
    assert host.load() == 0x9000
    assert host.install(privileges=Privilege.FINAL_APPLICATION) == 0x9000
    assert host.sw(install_command(0x40, 0x00, update_fields(ISD, b"\x9e"))) == 0x9000
    assert host.field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9EFC80")
    assert host.sw(install_command(0x40, 0x00, update_fields(ISD, b"\xa0"))) == 0x6A80


def test_case_042_card_reset_needs_a_selectable_instance_and_selects_implicitly() -> None:
    host = host_with_session()
    host.load()
    assert host.install(privileges=Privilege.CARD_RESET, selectable=False) == 0x6A80
    assert host.install(privileges=Privilege.CARD_RESET) == 0x9000
    reset(host)
    # An applet, not a security domain, answers on the basic channel.
    assert host.raw("80CA004200").sw == 0x6D00


@pytest.mark.parametrize("privilege", [Privilege.CARD_RESET, Privilege.FINAL_APPLICATION])
def test_case_043_second_holder_is_refused_while_the_issuer_does_not_hold_it(privilege: Privilege) -> None:
    host = host_with_session()
    host.load()
    assert host.install(privileges=privilege) == 0x9000
    assert host.install(SECOND, privileges=privilege) == 0x6A80
    assert host.install(SECOND) == 0x9000
    assert host.sw(commands.install_for_registry_update(SECOND, privileges=privilege)) == 0x6A80


@pytest.mark.parametrize(
    ("privilege", "without"), [(Privilege.CARD_RESET, "9AFE80"), (Privilege.FINAL_APPLICATION, "9EFC80")]
)
def test_case_044_unique_privilege_returns_to_the_issuer(privilege: Privilege, without: str) -> None:
    host = host_with_session()
    host.load()
    host.install(privileges=privilege)
    assert host.field_of(ISD, 0xC5, 0x80) == bytes.fromhex(without)
    assert host.sw(commands.delete(INSTANCE)) == 0x9000
    assert host.field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9EFE80")


def test_case_045_make_selectable_takes_only_card_reset() -> None:
    host = host_with_session()
    host.load()
    host.install(selectable=False)
    given = Privilege.CARD_RESET | Privilege.GLOBAL_DELETE | Privilege.CARD_LOCK
    assert host.sw(commands.install_for_make_selectable(INSTANCE, privileges=given)) == 0x9000
    assert host.field_of(INSTANCE, 0xC5) == bytes.fromhex("040000")


def test_case_046_registry_update_replaces_privileges_all_or_nothing() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    wanted = SSD_PRIVILEGES | Privilege.GLOBAL_DELETE
    unknown = Aid.from_hex("A0A0A0A0A0")
    failing = commands.install_for_registry_update(SSD, new_sd=unknown, privileges=wanted)
    assert host.sw(failing) == 0x6A88
    assert host.field_of(SSD, 0xC5) == bytes.fromhex("808000")
    assert host.sw(commands.install_for_registry_update(SSD, privileges=wanted)) == 0x9000
    assert host.field_of(SSD, 0xC5) == bytes.fromhex("809000")
    assert host.sw(commands.install_for_registry_update(SSD, privileges=SSD_PRIVILEGES)) == 0x9000
    assert host.field_of(SSD, 0xC5) == bytes.fromhex("808000")


def test_case_047_restricting_the_card_needs_global_lock_and_is_for_good() -> None:
    delete_only = restrict_parameters(0x01)
    host = host_in_domain(Privilege.AUTHORIZED_MANAGEMENT)
    restrict = commands.install_for_registry_update(None, parameters=delete_only)
    assert host.sw(restrict) == 0x6985
    host.select()
    host.authenticate()
    assert host.sw(restrict) == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.install(SECOND) == 0x9000


def test_case_048_restricting_one_domain_leaves_the_others() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.AUTHORIZED_MANAGEMENT, KEYS)
    restrict = commands.install_for_registry_update(SSD, parameters=restrict_parameters(0x02))
    assert host.sw(restrict) == 0x9000
    assert host.load() == 0x9000
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.load(load_file(SSD2, ()), package=SSD2) == 0x6985
    assert host.create_domain(SSD2) == 0x9000


def test_case_049_fresh_issuer_domain_has_its_privileges() -> None:
    assert host_with_session().field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9EFE80")


def test_case_050_personalization_needs_trusted_path_and_direct_association() -> None:
    host = host_with_session()
    host.create_domain(SSD, Privilege.SECURITY_DOMAIN)
    host.forward_keys(SSD, KEYS)
    host.load(sd=SSD)
    host.install()
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x6985
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x6985


def test_case_051_domain_without_management_privilege_manages_nothing() -> None:
    """Not even with Global Delete (§9.5.1)."""
    host = host_in_domain(Privilege.GLOBAL_DELETE)
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.load(load_file(SSD2, ()), package=SSD2) == 0x6985
    assert host.create_domain(SSD2) == 0x6985
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x6985


def test_assignable_privileges_are_those_of_the_profile() -> None:
    host = CardHost(make_card(assignable_domain="808000"))
    host.authenticate()
    assert host.create_domain(SSD, SSD_PRIVILEGES | Privilege.AUTHORIZED_MANAGEMENT) == 0x6A80
    assert host.create_domain(SSD) == 0x9000


@pytest.mark.parametrize("listed", ["1EBFB0", "1EFFF0", "FFFFF0", "001000"])
def test_assignable_privileges_when_shown_then_exactly_those_can_be_given(listed: str) -> None:
    """§H.4: tag 82 of the card capability information is what INSTALL lets an application have."""
    host = CardHost(make_card(assignable_application=listed))
    host.authenticate()
    host.load()
    capability = parse_tlvs(parse_tlv(host.ok(commands.get_data(0x67))).value)
    shown = int.from_bytes(find(capability, 0x82) or b"", "big")
    given = 0
    for privilege in (1 << bit for bit in range(4, 24)):
        fields = install_fields(privileges=privilege.to_bytes(3, "big"))
        if host.sw(install_command(0x0C, 0x00, fields)) == 0x9000:
            given |= privilege
            assert host.sw(delete_command(0x00, delete_fields(INSTANCE))) == 0x9000
    assert given == shown


@pytest.mark.parametrize("length", [0, 2, 4])
def test_privileges_have_one_or_three_bytes(length: int) -> None:
    host = host_with_session()
    host.load()
    fields = b"".join(
        bytes([len(f)]) + f for f in (bytes(PACKAGE), bytes(MODULE), bytes(INSTANCE), bytes(length))
    )
    data = fields + b"\x02\xc9\x00" + b"\x00"
    assert host.sw(CommandApdu(0x80, 0xE6, 0x0C, 0, data, 256)) == 0x6A80


AM = Privilege.AUTHORIZED_MANAGEMENT
# What a security domain with one privilege may do, and what refuses it to one without.
POWERS = {
    "Card Lock": (Privilege.CARD_LOCK, Privilege.NONE, "80F0807F00", 0x6985),
    "Card Terminate": (Privilege.CARD_TERMINATE, Privilege.NONE, "80F080FF00", 0x6985),
    "Authorized Management": (AM, Privilege.NONE, "80E602000C05F0F0F0F0F0000002EF0000", 0x6985),
    "Global Delete": (AM | Privilege.GLOBAL_DELETE, AM, "80E40000094F07F001020304010100", 0x6985),
    "Global Lock": (Privilege.GLOBAL_LOCK, Privilege.NONE, "80F0408007F0010203040101", 0x6985),
    "Global Registry": (Privilege.GLOBAL_REGISTRY, Privilege.NONE, "80F28002024F0000", 0x6A86),
    "Receipt Generation": (Privilege.RECEIPT_GENERATION, Privilege.NONE, "80CA00C200", 0x6A88),
    "Global Lock over OPEN": (
        AM | Privilege.GLOBAL_LOCK,
        AM,
        "80E640000B0000000005EF03D9011000",
        0x6985,
    ),
}


@pytest.mark.parametrize("name", POWERS)
def test_privilege_when_held_then_the_command_is_carried_out(name: str) -> None:
    held, _, command, _ = POWERS[name]
    assert host_in_domain(held).sw(CommandApdu.parse(bytes.fromhex(command))) == 0x9000


@pytest.mark.parametrize("name", POWERS)
def test_privilege_when_absent_then_the_command_is_refused(name: str) -> None:
    _, others, command, refusal = POWERS[name]
    host = host_in_domain(others)
    before = host.card.image().instances
    assert host.sw(CommandApdu.parse(bytes.fromhex(command))) == refusal
    assert host.card.image().instances == before


def test_trusted_path_when_held_then_the_applet_is_personalized() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.TRUSTED_PATH, KEYS)
    host.load(sd=SSD)
    host.install()
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x9000
    assert host.sw(commands.store_data(b"\x01\x02", 0, last=True)) == 0x9000


def test_security_domain_when_held_then_it_receives_content() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    assert host.load(sd=SSD) == 0x9000


def test_security_domain_when_absent_then_nothing_is_associated_with_it() -> None:
    host = host_with_session()
    host.load()
    host.install()
    assert host.load(load_file(SSD2, ()), package=SSD2, sd=INSTANCE) == 0x6985


def locked_card(privileges: Privilege) -> CardHost:
    """A card that SSD has locked."""
    host = host_in_domain(privileges | Privilege.CARD_LOCK)
    assert host.sw(CommandApdu(0x80, 0xF0, 0x80, 0x7F)) == 0x9000
    host.channel = None
    return host


def test_final_application_when_held_then_it_alone_is_selected_in_a_locked_card() -> None:
    host = locked_card(Privilege.FINAL_APPLICATION)
    assert host.select(SSD).sw == 0x6283
    assert host.select().sw == 0x6A81
    reset(host)
    assert bytes(SSD) in host.select(SSD).data


def test_final_application_when_absent_then_a_locked_card_does_not_select_it() -> None:
    host = locked_card(Privilege.NONE)
    assert host.select(SSD).sw == 0x6A81
    assert host.select().sw == 0x6283


def test_final_application_when_held_then_it_is_not_locked() -> None:
    host = host_in_domain(Privilege.FINAL_APPLICATION)
    host.select()
    host.authenticate()
    assert host.sw(commands.lock(SSD)) == 0x6985


def final_by_update(host: CardHost, entry: Aid) -> int:
    """Give Final Application to an application or domain by a registry update; SSD stays a domain."""
    privileges = b"\x80\x82\x00" if entry == SSD else b"\x00\x02\x00"
    return host.sw(install_command(0x40, 0x00, update_fields(entry, privileges)))


@pytest.mark.parametrize("strict", [True, False])
def test_final_application_when_given_by_install_to_something_installed_then_refused(strict: bool) -> None:
    host = host_with_session(make_card(final_application_selectable=strict))
    host.load()
    installing = install_fields(privileges=b"\x00\x02\x00")
    assert host.sw(install_command(0x04, 0x00, installing)) == (0x6985 if strict else 0x9000)
    if strict:
        assert bytes(INSTANCE) not in host.states()
        assert host.sw(install_command(0x0C, 0x00, installing)) == 0x9000


@pytest.mark.parametrize("strict", [True, False])
def test_final_application_when_given_by_update_to_something_installed_then_refused(strict: bool) -> None:
    host = host_with_session(make_card(final_application_selectable=strict))
    host.load()
    host.install(selectable=False)
    assert final_by_update(host, INSTANCE) == (0x6985 if strict else 0x9000)
    if strict:
        assert host.field_of(INSTANCE, 0xC5) == bytes(3)
        host.ok(install_command(0x08, 0x00, selectable_fields()))
        assert final_by_update(host, INSTANCE) == 0x9000


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("entry", [INSTANCE, SSD])
def test_final_application_when_given_by_update_to_something_locked_then_refused(
    entry: Aid, strict: bool
) -> None:
    host = host_with_session(make_card(final_application_selectable=strict))
    host.load()
    host.install()
    host.create_domain()
    host.ok(commands.lock(entry))
    assert final_by_update(host, entry) == (0x6985 if strict else 0x9000)
    if strict:
        host.ok(commands.unlock(entry))
        assert final_by_update(host, entry) == 0x9000


def test_card_lock_and_terminate_when_held_by_a_domain_then_it_also_unlocks() -> None:
    host = locked_card(Privilege.CARD_TERMINATE | Privilege.FINAL_APPLICATION)
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(CommandApdu(0x80, 0xF0, 0x80, 0x0F)) == 0x9000
    assert host.sw(CommandApdu(0x80, 0xF0, 0x80, 0xFF)) == 0x9000
    assert host.sw(CommandApdu(0x80, 0xF0, 0x80, 0x0F)) != 0x9000


def test_card_reset_when_absent_then_the_issuer_is_selected_after_a_reset() -> None:
    host = host_with_session()
    host.load()
    host.install()
    reset(host)
    assert host.raw("80CA004200").sw == 0x9000


def test_case_050_personalization_of_a_locked_application_is_refused() -> None:
    """§7.3.2, §9.6.2: it cannot process data."""
    host = host_with_session()
    host.load()
    host.install()
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x6985
    assert host.sw(commands.unlock(INSTANCE)) == 0x9000
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x9000


def test_content_of_a_locked_domain_when_another_works_on_it_then_refused() -> None:
    """§5.3.2.4, §9.3.7, §9.4: a LOCKED security domain accepts nothing for what is associated with it."""
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    host.load()
    host.install(selectable=False)
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x9000
    asked = (
        install_command(0x08, 0x00, selectable_fields()),
        install_command(0x40, 0x00, update_fields(INSTANCE, b"\x00\x00\x00")),
        commands.install_for_extradition(INSTANCE, ISD),
    )
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert [host.sw(command) for command in asked] == [0x6985] * 3
    assert host.field_of(INSTANCE, 0xCC) == SSD
    assert host.sw(commands.unlock(SSD)) == 0x9000
    assert [host.sw(command) for command in asked] == [0x9000] * 3


def test_make_selectable_when_the_associated_domain_does_not_accept_then_refused() -> None:
    """§9.3.7: the application belongs to the issuer, the domain that asks stands below it."""
    host = host_with_session()
    host.load()
    host.install(selectable=False)
    privileged_domain(host, SSD, Privilege.AUTHORIZED_MANAGEMENT, KEYS)
    command = install_command(0x08, 0x00, selectable_fields())
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(command) == 0x6985
    host.select()
    host.authenticate()
    assert host.states()[INSTANCE] == 0x03
    assert host.sw(command) == 0x9000
