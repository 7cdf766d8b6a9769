"""Load file hash and encryption (GPCS 2.3.1 §C.2, §C.6)."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.cipher import aes_cbc_decrypt, tdes_cbc_decrypt
from opentsm.card.crypto.digest import Digest
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CapError
from opentsm.card.gp import commands
from opentsm.card.gp.dap import dap_block, signed_dap_block
from opentsm.card.gp.keys import KeyType
from opentsm.card.gp.load_file_protection import (
    Mechanism,
    acceptable_digests,
    choose_digest,
    ciphered_load_file,
    clear_load_file,
    load_file_hash,
)

ALL = ("SHA_1", "SHA_256", "SHA_384", "SHA_512")


@pytest.mark.parametrize(
    ("mechanisms", "accepted"),
    [
        ([], ALL),
        ([Mechanism.TRIPLE_DES], ALL),
        ([Mechanism.RSA_SCHEME_1], ALL),
        ([Mechanism.RSA_SCHEME_2], ALL[1:]),
        ([Mechanism.AES_128], ALL[1:]),
        ([Mechanism.ECC_256], ALL[1:]),
        ([Mechanism.AES_192], ALL[2:]),
        ([Mechanism.ECC_384], ALL[2:]),
        ([Mechanism.AES_256], ALL[3:]),
        ([Mechanism.ECC_512], ALL[3:]),
        ([Mechanism.RSA_SCHEME_1, Mechanism.ECC_384, Mechanism.AES_128], ALL[2:]),
    ],
)
def test_acceptable_digests_when_asked_then_as_table_c_3(
    mechanisms: list[Mechanism], accepted: tuple[str, ...]
) -> None:
    assert tuple(digest.name for digest in acceptable_digests(mechanisms)) == accepted


def test_choose_digest_when_it_may_be_sha_1_then_a_longer_one_if_the_card_has_it() -> None:
    assert choose_digest([Mechanism.RSA_SCHEME_1]) is Digest.SHA_256
    assert choose_digest([Mechanism.RSA_SCHEME_1], [Digest.SHA_1]) is Digest.SHA_1
    assert choose_digest([Mechanism.AES_192], [Digest.SHA_512, Digest.SHA_1]) is Digest.SHA_512


def test_choose_digest_when_the_card_has_none_strong_enough_then_refused() -> None:
    with pytest.raises(CapError):
        choose_digest([Mechanism.ECC_256], [Digest.SHA_1])


def test_load_file_hash_when_made_then_over_the_block_without_its_tag() -> None:
    # FIPS 180-4: SHA-256 of "abc".
    assert load_file_hash(b"abc", Digest.SHA_256).hex().startswith("ba7816bf8f01cfea")
    assert clear_load_file(b"abc") == b"\xc4\x03abc"


@pytest.mark.parametrize(("kind", "size", "length"), [(KeyType.AES, 16, 32), (KeyType.DES, 8, 16)])
@pytest.mark.parametrize("with_icv", [False, True])
def test_ciphered_load_file_when_made_then_padded_cbc_in_d4_behind_d3(
    kind: KeyType, size: int, length: int, with_icv: bool
) -> None:
    key, icv = Secret(bytes(range(16))), bytes(range(7, 7 + size)) if with_icv else b""
    block = bytes(range(13))
    content = ciphered_load_file(block, key, kind, icv=icv)
    head = b"\xd3" + bytes([size]) + icv if with_icv else b""
    whole = size * (len(block) // size + 1)
    assert content[: len(head) + 2] == head + b"\xd4" + bytes([whole])
    decrypt = aes_cbc_decrypt if kind is KeyType.AES else tdes_cbc_decrypt
    clear = decrypt(key.reveal(), icv or bytes(size), content[len(head) + 2 :])
    assert clear == block + b"\x80" + bytes(whole - len(block) - 1)
    assert length >= whole


def test_ciphered_load_file_when_icv_or_key_type_is_wrong_then_refused() -> None:
    with pytest.raises(CapError):
        ciphered_load_file(b"x", Secret(bytes(16)), KeyType.AES, icv=bytes(8))
    with pytest.raises(CapError):
        ciphered_load_file(b"x", Secret(bytes(16)), KeyType.HMAC_SHA1)


def test_load_objects_when_signed_and_ciphered_then_all_of_it_in_order() -> None:
    class Fixed:
        def sign(self, message: bytes) -> bytes:
            return message[::-1]

    sd = Aid.from_hex("A000000151000000")
    block = signed_dap_block(sd, b"\x01\x02", Fixed())
    assert block == dap_block(sd, b"\x02\x01")
    content = block + ciphered_load_file(bytes(300), Secret(bytes(16)), KeyType.AES)
    sent = commands.load_objects(content, block_size=100)
    assert b"".join(command.data for command in sent) == content
    assert [command.p1 for command in sent] == [0] * (len(sent) - 1) + [0x80]
