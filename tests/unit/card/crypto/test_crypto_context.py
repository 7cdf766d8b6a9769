"""Contexts kept for many messages give what a new context for each would give.

Source: SP 800-38A F.2.1 (CBC-AES128); other expectations come from the one-shot functions.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.crypto.cipher import (
    aes_cbc_encrypt,
    aes_ecb_encrypt,
    des_ecb_encrypt,
    tdes_cbc_encrypt,
)
from opentsm.card.crypto.context import CbcKey, RetailMacKey
from opentsm.card.crypto.mac import retail_mac
from opentsm.card.errors import KeyFormatError, PaddingError

AES_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
IV = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
PLAIN = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
CIPHER = bytes.fromhex("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")
DES_KEY = bytes.fromhex("404142434445464748494A4B4C4D4E4F")

aes_messages = st.lists(
    st.tuples(
        st.sampled_from((b"", IV, bytes(16))),
        st.integers(1, 4).flatmap(lambda n: st.binary(min_size=16 * n, max_size=16 * n)),
    ),
    min_size=1,
    max_size=4,
)
des_messages = st.lists(
    st.tuples(
        st.sampled_from((b"", IV[:8])),
        st.integers(1, 5).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n)),
    ),
    min_size=1,
    max_size=4,
)


def test_aes_when_one_context_serves_a_vector_twice_then_it_gives_the_same_twice() -> None:
    key = CbcKey.aes(AES_KEY)
    assert [key.encrypt(PLAIN, IV), key.encrypt(PLAIN, IV)] == [CIPHER, CIPHER]


@given(aes_messages)
def test_aes_when_messages_follow_each_other_each_stands_alone(messages: list[tuple[bytes, bytes]]) -> None:
    key = CbcKey.aes(AES_KEY)
    for iv, data in messages:
        assert key.encrypt(data, iv) == aes_cbc_encrypt(AES_KEY, iv or bytes(16), data)


@given(st.integers(0, 2**128 - 1), st.binary(min_size=16, max_size=16))
def test_aes_when_a_block_comes_first_its_encryption_is_the_chaining_value(block: int, data: bytes) -> None:
    key = CbcKey.aes(AES_KEY)
    key.encrypt(PLAIN)
    iv = aes_ecb_encrypt(AES_KEY, block.to_bytes(16, "big"))
    assert key.encrypt_after(block, data) == aes_cbc_encrypt(AES_KEY, iv, data)


@given(des_messages)
def test_tdes_when_messages_follow_each_other_each_stands_alone(messages: list[tuple[bytes, bytes]]) -> None:
    key, mac = CbcKey.tdes(DES_KEY), RetailMacKey(DES_KEY)
    for iv, data in messages:
        assert key.encrypt(data, iv) == tdes_cbc_encrypt(DES_KEY, iv or bytes(8), data)
        assert mac.mac(data, iv) == retail_mac(DES_KEY, data, iv or bytes(8))
        assert mac.encrypt_single(data[:8]) == des_ecb_encrypt(DES_KEY[:8], data[:8])


@pytest.mark.parametrize(
    ("data", "iv"), [(b"", b""), (bytes(15), b""), (bytes(16), bytes(8)), (bytes(17), IV)]
)
def test_message_when_it_is_not_whole_blocks_is_refused(data: bytes, iv: bytes) -> None:
    with pytest.raises(PaddingError):
        CbcKey.aes(AES_KEY).encrypt(data, iv)


def test_message_when_it_is_not_whole_blocks_after_a_block_is_refused() -> None:
    for data in (b"", bytes(15)):
        with pytest.raises(PaddingError):
            CbcKey.aes(AES_KEY).encrypt_after(0, data)


def test_key_when_its_length_is_wrong_is_refused() -> None:
    for make in (CbcKey.aes, CbcKey.tdes, RetailMacKey):
        with pytest.raises(KeyFormatError):
            make(bytes(15))
