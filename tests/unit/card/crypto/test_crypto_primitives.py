"""Primitives against published values.

Sources: FIPS 197 Appendix C; SP 800-38A F.2; SP 800-38B D.1; SP 800-67 / NIST SP 500-20 (DES known answers);
ISO/IEC 9797-1 padding method 2. GlobalPlatform values are in tests/vectors.
"""

import pickle
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.crypto import cipher, kcv, kdf, mac
from opentsm.card.crypto.padding import pad80, unpad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import KeyFormatError, PaddingError

KEY16 = bytes(range(0x40, 0x50))


def h(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("000102030405060708090a0b0c0d0e0f", "69c4e0d86a7b0430d8cdb78070b4c55a"),
        ("000102030405060708090a0b0c0d0e0f1011121314151617", "dda97ca4864cdfe06eaf70a0ec0d7191"),
        (
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "8ea2b7ca516745bfeafc49904b496089",
        ),
    ],
)
def test_aes_ecb_fips_197_appendix_c(key: str, expected: str) -> None:
    assert cipher.aes_ecb_encrypt(h(key), h("00112233445566778899aabbccddeeff")) == h(expected)


def test_aes_cbc_sp_800_38a_f_2_1() -> None:
    key, iv = h("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
    plain = h("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    encrypted = h("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")
    assert cipher.aes_cbc_encrypt(key, iv, plain) == encrypted
    assert cipher.aes_cbc_decrypt(key, iv, encrypted) == plain


def test_des_ecb_sp_500_20_known_answer() -> None:
    # NIST SP 500-20, initial permutation test: key 0101010101010101
    assert cipher.des_ecb_encrypt(h("0101010101010101"), h("95F8A5E5DD31D900")) == h("8000000000000000")


def test_des_ecb_classic_known_answer() -> None:
    # FIPS 81 appendix, the "Now is t" example
    assert cipher.des_ecb_encrypt(h("0123456789ABCDEF"), b"Now is t") == h("3FA40E8A984D4815")


@given(st.sampled_from([16, 24]), st.integers(0, 4), st.data())
def test_tdes_survives_a_round_trip(size: int, blocks: int, data: st.DataObject) -> None:
    key = data.draw(st.binary(min_size=size, max_size=size))
    iv = data.draw(st.binary(min_size=8, max_size=8))
    plain = data.draw(st.binary(min_size=8 * blocks, max_size=8 * blocks))
    assert cipher.tdes_cbc_decrypt(key, iv, cipher.tdes_cbc_encrypt(key, iv, plain)) == plain
    assert cipher.tdes_ecb_decrypt(key, cipher.tdes_ecb_encrypt(key, plain)) == plain


def test_tdes_of_16_bytes_is_k1_k2_k1() -> None:
    assert cipher.tdes_ecb_encrypt(KEY16, bytes(8)) == cipher.tdes_ecb_encrypt(KEY16 + KEY16[:8], bytes(8))


@pytest.mark.parametrize("size", [0, 8, 15, 23, 33])
def test_ciphers_wrong_key_length_is_refused(size: int) -> None:
    with pytest.raises(KeyFormatError):
        cipher.aes_ecb_encrypt(bytes(size), bytes(16))
    with pytest.raises(KeyFormatError):
        cipher.tdes_ecb_encrypt(bytes(size), bytes(8))
    with pytest.raises(KeyFormatError):
        mac.cmac(bytes(size), b"")
    with pytest.raises(KeyFormatError):
        mac.retail_mac(bytes(size), bytes(8))


def test_ciphers_partial_block_or_iv_is_refused() -> None:
    with pytest.raises(PaddingError):
        cipher.aes_cbc_encrypt(KEY16, bytes(16), bytes(15))
    with pytest.raises(PaddingError):
        cipher.aes_cbc_decrypt(KEY16, bytes(8), bytes(16))
    with pytest.raises(PaddingError):
        cipher.tdes_cbc_encrypt(KEY16, bytes(8), bytes(9))
    with pytest.raises(KeyFormatError):
        cipher.des_ecb_encrypt(KEY16, bytes(8))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", "bb1d6929e95937287fa37d129b756746"),
        ("6bc1bee22e409f96e93d7e117393172a", "070a16b46b4d4144f79bdd9dd04a287c"),
    ],
)
def test_cmac_sp_800_38b_d_1(message: str, expected: str) -> None:
    assert mac.cmac(h("2b7e151628aed2a6abf7158809cf4f3c"), h(message)) == h(expected)


def test_retail_mac_of_one_block_is_triple_des() -> None:
    assert mac.retail_mac(KEY16, bytes(8), bytes(8)) == cipher.tdes_ecb_encrypt(KEY16, bytes(8))


def test_retail_mac_with_equal_halves_is_single_des_cbc() -> None:
    key, data = KEY16[:8], bytes(range(24))
    expected = cipher.tdes_cbc_encrypt(key * 3, bytes(8), data)[-8:]
    assert mac.retail_mac(key * 2, data, bytes(8)) == expected == mac.tdes_mac(key * 2, data, bytes(8))


@pytest.mark.parametrize("data", [b"", bytes(7)])
def test_des_macs_without_whole_blocks_are_refused(data: bytes) -> None:
    with pytest.raises(PaddingError):
        mac.retail_mac(KEY16, data, bytes(8))
    with pytest.raises(PaddingError):
        mac.tdes_mac(KEY16, data, bytes(8))


def test_kdf_blocks_are_label_00_length_counter_context() -> None:
    label, context = b"\x00" * 11 + b"\x04", b"context"
    first = mac.cmac(KEY16, label + h("00 00C0 01") + context)
    second = mac.cmac(KEY16, label + h("00 00C0 02") + context)
    assert kdf.sp800_108_cmac(KEY16, label, context, 192) == (first + second)[:24]


@pytest.mark.parametrize("bits", [0, 7, 129, 128 * 256])
def test_kdf_impossible_length_is_refused(bits: int) -> None:
    with pytest.raises(KeyFormatError):
        kdf.sp800_108_cmac(KEY16, b"", b"", bits)


def test_kcv_has_three_bytes_and_depends_on_the_algorithm() -> None:
    # GlobalPlatformPro and pySim both print these for the well-known test key
    assert kcv.kcv_des(KEY16) == h("8BAF47")
    assert kcv.kcv_aes(KEY16) == h("504A77")


@pytest.mark.parametrize(
    ("data", "block", "padded"),
    [("", 8, "8000000000000000"), ("AA", 4, "AA800000"), ("AABBCCDD", 4, "AABBCCDD80000000")],
)
def test_pad80_fills_the_last_block_or_adds_one(data: str, block: int, padded: str) -> None:
    assert pad80(h(data), block) == h(padded)


@given(st.binary(max_size=64), st.sampled_from([8, 16]), st.integers(0, 3))
def test_unpad80_strips_padding_of_any_number_of_blocks(data: bytes, block: int, more: int) -> None:
    padded = pad80(data, block)
    assert len(padded) % block == 0
    assert unpad80(padded + bytes(block * more)) == data


@pytest.mark.parametrize("data", ["", "00", "AABB", "80AA", "8001000000"])
def test_unpad80_without_80_is_refused(data: str) -> None:
    with pytest.raises(PaddingError):
        unpad80(h(data))


def test_secret_shows_only_its_length() -> None:
    secret = Secret(KEY16)
    assert repr(secret) == str(secret) == f"{secret}" == "<Secret 16 bytes>"
    assert len(secret) == 16
    assert secret.reveal() == KEY16


def test_secret_compares_by_value_and_only_with_secrets() -> None:
    assert Secret(KEY16) == Secret(KEY16)
    assert Secret(KEY16) != Secret(KEY16[:8])
    assert Secret(KEY16) != KEY16


def test_secret_is_neither_hashed_pickled_nor_copied() -> None:
    secret = Secret(KEY16)
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        deepcopy(secret)
