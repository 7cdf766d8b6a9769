"""DAP signatures over a load-file data block hash, made by gpshell3 3.0.0 (`sign-dap`) with published keys.

Every scheme signs the hash bytes as its message (GPCS 2.3.1 §C.3): AES as CMAC, RSA-1024 as PKCS#1 v1.5 with
SHA-1, P-256 as plain r and s with SHA-256.
"""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.crypto.mac import cmac
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


def test_dap_aes() -> None:
    key = bytes.fromhex("404142434445464748494a4b4c4d4e4f")
    assert cmac(key, HASH).hex() == "36e56aba034a3079718ad37f3faf2ac3"


def test_dap_rsa1k() -> None:
    signature = bytes.fromhex(
        "0098a250d2075d5d1381c43d434799c2a2f7194d490b663212e4638e501e4b0214eed20464617e719d90496ee570a2d87e1f98"
        "483d9d0ff9eb916eb3385ac12d1329ec0c21ada1072a602a32811c21e0ec70f33afc4743c247db857062cd851e3c2541f53621"
        "df8714fdecc022c29c28a944ed84ab1eb64997b689b7cb34e625"
    )
    key = serialization.load_pem_public_key(RSA_KEY)
    assert isinstance(key, RSAPublicKey)
    key.verify(signature, HASH, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    with pytest.raises(InvalidSignature):
        key.verify(signature, HASH[:-1] + b"\x00", padding.PKCS1v15(), hashes.SHA1())  # noqa: S303


def test_dap_ecc_p256() -> None:
    signature = bytes.fromhex(
        "43aecab66ba3ddb4ae94d48af51939ffe63d59df054dcd92cf7e53595b69a6946f90ba226f364c6af31f472ae9c98e43b87835"
        "e4a4c2db878c5f516d5c8ef0bf"
    )
    key = serialization.load_pem_public_key(ECC_KEY)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(utils.encode_dss_signature(r, s), HASH, ec.ECDSA(hashes.SHA256()))


def test_dap_block_carries_the_signature_unchanged() -> None:
    signature = bytes(range(128))
    block = parse_tlv(dap_block(Aid.from_hex("A000000151000000"), signature))
    assert block.tag == 0xE2
    assert find(parse_tlvs(block.value), 0xC3) == signature
