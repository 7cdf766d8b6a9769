"""Tokens and receipts in a keystore: published signatures come out of imported keys, no key comes out at all.

Vectors: RSA: gpshell3 3.0.0 `sign-load-token` with GlobalPlatformPro's published test-dm-rsa-1k.pem; ECDSA:
RFC 6979 A.2.5 (P-256, SHA-256, "sample"); AES: RFC 4493 §4 (example 2). The values are copied.
Specification: GPCS 2.3.1 Table C-1, §C.4, §C.5.
"""

import base64
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from tests.contract.test_keystore_contract import (
    NewKeystore,
    given,
    pysim_context,
    pysim_keys,
)

from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import AesMacKey, DesMacKey
from opentsm.card.errors import SignatureError
from opentsm.card.gp.keys import AesLayout, ecc_public_put_key_field
from opentsm.tsm.domain.delegation import ProofKey, ProofScheme
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle

EC = ProofKey(handle=KeyHandle("token/ec"), scheme=ProofScheme.EC_P256)
AES = ProofKey(handle=KeyHandle("receipt/aes"), scheme=ProofScheme.AES)
DES = ProofKey(handle=KeyHandle("receipt/des"), scheme=ProofScheme.DES)
RSA = ProofKey(handle=KeyHandle("token/rsa"), scheme=ProofScheme.RSA)

RFC6979_KEY = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"
RFC6979_POINT = (
    "0460FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
    "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
)
RFC6979_SIGNATURE = (
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
)
RFC4493_KEY, RFC4493_MESSAGE = "2b7e151628aed2a6abf7158809cf4f3c", "6bc1bee22e409f96e93d7e117393172a"
RFC4493_MAC = "070a16b46b4d4144f79bdd9dd04a287c"
# a published test key: it protects nothing
DM_RSA_1K = (
    "MIICXgIBAAKBgQCweHHNANr7knZY8c+vfdurFmFzAsLHQfnpr57HF6d7DvUddQiCEdl2iJWRKKZRDA0jJt5M6rk6Fn8juWujI3zwDSy9"
    "vOKygiqpNzeRRUz57JObzgUYAldoZCajs9wQssszvF229jDCgv9Z02IQqiwPP4W9Gy+Dx8tap0FwcA7STQIDAQABAoGAT8zniVDNtd2x"
    "bt9Kj41WfLOONbgV5I1NOgOUxWtI7TkCVuPJiSgRMqzpFc9QBm5wsmitNhMe18m8jKcYqZkusY3K3CXYD7uNhpizAb9VQ/UepWV3+SoE"
    "2PXyQhIyUIIQ22rGCjSSye87/zMU+eF4WHdgSttuwXZKMf82SxpcTHECQQDrPQY53YcKltpWnD0yfcq0JxWEJyP/SrNnl/6pdFlIqdzT"
    "963cCA94wi/oi8X4ZXTwGmU0Ir0kesG9fHIIdInvAkEAwAueWfhNeFx4i7tWZyBJFGXMtKg8WQiaoiPO2Gd8XGasdpHf0ucqgVwIX+8p"
    "S6dZu9+PFdrOIHeazShP+kiTgwJBAM3uUjD9+WYPwXvosros3PLw9CkIir7Gil+587osnKy75xG41X61n7W7aW1OTzSwvLokoUwOzT3O"
    "KSTUeI9mVgkCQQChaKJ8587k/INsndWu81m4xR7aMBQYmLyuzf3JsKC7YKhPN6exMQ1ukBWR3AcPSOaImws9yRs5+oynJdyidWFVAkEA"
    "r+AGRuKKN4GD/rC/KtSDx7RhESkkONY/pIuQgVoHhpF9NrULJNQvE5tL4d4SyaAF+E8DXv9FrXzFDoEOsXthoQ=="
)
LOAD_DTBS = (
    "02003705010203040508a0000001510000002032bd8f40d709c500204d3887f83fe4aa4440daf70e7268e6ecceced6fad86eef"
    "06ef04c6020128"
)
LOAD_TOKEN = (
    "72e6c687b1347504e520fa622ae14d1381201cfcfc68473c64b4bbdb36a862f44bac7f6bdc82fb06c81655c889c3387809ff1632"
    "98abeb329367877b38eb56a3b876673419a98faf2b0cf0abd35987b5eb381cd63afce084ddba117354be5a9c61152960f96c3d5f"
    "74685204d1f559d8e97cb400dac75fa2153fc68e28964d57"
)


def rsa_secret() -> Secret:
    key = serialization.load_der_private_key(base64.b64decode(DM_RSA_1K), None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(pkcs8)


VECTORS = {
    "RSA-1024": (RSA, rsa_secret, LOAD_DTBS, LOAD_TOKEN),
    "EC-P256": (EC, lambda: Secret(bytes.fromhex(RFC6979_KEY)), b"sample".hex(), RFC6979_SIGNATURE),
    "AES-128": (AES, lambda: Secret(bytes.fromhex(RFC4493_KEY)), RFC4493_MESSAGE, RFC4493_MAC),
}


@pytest.mark.parametrize("name", VECTORS)
async def test_proof_when_signed_with_a_published_key_then_the_published_signature(
    new_keystore: NewKeystore, name: str
) -> None:
    key, secret, message, signature = VECTORS[name]
    keystore = await new_keystore("issuer")
    await keystore.import_proof_key(key, secret())
    signed = await keystore.sign_proof(key, bytes.fromhex(message))
    assert signed.hex() == signature.lower()
    await keystore.verify_proof(key, bytes.fromhex(message), signed)


@pytest.mark.parametrize("key", [EC, AES, DES], ids=lambda key: key.scheme.value)
async def test_proof_when_made_then_verifies_and_any_change_does_not(
    new_keystore: NewKeystore, key: ProofKey
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.make_proof_key(key)
    signed = await keystore.sign_proof(key, b"message")
    await keystore.verify_proof(key, b"message", signed)
    for message, signature in (
        (b"messagf", signed),
        (b"message", bytes((signed[0] ^ 1,)) + signed[1:]),
        (b"message", signed[:-1]),
        (b"message", b""),
    ):
        with pytest.raises(SignatureError):
            await keystore.verify_proof(key, message, signature)


async def test_proof_key_when_made_twice_then_the_first_stays(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    await keystore.make_proof_key(AES)
    signed = await keystore.sign_proof(AES, b"message")
    await keystore.make_proof_key(AES)
    assert await keystore.sign_proof(AES, b"message") == signed


async def test_proof_key_when_for_two_cards_then_two_keys_and_neither_is_the_masters(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    for master in (AES, DES):
        await keystore.make_proof_key(master)
        of = [
            ProofKey(handle=master.handle, scheme=master.scheme, diversifier=one)
            for one in (b"\x01", b"\x02")
        ]
        signed = {await keystore.sign_proof(key, b"message") for key in (master, *of)}
        assert len(signed) == 3


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        (EC, bytes(32)),
        (EC, b"\xff" * 32),
        (AES, bytes(17)),
        (DES, bytes(24)),
        (RSA, b"no key at all"),
    ],
    ids=["EC-zero", "EC-above-the-order", "AES-17", "DES-24", "RSA-no-DER"],
)
async def test_proof_key_when_imported_and_none_of_its_scheme_then_refused_without_a_word_of_it(
    new_keystore: NewKeystore, key: ProofKey, secret: bytes
) -> None:
    keystore = await new_keystore("issuer")
    with pytest.raises(KeystoreError) as refused:
        await keystore.import_proof_key(key, Secret(secret))
    assert not await keystore.has(key.handle)
    told = "".join(traceback.format_exception(refused.value))
    assert secret.hex() not in told


async def test_proof_key_when_imported_over_another_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    await keystore.make_proof_key(AES)
    with pytest.raises(KeystoreError):
        await keystore.import_proof_key(AES, Secret(bytes.fromhex(RFC4493_KEY)))


async def test_rsa_key_when_to_be_made_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    with pytest.raises(KeystoreError):
        await keystore.make_proof_key(RSA)


async def test_proof_when_there_is_no_key_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    with pytest.raises(KeystoreError):
        await keystore.sign_proof(EC, b"message")
    with pytest.raises(KeystoreError):
        await keystore.verify_proof(AES, b"message", bytes(16))


async def test_put_key_field_when_public_then_holds_the_point_and_nothing_secret(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    await keystore.import_proof_key(EC, Secret(bytes.fromhex(RFC6979_KEY)))
    source = await given(keystore, *pysim_keys(16))
    field = await keystore.put_proof_key_field(source, pysim_context(16), EC, layout=AesLayout.INNER_LENGTH)
    assert field == ecc_public_put_key_field(bytes.fromhex(RFC6979_POINT), 0)
    assert bytes.fromhex(RFC6979_KEY) not in field


async def test_put_key_field_when_symmetric_then_the_cards_own_key_under_the_dek(
    new_keystore: NewKeystore,
) -> None:
    keystore = await new_keystore("issuer")
    secret = bytes.fromhex(RFC4493_KEY)
    await keystore.import_proof_key(AES, Secret(secret))
    source = await given(keystore, *pysim_keys(16))
    fields = [
        await keystore.put_proof_key_field(
            source,
            pysim_context(16),
            ProofKey(handle=AES.handle, scheme=AES.scheme, diversifier=number),
            layout=AesLayout.INNER_LENGTH,
        )
        for number in (b"", b"\x01", b"\x02")
    ]
    assert len(set(fields)) == 3
    assert all(secret not in field for field in fields)
    assert fields[0][0] == 0x88


async def test_macs_when_made_then_those_of_the_card_library(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("issuer")
    secret = Secret(bytes(range(16)))
    for key, mac in ((AES, AesMacKey(secret)), (DES, DesMacKey(secret))):
        await keystore.import_proof_key(key, secret)
        assert await keystore.sign_proof(key, b"message") == mac.sign(b"message")
