"""Secured packets against published vectors, some of them answers of real cards.

Source: osmocom pySim, tests/unittests/test_ota.py (packets; cards are sysmoISIM-SJA5 and one of 2013);
asterix SecurePacket.py (CRC-32); catalogue of parametrised CRC algorithms, CRC-16/X-25 (check value).
"""

import pytest

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import PacketChecksumError
from opentsm.card.ota.key_reference import PacketKeys
from opentsm.card.ota.protection import crc16, crc32
from opentsm.card.ota.remote_apdu import CompactResponse
from opentsm.card.ota.scp80 import (
    CommandPacket,
    Policy,
    decode_command,
    decode_response,
    encode_command,
    encode_response,
)
from opentsm.card.ota.sms import Address, SmsTpdu, split_packet
from opentsm.card.ota.spi import Spi

OLD = Policy(aes_without_counter=True)
KEYS_2013 = ("c21dd66acac13cb3bc8b331b24afb57b", "12110c78e678c25408233076aa033615")
KEYS_3DES = ("300102030405060708090a0b0c0d0e0f", "301102030405060708090a0b0c0d0e0f")
KEYS_AES = ("200102030405060708090a0b0c0d0e0f", "201102030405060708090a0b0c0d0e0f")
SELECT_MF = "00a40004023f00"

# keys, SPI, KIc = KID, TAR, APDU, packet; pySim leaves out the CPL (001d, 0015) of what is not ciphered.
COMMANDS = {
    "3des-ciphered": (KEYS_2013, "0419", 0x35, "b00000", "00a40000023f00",
                      "00180d04193535b00000e3ec80a849b554421276af3883927c20"),
    "3des-signed": (KEYS_2013, "0219", 0x35, "b00000", "00a40000023f00",
                    "001d1502193535b00000000000000000072ea17bdb72060e00a40000023f00"),
    "3des-none": (KEYS_2013, "0019", 0x35, "b00000", "00a40000023f00",
                  "00150d00193535b0000000000000000000a40000023f00"),
    "3des-cc-por-ciphered": (KEYS_3DES, "0619", 0x35, "b00011", SELECT_MF,
                             "00201506193535b00011ae733256918d050b87c94fbfe12e4dc402f262c41cf67f2f"),
    "3des-cc-por-signed": (KEYS_3DES, "0609", 0x35, "b00011", SELECT_MF,
                           "00201506093535b00011c49ac91ab8159ba5b83a54fb6385e0a5e31694f8b215fafc"),
    "3des-cc-por-clear": (KEYS_3DES, "0601", 0x35, "b00011", SELECT_MF,
                          "00201506013535b000113190be334900f52b025f3f7eddfe868e96ebf310023b7769"),
    "aes-cc": (KEYS_AES, "0619", 0x22, "b00011", SELECT_MF,
               "00281506192222b00011e87cceebb2d93083011ce294f93fc4d8de80da1abae8c37ca3e72ec4432e5058"),
}  # fmt: skip
RESPONSES = {
    "3des-cc-por-ciphered": ("027100001c12b000118bb989492c632529326a2f4681feb37c825bc9021c9f6d0b", "6132"),
    "3des-cc-por-signed": ("027100001612b0001100000000000000b5bcd6353a421fae016132", "6132"),
    "3des-cc-por-clear": ("027100000e0ab0001100000000000000016132", "6132"),
    "aes-cc": ("027100002412b00011ebc6b497e2cad7aedf36ace0e3a29b38853f0fe9ccde81913be5702b73abce1f", "6132"),
}
# The answers of the card of 2013 to packets whose SPI2 is the first column.
RESPONSES_2013 = {
    "0419": "027100001c12b000119660ebdb81be189b5e4389e9e7ab2bc0954f963ad869ed7c",
    "0409": "027100001612b000110000000000000055f47118381175fb01612f",
    "0401": "027100000e0ab000110000000000000001612f",
}


def keys_of(pair: tuple[str, str]) -> PacketKeys:
    kic, kid = (Secret(bytes.fromhex(one)) for one in pair)
    return PacketKeys(kic, kid)


def command(name: str) -> tuple[CommandPacket, PacketKeys, bytes]:
    pair, spi, reference, tar, apdu, packet = COMMANDS[name]
    clear = CommandPacket(
        Spi.from_bytes(bytes.fromhex(spi)), reference, reference, bytes.fromhex(tar), 0, bytes.fromhex(apdu)
    )
    return clear, keys_of(pair), bytes.fromhex(packet)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_packet_when_encoded_is_the_published_one(name: str) -> None:
    clear, keys, packet = command(name)
    assert encode_command(clear, keys, policy=OLD) == packet


@pytest.mark.parametrize("name", COMMANDS)
def test_command_packet_when_decoded_is_the_clear_one(name: str) -> None:
    clear, keys, packet = command(name)
    assert decode_command(packet, keys, policy=OLD) == clear


@pytest.mark.parametrize("name", ["3des-signed", "3des-none"])
def test_command_packet_when_its_length_was_dropped_is_read_all_the_same(name: str) -> None:
    clear, keys, packet = command(name)
    assert decode_command(packet[2:], keys, policy=OLD) == clear


@pytest.mark.parametrize("name", RESPONSES)
def test_response_when_a_real_card_made_it_is_read_and_rebuilt(name: str) -> None:
    clear, keys, _ = command(name)
    raw, sw = bytes.fromhex(RESPONSES[name][0]), int(RESPONSES[name][1], 16)
    response = decode_response(raw, clear, keys, policy=OLD)
    assert (response.status, response.counter, response.tar) == (0, 0, clear.tar)
    assert CompactResponse.parse(response.data) == CompactResponse(1, sw)
    assert response.authentic == (name != "3des-cc-por-clear")
    assert bytes.fromhex("027100") + encode_response(response, clear, keys) == raw


@pytest.mark.parametrize("spi", RESPONSES_2013)
def test_response_when_the_card_of_2013_made_it_is_read(spi: str) -> None:
    clear = CommandPacket(Spi.from_bytes(bytes.fromhex(spi)), 0x35, 0x35, bytes.fromhex("b00011"))
    response = decode_response(bytes.fromhex(RESPONSES_2013[spi]), clear, keys_of(KEYS_2013))
    assert CompactResponse.parse(response.data) == CompactResponse(1, 0x612F)


def test_response_when_one_octet_differs_is_refused() -> None:
    clear = CommandPacket(Spi.from_bytes(bytes.fromhex("0409")), 0x35, 0x35, bytes.fromhex("b00011"))
    changed = bytes.fromhex("027100001612b000110000000000000055f47118381175fb02612f")
    with pytest.raises(PacketChecksumError):
        decode_response(changed, clear, keys_of(KEYS_2013))


def test_sms_deliver_when_built_matches_the_published_one_but_for_its_length_octet() -> None:
    """pySim writes 03 (the length of the header) where TS 23.040 §9.2.3.16 wants that of the user data."""
    packet = bytes.fromhex(COMMANDS["aes-cc"][-1])
    (user_data,) = split_packet(packet)
    tpdu = SmsTpdu(user_data, Address("12345678", 0x81), timestamp=bytes.fromhex("22705200000000"))
    published = bytes.fromhex("400881214365877ff62270520000000003027000") + packet
    built = tpdu.to_bytes()
    assert built[:16] == published[:16]
    assert built[16] == len(user_data) == 45
    assert built[17:] == published[17:]


def test_redundancy_checks_when_computed_are_the_published_ones() -> None:
    assert crc32(bytes.fromhex("0102030405")) == bytes.fromhex("470b99f4")
    assert crc16(b"123456789") == bytes.fromhex("906e")
