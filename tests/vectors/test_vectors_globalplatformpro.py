"""Vectors of GlobalPlatformPro: session keys, key encryption, diversification and a real SCP02 card.

Source: GlobalPlatformPro, library/src/test/java/pro/javacard/gp/test/TestPlaintextKeys.java; the card answer
is from github.com/martinpaljak/GlobalPlatformPro/issues/259 (NXP JCOP3 J3H145). The values are copied.
"""

import pytest

from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.diversification import DiversificationMethod, diversify
from opentsm.card.gp.keys import Dek, KeyType, StaticKeys, encrypt_key_block, key_check_value
from opentsm.card.scp import scp02, scp03
from opentsm.card.scp.channel import SessionKeys, parse_initialize_update
from opentsm.card.scp.session import open_channel

TEST_KEY = Secret(bytes.fromhex("404142434445464748494a4b4c4d4e4f"))
TEST_KEYS = StaticKeys(TEST_KEY, TEST_KEY, TEST_KEY)
KDD = bytes.fromhex("00010203040506070809")


def values(keys: SessionKeys | StaticKeys) -> dict[str, str]:
    names = ("enc", "mac", "dek", "rmac")
    return {name: getattr(keys, name).reveal().hex() for name in names if hasattr(keys, name)}


def check_values(keys: SessionKeys | StaticKeys, key_type: KeyType) -> list[str]:
    return [key_check_value(key, key_type).hex() for key in (keys.enc, keys.mac, keys.dek)]


def test_scp02_session_keys_of_counter_0() -> None:
    keys = scp02.derive_session_keys(TEST_KEYS, 0)
    assert values(keys) == {
        "enc": "010b0371d78377b801f2d62afc671d95",
        "mac": "d1c28c601652a4770d67ad82d2d2e1c4",
        "dek": "e11987ee331b417a5d67d760692f89d4",
        "rmac": "ffaec7ec7fad69f9fbff093bf2f79c45",
    }
    assert check_values(keys, KeyType.DES) == ["f2dcdd", "5fcc69", "85272e"]
    assert key_check_value(keys.rmac, KeyType.DES).hex() == "9f749a"


def test_scp02_key_encryption_under_the_session_dek() -> None:
    dek = Dek(scp02.derive_session_keys(TEST_KEYS, 0).dek, KeyType.DES)
    assert encrypt_key_block(dek, TEST_KEY).hex() == "efbee6c6d99d7b70bde9d7e927f020af"


def test_scp01_key_encryption_under_the_static_dek() -> None:
    dek = Dek(TEST_KEY, KeyType.DES)
    assert encrypt_key_block(dek, TEST_KEY).hex() == "b4baa89a8cd0292b45210e1bc84b1c31"


def test_scp02_real_card_challenge_and_cryptogram() -> None:
    answer = bytes.fromhex("00009326519195994079010200c218c143d7040c164cdb4cb916754d")
    host_challenge, aid = bytes.fromhex("a012e7d45549d80a"), bytes.fromhex("a000000151000000")
    init = parse_initialize_update(answer, scp02_i=0x55)
    keys = scp02.derive_session_keys(TEST_KEYS, 0x00C2)
    assert keys.enc.reveal().hex() == "125c2a9822d7e11facb8b2619a4bce61"
    assert keys.mac.reveal().hex() == "00bd061dfe11161feace88ce53081e06"
    assert scp02.card_challenge(keys, aid).hex() == "18c143d7040c"
    assert (
        scp02.card_cryptogram(keys, 0x00C2, host_challenge, init.card_challenge).hex() == "164cdb4cb916754d"
    )
    assert open_channel(keys, init, host_challenge)
    predicted = scp02.predict_initialize_update(
        TEST_KEYS, kdd=init.kdd, kvn=init.kvn, i=0x55, counter=0x00C2, aid=aid, host_challenge=host_challenge
    )
    assert predicted == init
    assert predicted.to_bytes() == answer


def test_scp03_session_keys() -> None:
    # The published context is 10 bytes long; only its concatenation matters.
    keys = scp03.derive_session_keys(TEST_KEYS, KDD[:5], KDD[5:])
    assert keys.enc.reveal().hex() == "6c858e63babc4028edc67dc9fdbcb04a"
    assert check_values(keys, KeyType.AES) == ["c25559", "0e12cc", "504a77"]
    assert key_check_value(keys.rmac, KeyType.AES).hex() == "9acb9c"


@pytest.mark.parametrize(
    ("method", "kcvs", "expected"),
    [
        (
            DiversificationMethod.EMV,
            ["c33013", "6f4ca6", "bb8179"],
            {
                "enc": "0ef59fcbf8019b62e62af6ea20b8bf25",
                "mac": "3e383eb6f2762b88155f76bdfed05a02",
                "dek": "64021e43c0c7d264a1c7c6d01e1c8761",
            },
        ),
        (
            DiversificationMethod.VISA2,
            ["2be598", "58da38", "3c328e"],
            {
                "enc": "8510fc973208218ca86888bcec203635",
                "mac": "1068b5fb6f06c78c7a4dfc343b21c78f",
                "dek": "2daee809c71405ff259c3be695a1f66e",
            },
        ),
    ],
)
def test_diversification_with_triple_des(
    method: DiversificationMethod, kcvs: list[str], expected: dict[str, str]
) -> None:
    keys = diversify(TEST_KEY, KDD, method)
    assert values(keys) == expected
    assert check_values(keys, KeyType.DES) == kcvs


def test_diversification_kdf3_with_aes_128() -> None:
    keys = diversify(TEST_KEY, KDD, DiversificationMethod.KDF3)
    assert keys.enc.reveal().hex() == "808bc985a1069ad2a9ac94e0fe7b8843"
    assert check_values(keys, KeyType.AES) == ["e79c05", "d1bd77", "3fde8c"]


def test_diversification_kdf3_with_aes_256() -> None:
    master = Secret(bytes.fromhex("8c72c72cf908411653018807950d82fbad947562f0828a0b10b8b9606abf3bcd"))
    keys = diversify(master, bytes.fromhex("d9b1de5d0362dedce4fb"), DiversificationMethod.KDF3)
    assert keys.enc.reveal().hex() == "9aac5d0b3601f89438a0d9d0b6b256cfb47e6462dfa5228d3420c4ac7c224781"
