"""Privileges: which may be given, what each allows, and what its absence refuses."""

import pytest
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


@pytest.mark.parametrize(
    "pair",
    [
        Privilege.AUTHORIZED_MANAGEMENT | Privilege.DELEGATED_MANAGEMENT,
        Privilege.TOKEN_VERIFICATION | Privilege.DELEGATED_MANAGEMENT,
        Privilege.RECEIPT_GENERATION | Privilege.DELEGATED_MANAGEMENT,
        Privilege.MANDATED_DAP_VERIFICATION,
    ],
)
def test_exclusive_privileges_are_refused(pair: Privilege) -> None:
    """Case 39."""
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
def test_domain_privileges_need_a_domain(privilege: Privilege) -> None:
    """Case 40."""
    host = host_with_session()
    host.load()
    assert host.install(privileges=privilege) == 0x6A80


def test_one_privilege_byte_gives_a_domain_trusted_path() -> None:
    """Case 41."""
    host = host_with_session()
    fields = b"".join(bytes([len(f)]) + f for f in (bytes(SD_PACKAGE), bytes(SD_MODULE), bytes(SSD), b"\x80"))
    data = fields + b"\x02\xc9\x00" + b"\x00"
    assert host.sw(CommandApdu(0x80, 0xE6, 0x0C, 0, data, 256)) == 0x9000
    assert host.field_of(SSD, 0xC5) == bytes.fromhex("808000")


def test_card_reset_needs_a_selectable_instance_and_selects_implicitly() -> None:
    """Cases 42, 43, 44."""
    host = host_with_session()
    host.load()
    assert host.install(privileges=Privilege.CARD_RESET, selectable=False) == 0x6A80
    assert host.install(privileges=Privilege.CARD_RESET) == 0x9000
    assert host.field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9AFE80")
    assert host.install(SECOND, privileges=Privilege.CARD_RESET) == 0x6A80
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x6D00
    host.select()
    host.authenticate()
    assert host.sw(commands.delete(INSTANCE)) == 0x9000
    assert host.field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9EFE80")


def test_make_selectable_takes_only_card_reset() -> None:
    """Case 45."""
    host = host_with_session()
    host.load()
    host.install(selectable=False)
    given = Privilege.CARD_RESET | Privilege.GLOBAL_DELETE | Privilege.CARD_LOCK
    assert host.sw(commands.install_for_make_selectable(INSTANCE, privileges=given)) == 0x9000
    assert host.field_of(INSTANCE, 0xC5) == bytes.fromhex("040000")


def test_registry_update_replaces_privileges_all_or_nothing() -> None:
    """Case 46."""
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


def test_restricting_the_card_needs_global_lock_and_is_for_good() -> None:
    """Case 47."""
    delete_only = restrict_parameters(0x01)
    host = host_in_domain(Privilege.AUTHORIZED_MANAGEMENT)
    restrict = commands.install_for_registry_update(None, parameters=delete_only)
    assert host.sw(restrict) == 0x6985
    host.select()
    host.authenticate()
    assert host.sw(restrict) == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.install(SECOND) == 0x9000


def test_restricting_one_domain_leaves_the_others() -> None:
    """Case 48."""
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.AUTHORIZED_MANAGEMENT, KEYS)
    restrict = commands.install_for_registry_update(SSD, parameters=restrict_parameters(0x02))
    assert host.sw(restrict) == 0x9000
    assert host.load() == 0x9000
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.load(load_file(SSD2, ()), package=SSD2) == 0x6985
    assert host.create_domain(SSD2) == 0x9000


def test_fresh_issuer_domain_has_its_privileges() -> None:
    """Case 49."""
    assert host_with_session().field_of(ISD, 0xC5, 0x80) == bytes.fromhex("9EFE80")


def test_personalization_needs_trusted_path_and_direct_association() -> None:
    """Case 50."""
    host = host_with_session()
    host.create_domain(SSD, Privilege.SECURITY_DOMAIN)
    host.forward_keys(SSD, KEYS)
    host.load(sd=SSD)
    host.install()
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x6985
    host.select(SSD)
    host.authenticate(KEYS)
    assert host.sw(commands.install_for_personalization(INSTANCE)) == 0x6985


def test_domain_without_management_privilege_manages_nothing() -> None:
    """Case 51: not even with Global Delete."""
    host = host_in_domain(Privilege.GLOBAL_DELETE)
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.load(load_file(SSD2, ()), package=SSD2) == 0x6985
    assert host.create_domain(SSD2) == 0x6985
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x6985


def test_delegated_management_needs_a_token_and_authorized_management_forbids_it() -> None:
    """Case 85; without a token key every token fails (case 86)."""
    host = host_in_domain(Privilege.DELEGATED_MANAGEMENT)
    assert host.load(load_file(SSD2, ()), package=SSD2) == 0x6985
    assert host.sw(commands.install_for_load(SSD2, None, token=bytes(16))) == 0x6985
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    host.select()
    host.authenticate()
    assert host.sw(commands.install_for_load(SSD2, None, token=bytes(16))) == 0x6985
    assert host.sw(commands.delete(INSTANCE, token=bytes(16))) == 0x6985


def test_assignable_privileges_are_those_of_the_profile() -> None:
    host = CardHost(make_card(assignable_domain="808000"))
    host.authenticate()
    assert host.create_domain(SSD, SSD_PRIVILEGES | Privilege.AUTHORIZED_MANAGEMENT) == 0x6A80
    assert host.create_domain(SSD) == 0x9000


def test_signature_domains_refuse_unsigned_loads() -> None:
    """Cases 95, 96."""
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.DAP_VERIFICATION, KEYS)
    assert host.load(sd=SSD) == 0x6985
    assert host.load() == 0x9000
    host = host_with_session()
    host.create_domain(SSD, SSD_PRIVILEGES | Privilege.DAP_VERIFICATION | Privilege.MANDATED_DAP_VERIFICATION)
    assert host.load() == 0x9000
    host.forward_keys(SSD, KEYS)
    assert host.load(load_file(SSD2, ()), package=SSD2) == 0x6985


def test_load_into_a_domain_that_wants_ciphered_files_is_refused_in_clear() -> None:
    """Case 101, in part."""
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.CIPHERED_LOAD_FILE_DATA_BLOCK, KEYS)
    assert host.load(sd=SSD) == 0x6985


@pytest.mark.parametrize("length", [0, 2, 4])
def test_privileges_have_one_or_three_bytes(length: int) -> None:
    host = host_with_session()
    host.load()
    fields = b"".join(
        bytes([len(f)]) + f for f in (bytes(PACKAGE), bytes(MODULE), bytes(INSTANCE), bytes(length))
    )
    data = fields + b"\x02\xc9\x00" + b"\x00"
    assert host.sw(CommandApdu(0x80, 0xE6, 0x0C, 0, data, 256)) == 0x6A80
