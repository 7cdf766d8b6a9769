"""Keys of security domains: PUT KEY, STORE DATA, DELETE, what GET DATA E0 shows."""

import pytest
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    SSD_PRIVILEGES,
    CardHost,
    host_with_session,
    key_template,
    make_card,
    make_keys,
)
from tests.unit.vse.test_vse_signing_keys import parameters

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.kcv import kcv_aes
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusTarget, StoreDataStructure
from opentsm.card.gp.keys import (
    AesLayout,
    KeyType,
    ecc_private_put_key_field,
    ecc_public_put_key_field,
    encrypt_key,
    put_key_field,
    put_key_fields,
)
from opentsm.vse.state import DomainData

DGI = StoreDataStructure.DGI


def information(host: CardHost) -> bytes:
    return host.ok(commands.get_data(0xE0))


def entries(kvn: int, kind: int = 0x88, length: int = 16) -> bytes:
    return b"".join(bytes([0xC0, 4, kid, kvn, kind, length]) for kid in (1, 2, 3))


@pytest.mark.parametrize("layout", list(AesLayout))
def test_case_108_109_110_added_set_opens_a_session_in_both_layouts(layout: AesLayout) -> None:
    host = host_with_session()
    new = make_keys(0x51)
    answer = host.put_keys(new, 0x31, layout=layout)
    assert (answer.sw, answer.data[0], len(answer.data)) == (0x9000, 0x31, 10)
    assert information(host) == key_template(entries(0x30) + entries(0x31))
    host.select()
    host.authenticate(new, kvn=0x31)


@pytest.mark.parametrize("length", [16, 24, 32])
def test_case_110_aes_key_lengths(length: int) -> None:
    """The inner length is there, or for 16 and 32 bytes may be absent."""
    for layout in AesLayout:
        host = host_with_session()
        new = make_keys(0x51, length)
        assert host.put_keys(new, 0x31, layout=layout).sw == 0x9000
        host.select()
        host.authenticate(new, kvn=0x31)


@pytest.mark.parametrize(("accepted", "sent"), [("bare", "INNER_LENGTH"), ("inner-length", "BARE")])
def test_card_of_one_layout_refuses_the_other(accepted: str, sent: str) -> None:
    host = CardHost(make_card(aes_layout=accepted))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), layout=AesLayout[sent]).sw == 0x6A80


def test_case_109_replaced_set_keeps_or_changes_its_version() -> None:
    host = host_with_session()
    first, second = make_keys(0x51), make_keys(0x61)
    assert host.put_keys(first, 0x30, replace=0x30).sw == 0x9000
    assert information(host) == key_template(entries(0x30))
    host.select()
    host.authenticate(first)
    assert host.put_keys(second, 0x33, replace=0x30).sw == 0x9000
    assert information(host) == key_template(entries(0x33))
    host.select()
    assert host.raw(commands.initialize_update(0x30, bytes(8))).sw == 0x6A88
    host.authenticate(second)


def test_case_112_wrong_check_value_stores_nothing() -> None:
    """None of the three."""
    host = host_with_session()
    assert host.dek is not None
    good = put_key_fields(make_keys(0x51), KeyType.AES, host.dek)
    for position in range(3):
        fields = list(good)
        fields[position] = fields[position][:-1] + bytes([fields[position][-1] ^ 1])
        assert host.sw(commands.put_key(0x31, fields)) == 0x6982
        assert host.sw(commands.put_key(0x30, fields, replace_kvn=0x30)) == 0x6982
    assert information(host) == key_template(entries(0x30))
    host.select()
    host.authenticate()


def test_case_113_missing_check_value_is_refused_or_accepted_by_profile() -> None:
    for required, expected in ((True, 0x6A80), (False, 0x9000)):
        host = CardHost(make_card(kcv_required=required))
        host.authenticate()
        assert host.dek is not None
        fields = put_key_fields(make_keys(0x51), KeyType.AES, host.dek)
        bare = [field[:-4] + b"\x00" for field in fields]
        assert host.sw(commands.put_key(0x31, bare)) == expected


def test_case_114_replacement_of_another_size_or_version_is_refused() -> None:
    host = host_with_session()
    assert host.put_keys(make_keys(0x51, 32), 0x30, replace=0x30).sw == 0x6A80
    assert host.put_keys(make_keys(0x51), 0x31, replace=0x41).sw == 0x6A88


def test_adding_an_existing_key_is_refused() -> None:
    assert host_with_session().put_keys(make_keys(0x51), 0x30).sw == 0x6A80


def test_case_111_des_keys_go_under_an_aes_dek_and_aes_keys_under_a_des_dek() -> None:
    host = host_with_session()
    assert host.put_keys(make_keys(0x51), 0x21, key_type=KeyType.DES).sw == 0x9000
    other = CardHost(make_card("scp02-i55"))
    other.authenticate(level=3, i=0x55)
    assert other.put_keys(make_keys(0x51), 0x31).sw == 0x9000
    assert entries(0x31) in information(other)


def test_case_108_115_ecc_public_key_answers_with_its_version_only() -> None:
    host = host_with_session()
    # FIPS 186-4 D.1.2.3: the base point of P-256.
    point = bytes.fromhex(
        "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296"
        "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5"
    )
    field = ecc_public_put_key_field(point, 0x00)
    assert host.ok(commands.put_key(0x73, [field])) == b"\x73"
    # §11.3.3.1.1: without the 04; the reference of P-256 in place of a length.
    assert bytes.fromhex("C0060173B040F000") in information(host)


def test_case_108_elliptic_curve_keys_have_the_lengths_of_the_text_and_show_no_curve() -> None:
    """§11.3.3.1.1: 40, 60, 80 or 84 for public, 20, 30, 40 or 42 for private keys."""
    curves = (
        (Curve.P_256, 0x00, "40", "20"),
        (Curve.P_384, 0x01, "60", "30"),
        (Curve.BRAINPOOL_P512R1, 0x07, "80", "40"),
        (Curve.P_521, 0x02, "84", "42"),
    )
    for curve, reference, public_length, private_length in curves:
        host = host_with_session()
        assert host.dek is not None
        private = Secret(bytes(range(curve.length)))
        point = EcSigningKey(curve, private).point
        host.ok(commands.put_key(0x73, [ecc_public_put_key_field(point, reference)]))
        host.ok(commands.put_key(0x71, [ecc_private_put_key_field(private, reference, host.dek)]))
        shown = information(host)
        assert bytes.fromhex(f"C0060173B0{public_length}F0{reference:02X}") in shown
        assert bytes.fromhex(f"C0060171B1{private_length}F0{reference:02X}") in shown


def test_case_108_own_curve_of_a_key_is_not_shown() -> None:
    point = EcSigningKey(Curve.P_256, Secret(b"\x05" * 32)).point
    host = host_with_session()
    data = b"\x73" + ecc_public_put_key_field(point, parameters(Curve.P_256))
    host.ok(CommandApdu(0x80, 0xD8, 0x00, 0x01, data, 256, extended=True))
    assert information(host) == key_template(entries(0x30) + bytes.fromhex("C0040173B040"))


@pytest.mark.parametrize("length", [0x00, 0x11, 0x20, 0x80])
def test_case_110_inner_length_that_is_not_the_keys_is_refused(length: int) -> None:
    """§11.8.2.3.3: the padding is shorter than a block, and no key is longer than its cipher text."""
    host = host_with_session()
    assert host.dek is not None
    key = Secret(b"\x51" * 16)
    block = bytes([length]) + encrypt_key(host.dek, key)
    field = b"\x88" + bytes([len(block)]) + block + b"\x03" + kcv_aes(key.reveal())
    before = host.card.image()
    assert host.sw(commands.put_key(0x31, [field])) == 0x6A80
    assert host.card.image() == before


def test_unknown_key_type_is_refused() -> None:
    host = host_with_session()
    assert host.sw(commands.put_key(0x31, [bytes.fromhex("771000") + bytes(16)])) == 0x6A80


@pytest.mark.parametrize("data", ["", "31", "318811", "00881110", "3188110F00", "80"])
def test_malformed_put_key_is_6a80_and_changes_nothing(data: str) -> None:
    host = host_with_session()
    before = host.card.image()
    assert host.sw(CommandApdu(0x80, 0xD8, 0, 0x81, bytes.fromhex(data))) == 0x6A80
    assert host.card.image() == before


def test_case_118_keys_are_deleted_by_version_by_identifier_and_by_both() -> None:
    host = host_with_session()
    host.put_keys(make_keys(0x51), 0x31)
    assert host.ok(commands.delete_key(1, 0x31)) == b"\x00"
    assert host.sw(commands.delete_key(1, 0x31)) == 0x6A88
    assert host.raw(commands.initialize_update(0x31, bytes(8))).sw == 0x6A88
    host.authenticate()
    assert host.sw(commands.delete_key(None, 0x31)) == 0x9000
    assert information(host) == key_template(entries(0x30))


def test_issuer_domain_keeps_its_last_key_set() -> None:
    assert host_with_session().sw(commands.delete_key(None, 0x30)) == 0x6985


def test_case_122_store_data_carries_a_key_set() -> None:
    host = host_with_session()
    new = make_keys(0x51)
    assert host.sw(commands.store_data(host.key_group(new), 0, last=True, structure=DGI)) == 0x9000
    host.select()
    host.authenticate(new, kvn=0x31)


def test_case_122_store_data_with_a_wrong_check_value_stores_nothing() -> None:
    host = host_with_session()
    block = bytearray(host.key_group(make_keys(0x51)))
    block[-1] ^= 1
    assert host.sw(commands.store_data(bytes(block), 0, last=True, structure=DGI)) == 0x6982
    assert information(host) == key_template(entries(0x30))


def test_forwarded_keys_make_a_domain_personalized() -> None:
    """The first complete key set personalizes the domain; it answers under its own keys."""
    host = host_with_session()
    host.create_domain()
    assert host.states()[SSD] == 0x07
    host.forward_keys(SSD, make_keys(0x66))
    assert host.states()[SSD] == 0x0F
    host.select(SSD)
    host.authenticate(make_keys(0x66))
    assert information(host) == key_template(entries(0x31))


def test_domain_made_selectable_after_its_keys_is_personalized() -> None:
    host = host_with_session()
    assert (
        host.install(SSD, module=SD_MODULE, package=SD_PACKAGE, privileges=SSD_PRIVILEGES, selectable=False)
        == 0x9000
    )
    host.forward_keys(SSD, make_keys(0x66))
    assert host.states()[SSD] == 0x03
    assert host.sw(commands.install_for_make_selectable(SSD)) == 0x9000
    assert host.states()[SSD] == 0x0F


def test_case_035_personalized_state_only_by_command_when_the_profile_says_so() -> None:
    host = CardHost(make_card(personalized_by_keys=False))
    host.authenticate()
    host.create_domain()
    host.forward_keys(SSD, make_keys(0x66))
    assert host.states()[SSD] == 0x07
    host.select(SSD)
    host.authenticate(make_keys(0x66))
    assert host.sw(commands.set_status(StatusTarget.APPLICATION, 0x0F, SSD)) == 0x9000
    assert host.states()[SSD] == 0x0F


def test_inherited_keys_are_listed_until_the_first_own_key() -> None:
    """As clients written elsewhere expect: E0 of a domain without keys shows what it inherits."""
    host = host_with_session()
    host.create_domain()
    host.select(SSD)
    assert host.raw(commands.get_data(0xE0)).data == key_template(entries(0x30))


def test_factory_keys_go_when_the_first_own_set_comes() -> None:
    host = CardHost(make_card(initial_kvn=0xFF))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), 0x30).sw == 0x9000
    assert information(host) == key_template(entries(0x30))
    host.select()
    assert host.raw(commands.initialize_update(0xFF, bytes(8))).sw == 0x6A88


def test_version_ranges_are_enforced_by_profile() -> None:
    """As clients written elsewhere expect: KVN 20-2F for SCP02, 30-3F for SCP03."""
    host = CardHost(make_card(kvn_ranges_enforced=True))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), 0x41).sw == 0x6A80
    assert host.put_keys(make_keys(0x51), 0x20, key_type=KeyType.DES).sw == 0x9000
    assert host.put_keys(make_keys(0x51), 0x3F).sw == 0x9000


def test_full_memory_refuses_keys_as_a_whole() -> None:
    host = CardHost(make_card(memory=200))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), 0x31).sw == 0x6A84
    assert information(host) == key_template(entries(0x30))


def test_case_144_single_replaced_key_leaves_the_others() -> None:
    """And the counter of the set goes on."""
    host = host_with_session()
    assert host.dek is not None
    field = put_key_field(make_keys(0x51).enc, KeyType.AES, host.dek)
    assert host.sw(commands.put_key(0x30, [field], replace_kvn=0x30, first_kid=3)) == 0x9000
    host.select()
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C103000001")
    host.authenticate(FACTORY_KEYS)


def extended_field(host: CardHost, key: bytes, check_value: bytes | None = None) -> bytes:
    """Table 11-69: type in two bytes, usage and access behind the check value."""
    assert host.dek is not None
    basic = put_key_field(Secret(key), KeyType.AES, host.dek)
    value = kcv_aes(key) if check_value is None else check_value
    return b"\xff" + basic[:-4] + b"\x03" + value + bytes.fromhex("01380100")


def test_case_116_extended_format_carries_usage_and_access() -> None:
    host = host_with_session()
    fields = b"".join(extended_field(host, bytes([seed]) * 16) for seed in (0x51, 0x52, 0x53))
    assert host.ok(CommandApdu(0x80, 0xD8, 0x00, 0x81, b"\x31" + fields, 256))[0] == 0x31
    stored = [key for key in (host.card.image().isd.domain or DomainData()).keys if key.kvn == 0x31]
    assert [(key.usage, key.access) for key in stored] == [(b"\x38", b"\x00")] * 3
    host.select()
    host.authenticate(make_keys(0x51), kvn=0x31)


def test_case_116_cut_off_extended_field_is_6a80() -> None:
    host = host_with_session()
    field = extended_field(host, bytes([0x51]) * 16)
    for length in (1, len(field) - 1, len(field) - 3):
        assert host.sw(CommandApdu(0x80, 0xD8, 0x00, 0x01, b"\x31" + field[:length], 256)) == 0x6A80


@pytest.mark.parametrize("wrong", [False, True])
def test_case_117_put_key_in_parts_is_all_or_nothing(wrong: bool) -> None:
    """The check value of the last key is wrong: nothing of the whole series stays."""
    host = host_with_session(level=0x00)
    before = information(host)
    values = [None, None, b"\x00\x00\x00" if wrong else None]
    fields = [extended_field(host, bytes([0x51 + n]) * 16, value) for n, value in enumerate(values)]
    data = b"\x31" + b"".join(fields)
    for at in range(0, len(data) - 30, 30):
        assert host.raw(CommandApdu(0x80, 0xD8, 0x80, 0x81, data[at : at + 30])) == ResponseApdu(b"", 0x9000)
    rest = data[(len(data) - 1) // 30 * 30 :] if len(data) % 30 else data[-30:]
    answer = host.raw(CommandApdu(0x80, 0xD8, 0x00, 0x81, rest, 256))
    assert answer.sw == (0x6982 if wrong else 0x9000)
    assert (information(host) == before) == wrong
