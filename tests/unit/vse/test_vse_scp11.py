"""SCP11 between this host and this card: every curve, key and MAC length and variant; the refusals."""

from dataclasses import replace
from datetime import date
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.vse.card_host import SSD, CardHost, host_with_session, make_card, make_keys
from tests.unit.vse.scp11_host import (
    CA,
    KVN,
    Authority,
    CountedRandom,
    agree,
    generated,
    seeded_key,
    send_certificates,
    trust,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import CardCryptogramError, ScriptError, SecureChannelError
from opentsm.card.gp import commands
from opentsm.card.gp.certificates import CURVE_REFERENCES, PublicKey, read_certificate, verify_chain
from opentsm.card.gp.key_references import (
    KeyReference,
    get_certificates,
    parse_authorities,
    parse_certificates,
    store_allowlist,
    store_certificates,
)
from opentsm.card.gp.keys import KeyType, ecc_private_put_key_field, ecc_public_put_key_field, put_key_field
from opentsm.card.scp import scp11
from opentsm.card.scp.scp11 import (
    CertificateTransport,
    HostKeys,
    Identification,
    Protection,
    SessionParameters,
    Variant,
)
from opentsm.card.scp.scp11_script import OfflineScript, ReplaySafety, offline_script
from opentsm.vse import virtual_authority
from opentsm.vse.state import encode_image

CURVES = (Curve.P_256, Curve.P_384, Curve.BRAINPOOL_P256R1)
ROOT = Authority(0x51)
STATIC = seeded_key(0x61)
EPHEMERAL = seeded_key(0x62)
KEYS = HostKeys(EPHEMERAL, STATIC)


def card_with(variant: Variant, curve: Curve = Curve.P_256, **changes: object) -> tuple[CardHost, bytes]:
    """A card that trusts ROOT and has made its own key."""
    host = host_with_session(
        make_card({"base": "scp11-p256", "name": "test", **changes}, random=CountedRandom())
    )
    trust(host, Authority(ROOT.seed, curve))
    point = generated(host, variant, curve)
    host.channel = None
    return host, point


def opened(variant: Variant, *, scp11b_commands: tuple[str, ...] = ()) -> CardHost:
    """A host in a session of this variant."""
    host, point = card_with(variant, scp11b_commands=list(scp11b_commands))
    keys = KEYS
    if variant.host_is_authenticated:
        assert send_certificates(host, ROOT.certify(STATIC)) == 0x9000
    else:
        keys = HostKeys(EPHEMERAL)
    assert agree(host, SessionParameters(variant, KVN), keys, point) == 0x9000
    return host


@pytest.mark.parametrize(
    ("curve", "length", "s16", "variant"), list(product(CURVES, (16, 24, 32), (False, True), Variant))
)
def test_session_when_opened_protects_both_ways(
    curve: Curve, length: int, s16: bool, variant: Variant
) -> None:
    host, point = card_with(variant, curve, scp11_s16=s16)
    authority, static, ephemeral = Authority(ROOT.seed, curve), seeded_key(1, curve), seeded_key(2, curve)
    keys = HostKeys(ephemeral, static if variant.host_is_authenticated else None)
    if variant.host_is_authenticated:
        assert send_certificates(host, authority.certify(static)) == 0x9000
    parameters = SessionParameters(variant, KVN, length, s16=s16)
    assert agree(host, parameters, keys, point) == 0x9000
    assert host.ok(commands.get_data(0xE0))[:1] == b"\xe0"
    expected = 0x9000 if variant.host_is_authenticated else 0x6982
    assert host.sw(commands.get_status(0x80)) == expected
    assert host.put_keys(make_keys(0x61, length)).sw == expected


@pytest.mark.parametrize("variant", Variant)
def test_session_with_macs_only_when_opened_is_not_encrypted(variant: Variant) -> None:
    host, point = card_with(variant)
    keys = KEYS if variant.host_is_authenticated else HostKeys(EPHEMERAL)
    if variant.host_is_authenticated:
        send_certificates(host, ROOT.certify(STATIC))
    parameters = SessionParameters(variant, KVN, protection=Protection.MAC)
    assert agree(host, parameters, keys, point) == 0x9000
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_data(0x42))
    answer = host.raw(wrapped.apdu)
    assert host.channel.unwrap(answer, wrapped.link).data in answer.data


@pytest.mark.parametrize("variant", [Variant.A, Variant.B])
def test_session_with_identities_when_opened_depends_on_them(variant: Variant) -> None:
    host, point = card_with(variant)
    host.select()
    iin = host.raw("00CA004200").data
    cin = host.raw("00CA004500").data
    keys = KEYS if variant.host_is_authenticated else HostKeys(EPHEMERAL)
    send_certificates(host, ROOT.certify(STATIC))
    parameters = SessionParameters(variant, KVN, identification=Identification(b"host", iin, cin))
    assert agree(host, parameters, keys, point) == 0x9000
    send_certificates(host, ROOT.certify(STATIC))
    other = replace(parameters, identification=Identification(b"host", iin, b"another card"))
    with pytest.raises(CardCryptogramError):
        agree(host, other, keys, point)


def test_identities_in_scp11c_when_asked_for_are_refused() -> None:
    with pytest.raises(SecureChannelError):
        SessionParameters(Variant.C, KVN, identification=Identification(b"h", b"i", b"c"))


def test_chain_of_three_when_sent_in_parts_is_verified() -> None:
    host, point = card_with(Variant.A)
    middle, lower = Authority(0x52), Authority(0x53)
    chain = [ROOT.certify_authority(middle), middle.certify_authority(lower), lower.certify(STATIC)]
    assert send_certificates(host, *chain) == 0x9000
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x9000


@pytest.mark.parametrize(
    "transport",
    [CertificateTransport(), CertificateTransport(extended=True), CertificateTransport(mark_p1=True)],
)
def test_long_certificate_when_sent_in_any_way_is_verified(transport: CertificateTransport) -> None:
    host, _ = card_with(Variant.A)
    long = ROOT.certify(STATIC, discretionary=bytes([0xC8, 0x82, 1, 44]) + bytes(300))
    for command in scp11.perform_security_operation([long], CA, transport):
        assert host.raw(command).sw == 0x9000


def test_leaf_when_another_key_signed_it_is_refused_and_nothing_is_verified() -> None:
    host, point = card_with(Variant.A)
    forged = Authority(0x52).certify(STATIC)
    assert send_certificates(host, forged) == 0x6982
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x6985


def test_bad_certificate_after_a_good_one_forgets_the_good_one() -> None:
    host, point = card_with(Variant.A)
    assert send_certificates(host, ROOT.certify(STATIC)) == 0x9000
    assert send_certificates(host, Authority(0x52).certify(STATIC)) == 0x6982
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x6985


def test_chain_when_its_leaf_is_no_authority_is_refused() -> None:
    host, _ = card_with(Variant.A)
    leaf = Authority(0x52)
    chain = [ROOT.certify(leaf.key, subject=leaf.identifier), leaf.certify(STATIC)]
    assert send_certificates(host, *chain) == 0x6982


def test_authority_as_leaf_when_sent_is_refused() -> None:
    host, _ = card_with(Variant.A)
    assert send_certificates(host, ROOT.certify_authority(Authority(0x52))) == 0x6982


def test_certificate_that_names_another_issuer_when_sent_is_refused() -> None:
    host, _ = card_with(Variant.A)

    class Impostor(Authority):
        @property
        def identifier(self) -> bytes:
            return b"somebody else"

    assert send_certificates(host, Impostor(ROOT.seed).certify(STATIC)) == 0x6982


def test_certificate_with_authorisations_that_the_card_cannot_read_is_refused() -> None:
    host, _ = card_with(Variant.A)
    certificate = read_certificate(ROOT.certify(STATIC))
    restricted = encode_tlv(0x7F21, encode_tlv(0xBF20, b"\x80\x01\x00") + certificate.encoded[4:])
    assert send_certificates(host, restricted) == 0x6A80


@pytest.mark.parametrize("data", ["", "00", "7F2100", "3000", "30820000", "7F21035F3700", "FFFFFFFFFF"])
def test_malformed_certificate_when_sent_is_refused(data: str) -> None:
    host, _ = card_with(Variant.A)
    assert host.raw(CommandApdu(0x80, 0x2A, KVN, 0x10, bytes.fromhex(data))).sw == 0x6A80


def test_unknown_authority_when_named_is_refused() -> None:
    host, _ = card_with(Variant.A)
    unknown = KeyReference(0x10, 0x55)
    assert send_certificates(host, ROOT.certify(STATIC), authority=unknown) == 0x6A88
    # a key that is not an authority's
    assert send_certificates(host, ROOT.certify(STATIC), authority=KeyReference(0x11, KVN)) == 0x6A88


def test_authority_when_its_key_is_of_another_kind_is_refused() -> None:
    host, _ = card_with(Variant.A)
    host.select()
    host.authenticate()
    assert host.dek is not None
    field = put_key_field(Secret(bytes(16)), KeyType.AES, host.dek)
    host.ok(commands.put_key(KVN, [field], first_kid=0x20))
    host.channel = None
    assert host.raw("0070000001").sw == 0x9000
    assert send_certificates(host, ROOT.certify(STATIC), authority=KeyReference(0x20, KVN)) == 0x6985
    # Nothing was reset: the other channel is still open.
    assert host.raw("81CA006600").sw == 0x9000


def test_authority_when_not_named_is_found_by_its_identifier() -> None:
    host, point = card_with(Variant.A)
    assert send_certificates(host, ROOT.certify(STATIC), authority=KeyReference(0, 0)) == 0x9000
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x9000


@pytest.mark.parametrize(
    ("change", "sw"),
    [
        ({"p2": 0x13}, 0x6A86),
        ({"p1": 0x55}, 0x6A88),
        ({"p2": 0x15}, 0x6A88),
        ({"data": b""}, 0x6A80),
        ({"data": b"\xa6\x00\x5f\x49\x00"}, 0x6A80),
    ],
)
def test_mutual_authenticate_when_wrong_is_refused(change: dict[str, object], sw: int) -> None:
    host, _ = card_with(Variant.A)
    send_certificates(host, ROOT.certify(STATIC))
    command = scp11.authenticate(SessionParameters(Variant.A, KVN), EPHEMERAL.point)
    assert host.raw(replace(command, **change)).sw == sw  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("90021101", "90021103"),
        ("90021101", "90021105"),
        ("90021101", "90020301"),
        ("95013c", "9501ff"),
        ("800188", "800180"),
        ("810110", "810111"),
        ("5f494104", "5f494102"),
    ],
)
def test_parameters_when_not_understood_are_refused(old: str, new: str) -> None:
    host, _ = card_with(Variant.A)
    send_certificates(host, ROOT.certify(STATIC))
    command = scp11.authenticate(SessionParameters(Variant.A, KVN), EPHEMERAL.point)
    changed = command.data.hex().replace(old, new, 1)
    assert changed != command.data.hex()
    assert host.raw(command.with_data(bytes.fromhex(changed))).sw == 0x6A80


def test_key_length_when_the_card_does_not_have_it_is_refused() -> None:
    host, point = card_with(Variant.B, scp11_key_lengths=[16])
    parameters = SessionParameters(Variant.B, KVN, 32)
    assert agree(host, parameters, HostKeys(EPHEMERAL), point) == 0x6A80


def test_point_off_the_curve_when_sent_is_refused() -> None:
    host, _ = card_with(Variant.B)
    wrong = EPHEMERAL.point[:-1] + bytes([EPHEMERAL.point[-1] ^ 1])
    assert host.raw(scp11.authenticate(SessionParameters(Variant.B, KVN), wrong)).sw == 0x6A80


def test_certified_key_of_another_curve_when_used_is_refused() -> None:
    host, point = card_with(Variant.A)
    assert send_certificates(host, ROOT.certify(seeded_key(3, Curve.P_384))) == 0x9000
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x6A80


def test_verified_certificate_when_used_once_is_gone() -> None:
    host, point = card_with(Variant.A)
    send_certificates(host, ROOT.certify(STATIC))
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x9000
    host.channel = None
    assert agree(host, SessionParameters(Variant.A, KVN), KEYS, point) == 0x6985


def test_certified_entity_without_its_private_key_when_authenticated_cannot_speak() -> None:
    """The card answers, but the session's keys depend on SK.OCE: the first command is refused."""
    host, point = card_with(Variant.A)
    send_certificates(host, ROOT.certify(STATIC))
    thief = HostKeys(EPHEMERAL, seeded_key(0x77))
    with pytest.raises(CardCryptogramError):
        agree(host, SessionParameters(Variant.A, KVN), thief, point)
    assert host.raw("84F28000" + "0A" + "4F00" + "00" * 8).sw == 0x6982


def test_message_when_changed_ends_the_session() -> None:
    host = opened(Variant.A)
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_status(0x80)).apdu
    assert host.raw(wrapped.with_data(b"\x00" + wrapped.data[1:])).sw == 0x6982
    assert host.send(commands.get_data(0xE0)).sw == 0x6982


@pytest.mark.parametrize("variant", [Variant.A, Variant.C])
def test_private_key_when_put_opens_its_own_session(variant: Variant) -> None:
    host = opened(variant)
    assert host.dek is not None
    mine = seeded_key(0x44)
    field = ecc_private_put_key_field(mine.private, CURVE_REFERENCES[mine.curve], host.dek)
    host.ok(commands.put_key(KVN, [field], first_kid=Variant.B.kid))
    host.channel = None
    assert agree(host, SessionParameters(Variant.B, KVN), HostKeys(EPHEMERAL), mine.point) == 0x9000


@pytest.mark.parametrize(
    ("allowed", "sw"), [((), 0x6982), (("D8",), 0x9000)], ids=["nothing allowed", "PUT KEY allowed"]
)
def test_scp11b_session_when_it_puts_keys_follows_the_profile(allowed: tuple[str, ...], sw: int) -> None:
    host = opened(Variant.B, scp11b_commands=allowed)
    assert host.put_keys(make_keys(0x61)).sw == sw


def test_scp11_when_the_security_domain_does_not_offer_it_is_unknown() -> None:
    host = CardHost(make_card("scp03-i70"))
    assert host.raw(CommandApdu(0x80, 0x2A, KVN, 0x10, b"\x30\x00")).sw in (0x6982, 0x6D00)
    command = scp11.authenticate(SessionParameters(Variant.B, KVN), EPHEMERAL.point)
    assert host.raw(command).sw in (0x6982, 0x6D00)


@pytest.mark.parametrize(("enabled", "sw"), [(False, 0x6D00), (True, 0x9000)])
def test_key_generation_when_switched_follows_the_profile(enabled: bool, sw: int) -> None:
    host = host_with_session(make_card("scp11-p256", key_generation=enabled))
    data = bytes([KVN]) + encode_tlv(0xF0, b"\x00")
    assert host.sw(CommandApdu(0x80, 0xF1, 0x00, 0x13, data, 256)) == sw


def test_certificates_when_stored_are_read_and_verified() -> None:
    host, point = card_with(Variant.B)
    host.authenticate()
    key = KeyReference(Variant.B.kid, KVN)
    middle = Authority(0x52)
    card_key = PublicKey(Curve.P_256, point)
    leaf = middle.certify(seeded_key(5))
    for command in store_certificates(key, [ROOT.certify_authority(middle), leaf], block_size=100):
        host.ok(command)
    chain = parse_certificates(host.ok(get_certificates(key)))
    anchor = PublicKey(ROOT.curve, ROOT.key.point)
    assert verify_chain(chain, anchor, today=date(2026, 1, 1)).encoded == leaf
    assert chain[-1].public_key != card_key
    assert host.sw(get_certificates(KeyReference(Variant.A.kid, KVN))) == 0x6A88


@pytest.mark.parametrize(("tagged", "first"), [(False, b"\x7f\x21"), (True, b"\xbf\x21")])
def test_certificate_store_in_the_iso_class_when_read_follows_the_profile(tagged: bool, first: bytes) -> None:
    host, _ = card_with(Variant.B, certificate_store_tagged=tagged)
    host.authenticate()
    key = KeyReference(Variant.B.kid, KVN)
    for command in store_certificates(key, [ROOT.certify(STATIC)]):
        host.ok(command)
    host.channel = None
    host.select()
    answer = host.raw(replace(get_certificates(key), cla=0x00))
    assert answer.data[:2] == first
    assert parse_certificates(answer.data)[0].encoded == ROOT.certify(STATIC)


def test_authorities_when_stored_are_listed() -> None:
    host, _ = card_with(Variant.B)
    host.select()
    assert parse_authorities(host.raw("80CAFF3300").data) == {CA: ROOT.identifier}
    assert set(parse_authorities(host.raw("80CAFF3400").data)) == {
        KeyReference(kid, 0x18) for kid in (Variant.A.kid, Variant.B.kid)
    }


def test_authorities_when_there_are_none_are_not_found() -> None:
    host = CardHost(make_card("scp11-p256", scp11_factory_kvn=0))
    assert host.raw("80CAFF3300").sw == host.raw("80CAFF3400").sw == 0x6A88


def test_allowlist_counter_when_it_does_not_grow_is_refused() -> None:
    host = opened(Variant.A)
    (first,) = store_allowlist(CA, [b"\x01"], counter=5)
    host.ok(first)
    for counter, sw in ((5, 0x6985), (4, 0x6985), (None, 0x6985), (6, 0x9000)):
        (command,) = store_allowlist(CA, [b"\x01", b"\x02"], counter=counter)
        assert host.sw(command) == sw


@pytest.mark.parametrize(("anew", "sw"), [("replaced", 0x6982), ("deleted", 0x9000)])
def test_allowlist_when_its_key_is_put_anew_stays_only_with_a_replaced_one(anew: str, sw: int) -> None:
    """A key without a list takes every certificate of its authority."""
    host = opened(Variant.A)
    (command,) = store_allowlist(CA, [b"\x09"], counter=1)
    host.ok(command)
    field = ecc_public_put_key_field(ROOT.key.point, CURVE_REFERENCES[Curve.P_256])
    if anew == "deleted":
        host.ok(commands.delete_key(CA.kid, CA.kvn))
        trust(host, ROOT)
    else:
        host.ok(commands.put_key(CA.kvn, [field], first_kid=CA.kid, replace_kvn=CA.kvn))
    host.channel = None
    assert send_certificates(host, ROOT.certify(STATIC)) == sw


@pytest.mark.parametrize(("serial", "sw"), [(1, 0x9000), (2, 0x6982)])
def test_allowlist_when_an_authority_between_issues_then_only_the_leafs_serial_counts(
    serial: int, sw: int
) -> None:
    host = opened(Variant.A)
    (command,) = store_allowlist(CA, [b"\x01"])
    host.ok(command)
    host.channel = None
    between = Authority(0x52)
    chain = (ROOT.certify_authority(between), between.certify(STATIC, serial))
    assert send_certificates(host, *chain) == sw


@pytest.mark.parametrize("counter", [-1, 0x8000])
def test_allowlist_counter_when_out_of_range_is_refused(counter: int) -> None:
    with pytest.raises(ScriptError):
        store_allowlist(CA, [], counter=counter)


def test_data_for_an_unknown_key_when_stored_is_refused() -> None:
    host = opened(Variant.A)
    (command,) = store_allowlist(KeyReference(0x10, 0x55), [b"\x01"])
    assert host.sw(command) == 0x6A88


def read_whole(host: CardHost, command: CommandApdu) -> bytes:
    """Send, and fetch what is left by GET RESPONSE."""
    answer = host.raw(command)
    data = answer.data
    while answer.sw >> 8 == 0x61:
        answer = host.raw("00C0000000")
        data += answer.data
    assert answer.sw == 0x9000
    return data


def script_for(
    point: bytes, *plain: CommandApdu, replay: ReplaySafety | None = ReplaySafety.IDEMPOTENT
) -> OfflineScript:
    certificates = scp11.perform_security_operation([ROOT.certify(STATIC)], CA)
    return offline_script(SessionParameters(Variant.C, KVN), KEYS, point, certificates, plain, replay=replay)


def test_offline_script_when_played_twice_runs_twice() -> None:
    """Why a script needs the statement: the card cannot tell the second time from the first."""
    host, point = card_with(Variant.C)
    script = script_for(point, commands.get_status(0x80), commands.get_data(0xE0))
    for _ in range(2):
        answers = [host.raw(command) for command in script.commands]
        assert answers[script.authenticate_at].data == script.expected_answer
        opened_answers = script.open_answers(answers[script.authenticate_at + 1 :])
        assert [answer.sw for answer in opened_answers] == [0x9000, 0x9000]
        host.select()


def test_offline_script_when_its_certificate_left_the_allowlist_is_dead() -> None:
    host, point = card_with(Variant.C)
    script = script_for(point, commands.get_status(0x80))
    host.authenticate()
    (command,) = store_allowlist(CA, [b"\x09"], counter=1)
    host.ok(command)
    host.select()
    assert host.raw(script.commands[0]).sw == 0x6982


def test_offline_script_without_statement_is_not_made() -> None:
    _, point = card_with(Variant.C)
    with pytest.raises(ScriptError):
        script_for(point, commands.get_status(0x80), replay=None)


def test_offline_script_of_another_variant_is_not_made() -> None:
    with pytest.raises(ScriptError):
        offline_script(
            SessionParameters(Variant.A, KVN), KEYS, STATIC.point, [], [], replay=ReplaySafety.IDEMPOTENT
        )


def test_new_domain_when_it_has_an_scp11_key_of_its_own_is_not_opened_by_the_issuers_keys() -> None:
    """As with SCP11 and messages: whoever has a key of his own there is alone with it."""
    host, _ = card_with(Variant.B)
    host.authenticate()
    assert host.create_domain(SSD) == 0x9000
    host.select(SSD)
    host.authenticate()
    generated(host, Variant.B)
    host.select(SSD)
    assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6A88
    host.select()
    host.authenticate()


def test_new_domain_when_it_has_no_keys_speaks_scp11_with_the_issuers() -> None:
    host, point = card_with(Variant.B)
    host.authenticate()
    assert host.create_domain(SSD) == 0x9000
    host.select(SSD)
    assert agree(host, SessionParameters(Variant.B, KVN), HostKeys(EPHEMERAL), point) == 0x9000
    host.select()
    host.authenticate()
    host.forward_keys(SSD, make_keys(0x61))
    host.select(SSD)
    assert agree(host, SessionParameters(Variant.B, KVN), HostKeys(EPHEMERAL), point) == 0x6A88


@pytest.mark.parametrize("name", ["scp11-p256", "scp11-p384", "scp11-bp256", "scp11-s16"])
@pytest.mark.parametrize("variant", [Variant.A, Variant.B])
def test_new_card_of_each_profile_when_it_comes_from_the_factory_proves_itself(
    name: str, variant: Variant
) -> None:
    host = CardHost(make_card(name, random=CountedRandom()))
    chain = parse_certificates(read_whole(host, get_certificates(KeyReference(variant.kid, 0x18))))
    card = verify_chain(chain, PublicKey(Curve.P_256, virtual_authority.point()), today=date(2026, 1, 1))
    curve = card.public_key.curve
    assert host.card.profile.scp11_curve == curve.name
    keys = HostKeys(seeded_key(2, curve), seeded_key(1, curve) if variant is Variant.A else None)
    if variant is Variant.A:
        host.host_challenge = bytes(16 if host.card.profile.scp11_s16 else 8)
        host.authenticate()
        trust(host, ROOT)
        assert send_certificates(host, ROOT.certify(seeded_key(1, curve))) == 0x9000
    parameters = SessionParameters(variant, 0x18, s16=host.card.profile.scp11_s16)
    assert agree(host, parameters, keys, card.public_key.point) == 0x9000
    assert host.sw(commands.get_data(0x66)) == 0x9000


def test_recognition_data_when_read_names_scp11_with_its_two_byte_option() -> None:
    """As a YubiKey 5.7 shows it: SCP11 i=0D86 is the arc 9B06."""
    host = CardHost(make_card("scp11-p256"))
    assert bytes.fromhex("640C060A2A864886FC6B04119B06") in host.raw("80CA006600").data


FUZZED = card_with(Variant.A)[0]


@settings(max_examples=150, deadline=None)
@given(
    header=st.sampled_from(["802A0310", "802A0390", "80820311", "80880313", "80CABF21", "80CA0083"]),
    data=st.binary(max_size=200),
    prefix=st.sampled_from(["", "7F21", "30", "A60D9002110195013C80018881011" + "0", "A6"]),
)
def test_any_data_when_sent_outside_a_session_gets_a_status_word_and_changes_nothing(
    header: str, data: bytes, prefix: str
) -> None:
    host = FUZZED
    before = encode_image(host.card.image())
    content = (bytes.fromhex(prefix) + data)[:255]
    answer = host.raw(bytes.fromhex(header) + bytes([len(content)]) + content if content else header)
    assert answer.sw != 0x6F00
    assert encode_image(host.card.image()) == before
