"""Conformance cases 83 to 89 and 82: tokens of delegated management (GPCS 2.3.1 §9.1.3, §9.2.3, §C.4)."""

from hashlib import sha1

import pytest
from tests.conformance.delegation import (
    BLOCK,
    DIGEST,
    KEYS,
    OTHER_KEYS,
    SCHEMES,
    SECOND,
    delegated,
    delegated_load,
    delete_command,
    delete_fields,
    enter,
    extradition_fields,
    install_command,
    install_fields,
    load,
    load_fields,
    lv,
    put,
    scheme,
    selectable_fields,
    signed_delete,
    signed_install,
    to_sign,
    update_fields,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    MODULE,
    PACKAGE,
    SSD,
    SSD2,
    SSD_PRIVILEGES,
    CardHost,
    make_card,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands
from opentsm.card.gp.privileges import Privilege

SIGNER = scheme("P-256").signer
AM_DOMAIN = Aid.from_hex("A0000001510000AA11")
TV_DOMAIN = Aid.from_hex("A0000001510000AA12")
DM_DOMAIN = Aid.from_hex("A0000001510000AA13")


@pytest.mark.parametrize("name", SCHEMES)
def test_case_083_every_operation_with_its_token_in_every_scheme(name: str) -> None:
    host, signer = delegated(name), scheme(name).signer
    delegated_load(host, signer)
    for command in (
        signed_install(0x04, 0x00, install_fields(), signer),
        signed_install(0x08, 0x00, selectable_fields(), signer),
        signed_install(0x40, 0x00, update_fields(INSTANCE, b"\x00\x01\x00"), signer),
        signed_delete(0x00, delete_fields(INSTANCE), signer),
        signed_install(0x0C, 0x00, install_fields(SECOND), signer),
        signed_install(0x10, 0x00, extradition_fields(SECOND, SSD2), signer),
    ):
        assert host.sw(command) == 0x9000, f"P1 {command.p1:02X}"
    assert host.sw(signed_install(0x0C, 0x00, install_fields(), signer)) == 0x9000
    enter(host)
    assert host.field_of(SECOND, 0xCC) == SSD2
    assert host.field_of(PACKAGE, 0xCC, 0x20) == SSD


def test_case_083_load_file_with_its_instances_is_deleted_with_a_token() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    host.ok(signed_install(0x0C, 0x00, install_fields(), SIGNER))
    host.ok(signed_delete(0x80, delete_fields(PACKAGE), SIGNER))
    assert not {bytes(PACKAGE), bytes(INSTANCE)} & (host.states(0x40) | host.states(0x20)).keys()


def test_case_083_the_bytes_of_a_load_command() -> None:
    """§C.4.1, spelled out: P1 P2 Len, load file, no domain, SHA-512, no parameters."""
    fields = bytes.fromhex("05F0010203040040") + DIGEST + b"\x00"
    token = SIGNER.sign(bytes.fromhex("020049") + fields)
    host = delegated()
    host.ok(CommandApdu(0x80, 0xE6, 0x02, 0x00, fields + b"\x40" + token, 256))
    load(host)
    assert host.states(0x20)[PACKAGE] == 0x01


def each_byte_changed(fields: bytes) -> list[bytes]:
    """Only values change, no lengths: the card must still be able to read the fields."""
    return [fields[:at] + bytes([fields[at] ^ 0x01]) + fields[at + 1 :] for at in range(len(fields))]


@pytest.mark.parametrize("name", ["AES-128", "RSA-1024", "P-256"])
def test_case_084_one_changed_byte_anywhere_is_refused(name: str) -> None:
    host, signer = delegated(name), scheme(name).signer
    before = host.card.image()
    fields = load_fields(params=bytes.fromhex("B603930107"))
    token = signer.sign(to_sign(0x02, 0x00, fields))
    for changed in each_byte_changed(fields):
        assert host.sw(install_command(0x02, 0x00, changed, token)) in {0x6982, 0x6A80, 0x6985}
    for wrong in (token[:-1] + bytes([token[-1] ^ 1]), token[1:], token + b"\x00"):
        assert host.sw(install_command(0x02, 0x00, fields, wrong)) == 0x6982
    assert host.card.image() == before
    assert host.sw(install_command(0x02, 0x00, fields, token)) == 0x9000


def test_case_084_a_changed_name_is_a_wrong_signature() -> None:
    host = delegated()
    token = SIGNER.sign(to_sign(0x02, 0x00, load_fields(package=SSD2)))
    assert host.sw(install_command(0x02, 0x00, load_fields(), token)) == 0x6982


def test_case_084_another_p1_or_p2_is_refused() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    token = SIGNER.sign(to_sign(0x04, 0x00, install_fields()))
    assert host.sw(install_command(0x0C, 0x00, install_fields(), token)) == 0x6982
    assert host.sw(install_command(0x04, 0x00, install_fields(), token)) == 0x9000
    for_object = SIGNER.sign(to_sign(0x00, 0x00, delete_fields(PACKAGE)))
    assert host.sw(delete_command(0x80, delete_fields(PACKAGE), for_object)) == 0x6982


def test_case_084_the_hash_that_the_token_signs_must_be_that_of_the_file() -> None:
    host = delegated()
    host.ok(signed_install(0x02, 0x00, load_fields(), SIGNER))
    answers = [host.sw(command) for command in commands.load_blocks(BLOCK[:-1] + b"\x01", block_size=200)]
    assert answers[-1] == 0x6982
    assert PACKAGE not in host.states(0x20)


def test_case_084_a_load_token_without_hash_or_with_a_weak_one_is_refused() -> None:
    host = delegated()
    for digest in (b"", bytes(20)):
        assert host.sw(signed_install(0x02, 0x00, load_fields(digest=digest), SIGNER)) == 0x6985
    assert host.sw(signed_install(0x02, 0x00, load_fields(digest=bytes(32)), SIGNER)) == 0x9000


def every_operation() -> list[CommandApdu]:
    """Each operation, without a token."""
    return [
        install_command(0x02, 0x00, load_fields(package=SSD2)),
        install_command(0x04, 0x00, install_fields(SECOND)),
        install_command(0x0C, 0x00, install_fields(SECOND)),
        install_command(0x08, 0x00, selectable_fields()),
        install_command(0x10, 0x00, extradition_fields(INSTANCE, SSD2)),
        install_command(0x40, 0x00, update_fields(INSTANCE, b"\x00\x01\x00")),
        delete_command(0x00, delete_fields(INSTANCE)),
        delete_command(0x80, delete_fields(PACKAGE)),
    ]


def test_case_085_delegated_management_without_token_is_refused() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    host.ok(signed_install(0x04, 0x00, install_fields(), SIGNER))
    before = host.card.image()
    for command in every_operation():
        assert host.sw(command) == 0x6985, f"{command.ins:02X} {command.p1:02X}"
    assert host.card.image().instances == before.instances


def test_case_085_a_token_from_the_provider_of_an_authorised_domain_is_refused() -> None:
    """§11.5.2.3.1: even a right one."""
    host = delegated(privileges=Privilege.AUTHORIZED_MANAGEMENT)
    assert host.load() == 0x9000
    assert host.install(selectable=False) == 0x9000
    for command in every_operation():
        fields, p1, p2 = command.data, command.p1, command.p2
        if command.ins == 0xE4:
            signed = signed_delete(p2, fields, SIGNER)
        else:
            signed = signed_install(p1, p2, fields[:-1], SIGNER)
        assert host.sw(signed) == 0x6985, f"{command.ins:02X} {p1:02X}"
    assert host.sw(install_command(0x08, 0x00, selectable_fields())) == 0x9000


def test_case_086_no_token_key_no_operation() -> None:
    host = CardHost(make_card())
    host.authenticate()
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    enter(host, SSD)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6985


def test_case_086_no_domain_with_token_verification_no_operation() -> None:
    without = Privilege(0x9EFE80) & ~Privilege.TOKEN_VERIFICATION
    host = delegated(isd_privileges=without.to_bytes3().hex())
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6985


def test_case_086_no_authorised_domain_above_no_operation() -> None:
    """§9.1.3.3: a delegated domain works only below one with Authorised Management."""
    host = CardHost(make_card())
    host.authenticate()
    put(host, 0x70, scheme("P-256").verification_field)
    privileges = SSD_PRIVILEGES | Privilege.DELEGATED_MANAGEMENT
    host.create_domain(SSD, privileges, parameters=bytes.fromhex("820120"))
    host.forward_keys(SSD, KEYS)
    assert host.sw(commands.install_for_extradition(SSD, SSD)) == 0x9000
    enter(host, SSD)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6985


def test_case_086_a_key_for_something_else_verifies_no_token() -> None:
    """§11.1.9: usage qualifier 84 is for DAP."""
    host = CardHost(make_card())
    host.authenticate()
    point = scheme("P-256").verification_field(host.dek)[2:-4] if host.dek else b""
    extended = b"\xff\xb0\x41" + point + b"\xff\xf0\x01\x00" + b"\x00"
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    for usage, expected in ((b"\x84", 0x6985), (b"\x81", 0x9000)):
        enter(host)
        host.sw(commands.delete_key(1, 0x70))
        field = extended + lv(usage, b"\x01")
        host.ok(CommandApdu(0x80, 0xD8, 0x00, 0x01, b"\x70" + field, 256))
        put(host, 0x71, scheme("AES-128").signing_field)
        enter(host, SSD)
        assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == expected


def two_roots() -> CardHost:
    """Issuer -> SSD (delegated); issuer -> AM_DOMAIN -> {TV_DOMAIN (verifies), DM_DOMAIN (delegated)}.

    The issuer's token key is P-256, that of TV_DOMAIN is AES-128.
    """
    host = CardHost(make_card(receipts="never"))
    host.authenticate()
    put(host, 0x70, scheme("P-256").verification_field)
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    privileged_domain(host, AM_DOMAIN, Privilege.AUTHORIZED_MANAGEMENT, OTHER_KEYS)
    enter(host, AM_DOMAIN)
    privileged_domain(host, TV_DOMAIN, Privilege.TOKEN_VERIFICATION, OTHER_KEYS)
    privileged_domain(host, DM_DOMAIN, Privilege.DELEGATED_MANAGEMENT, OTHER_KEYS)
    enter(host, TV_DOMAIN)
    assert put(host, 0x70, scheme("AES-128").verification_field) == 0x9000
    return host


def test_case_087_the_verifier_of_the_nearest_root_decides() -> None:
    host, nearer = two_roots(), scheme("AES-128").signer
    enter(host, DM_DOMAIN)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6982
    assert host.sw(signed_install(0x02, 0x00, load_fields(), nearer)) == 0x9000
    enter(host, SSD)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), nearer)) == 0x6982
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x9000


def test_case_087_without_a_verifier_below_it_the_next_root_decides() -> None:
    host = two_roots()
    enter(host)
    assert host.sw(commands.delete(TV_DOMAIN)) == 0x9000
    enter(host, DM_DOMAIN)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), scheme("AES-128").signer)) == 0x6982
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x9000


def test_case_087_a_locked_verifier_verifies_nothing() -> None:
    host, nearer = two_roots(), scheme("AES-128").signer
    enter(host)
    assert host.sw(commands.lock(TV_DOMAIN)) == 0x9000
    enter(host, DM_DOMAIN)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), nearer)) == 0x6985


def test_case_088_above_255_bytes_the_length_has_three() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    fields = install_fields(params=b"\xc9\x82\x01\x00" + bytes(256))
    signed = bytes.fromhex("0C0000") + len(fields).to_bytes(2, "big") + fields
    assert host.sw(install_command(0x0C, 0x00, fields, SIGNER.sign(signed))) == 0x9000
    one_byte = bytes([0x0C, 0x00, len(fields) & 0xFF]) + fields
    fields_wrong = install_fields(SECOND, params=b"\xc9\x82\x01\x00" + bytes(256))
    assert host.sw(install_command(0x0C, 0x00, fields_wrong, SIGNER.sign(one_byte))) == 0x6982


def combined(host: CardHost, install: bytes, token: bytes) -> int:
    """The combined process with a given last command."""
    host.ok(install_command(0x0E, 0x01, load_fields()))
    load(host)
    return host.sw(install_command(0x0E, 0x03, install, token))


def test_case_089_one_token_covers_both_commands_of_the_combined_process() -> None:
    host = delegated()
    install = install_fields(package=b"")
    signed = to_sign(0x0E, 0x01, load_fields()) + to_sign(0x0E, 0x03, install)
    for wrong in (to_sign(0x0E, 0x03, install), signed[:-1] + b"\x01", signed[1:]):
        assert combined(host, install, SIGNER.sign(wrong)) == 0x6982
        assert PACKAGE not in host.states(0x20)
    assert combined(host, install, b"") == 0x6985
    assert combined(host, install, SIGNER.sign(signed)) == 0x9000
    assert host.states()[INSTANCE] == 0x07
    assert host.states(0x20)[PACKAGE] == 0x01


def test_case_089_a_token_in_the_first_command_is_refused() -> None:
    host = delegated()
    assert host.sw(signed_install(0x0E, 0x01, load_fields(), SIGNER)) == 0x6A80


def test_case_089_a_failing_installation_leaves_no_load_file() -> None:
    """§9.3.8: the memory of the load comes back."""
    host = delegated()
    free = host.free_memory()
    install = install_fields(ISD)
    signed = to_sign(0x0E, 0x01, load_fields()) + to_sign(0x0E, 0x03, install)
    assert combined(host, install, SIGNER.sign(signed)) == 0x6A80
    assert PACKAGE not in host.states(0x20)
    assert host.free_memory() == free


@pytest.mark.parametrize("form", ["80", "8180"])
def test_case_082_a_token_of_128_bytes_in_both_length_codings(form: str) -> None:
    host, signer = delegated("RSA-1024"), scheme("RSA-1024").signer
    fields = load_fields(digest=DIGEST[:0] + bytes(20))
    token = signer.sign(to_sign(0x02, 0x00, fields))
    data = fields + bytes.fromhex(form) + token
    assert host.sw(CommandApdu(0x80, 0xE6, 0x02, 0x00, data, 256)) == 0x9000


def test_case_083_module_is_the_one_that_was_loaded() -> None:
    host = delegated()
    delegated_load(host, SIGNER)
    assert host.field_of(PACKAGE, 0x84, 0x10) == MODULE


def test_case_089_the_hash_of_the_first_command_must_suit_the_token() -> None:
    """§C.2, Table C-3: the token comes with the last command, and signs the hash of the first."""
    for digest in (b"", sha1(BLOCK, usedforsecurity=False).digest()):
        host = delegated()
        first, install = load_fields(digest=digest), install_fields(package=b"")
        signed = to_sign(0x0E, 0x01, first) + to_sign(0x0E, 0x03, install)
        host.ok(install_command(0x0E, 0x01, first))
        load(host)
        assert host.sw(install_command(0x0E, 0x03, install, SIGNER.sign(signed))) == 0x6985
        assert PACKAGE not in host.states(0x20)


def test_case_086_verifier_below_a_root_without_authorised_management_does_not_count() -> None:
    """§9.1.3.1: the sub-hierarchy that has the verifier is that of a domain with Authorised Management."""
    host = two_roots()
    enter(host)
    plain = SSD_PRIVILEGES.to_bytes3()
    update = install_command(0x40, 0x00, update_fields(AM_DOMAIN, plain))
    assert host.sw(update) == 0x9000
    enter(host, DM_DOMAIN)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), scheme("AES-128").signer)) == 0x6982
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x9000
