"""Data groupings (EMV CPS 1.1 §2.2) and application identifiers (ISO/IEC 7816-4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.dgi import encode_dgi, parse_dgis
from opentsm.card.errors import AidError, TlvError


@pytest.mark.parametrize(("size", "length"), [(0, "00"), (0xFE, "FE"), (0xFF, "FF00FF"), (0x100, "FF0100")])
def test_dgi_length_has_one_or_three_bytes(size: int, length: str) -> None:
    assert encode_dgi(0x8113, bytes(size)) == bytes.fromhex("8113" + length) + bytes(size)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=600)), max_size=4))
def test_dgis_survive_a_round_trip(dgis: list[tuple[int, bytes]]) -> None:
    assert parse_dgis(b"".join(encode_dgi(tag, value) for tag, value in dgis)) == tuple(dgis)


@pytest.mark.parametrize("data", ["00", "0070", "0070FF", "0070FF00", "007002AA", "0070FF0002AA", "00B90000"])
def test_parse_dgis_cut_off_is_refused(data: str) -> None:
    with pytest.raises(TlvError, match="offset"):
        parse_dgis(bytes.fromhex(data))


@pytest.mark.parametrize(("tag", "size"), [(-1, 0), (0x10000, 0), (0x70, 0x10000)])
def test_encode_dgi_out_of_range_is_refused(tag: int, size: int) -> None:
    with pytest.raises(TlvError):
        encode_dgi(tag, bytes(size))


@given(st.binary(min_size=5, max_size=16))
def test_aid_survives_a_round_trip_through_hex(value: bytes) -> None:
    aid = Aid(value)
    assert Aid.from_hex(str(aid)) == aid == value
    assert aid.rid == value[:5]
    assert str(aid) == value.hex().upper()


@pytest.mark.parametrize("text", ["", "A0000001", "00" * 17, "A00000015G", "A00000015"])
def test_aid_wrong_length_or_digits_is_refused(text: str) -> None:
    with pytest.raises(AidError):
        Aid.from_hex(text)


def test_aid_repr_shows_hex() -> None:
    assert repr(Aid.from_hex("a000000151000000")) == "Aid(A000000151000000)"
