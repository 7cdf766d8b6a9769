"""Asymmetric keys by STORE DATA: data groups 00B9 and those behind it.

The bytes are spelled from Tables 11-94 to 11-105; the host's own groups are checked in the second half.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.unit.vse.card_host import CardHost, host_with_session
from tests.unit.vse.test_vse_signing_keys import parameters, stored

from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey, RsaSigningKey
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataStructure
from opentsm.card.gp.key_groups import (
    KeyName,
    store_data_ecc_private,
    store_data_ecc_public,
    store_data_rsa_private,
    store_data_rsa_public,
)
from opentsm.card.gp.keys import KeyUsage, RsaPrivateCrt, encrypt_key
from opentsm.vse.signing_keys import signer, verifier

DAP = KeyName(1, 0x73, KeyUsage.DAP)
RECEIPT = KeyName(1, 0x71, KeyUsage.RECEIPT)
PRIVATE = Secret(b"\x05" * 32)
POINT = EcSigningKey(Curve.P_256, PRIVATE).point
# Key type B0, 65 bytes, identifier 1 of version 73; then the reference of P-256.
POINT_TEMPLATE = "B90F9501848001B081014182010183 0173"
REFERENCE_TEMPLATE = "B9068001F0850100"


def store(host: CardHost, data: bytes) -> int:
    """STORE DATA in blocks of 200 bytes; the last status word."""
    blocks = [data[at : at + 200] for at in range(0, len(data), 200)]
    sw = 0x9000
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        assert sw == 0x9000
        sw = host.sw(commands.store_data(block, number, last=last, structure=StoreDataStructure.DGI))
    return sw


def control(*templates: str) -> bytes:
    return encode_dgi(0x00B9, bytes.fromhex("".join(templates)))


def test_public_point_when_spelled_as_table_11_102_has_it_then_verifies() -> None:
    host = host_with_session()
    data = control(POINT_TEMPLATE, REFERENCE_TEMPLATE) + encode_dgi(0x0036, POINT)
    assert store(host, data) == 0x9000
    verifier(stored(host)).verify(b"message", EcSigningKey(Curve.P_256, PRIVATE).sign(b"message"))
    assert bytes.fromhex("C0060173B040F000") in host.ok(commands.get_data(0xE0))


def test_private_number_when_spelled_as_table_11_104_has_it_then_signs() -> None:
    host = host_with_session()
    assert host.dek is not None
    data = control("B90F9501448001B1810120820101830171", REFERENCE_TEMPLATE)
    assert store(host, data + encode_dgi(0x8137, encrypt_key(host.dek, PRIVATE))) == 0x9000
    signature = signer(stored(host, 0x71)).sign(b"message")
    EcSigningKey(Curve.P_256, PRIVATE).verification_key.verify(b"message", signature)


def test_point_with_its_own_curve_when_spelled_as_table_11_100_has_it_then_verifies() -> None:
    host = host_with_session()
    curve = parameters(Curve.P_256)
    values = (curve.p, curve.a, curve.b, curve.g, curve.n)
    described = "".join(
        f"B9068001{kind:02X}8101{len(value):02X}" for kind, value in enumerate(values, start=0xB2)
    )
    data = control(POINT_TEMPLATE) + encode_dgi(0x0036, POINT) + control(described)
    data += b"".join(encode_dgi(group, value) for group, value in enumerate(values, start=0x0030))
    assert store(host, data) == 0x9000
    verifier(stored(host)).verify(b"message", EcSigningKey(Curve.P_256, PRIVATE).sign(b"message"))


def test_rsa_public_key_when_spelled_as_table_11_94_has_it_then_verifies() -> None:
    host = host_with_session()
    native = rsa.generate_private_key(65537, 2048)
    numbers = native.public_key().public_numbers()
    data = control("B9109501848001A181020100820101830173", "B90F9501848001A0810103820101830173")
    data += encode_dgi(0x0010, numbers.n.to_bytes(256, "big")) + encode_dgi(0x0011, b"\x01\x00\x01")
    assert store(host, data) == 0x9000
    verifier(stored(host)).verify(b"message", RsaSigningKey(native).sign(b"message"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(control(POINT_TEMPLATE, REFERENCE_TEMPLATE), id="no value"),
        pytest.param(
            control(POINT_TEMPLATE, REFERENCE_TEMPLATE) + encode_dgi(0x0037, POINT), id="another group"
        ),
        pytest.param(control(POINT_TEMPLATE) + encode_dgi(0x0036, POINT), id="no curve"),
        pytest.param(
            control(POINT_TEMPLATE, REFERENCE_TEMPLATE) + encode_dgi(0x0036, POINT[:-1]), id="too short"
        ),
        pytest.param(
            control(POINT_TEMPLATE, REFERENCE_TEMPLATE) + encode_dgi(0x0036, b"\x04" + bytes(64)),
            id="no point",
        ),
        pytest.param(
            control(POINT_TEMPLATE, "B9068001F0850103") + encode_dgi(0x0036, POINT), id="other curve"
        ),
        pytest.param(
            control("B90F9501848001A1810180820101830173", "B90F9501848001A0810103820101830174")
            + encode_dgi(0x0010, b"\xc1" * 128)
            + encode_dgi(0x0011, b"\x01\x00\x01"),
            id="another version",
        ),
        pytest.param(
            control("B90F9501848001A1810180820101830173", "B90F9501448001A0810103820101830173")
            + encode_dgi(0x0010, b"\xc1" * 128)
            + encode_dgi(0x0011, b"\x01\x00\x01"),
            id="another usage",
        ),
        pytest.param(
            control("B90F9501848001A1810180820101830173") + encode_dgi(0x0010, b"\xc1" * 128),
            id="no exponent",
        ),
        pytest.param(control(REFERENCE_TEMPLATE), id="curve alone"),
    ],
)
def test_keys_in_groups_when_wrong_then_6a80_and_nothing_is_stored(data: bytes) -> None:
    """§11.11.4: what is inconsistent is rejected."""
    host = host_with_session()
    before = host.card.image()
    assert store(host, data) == 0x6A80
    assert host.card.image() == before


def test_key_groups_when_one_key_is_wrong_then_none_is_stored() -> None:
    host = host_with_session()
    good = control(POINT_TEMPLATE, REFERENCE_TEMPLATE) + encode_dgi(0x0036, POINT)
    bad = control("B90F9501848001B0810141820102830173", REFERENCE_TEMPLATE)
    assert store(host, good + bad + encode_dgi(0x0036, POINT[:-1] + b"\x00")) == 0x6A80
    assert host.card.image().isd.domain_data().find_key(1, 0x73) is None


def test_key_groups_when_data_objects_stand_between_then_both_are_stored() -> None:
    host = host_with_session()
    data = control(POINT_TEMPLATE, REFERENCE_TEMPLATE) + encode_dgi(0x0036, POINT)
    assert store(host, data + encode_dgi(0x0070, encode_tlv(0x45, b"\x07"))) == 0x9000
    assert host.ok(commands.get_data(0x45)) == bytes.fromhex("450107")
    assert host.card.image().isd.domain_data().find_key(1, 0x73) is not None


@pytest.mark.parametrize("own_curve", [False, True])
@pytest.mark.parametrize("curve", [Curve.P_384, Curve.P_521])
def test_host_groups_of_an_elliptic_curve_key_when_stored_then_it_works(
    curve: Curve, own_curve: bool
) -> None:
    host = host_with_session()
    assert host.dek is not None
    private = Secret(b"\x00" + b"\x05" * (curve.length - 1))
    key = EcSigningKey(curve, private)
    description = parameters(curve) if own_curve else {Curve.P_384: 1, Curve.P_521: 2}[curve]
    assert store(host, store_data_ecc_public(DAP, key.point, description)) == 0x9000
    assert store(host, store_data_ecc_private(RECEIPT, private, description, host.dek)) == 0x9000
    verifier(stored(host)).verify(b"message", signer(stored(host, 0x71)).sign(b"message"))


def test_host_groups_of_an_rsa_key_when_stored_then_it_works() -> None:
    host = host_with_session()
    assert host.dek is not None
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    values = (numbers.p, numbers.q, numbers.iqmp, numbers.dmp1, numbers.dmq1)
    crt = RsaPrivateCrt(*(Secret(value.to_bytes(128, "big")) for value in values))
    modulus = numbers.public_numbers.n.to_bytes(256, "big")
    assert store(host, store_data_rsa_public(DAP, modulus, b"\x01\x00\x01")) == 0x9000
    assert store(host, store_data_rsa_private(RECEIPT, crt, host.dek)) == 0x9000
    verifier(stored(host)).verify(b"message", signer(stored(host, 0x71)).sign(b"message"))
