"""Short messages and remote APDU scripts on the host.

Source: 3GPP TS 23.040 §9.2.3.24; ETSI TS 102 226 §5.2 (scripts, two of them published).
"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import OtaError
from opentsm.card.ota.remote_apdu import (
    CompactResponse,
    ExpandedResponse,
    ExpandedScript,
    decode_compact,
    encode_compact,
    is_expanded,
)
from opentsm.card.ota.sms import (
    MAX_USER_DATA,
    Address,
    PacketKind,
    SmsTpdu,
    envelope,
    join_packet,
    open_envelope,
    open_proactive_message,
    parse_user_data,
    split_packet,
)

GET_STATUS = CommandApdu.parse(bytes.fromhex("80F24002024F0000"))
SELECT_MF = CommandApdu.parse(bytes.fromhex("00A40004023F0000"))
digits = st.text("0123456789", min_size=1, max_size=20)


@given(
    packet=st.binary(max_size=1200), kind=st.sampled_from(PacketKind), wide=st.booleans(), seed=st.randoms()
)
def test_packet_when_split_and_shuffled_comes_back(
    packet: bytes, kind: PacketKind, wide: bool, seed: Random
) -> None:
    parts = list(split_packet(packet, kind, reference=0x1FF if wide else 0xFF, wide=wide))
    assert all(len(part) <= MAX_USER_DATA for part in parts)
    seed.shuffle(parts)
    assert join_packet(parts) == (kind, packet)


def test_packet_when_it_just_fits_is_one_message() -> None:
    assert len(split_packet(bytes(137))) == 1
    first, second = split_packet(bytes(138), reference=5)
    assert (first[:8].hex(), second[:6].hex()) == ("0700030502017000", "050003050202")
    first, _ = split_packet(bytes(138), reference=0x1234, wide=True)
    assert first[:9].hex() == "080804123402017000"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ["0500030502021234"],
        ["07000305020170001234"],
        ["07000305020170001234", "0600030602021234"],
        ["07000305020170001234", "07000305020170001234"],
        ["03"],
        ["0270"],
        ["027005"],
        ["050003050302"],
        ["0500030502031234"],
        ["0400020501"],
    ],
)
def test_parts_when_they_make_no_packet_are_refused(messages: list[str]) -> None:
    with pytest.raises(OtaError):
        join_packet(bytes.fromhex(one) for one in messages)


@given(number=digits, plus=st.booleans(), data=st.binary(max_size=140), submit=st.booleans())
def test_tpdu_when_parsed_is_what_was_built(number: str, plus: bool, data: bytes, submit: bool) -> None:
    address = Address.parse(("+" if plus else "") + number)
    assert str(address) == ("+" if plus else "") + number
    tpdu = SmsTpdu(data, address, submit=submit)
    assert SmsTpdu.parse(tpdu.to_bytes()) == tpdu
    assert open_envelope(envelope(tpdu.to_bytes(), service_centre=address)) == tpdu.to_bytes()


@given(data=st.binary(max_size=60))
def test_messages_when_random_raise_the_named_error_only(data: bytes) -> None:
    readers = (
        parse_user_data,
        SmsTpdu.parse,
        open_proactive_message,
        Address.from_packed,
        decode_compact,
        CompactResponse.parse,
        ExpandedScript.parse,
        ExpandedResponse.parse,
        lambda raw: ExpandedScript.parse(b"\xaa" + bytes([len(raw)]) + raw),
        lambda raw: ExpandedResponse.parse(b"\xaf\x80" + raw + bytes(2)),
    )
    for read in readers:
        try:
            read(data)
        except OtaError:
            continue


def test_address_when_it_is_none_is_refused() -> None:
    for text in ("", "+", "12x", "1" * 21):
        with pytest.raises(OtaError):
            Address.parse(text)


def test_tpdu_when_too_long_or_of_another_kind_is_refused() -> None:
    with pytest.raises(OtaError):
        SmsTpdu(bytes(141), Address("1")).to_bytes()
    with pytest.raises(OtaError):
        open_envelope(GET_STATUS)
    with pytest.raises(OtaError):
        open_envelope(CommandApdu(0x80, 0xC2, 0, 0, bytes.fromhex("D30482028281")))


def test_expanded_script_when_encoded_is_the_published_one() -> None:
    one = bytes.fromhex("aa0a220880f24002024f0000")
    two = bytes.fromhex("aa14220880f24002024f0000220800a40004023f0000")
    assert ExpandedScript((GET_STATUS,)).to_bytes() == one
    assert ExpandedScript((GET_STATUS, SELECT_MF)).to_bytes() == two
    assert ExpandedScript.parse(two).commands == (GET_STATUS, SELECT_MF)
    assert is_expanded(one)


@pytest.mark.parametrize("indefinite", [True, False])
def test_expanded_forms_when_all_objects_are_there_come_back(indefinite: bool) -> None:
    script = ExpandedScript((GET_STATUS,), 0x01, b"\x01", b"", indefinite=indefinite)
    assert ExpandedScript.parse(script.to_bytes()) == script
    answers = (ResponseApdu(b"abc", 0x9000), ResponseApdu(b"", 0x6A88))
    response = ExpandedResponse(answers, 300, 2, 1, 3, indefinite=indefinite)
    assert ExpandedResponse.parse(response.to_bytes()) == response


@pytest.mark.parametrize(
    "script", ["", "AA", "AB00", "AA0222", "AA021100", "AE8022058000", "AA0583020101", "AA04220280F2", "AE80"]
)
def test_expanded_script_when_malformed_is_refused(script: str) -> None:
    with pytest.raises(OtaError):
        ExpandedScript.parse(bytes.fromhex(script))


def test_compact_script_when_encoded_keeps_le_of_the_last_command_only() -> None:
    store = CommandApdu(0x80, 0xE2, 0x90, 0, b"\x01\x02")
    read = CommandApdu(0x80, 0xCA, 0x00, 0xC1, ne=256)
    script = encode_compact([GET_STATUS, store, read, GET_STATUS])
    assert script.hex().upper() == "80F24002024F0080E2900002010280CA00C10080F24002024F0000"
    found = decode_compact(script)
    assert [one.ins for one in found] == [0xF2, 0xE2, 0xCA, 0xF2]
    assert [one.ne for one in found] == [None, None, 256, 256]


def test_compact_script_when_impossible_is_refused() -> None:
    for commands in ([], [CommandApdu(0x80, 0xE8, 0, 0, bytes(300), extended=True)]):
        with pytest.raises(OtaError):
            encode_compact(commands)
    for raw in ("", "80F24002", "80F24002034F00"):
        with pytest.raises(OtaError):
            decode_compact(bytes.fromhex(raw))


def test_compact_answer_when_parsed_has_count_status_and_data() -> None:
    raw = bytes.fromhex("029000AABB")
    assert CompactResponse.parse(raw) == CompactResponse(2, 0x9000, b"\xaa\xbb")
    assert CompactResponse.parse(raw).to_bytes() == raw
