"""Keys for PUT KEY and STORE DATA, and diversification: layouts and refusals.

Source: GPCS 2.3.1 §11.8.2.3, §11.11.4; Amendment D 1.1.1 §7.2. Published values are in tests/vectors.
"""

import pytest

from opentsm.card.codec.dgi import parse_dgis
from opentsm.card.codec.tlv import parse_tlvs, require
from opentsm.card.crypto.cipher import aes_cbc_decrypt, tdes_ecb_decrypt
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import DiversificationError, KeyFormatError
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.gp.keys import (
    AesLayout,
    Dek,
    KeyAccess,
    KeyType,
    KeyUsage,
    StaticKeys,
    ecc_public_put_key_field,
    encrypt_key_block,
    extended_put_key_field,
    key_check_value,
    put_key_field,
    put_key_fields,
    rsa_public_put_key_field,
    store_data_key_set,
)

AES_DEK = Dek(Secret(bytes(range(16))), KeyType.AES)
DES_DEK = Dek(Secret(bytes(range(16))), KeyType.DES)


def key(size: int) -> Secret:
    return Secret(bytes(range(0x40, 0x40 + size)))


@pytest.mark.parametrize(
    ("size", "layout", "head", "cipher_size"),
    [
        (16, AesLayout.INNER_LENGTH, "881110", 16),
        (24, AesLayout.INNER_LENGTH, "882118", 32),
        (32, AesLayout.INNER_LENGTH, "882120", 32),
        (16, AesLayout.BARE, "8810", 16),
        (24, AesLayout.BARE, "882118", 32),
        (32, AesLayout.BARE, "8820", 32),
    ],
)
def test_put_key_field_of_aes_keys_in_both_layouts(
    size: int, layout: AesLayout, head: str, cipher_size: int
) -> None:
    field = put_key_field(key(size), KeyType.AES, AES_DEK, layout)
    start = len(head) // 2
    assert field[:start].hex() == head
    plain = aes_cbc_decrypt(AES_DEK.key.reveal(), bytes(16), field[start : start + cipher_size])
    assert plain[:size] == key(size).reveal()
    assert field[start + cipher_size :] == b"\x03" + key_check_value(key(size), KeyType.AES)


@pytest.mark.parametrize("size", [16, 24])
@pytest.mark.parametrize("layout", AesLayout)
def test_put_key_field_of_des_keys_has_no_inner_length_under_a_des_dek(size: int, layout: AesLayout) -> None:
    field = put_key_field(key(size), KeyType.DES, DES_DEK, layout)
    assert field[:2] == bytes((0x80, size))
    assert tdes_ecb_decrypt(DES_DEK.key.reveal(), field[2 : 2 + size]) == key(size).reveal()
    assert field[2 + size :] == b"\x03" + key_check_value(key(size), KeyType.DES)


def test_put_key_fields_are_enc_mac_dek_in_order() -> None:
    keys = StaticKeys(key(16), Secret(bytes(16)), Secret(b"\xff" * 16))
    fields = put_key_fields(keys, KeyType.AES, AES_DEK)
    assert fields == tuple(put_key_field(one, KeyType.AES, AES_DEK) for one in (keys.enc, keys.mac, keys.dek))


def test_extended_put_key_field_adds_usage_and_access() -> None:
    field = extended_put_key_field(
        key(16), KeyType.AES, AES_DEK, usage=KeyUsage.C_AND_R_ENC, access=KeyAccess.SD_ONLY
    )
    assert field == b"\xff" + put_key_field(key(16), KeyType.AES, AES_DEK) + bytes.fromhex("01380101")


def test_public_keys_are_clear_and_without_check_value() -> None:
    modulus, exponent = b"\xc0" + bytes(127), bytes.fromhex("010001")
    rsa = rsa_public_put_key_field(modulus, exponent)
    assert rsa == bytes.fromhex("A18180") + modulus + bytes.fromhex("A003010001") + b"\x00"
    point = b"\x04" + bytes(64)
    assert ecc_public_put_key_field(point, 0) == b"\xb0\x41" + point + bytes.fromhex("F0010000")
    assert ecc_public_put_key_field(point, 0xC001) == b"\xb0\x41" + point + bytes.fromhex("F002C00100")


@pytest.mark.parametrize(
    ("key_type", "dek", "size"),
    [
        (KeyType.AES, AES_DEK, 16),
        (KeyType.AES, AES_DEK, 24),
        (KeyType.AES, AES_DEK, 32),
        (KeyType.DES, DES_DEK, 16),
    ],
)
def test_store_data_key_set_describes_then_carries_three_keys(key_type: KeyType, dek: Dek, size: int) -> None:
    keys = StaticKeys(key(size), key(size), key(size))
    dgis = parse_dgis(store_data_key_set(keys, 0x30, key_type, dek))
    assert [tag for tag, _ in dgis] == [0x00B9, 0x8113, 0x8113, 0x8113]
    templates = parse_tlvs(dgis[0][1])
    usages = (KeyUsage.C_AND_R_ENC, KeyUsage.C_AND_R_MAC, KeyUsage.C_AND_R_DEK)
    for kid, (template, usage) in enumerate(zip(templates, usages, strict=True), 1):
        fields = parse_tlvs(template.value)
        assert template.tag == 0xB9
        assert [field.tag for field in fields] == [0x95, 0x96, 0x80, 0x81, 0x82, 0x83, 0x84]
        assert b"".join(field.value for field in fields[:6]) == bytes((usage, 0, key_type, size, kid, 0x30))
        assert require(fields, 0x84) == key_check_value(keys.enc, key_type)
    # Amendment D §6.2.8: padded to whole blocks, no inner length.
    assert {len(value) for _, value in dgis[1:]} == {-(-size // dek.block) * dek.block}


def test_dek_of_another_type_is_refused() -> None:
    with pytest.raises(KeyFormatError):
        Dek(key(16), KeyType.ECC_PUBLIC)


def test_check_value_of_a_public_key_is_refused() -> None:
    with pytest.raises(KeyFormatError):
        key_check_value(key(16), KeyType.RSA_MODULUS)


def test_key_of_wrong_length_is_refused() -> None:
    with pytest.raises(KeyFormatError):
        put_key_field(key(17), KeyType.AES, AES_DEK)
    with pytest.raises(KeyFormatError):
        encrypt_key_block(Dek(key(8), KeyType.DES), key(16))


@pytest.mark.parametrize("method", DiversificationMethod)
def test_diversification_with_wrong_lengths_is_refused(method: DiversificationMethod) -> None:
    with pytest.raises(DiversificationError, match="10 bytes"):
        diversify(key(16), bytes(9), method)
    with pytest.raises(DiversificationError, match="master"):
        diversify(key(15), bytes(10), method)


@pytest.mark.parametrize("size", [16, 24, 32])
def test_kdf3_keys_are_as_long_as_the_master_key(size: int) -> None:
    keys = diversify(key(size), bytes(10), DiversificationMethod.KDF3)
    assert {len(keys.enc), len(keys.mac), len(keys.dek)} == {size}
    assert keys.enc != keys.mac
    assert keys.mac != keys.dek


def test_triple_des_master_keys_do_not_reach_aes_256() -> None:
    with pytest.raises(DiversificationError):
        diversify(key(32), bytes(10), DiversificationMethod.EMV)
