"""BER-TLV: ISO/IEC 7816-4 §5.2.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.lv import ber_lv, lv, read_ber_lv, read_lv
from opentsm.card.codec.tlv import (
    Tlv,
    decode_length,
    encode_length,
    encode_tlv,
    find,
    find_all,
    parse_tlv,
    parse_tlvs,
    require,
)
from opentsm.card.errors import TlvError

TAGS = st.sampled_from([0x4F, 0x9F70, 0xE3, 0xC5, 0x5F20, 0xBF0C, 0xFF21, 0x66, 0x7F4901 | 0x8000])


@pytest.mark.parametrize(
    ("n", "encoded"),
    [
        (0, "00"),
        (0x7F, "7F"),
        (0x80, "8180"),
        (0xFF, "81FF"),
        (0x100, "820100"),
        (0xFFFF, "82FFFF"),
        (0x10000, "83010000"),
        (0xFFFFFFFF, "84FFFFFFFF"),
    ],
)
def test_length_at_each_boundary_uses_the_shortest_form(n: int, encoded: str) -> None:
    assert encode_length(n) == bytes.fromhex(encoded)
    assert decode_length(bytes.fromhex(encoded)) == (n, len(encoded) // 2)


@pytest.mark.parametrize("n", [-1, 1 << 32])
def test_encode_length_out_of_range_is_refused(n: int) -> None:
    with pytest.raises(TlvError):
        encode_length(n)


def test_decode_length_longer_than_needed_is_accepted() -> None:
    assert decode_length(bytes.fromhex("820005")) == (5, 3)


def test_decode_length_eighty_is_128_only_when_asked() -> None:
    assert decode_length(b"\x80", eighty_is_128=True) == (128, 1)
    with pytest.raises(TlvError, match="indefinite length at offset 0"):
        decode_length(b"\x80")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "ends there"),
        ("81", "cut off"),
        ("8201", "cut off"),
        ("8500000000", "more than 4"),
        ("FF", "127 bytes"),
    ],
)
def test_decode_length_damaged_is_refused_with_reason(data: str, reason: str) -> None:
    with pytest.raises(TlvError, match=reason):
        decode_length(bytes.fromhex(data))


def test_parse_tlvs_registry_entry_finds_every_object() -> None:
    # GlobalPlatformPro TestParseTags: an ISD entry of GET STATUS
    entry = parse_tlv(bytes.fromhex("e3144f07a00000015100009f700107c50180ea028000"))
    inner = parse_tlvs(entry.value)
    assert entry.tag == 0xE3
    assert [tlv.tag for tlv in inner] == [0x4F, 0x9F70, 0xC5, 0xEA]
    assert require(inner, 0x9F70) == b"\x07"
    assert find(inner, 0xC4) is None
    assert find_all((*inner, Tlv(0xC5, b"x")), 0xC5) == (b"\x80", b"x")


def test_require_without_the_object_names_the_tag() -> None:
    with pytest.raises(TlvError, match="9F70"):
        require((), 0x9F70)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("00", "no tag at offset 0"),
        ("4F0100", None),
        ("4F010000", "no tag at offset 3"),
        ("4F02AA", "4F at offset 0 promises 2 bytes, 1 are there"),
        ("9F", "tag at offset 0 is cut off"),
        ("9FFF", "tag at offset 0 is cut off"),
        ("4F", "no length field at offset 1"),
        ("4F00C5", "no length field at offset 3"),
    ],
)
def test_parse_tlvs_damaged_tells_offset_and_reason(data: str, reason: str | None) -> None:
    if reason is None:
        assert parse_tlvs(bytes.fromhex(data))
        return
    with pytest.raises(TlvError, match=reason):
        parse_tlvs(bytes.fromhex(data))


def test_parse_tlv_nothing_or_too_much_is_refused() -> None:
    with pytest.raises(TlvError, match="no data"):
        parse_tlv(b"")
    with pytest.raises(TlvError, match="offset 2"):
        parse_tlv(bytes.fromhex("4F00C500"))


@pytest.mark.parametrize("tag", [0, -1, 0x1F, 0x4F00, 0x9F81, 1 << 32, 0xFF])
def test_encode_tlv_no_tag_is_refused(tag: int) -> None:
    with pytest.raises(TlvError):
        encode_tlv(tag, b"")


@given(st.lists(st.builds(Tlv, TAGS, st.binary(max_size=300))))
def test_tlvs_survive_a_round_trip(tlvs: list[Tlv]) -> None:
    assert parse_tlvs(b"".join(tlv.to_bytes() for tlv in tlvs)) == tuple(tlvs)


@given(st.binary(max_size=64))
def test_parse_tlvs_any_bytes_parse_or_raise_tlv_error(data: bytes) -> None:
    try:
        tlvs = parse_tlvs(data)
    except TlvError:
        return
    assert sum(len(tlv.value) for tlv in tlvs) <= len(data)


@given(st.binary(max_size=255))
def test_lv_survives_a_round_trip(value: bytes) -> None:
    assert read_lv(b"?" + lv(value) + b"!", 1) == (value, len(value) + 2)


@given(st.binary(max_size=400))
def test_ber_lv_survives_a_round_trip(value: bytes) -> None:
    encoded = ber_lv(value)
    assert read_ber_lv(encoded + b"!") == (value, len(encoded))


def test_read_ber_lv_eighty_is_128_reads_a_token() -> None:
    assert read_ber_lv(b"\x80" + bytes(128), eighty_is_128=True) == (bytes(128), 129)


@pytest.mark.parametrize("data", [b"", b"\x02\x00"])
def test_read_lv_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(TlvError):
        read_lv(data)
    with pytest.raises(TlvError):
        read_ber_lv(data)


def test_lv_too_long_is_refused() -> None:
    with pytest.raises(TlvError, match="256 bytes"):
        lv(bytes(256))
