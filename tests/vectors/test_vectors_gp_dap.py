"""DAP signatures over a load-file data block hash, made by gpshell3 3.0.0 (`sign-dap`) with published keys.

Every scheme signs the hash bytes as its message (GPCS 2.3.1 §C.3): AES as CMAC, RSA-1024 as PKCS#1 v1.5 with
SHA-1, P-256 as plain r and s with SHA-256.
"""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey, Curve, EcVerificationKey, RsaVerificationKey, Verifier
from opentsm.card.errors import SignatureError
from opentsm.card.gp.dap import dap_block

HASH = bytes.fromhex("32bd8f40d709c500204d3887f83fe4aa4440daf70e7268e6ecceced6fad86eef")
RSA_KEY = b"""-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCsTj5Ugat89d8+o791m75Wk3kb
PJXD+C4MMUQvpuZHw/nb/RNyWnhnHowSR4rWhMwLeDW3rpbjn5ICVAA8+od+8SUF
0YlTMwCnW/cSRcS1yahu64UlWKEw+D3H9yELiH7CAFjhyQnMR2h3fsI9X8Gk6TH2
JXjspSoZxWGxdc+zNQIDAQAB
-----END PUBLIC KEY-----
"""
ECC_KEY = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFItx09t29oGk7lPK/i8Pju8KYkI/
xGzStk8hDqmjNuMygg4ivOwK6fJlFc8tZhwwel+qW4N9sj0zSovEtECycw==
-----END PUBLIC KEY-----
"""


AES = "36e56aba034a3079718ad37f3faf2ac3"
RSA_1024 = (
    "0098a250d2075d5d1381c43d434799c2a2f7194d490b663212e4638e501e4b0214eed20464617e719d90496ee570a2d87e1f98"
    "483d9d0ff9eb916eb3385ac12d1329ec0c21ada1072a602a32811c21e0ec70f33afc4743c247db857062cd851e3c2541f53621"
    "df8714fdecc022c29c28a944ed84ab1eb64997b689b7cb34e625"
)
P_256 = (
    "43aecab66ba3ddb4ae94d48af51939ffe63d59df054dcd92cf7e53595b69a6946f90ba226f364c6af31f472ae9c98e43b87835"
    "e4a4c2db878c5f516d5c8ef0bf"
)


def aes_key() -> AesMacKey:
    return AesMacKey(Secret(bytes.fromhex("404142434445464748494a4b4c4d4e4f")))


def rsa_key() -> RsaVerificationKey:
    native = serialization.load_pem_public_key(RSA_KEY)
    assert isinstance(native, RSAPublicKey)
    numbers = native.public_numbers()
    return RsaVerificationKey(numbers.n.to_bytes(128, "big"), numbers.e.to_bytes(3, "big"))


def ecc_key() -> EcVerificationKey:
    native = serialization.load_pem_public_key(ECC_KEY)
    assert isinstance(native, ec.EllipticCurvePublicKey)
    point = native.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return EcVerificationKey(Curve.P_256, point)


def test_dap_aes() -> None:
    assert aes_key().sign(HASH).hex() == AES


@pytest.mark.parametrize(
    ("key", "signature"),
    [(aes_key(), AES), (rsa_key(), RSA_1024), (ecc_key(), P_256)],
    ids=["aes", "rsa1k", "ecc"],
)
def test_dap_signature_verifies_and_a_changed_one_does_not(key: Verifier, signature: str) -> None:
    value = bytes.fromhex(signature)
    key.verify(HASH, value)
    with pytest.raises(SignatureError):
        key.verify(HASH[:-1] + b"\x00", value)
    with pytest.raises(SignatureError):
        key.verify(HASH, value[:-1] + bytes([value[-1] ^ 1]))


def test_dap_block_carries_the_signature_unchanged() -> None:
    signature = bytes(range(128))
    block = parse_tlv(dap_block(Aid.from_hex("A000000151000000"), signature))
    assert block.tag == 0xE2
    assert find(parse_tlvs(block.value), 0xC3) == signature
