"""Keys that verify and sign on the card: curves, private keys, usage, what PUT KEY refuses.

Curve parameters: FIPS 186-4 D.1.2 and RFC 5639 section 3, as OpenSSL prints them (`ecparam`).
"""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.conformance.delegation import (
    KEYS,
    ber,
    delegated,
    enter,
    install_fields,
    lv,
    put,
    scheme,
    signed_install,
)
from tests.unit.vse.card_host import (
    SD_MODULE,
    SD_PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    make_card,
    privileged_domain,
    random_bytes,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey
from opentsm.card.errors import KeyFormatError
from opentsm.card.gp import commands
from opentsm.card.gp.keys import (
    EccParameters,
    KeyAccess,
    KeyUsage,
    ecc_private_put_key_field,
    ecc_public_put_key_field,
    rsa_public_put_key_field,
)
from opentsm.card.gp.privileges import Privilege
from opentsm.vse.environment import Environment
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.signing_keys import Role, curve_of, least_hash_length, role_key, signer, verifier
from opentsm.vse.state import Key, KeyComponent

PARAMETERS = {
    Curve.P_256: (
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
        "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e"
        "162bce33576b315ececbb6406837bf51f5",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    ),
    Curve.P_384: (
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000fffffffc",
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
        "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760a"
        "b73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e"
        "5f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
    Curve.P_521: (
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "ffffffffffffffffffffffffffffffffffff",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "fffffffffffffffffffffffffffffffffffc",
        "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1"
        "bf073573df883d2c34f1ef451fd46b503f00",
        "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2"
        "ffa8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd"
        "17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709"
        "a5d03bb5c9b8899c47aebb6fb71e91386409",
    ),
    Curve.BRAINPOOL_P256R1: (
        "a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377",
        "7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9",
        "26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6",
        "048bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262547ef835c3dac4fd97f8461a14611d"
        "c9c27745132ded8e545c1d54c72f046997",
        "a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7",
    ),
    Curve.BRAINPOOL_P384R1: (
        "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec53",
        "7bc382c63d8c150c3c72080ace05afa0c2bea28e4fb22787139165efba91f90f8aa5814a503ad4eb04a8c7dd22ce2826",
        "04a8c7dd22ce28268b39b55416f0447c2fb77de107dcd2a62e880ea53eeb62d57cb4390295dbc9943ab78696fa504c11",
        "041d1c64f068cf45ffa2a63a81b7c13f6b8847a3e77ef14fe3db7fcafe0cbd10e8e826e03436d646aaef87b2e247d4af"
        "1e8abe1d7520f9c2a45cb1eb8e95cfd55262b70b29feec5864e19c054ff99129280e4646217791811142820341263c53"
        "15",
        "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc3103b883202e9046565",
    ),
    Curve.BRAINPOOL_P512R1: (
        "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e6"
        "2881ff2f2d82c68528aa6056583a48f3",
        "7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b5"
        "7f1117a72bf2c7b9e7c1ac4d77fc94ca",
        "3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94cadc083e67"
        "984050b75ebae5dd2809bd638016f723",
        "0481aee4bdd82ed9645a21322e9c4c6a9385ed9f70b5d916c1b43b62eef4d0098eff3b1f78e2d0d48d50d1687b93b97d"
        "5f7c6d5047406a5e688b352209bcb9f8227dde385d566332ecc0eabfa9cf7822fdf209f70024a57b1aa000c55b881f81"
        "11b2dcde494a5f485e5bca4bd88a2763aed1ca2b2fa8f0540678cd1e0f3ad80892",
        "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619418661197fac1047"
        "1db1d381085ddaddb58796829ca90069",
    ),
}
REFERENCES = {
    Curve.P_256: 0x00,
    Curve.P_384: 0x01,
    Curve.P_521: 0x02,
    Curve.BRAINPOOL_P256R1: 0x03,
    Curve.BRAINPOOL_P384R1: 0x05,
    Curve.BRAINPOOL_P512R1: 0x07,
}
PRIVATE = Secret(b"\x05" * 31)


def parameters(curve: Curve) -> EccParameters:
    p, a, b, g, n = (bytes.fromhex(value) for value in PARAMETERS[curve])
    return EccParameters(p, a, b, g, n)


def stored(host: CardHost, kvn: int = 0x73) -> Key:
    """The key that the card keeps under identifier 1 of this version."""
    key = host.card.image().isd.domain_data().find_key(1, kvn)
    assert key is not None
    return key


@pytest.mark.parametrize("curve", list(Curve))
def test_public_key_when_its_curve_comes_by_reference_or_by_parameters_then_it_verifies(curve: Curve) -> None:
    key = EcSigningKey(curve, PRIVATE)
    for description in (REFERENCES[curve], parameters(curve)):
        host = host_with_session()
        field = ecc_public_put_key_field(key.point, description)
        host.ok(CommandApdu(0x80, 0xD8, 0x00, 0x01, b"\x73" + field, 256, extended=True))
        assert curve_of(stored(host)) is curve
        verifier(stored(host)).verify(b"message", key.sign(b"message"))


@pytest.mark.parametrize("curve", list(Curve))
def test_private_key_when_its_curve_comes_by_reference_or_by_parameters_then_it_signs(curve: Curve) -> None:
    key = EcSigningKey(curve, PRIVATE)
    for description in (REFERENCES[curve], parameters(curve)):
        host = host_with_session()
        assert host.dek is not None
        field = ecc_private_put_key_field(PRIVATE, description, host.dek)
        host.ok(CommandApdu(0x80, 0xD8, 0x00, 0x01, b"\x71" + field, 256, extended=True))
        key.verification_key.verify(b"message", signer(stored(host, 0x71)).sign(b"message"))


@pytest.mark.parametrize("name", ["p", "a", "b", "g", "n"])
def test_curve_when_one_parameter_is_another_then_refused(name: str) -> None:
    """A curve that looks like a known one could be weak."""
    value = getattr(parameters(Curve.P_256), name)
    wrong = replace(parameters(Curve.P_256), **{name: value[:-1] + bytes([value[-1] ^ 1])})
    host = host_with_session()
    point = EcSigningKey(Curve.P_256, PRIVATE).point
    assert put(host, 0x73, lambda _: ecc_public_put_key_field(point, wrong)) == 0x6A80


@pytest.mark.parametrize(
    "field",
    [
        ecc_public_put_key_field(b"\x04" + bytes(64), 0x00),
        ecc_public_put_key_field(EcSigningKey(Curve.P_256, PRIVATE).point, 0x03),
        ecc_public_put_key_field(EcSigningKey(Curve.P_256, PRIVATE).point, 0x04),
        ecc_public_put_key_field(EcSigningKey(Curve.P_256, PRIVATE).point[:-1], 0x00),
        rsa_public_put_key_field(b"\xff" * 64, b"\x03"),
        rsa_public_put_key_field(b"\xff" * 128, b"\x02"),
        b"\xa1\x81\x80" + b"\xff" * 128 + b"\x00",
    ],
)
def test_put_key_when_no_scheme_could_use_the_key_then_6a80_and_nothing_stored(field: bytes) -> None:
    host = host_with_session()
    before = host.card.image()
    assert host.sw(CommandApdu(0x80, 0xD8, 0x00, 0x01, b"\x73" + field, 256)) == 0x6A80
    assert host.card.image() == before


@pytest.mark.parametrize(
    ("usage", "role", "allowed"),
    [
        ("81", Role.TOKEN, True),
        ("83", Role.TOKEN, True),
        ("87", Role.TOKEN, True),
        ("84", Role.TOKEN, False),
        ("84", Role.DAP, True),
        ("86", Role.DAP, True),
        ("81", Role.DAP, False),
        ("44", Role.RECEIPT, True),
        ("43", Role.RECEIPT, True),
        ("42", Role.RECEIPT, False),
        ("48", Role.LOAD_FILE, True),
        ("38", Role.LOAD_FILE, False),
        ("", Role.TOKEN, True),
    ],
)
def test_role_when_the_usage_qualifier_says_otherwise_then_no_key(
    usage: str, role: Role, allowed: bool
) -> None:
    """Table 11-17 and the values below Table 11-18."""
    card = make_card()
    environment = Environment(card.image(), card.profile, MemoryNvm(), random_bytes)
    kvn = {Role.TOKEN: 0x70, Role.RECEIPT: 0x71, Role.DAP: 0x73, Role.LOAD_FILE: 0x75}[role]
    key = Key(1, kvn, [KeyComponent(0x88, bytes(16))], bytes.fromhex(usage))
    environment.image.isd.domain_data().keys.append(key)
    assert (role_key(environment, environment.image.isd, role) is key) is allowed


def test_extended_put_key_when_public_then_usage_and_access_are_kept() -> None:
    host = host_with_session()
    field = rsa_public_put_key_field(b"\xff" * 127 + b"\xfd", b"\x03", usage=KeyUsage.TOKEN)
    host.ok(commands.put_key(0x70, [field]))
    assert (stored(host, 0x70).usage, stored(host, 0x70).access) == (b"\x81", b"\x01")
    point = EcSigningKey(Curve.P_256, PRIVATE).point
    other = ecc_public_put_key_field(point, 0x00, usage=KeyUsage.DAP, access=KeyAccess.SD_AND_APPLICATIONS)
    host.ok(commands.put_key(0x73, [other]))
    assert (stored(host).usage, stored(host).access) == (b"\x84", b"\x00")


def test_rsa_private_key_when_given_by_exponent_then_it_signs() -> None:
    numbers = rsa.generate_private_key(3, 1024).private_numbers()  # noqa: S505  GPCS B.3.1
    modulus = numbers.public_numbers.n.to_bytes(128, "big")
    components = [KeyComponent(0xA2, modulus), KeyComponent(0xA3, numbers.d.to_bytes(128, "big"))]
    public = [KeyComponent(0xA1, modulus), KeyComponent(0xA0, b"\x03")]
    signature = signer(Key(1, 0x71, components)).sign(b"message")
    verifier(Key(1, 0x70, public)).verify(b"message", signature)


@pytest.mark.parametrize("kind", [0x85, 0xF0])
def test_key_when_of_no_signature_type_then_it_neither_signs_nor_verifies(kind: int) -> None:
    key = Key(1, 0x70, [KeyComponent(kind, bytes(16))])
    with pytest.raises(KeyFormatError):
        signer(key)
    with pytest.raises(KeyFormatError):
        verifier(key)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("kind", [0x85, 0xF0])
def test_role_when_the_key_in_its_place_is_of_another_kind_then_no_key(role: Role, kind: int) -> None:
    """PUT KEY takes shared secrets and curves at any number; the card must not stumble over them."""
    card = make_card()
    environment = Environment(card.image(), card.profile, MemoryNvm(), random_bytes)
    kvn = {Role.TOKEN: 0x70, Role.RECEIPT: 0x71, Role.DAP: 0x73, Role.LOAD_FILE: 0x75}[role]
    environment.image.isd.domain_data().keys.append(Key(1, kvn, [KeyComponent(kind, bytes(16))]))
    assert role_key(environment, environment.image.isd, role) is None


def test_receipt_key_when_it_is_public_then_the_delegated_operation_is_refused() -> None:
    """§C.1.1.2: no key that signs, no receipt, no operation; and the session goes on."""
    host = delegated()
    enter(host)
    host.ok(commands.delete_key(1, 0x71))
    assert put(host, 0x71, scheme("P-256").verification_field) == 0x9000
    enter(host, SSD)
    signer_ = scheme("P-256").signer
    fields = install_fields(package=SD_PACKAGE, module=SD_MODULE, privileges=b"\x80\x80\x00")
    assert host.sw(signed_install(0x0C, 0x00, fields, signer_)) == 0x6985
    assert host.sw(commands.get_status(0x40)) in {0x9000, 0x6A88}


def test_public_key_when_asked_to_sign_then_refused() -> None:
    host = host_with_session()
    put(host, 0x73, scheme("P-256").verification_field)
    with pytest.raises(KeyFormatError):
        signer(stored(host))
    assert least_hash_length(stored(host)) == 32


def test_role_keys_when_versions_are_enforced_then_they_are_still_taken() -> None:
    host = CardHost(make_card(kvn_ranges_enforced=True))
    host.authenticate()
    assert put(host, 0x70, scheme("AES-128").verification_field) == 0x9000
    assert put(host, 0x72, scheme("AES-128").verification_field) == 0x6A80


def curve_alone(reference: str, curve: Curve) -> bytes:
    """A key data field with F0 and B2 to B6 only."""
    values = [bytes.fromhex(value) for value in PARAMETERS[curve]]
    parts = zip((0xB2, 0xB3, 0xB4, 0xB5, 0xB6), values, strict=True)
    head = b"\xf0" + lv(bytes.fromhex(reference))
    return head + b"".join(bytes([kind]) + ber(value) for kind, value in parts) + b"\x00"


def put_at(host: CardHost, kid: int, kvn: int, field: bytes) -> int:
    return host.sw(CommandApdu(0x80, 0xD8, 0x00, kid, bytes([kvn]) + field, 256, extended=True))


@pytest.mark.parametrize("reference", ["60", "40", "E001", "C001"])
def test_curve_when_stored_under_a_reference_then_keys_name_it(reference: str) -> None:
    host, curve = host_with_session(), Curve.BRAINPOOL_P384R1
    key = EcSigningKey(curve, PRIVATE)
    field = ecc_public_put_key_field(key.point, int(reference, 16))
    assert put_at(host, 1, 0x73, field) == 0x6A80
    assert put_at(host, 5, 0x74, curve_alone(reference, curve)) == 0x9000
    assert put_at(host, 1, 0x73, field) == 0x9000
    verifier(stored(host)).verify(b"message", key.sign(b"message"))
    host.ok(commands.delete_key(5, 0x74))
    verifier(stored(host)).verify(b"message", key.sign(b"message"))


def test_curve_when_stored_by_a_domain_then_local_only_and_seen_below_it() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    assert put_at(host, 5, 0x74, curve_alone("61", Curve.P_384)) == 0x9000
    enter(host, SSD)
    assert put_at(host, 5, 0x74, curve_alone("41", Curve.P_256)) == 0x6A80
    key = EcSigningKey(Curve.P_384, PRIVATE)
    assert put_at(host, 1, 0x73, ecc_public_put_key_field(key.point, 0x61)) == 0x9000
    assert put_at(host, 5, 0x74, curve_alone("61", Curve.P_256)) == 0x9000
    # Its own one is nearer than the issuer's.
    assert put_at(host, 2, 0x73, ecc_public_put_key_field(key.point, 0x61)) == 0x6A80
    assert (
        put_at(host, 2, 0x73, ecc_public_put_key_field(EcSigningKey(Curve.P_256, PRIVATE).point, 0x61))
        == 0x9000
    )


@pytest.mark.parametrize("reference", ["00", "09", "3F", "8000", "BFFF"])
def test_curve_when_stored_under_a_reserved_reference_then_refused(reference: str) -> None:
    host = host_with_session()
    assert put_at(host, 5, 0x74, curve_alone(reference, Curve.P_256)) == 0x6A80


def test_curve_when_stored_with_unknown_parameters_then_refused() -> None:
    host = host_with_session()
    field = curve_alone("60", Curve.P_256)
    at = field.index(b"\xb3") + 2
    assert put_at(host, 5, 0x74, field[:at] + bytes([field[at] ^ 1]) + field[at + 1 :]) == 0x6A80
    assert put_at(host, 5, 0x74, field) == 0x9000
