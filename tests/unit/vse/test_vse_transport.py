"""The card's transport: T=0 and T=1, answers in parts, commands in parts."""

import pytest
from tests.unit.vse.card_host import CardHost, host_with_session, make_card

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import parse_tlv
from opentsm.card.gp import commands

ISD_AID = "A000000151000000"


def test_malformed_apdu_is_6700() -> None:
    host = CardHost(make_card())
    for raw in (b"", b"\x00", b"\x00\xa4\x04", bytes.fromhex("00A4040005F0")):
        assert host.raw(raw).sw == 0x6700


def test_case_4_answer_longer_than_a_short_response_comes_in_parts() -> None:
    host = host_with_session(level=0x00)
    for number in range(1, 60):
        key = bytes([number])
        assert host.sw(CommandApdu(0x80, 0xD8, 0, 0x10, key + b"\xf0\x01\x00\x00")) == 0x9000
    answer = host.raw(commands.get_data(0xE0))
    assert (answer.sw >> 8, len(answer.data)) == (0x61, 256)
    rest = host.raw("00C0000000")
    assert rest.sw == 0x9000
    assert parse_tlv(answer.data + rest.data).tag == 0xE0


def long_key_information(host: CardHost) -> bytes:
    for number in range(1, 60):
        key = bytes([number])
        assert host.raw(CommandApdu(0x80, 0xD8, 0, 0x10, key + b"\xf0\x01\x00\x00", 256)).sw >> 8 in {
            0x90,
            0x61,
        }
    return b""


def test_answer_in_parts_is_fetched_in_the_pieces_that_the_reader_wants() -> None:
    host = host_with_session(level=0x00)
    long_key_information(host)
    whole = host.raw(CommandApdu(0x80, 0xCA, 0x00, 0xE0, b"", 65536, extended=True)).data
    first = host.raw("80CA00E040")
    assert (first.sw, first.data) == (0x6100, whole[:0x40])
    second = host.raw("80C0000020")
    assert second.data == whole[0x40:0x60]
    third = host.raw("00C0000000")
    assert first.data + second.data + third.data + host.raw("00C0000000").data == whole
    assert host.raw("00C0000000").sw == 0x6D00


def test_answer_in_parts_is_gone_after_another_command_or_on_another_channel() -> None:
    host = host_with_session(level=0x00)
    long_key_information(host)
    host.raw("0070000001")
    assert host.raw(commands.get_data(0xE0)).sw >> 8 == 0x61
    assert host.raw("01C0000000").sw == 0x6D00
    assert host.raw("00C0000000").sw == 0x6D00


def t0_card() -> CardHost:
    return CardHost(make_card("scp03-i70", protocol="T=0", atr="3B00"))


def test_t0_case_4_answers_61_and_get_response_brings_the_data() -> None:
    host = t0_card()
    waiting = host.raw("00A4040008" + ISD_AID)
    assert (waiting.data, waiting.sw1) == (b"", 0x61)
    answer = host.raw(f"00C00000{waiting.sw2:02X}")
    assert (answer.sw, parse_tlv(answer.data).tag) == (0x9000, 0x6F)
    assert len(answer.data) == waiting.sw2
    assert host.raw("00A4040008" + ISD_AID + "00") == waiting


def test_t0_get_response_with_too_large_le_loses_nothing() -> None:
    host = t0_card()
    waiting = host.raw("00A4040008" + ISD_AID)
    wrong = host.raw("00C0000000")
    assert wrong == ResponseApdu(b"", 0x6C00 | waiting.sw2)
    assert host.raw(f"00C00000{waiting.sw2:02X}").sw == 0x9000


def test_t0_case_2_with_wrong_le_tells_the_right_one_and_answers_at_the_second_time() -> None:
    host = t0_card()
    wrong = host.raw("80CA004200")
    assert wrong == ResponseApdu(b"", 0x6C06)
    answer = host.raw("80CA004206")
    assert (answer.sw, len(answer.data)) == (0x9000, 6)
    assert host.raw("80CA004204") == ResponseApdu(answer.data[:4], 0x6102)
    assert host.raw("00C0000002") == ResponseApdu(answer.data[4:], 0x9000)
    # §11.7: one byte is expected of MANAGE CHANNEL, and the command was carried out once only.
    assert host.raw("0070000000") == ResponseApdu(b"", 0x6C01)
    assert host.raw("0070000001") == ResponseApdu(b"\x01", 0x9000)


def test_t0_refusals_and_empty_answers_come_at_once() -> None:
    host = t0_card()
    assert host.raw("00A4040005A0A0A0A0A0") == ResponseApdu(b"", 0x6A82)
    assert host.raw("80F2400200") == ResponseApdu(b"", 0x6982)
    assert host.raw("80CA0042000000") == ResponseApdu(b"", 0x6700)


def test_t0_a_whole_session_works_with_case_4_commands() -> None:
    host = t0_card()
    waiting = host.raw("8050000008" + "00" * 8)
    assert waiting == ResponseApdu(b"", 0x6120)
    assert len(host.raw("00C0000020").data) == 32


def test_chained_command_is_put_together() -> None:
    host = CardHost(make_card())
    assert host.raw("10A4040004A0000001") == ResponseApdu(b"", 0x9000)
    answer = host.raw("00A404000451000000" + "00")
    assert (answer.sw, parse_tlv(answer.data).tag) == (0x9000, 0x6F)


def test_chained_command_of_more_than_255_bytes_reaches_the_domain() -> None:
    host = host_with_session(level=0x00)
    value = bytes(range(200)) * 2
    data = bytes.fromhex("5F50820190") + value
    assert host.raw(CommandApdu(0x90, 0xE2, 0x80, 0x00, data[:250])).sw == 0x9000
    assert host.raw(CommandApdu(0x80, 0xE2, 0x80, 0x00, data[250:])).sw == 0x9000
    assert (
        parse_tlv(host.raw(CommandApdu(0x80, 0xCA, 0x5F, 0x50, b"", 65536, extended=True)).data).value
        == value
    )


@pytest.mark.parametrize(
    "other", ["80CA004200", "00A4040105A000000151", "10A4000004A0000001", "90A4040004A0000001"]
)
def test_another_command_inside_a_chain_is_refused_and_ends_it(other: str) -> None:
    host = CardHost(make_card())
    assert host.raw("10A4040004A0000001").sw == 0x9000
    assert host.raw(other).sw == 0x6883
    assert host.raw("80CA004200").sw == 0x9000
    assert host.raw("00A4040005A00000015100").sw == 0x9000


def test_a_chain_beyond_the_memory_is_refused_and_forgotten() -> None:
    host = CardHost(make_card(chain_limit=300))
    part = CommandApdu(0x90, 0xE2, 0x00, 0x00, bytes(200))
    assert host.raw(part).sw == 0x9000
    assert host.raw(part).sw == 0x6A84
    assert host.raw("80CA004200").sw == 0x9000


def test_a_chain_does_not_survive_a_reset() -> None:
    host = CardHost(make_card())
    assert host.raw("10A4040004A0000001").sw == 0x9000
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x9000
