"""What the text of delegated management leaves open: each switch of the profile in both positions."""

import hashlib

import pytest
from tests.conformance.delegation import (
    ACCEPTS_EXTRADITION,
    DIGEST,
    KEYS,
    OTHER_KEYS,
    SECOND,
    UNIQUE,
    ber,
    blocks,
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
    second_host,
    signed_delete,
    signed_install,
    to_sign,
    update_fields,
)
from tests.unit.vse.card_host import (
    INSTANCE,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    SSD2,
    SSD_PRIVILEGES,
    CardHost,
    make_card,
    privileged_domain,
)
from tests.unit.vse.scp11_host import KVN, agree, seeded_key

from opentsm.card.codec.aid import Aid
from opentsm.card.gp import commands
from opentsm.card.gp.certificates import CURVE_REFERENCES
from opentsm.card.gp.keys import ecc_private_put_key_field
from opentsm.card.gp.privileges import Privilege
from opentsm.card.scp.scp11 import HostKeys, SessionParameters, Variant
from opentsm.vse.profiles import ProfileError, load_profile

SIGNER = scheme("P-256").signer
BELOW = Aid.from_hex("A0000001510000AA21")
AM = Privilege.AUTHORIZED_MANAGEMENT


def issuer(**profile: object) -> CardHost:
    """A host in the issuer's session of a card with these switches."""
    host = CardHost(make_card({"base": "scp03-i70", "name": "test", **profile}))
    host.authenticate()
    return host


@pytest.mark.parametrize(("mode", "expected"), [("replace", "000100"), ("add", "001100")])
def test_registry_privileges_when_switched_then_replaced_or_added(mode: str, expected: str) -> None:
    host = issuer(registry_privileges=mode)
    host.load()
    host.install(privileges=Privilege.GLOBAL_DELETE)
    assert host.sw(install_command(0x40, 0x00, update_fields(INSTANCE, b"\x00\x01\x00"))) == 0x9000
    assert host.field_of(INSTANCE, 0xC5) == bytes.fromhex(expected)


@pytest.mark.parametrize(("allowed", "expected"), [("1EBFB0", 0x9000), ("1EAFB0", 0x6A80)])
def test_assignable_application_when_switched_then_a_privilege_can_be_given_or_not(
    allowed: str, expected: int
) -> None:
    host = issuer(assignable_application=allowed)
    host.load()
    assert host.install(privileges=Privilege.GLOBAL_DELETE) == expected


@pytest.mark.parametrize(("without", "expected"), [(False, 0x6985), (True, 0x9000)])
def test_delegated_delete_without_token_when_switched_then_allowed(without: bool, expected: int) -> None:
    host = delegated(delegated_delete_without_token=without)
    delegated_load(host, SIGNER)
    assert host.sw(delete_command(0x00, delete_fields(PACKAGE))) == expected
    # Other operations need their token in both positions.
    assert host.sw(install_command(0x0C, 0x00, install_fields())) == 0x6985


def test_delegated_delete_without_token_when_it_happens_then_the_receipt_names_none() -> None:
    host = delegated(delegated_delete_without_token=True)
    delegated_load(host, SIGNER)
    answer = host.ok(delete_command(0x00, delete_fields(PACKAGE)))
    data = bytes.fromhex("020001") + lv(UNIQUE)
    assert answer[18:] == data
    scheme("AES-128").verifier.verify(data + lv(PACKAGE), answer[2:18])


def nested(mode: str) -> CardHost:
    """INSTANCE belongs to BELOW, which belongs to SSD (authorised) and accepts what others do."""
    host = issuer(content_reach=mode)
    privileged_domain(host, SSD, AM, KEYS)
    privileged_domain(host, SSD2, AM, OTHER_KEYS)
    enter(host, SSD)
    # Tags 82 and 87: accepts extradition to it, and of what is associated with it.
    assert host.create_domain(BELOW, SSD_PRIVILEGES, parameters=bytes.fromhex("820120870120")) == 0x9000
    host.forward_keys(BELOW, OTHER_KEYS)
    assert host.load(sd=BELOW) == 0x9000
    assert host.install() == 0x9000
    assert host.create_domain(SECOND, parameters=ACCEPTS_EXTRADITION) == 0x9000
    host.forward_keys(SECOND, OTHER_KEYS)
    return host


@pytest.mark.parametrize(
    ("mode", "above", "foreign"),
    [("hierarchy", 0x9000, 0x6985), ("associated", 0x6985, 0x6985), ("accepted", 0x9000, 0x9000)],
)
def test_content_reach_when_switched_then_other_domains_may_extradite(
    mode: str, above: int, foreign: int
) -> None:
    extradition = install_command(0x10, 0x00, extradition_fields(INSTANCE, SECOND))
    host = nested(mode)
    assert host.sw(extradition) == above
    host = nested(mode)
    enter(host, SSD2)
    assert host.sw(extradition) == foreign


@pytest.mark.parametrize(("mode", "expected"), [("hierarchy", 0x9000), ("associated", 0x6985)])
def test_content_reach_when_switched_then_it_holds_for_registry_updates(mode: str, expected: int) -> None:
    host = nested(mode)
    assert host.sw(install_command(0x40, 0x00, update_fields(INSTANCE, b"\x00\x01\x00"))) == expected


@pytest.mark.parametrize(("accepted", "expected"), [(True, 0x9000), (False, 0x6985)])
def test_ancestors_accepted_when_switched_then_content_below_is_theirs_or_not(
    accepted: bool, expected: int
) -> None:
    host = issuer(ancestors_accepted=accepted)
    privileged_domain(host, SSD, AM, KEYS)
    enter(host, SSD)
    host.load()
    enter(host)
    assert host.install() == expected


@pytest.mark.parametrize(("mode", "expected"), [("alone", 0x9000), ("refused", 0x6985)])
def test_related_of_instance_when_switched_then_deleted_alone_or_refused(mode: str, expected: int) -> None:
    host = issuer(related_of_instance=mode)
    host.load()
    host.install()
    assert host.sw(delete_command(0x80, delete_fields(INSTANCE))) == expected
    assert host.sw(delete_command(0x80, delete_fields(PACKAGE))) == 0x9000


@pytest.mark.parametrize("word", ["6A88", "6A82"])
def test_sw_unknown_in_delete_when_switched_then_answered(word: str) -> None:
    host = issuer(sw_unknown_in_delete=word)
    assert host.sw(delete_command(0x00, delete_fields(PACKAGE))) == int(word, 16)


@pytest.mark.parametrize("word", ["6A80", "6985"])
def test_sw_aid_in_use_when_switched_then_answered(word: str) -> None:
    host = issuer(sw_aid_in_use=word)
    host.load()
    host.install()
    assert host.install() == int(word, 16)
    assert host.sw(install_command(0x02, 0x00, load_fields(digest=b""))) == int(word, 16)


@pytest.mark.parametrize(("missing", "wrong"), [("6985", "6982"), ("6A80", "6A80")])
def test_sw_of_proofs_when_switched_then_tokens_hashes_and_signatures_answer_so(
    missing: str, wrong: str
) -> None:
    host = delegated(sw_proof_missing=missing, sw_proof_wrong=wrong)
    assert host.sw(install_command(0x02, 0x00, load_fields())) == int(missing, 16)
    assert host.sw(install_command(0x02, 0x00, load_fields(), bytes(64))) == int(wrong, 16)
    assert host.sw(signed_install(0x02, 0x00, load_fields(digest=b""), SIGNER)) == int(missing, 16)
    host.ok(signed_install(0x02, 0x00, load_fields(digest=bytes(64)), SIGNER))
    assert [host.sw(command) for command in blocks()][-1] == int(wrong, 16)


@pytest.mark.parametrize("digest", ["", "SHA_1", "SHA_256", "SHA_512"])
def test_receipt_digest_when_switched_then_it_follows_the_token_identifier(digest: str) -> None:
    host = delegated(receipt_digest=digest)
    for params, number in ((b"", b""), (bytes.fromhex("B603930107"), b"\x07")):
        fields = load_fields(params=params)
        host.ok(signed_install(0x02, 0x00, fields, SIGNER))
        found = load(host)[18:][3 + 1 + len(UNIQUE) :]
        expected = lv(number) if number or digest else b""
        if digest:
            name = digest.replace("_", "").lower()
            expected += lv(hashlib.new(name, to_sign(0x02, 0x00, fields)).digest())
        assert found == expected
        host.ok(signed_delete(0x00, delete_fields(PACKAGE), SIGNER))


def numbered(number: str) -> bytes:
    """A delete command's fields with this token identifier."""
    value = bytes.fromhex(number)
    return delete_fields(INSTANCE, b"\x93" + lv(value) if value else b"")


@pytest.mark.parametrize(("grow", "again"), [(False, 0x9000), (True, 0x6982)])
def test_token_numbers_grow_when_switched_then_a_token_counts_once(grow: bool, again: int) -> None:
    host = delegated(token_numbers_grow=grow)
    fields = load_fields(params=bytes.fromhex("B603930105"))
    command = signed_install(0x02, 0x00, fields, SIGNER)
    host.ok(command)
    load(host)
    again_sent = signed_install(0x0C, 0x00, install_fields(params=bytes.fromhex("C900B603930106")), SIGNER)
    host.ok(again_sent)
    host.ok(signed_delete(0x00, numbered("07"), SIGNER))
    assert host.sw(again_sent) == again


def test_token_numbers_grow_when_a_load_ends_late_then_newer_numbers_stay_used() -> None:
    """The load began with number 5; number 6 counted on another channel before its last block came."""
    host = delegated(token_numbers_grow=True)
    host.ok(signed_install(0x02, 0x00, load_fields(params=bytes.fromhex("B603930105")), SIGNER))
    other = second_host(host, SSD)
    fields = install_fields(
        BELOW,
        package=SD_PACKAGE,
        module=SD_MODULE,
        privileges=b"\x80\x80\x00",
        params=bytes.fromhex("C900B603930106"),
    )
    once = signed_install(0x0C, 0x00, fields, SIGNER)
    assert other.sw(once) == 0x9000
    load(host)
    other.ok(signed_delete(0x00, delete_fields(BELOW, bytes.fromhex("930107")), SIGNER))
    assert other.sw(once) == 0x6982


def test_token_numbers_grow_when_refused_or_failed_then_the_number_is_not_used_up() -> None:
    host = delegated(token_numbers_grow=True)
    assert host.sw(signed_delete(0x00, numbered(""), SIGNER)) == 0x6982
    assert host.sw(signed_delete(0x00, numbered("FFFF"), SIGNER)) == 0x6A88
    host.ok(signed_install(0x02, 0x00, load_fields(params=bytes.fromhex("B603930101")), SIGNER))
    load(host)


@pytest.mark.parametrize(("moves", "first", "stored"), [("after", 0, 1), ("before", 1, 1)])
def test_confirmation_counter_moves_when_switched_then_the_first_is_0000_or_0001(
    moves: str, first: int, stored: int
) -> None:
    host = delegated(confirmation_counter_moves=moves)
    assert delegated_load(host, SIGNER)[18:21] == b"\x02" + first.to_bytes(2, "big")
    host.select()
    assert host.raw("80CA00C200").data == b"\xc2\x02" + stored.to_bytes(2, "big")


@pytest.mark.parametrize(("cycles", "expected"), [(False, 0x6985), (True, 0x9000)])
def test_extradition_cycles_when_switched_then_allowed(cycles: bool, expected: int) -> None:
    host = issuer(extradition_cycles=cycles)
    privileged_domain(host, SSD, AM, KEYS)
    enter(host, SSD)
    host.create_domain(BELOW, parameters=ACCEPTS_EXTRADITION)
    host.forward_keys(BELOW, OTHER_KEYS)
    enter(host)
    assert host.sw(commands.install_for_extradition(SSD, BELOW)) == expected
    # The card still answers, whatever became of the tree.
    assert host.sw(commands.get_status(0x40)) == 0x9000


@pytest.mark.parametrize(
    ("mode", "with_key", "without"),
    [("required", 34, None), ("with-key", 34, 1), ("never", 1, 1)],
)
def test_receipts_when_switched_then_required_possible_or_never(
    mode: str, with_key: int, without: int | None
) -> None:
    assert len(delegated_load(delegated(receipts=mode), SIGNER)) == with_key
    host = issuer(receipts=mode)
    put(host, 0x70, scheme("P-256").verification_field)
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    enter(host, SSD)
    if without is None:
        assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6985
    else:
        assert len(delegated_load(host, SIGNER)) == without


def test_role_keys_when_the_profile_names_others_then_those_are_used() -> None:
    host = issuer(token_key=[2, 0x40], receipts="never")
    assert host.dek is not None
    field = scheme("P-256").verification_field(host.dek)
    host.ok(commands.put_key(0x40, [field], first_kid=2))
    privileged_domain(host, SSD, Privilege.DELEGATED_MANAGEMENT, KEYS)
    enter(host, SSD)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x9000


def test_template_when_it_names_another_verifier_then_the_token_is_wrong() -> None:
    host = delegated()
    for crt, expected in (
        ("4204F04F5453", 0x9000),
        ("45080000000000000007", 0x9000),
        ("4204F04F5454", 0x6982),
        ("45080000000000000008", 0x6982),
    ):
        params = b"\xb6" + ber(bytes.fromhex(crt))
        assert host.sw(signed_install(0x02, 0x00, load_fields(params=params), SIGNER)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"sw_proof_wrong": "9000"},
        {"sw_proof_missing": "69"},
        {"token_key": [0, 1]},
        {"dap_key": [1, 128]},
        {"receipts": "sometimes"},
        {"receipt_digest": "MD5"},
        {"content_reach": "everywhere"},
    ],
)
def test_switch_when_its_value_is_unknown_then_the_profile_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ProfileError):
        load_profile({"base": "scp03-i70", "name": "x", **change})


def test_several_names_in_a_delete_when_sent_then_refused() -> None:
    host = delegated()
    fields = delete_fields(PACKAGE) + delete_fields(SSD2)
    assert host.sw(signed_delete(0x00, fields, SIGNER)) == 0x6A80
    assert len(DIGEST) == 64


def stranger(host: CardHost) -> None:
    """An SCP11b session with SSD, by its own SCP11 key: nobody knows who speaks."""
    card_key, ephemeral = seeded_key(0x44), seeded_key(0x62)
    assert host.dek is not None
    field = ecc_private_put_key_field(card_key.private, CURVE_REFERENCES[card_key.curve], host.dek)
    host.ok(commands.put_key(KVN, [field], first_kid=Variant.B.kid))
    host.select(SSD)
    assert agree(host, SessionParameters(Variant.B, KVN), HostKeys(ephemeral), card_key.point) == 0x9000


@pytest.mark.parametrize(("receipts", "length"), [(False, 1), (True, 34)])
def test_authorised_domain_when_a_stranger_in_scp11b_loads_then_the_token_decides(
    receipts: bool, length: int
) -> None:
    """Section 9.2.3: only its provider needs no token; none, and a wrong one, are refused."""
    host = delegated(
        privileges=AM,
        scp=[["03", "70"], ["11", "00"]],
        scp11b_commands=["E6", "E8"],
        receipts_for_authorized=receipts,
    )
    stranger(host)
    plain = install_command(0x02, 0x00, load_fields())
    assert host.sw(plain) == 0x6982
    assert host.sw(install_command(0x02, 0x00, load_fields(), bytes(64))) == 0x6982
    assert len(delegated_load(host, SIGNER)) == length


def test_authorised_domain_when_a_stranger_in_scp11b_may_not_install_then_a_token_does_not_help() -> None:
    host = delegated(privileges=AM, scp=[["03", "70"], ["11", "00"]])
    stranger(host)
    assert host.sw(signed_install(0x02, 0x00, load_fields(), SIGNER)) == 0x6982
