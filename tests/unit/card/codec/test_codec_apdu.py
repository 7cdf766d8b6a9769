"""Command and response APDUs: ISO/IEC 7816-4 §5.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu, encode_command
from opentsm.card.errors import ApduError

BYTE = st.integers(0, 0xFF)


@pytest.mark.parametrize(
    ("raw", "data", "ne", "extended"),
    [
        ("80F22002", "", None, False),
        ("80CA006600", "", 256, False),
        ("80CA00660A", "", 10, False),
        ("80F2200203AABBCC", "AABBCC", None, False),
        ("80F280020 24F0000".replace(" ", ""), "4F00", 256, False),
        ("80CA0066000000", "", 65536, True),
        ("80CA0066000102", "", 258, True),
        ("80E200000000 01AA".replace(" ", ""), "AA", None, True),
        ("80E20000000002AABB0000", "AABB", 65536, True),
        ("80E20000000002AABB0010", "AABB", 16, True),
    ],
)
def test_command_each_case_parses_and_encodes(raw: str, data: str, ne: int | None, extended: bool) -> None:
    command = CommandApdu.parse(bytes.fromhex(raw))
    assert (command.data, command.ne, command.extended) == (bytes.fromhex(data), ne, extended)
    assert command.to_bytes() == bytes.fromhex(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "80F220",
        "80F2200205AA",
        "80F2200201AABBCC",
        "80F220020001",
        "80E200000000",
        "80E20000000000AA",
        "80E20000000002AA",
        "80E20000000002AABB00",
        "80E20000000002AABB000000",
    ],
)
def test_command_wrong_lengths_are_refused(raw: str) -> None:
    with pytest.raises(ApduError):
        CommandApdu.parse(bytes.fromhex(raw))


@pytest.mark.parametrize("header", [(256, 0, 0, 0), (0, -1, 0, 0), (0, 0, 0x100, 0), (0, 0, 0, 999)])
def test_command_header_out_of_range_is_refused(header: tuple[int, int, int, int]) -> None:
    with pytest.raises(ApduError):
        CommandApdu(*header)


def test_command_too_long_for_short_form_is_refused() -> None:
    with pytest.raises(ApduError, match="255"):
        CommandApdu(0x80, 0xE2, 0, 0, bytes(256))
    with pytest.raises(ApduError, match="256"):
        CommandApdu(0x80, 0xE2, 0, 0, ne=257)
    with pytest.raises(ApduError, match="65535"):
        CommandApdu(0x80, 0xE2, 0, 0, bytes(65536), extended=True)


@pytest.mark.parametrize("ne", [0, -1, 65537])
def test_command_expecting_an_impossible_length_is_refused(ne: int) -> None:
    with pytest.raises(ApduError):
        CommandApdu(0x80, 0xCA, 0, 0x66, ne=ne, extended=True)


def test_with_data_keeps_everything_else() -> None:
    command = CommandApdu(0x84, 0xE2, 1, 2, b"a", 256)
    assert command.with_data(b"bc") == CommandApdu(0x84, 0xE2, 1, 2, b"bc", 256)


@given(
    st.builds(CommandApdu, BYTE, BYTE, BYTE, BYTE, st.binary(max_size=255), st.none() | st.integers(1, 256))
)
def test_short_command_survives_a_round_trip(command: CommandApdu) -> None:
    assert CommandApdu.parse(command.to_bytes()) == command


@given(st.binary(max_size=3000), st.none() | st.integers(1, 65536))
def test_extended_command_survives_a_round_trip(data: bytes, ne: int | None) -> None:
    command = CommandApdu(0x80, 0xE8, 0, 1, data, ne, extended=bool(data) or ne is not None)
    assert CommandApdu.parse(command.to_bytes()) == command


@given(st.binary(max_size=40))
def test_command_any_bytes_parse_back_or_raise_apdu_error(raw: bytes) -> None:
    try:
        command = CommandApdu.parse(raw)
    except ApduError:
        return
    assert command.to_bytes() == raw


@given(st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_response_survives_a_round_trip(data: bytes, sw: int) -> None:
    response = ResponseApdu(data, sw)
    assert ResponseApdu.parse(response.to_bytes()) == response
    assert (response.sw1 << 8 | response.sw2) == sw


def test_response_without_status_word_is_refused() -> None:
    with pytest.raises(ApduError):
        ResponseApdu.parse(b"\x90")
    with pytest.raises(ApduError):
        ResponseApdu(b"", 0x10000)


@pytest.mark.parametrize(("size", "extended"), [(256, False), (65536, True)])
def test_fields_when_they_hold_too_much_data_are_not_encoded(size: int, extended: bool) -> None:
    with pytest.raises(ApduError, match=f"not {size}"):
        encode_command(0x80, 0xE2, 0x00, 0x00, bytes(size), None, extended)
