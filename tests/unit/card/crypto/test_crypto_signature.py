"""Signatures: published values, and what must not verify.

Sources: RFC 6979 A.2.5, A.2.6, A.2.7 (deterministic ECDSA); FIPS 180-4 examples. RSA, AES and P-256 values
made by another program are in tests/vectors/test_vectors_gp_dap.py.
"""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from opentsm.card.crypto.cipher import tdes_cbc_encrypt
from opentsm.card.crypto.digest import Digest
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import (
    AesMacKey,
    Curve,
    DesMacKey,
    EcSigningKey,
    EcVerificationKey,
    RsaSigningKey,
    RsaVerificationKey,
)
from opentsm.card.errors import KeyFormatError, SignatureError

RSA_1024 = RsaSigningKey(rsa.generate_private_key(65537, 1024))  # noqa: S505  GPCS B.3.1 names this length
RSA_2048 = RsaSigningKey(rsa.generate_private_key(65537, 2048))


def secret(text: str) -> Secret:
    return Secret(bytes.fromhex(text))


@pytest.mark.parametrize(
    ("curve", "private", "r", "s"),
    [
        (
            Curve.P_256,
            "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            Curve.P_384,
            "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
            "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
        ),
        (
            Curve.P_521,
            "00FAD06DAA62BA3B25D2FB40133DA757205DE67F5BB0018FEE8C86E1B68C7E75CAA896EB32F1F47C70855836A6D16FCC1466"
            "F6D8FBEC67DB89EC0C08B0E996B83538",
            "00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931"
            "D7D4E8455CC91F9B15BF05EC36E377FA",
            "00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A"
            "20F8CCB1DCCC43997F1EE0E44DA4A67A",
        ),
    ],
)
def test_ecdsa_when_rfc_6979_sample_then_r_and_s_of_the_rfc(
    curve: Curve, private: str, r: str, s: str
) -> None:
    key = EcSigningKey(curve, secret(private))
    signature = key.sign(b"sample")
    assert signature.hex().upper() == r + s
    EcVerificationKey(curve, key.point).verify(b"sample", signature)


@pytest.mark.parametrize("curve", list(Curve))
def test_ecdsa_when_any_curve_then_plain_format_of_twice_the_order(curve: Curve) -> None:
    key = EcSigningKey(curve, secret("11" * 20))
    signature = key.sign(b"message")
    assert len(signature) == 2 * curve.length
    key.verification_key.verify(b"message", signature)
    for wrong in (signature[:-1] + bytes([signature[-1] ^ 1]), signature[:-1], signature + b"\0", b""):
        with pytest.raises(SignatureError):
            key.verification_key.verify(b"message", wrong)
    with pytest.raises(SignatureError):
        key.verification_key.verify(b"messagf", signature)


def test_ec_key_when_no_point_of_the_curve_then_refused() -> None:
    point = EcSigningKey(Curve.P_256, secret("22" * 32)).point
    for wrong in (point[:-1], b"\x02" + point[1:33], point[:-1] + bytes([point[-1] ^ 1]), b""):
        with pytest.raises(KeyFormatError):
            EcVerificationKey(Curve.P_256, wrong)
    with pytest.raises(KeyFormatError):
        EcVerificationKey(Curve.BRAINPOOL_P256R1, point)
    with pytest.raises(KeyFormatError):
        EcSigningKey(Curve.P_256, Secret(bytes(32)))


@pytest.mark.parametrize(("key", "length"), [(RSA_1024, 128), (RSA_2048, 256)])
def test_rsa_when_signed_then_only_the_same_bytes_verify(key: RsaSigningKey, length: int) -> None:
    signature = key.sign(b"message")
    assert len(signature) == length
    key.verification_key.verify(b"message", signature)
    with pytest.raises(SignatureError):
        key.verification_key.verify(b"massage", signature)
    with pytest.raises(SignatureError):
        key.verification_key.verify(b"message", signature[:-1])


def test_rsa_key_when_rebuilt_from_its_numbers_then_it_signs_alike() -> None:
    native = rsa.generate_private_key(65537, 1024)  # noqa: S505  GPCS B.3.1 names this length
    numbers = native.private_numbers()
    expected = RsaSigningKey(native).sign(b"message")
    primes = RsaSigningKey.from_primes(numbers.p.to_bytes(64, "big"), numbers.q.to_bytes(64, "big"))
    modulus = numbers.public_numbers.n.to_bytes(128, "big")
    exponents = RsaSigningKey.from_exponents(modulus, numbers.d.to_bytes(128, "big"))
    assert primes.sign(b"message") == exponents.sign(b"message") == expected


def test_rsa_key_when_too_short_or_no_key_then_refused() -> None:
    with pytest.raises(KeyFormatError):
        RsaVerificationKey(b"\xff" * 64, b"\x03")
    with pytest.raises(KeyFormatError):
        RsaVerificationKey(b"\xff" * 128, b"\x02")
    with pytest.raises(KeyFormatError):
        RsaSigningKey.from_exponents(b"\xff" * 128, b"\x05")
    with pytest.raises(KeyFormatError):
        RsaSigningKey.from_primes(b"\x05", b"\x07")


def test_aes_signature_when_sp_800_38b_example_then_its_mac() -> None:
    # SP 800-38B D.1 example 3
    key = AesMacKey(secret("2b7e151628aed2a6abf7158809cf4f3c"))
    message = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"
    )
    assert key.sign(message).hex() == "dfa66747de9ae63030ca32611497c827"
    key.verify(message, bytes.fromhex("dfa66747de9ae63030ca32611497c827"))


def test_des_signature_when_one_block_then_padding_and_final_triple_des() -> None:
    """GPCS B.1.2.2, B.1.3: the padded message of one block is a triple DES encryption of it."""
    value = bytes(range(16))
    padded = bytes.fromhex("01028000 00000000")
    assert DesMacKey(Secret(value)).sign(b"\x01\x02") == tdes_cbc_encrypt(value, bytes(8), padded)


@pytest.mark.parametrize("key", [AesMacKey(Secret(bytes(32))), DesMacKey(Secret(bytes(16)))])
def test_symmetric_signature_when_changed_or_cut_then_refused(key: AesMacKey | DesMacKey) -> None:
    signature = key.sign(b"message")
    key.verify(b"message", signature)
    for wrong in (signature[:-1], b"", signature[:-1] + bytes([signature[-1] ^ 0x80])):
        with pytest.raises(SignatureError):
            key.verify(b"message", wrong)


def test_symmetric_key_when_wrong_length_then_refused() -> None:
    with pytest.raises(KeyFormatError):
        AesMacKey(Secret(bytes(15)))
    with pytest.raises(KeyFormatError):
        DesMacKey(Secret(bytes(24)))


@pytest.mark.parametrize(
    ("digest", "start"),
    [
        (Digest.SHA_1, "a9993e36"),
        (Digest.SHA_256, "ba7816bf"),
        (Digest.SHA_384, "cb00753f"),
        (Digest.SHA_512, "ddaf35a1"),
    ],
)
def test_digest_when_abc_then_the_value_of_fips_180(digest: Digest, start: str) -> None:
    value = digest.of(b"abc")
    assert value.hex().startswith(start)
    assert Digest(len(value)) is digest
