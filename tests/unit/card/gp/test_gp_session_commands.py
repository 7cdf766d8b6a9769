"""Builders of channel, R-MAC session and chaining commands: octets of the tables named."""

import pytest

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError
from opentsm.card.gp.session_commands import (
    begin_r_mac_session,
    close_channel,
    end_r_mac_session,
    in_iso_parts,
    in_parts,
    on_channel,
    open_channel,
)


def test_manage_channel_when_opened_and_closed_is_that_of_table_11_61() -> None:
    assert open_channel().to_bytes() == bytes.fromhex("0070000001")
    assert open_channel(3).to_bytes() == bytes.fromhex("0070000301")
    assert close_channel(0x13).to_bytes() == bytes.fromhex("00708013")


@pytest.mark.parametrize(
    ("number", "iso", "gp"), [(0, 0x00, 0x80), (3, 0x03, 0x83), (4, 0x40, 0xC0), (19, 0x4F, 0xCF)]
)
def test_class_when_put_on_a_channel_is_that_of_the_tables(number: int, iso: int, gp: int) -> None:
    assert on_channel(CommandApdu(0x00, 0xA4, 4, 0), number).cla == iso
    assert on_channel(CommandApdu(0x80, 0xCA, 0, 0), number).cla == gp


def test_channel_when_it_does_not_exist_is_refused() -> None:
    for number in (-1, 20):
        with pytest.raises(ApduError):
            on_channel(CommandApdu(0x00, 0xA4, 4, 0), number)


def test_r_mac_session_when_begun_and_ended_is_that_of_tables_e_13_and_e_18() -> None:
    assert begin_r_mac_session(0x10, b"\xaa").to_bytes() == bytes.fromhex("807A10010201AA")
    assert begin_r_mac_session(0x00).to_bytes() == bytes.fromhex("807A00010100")
    assert end_r_mac_session().to_bytes() == bytes.fromhex("8078000300")
    assert end_r_mac_session(keep=True).to_bytes() == bytes.fromhex("8078000100")


@pytest.mark.parametrize(("level", "length"), [(0x20, 0), (0x31, 0), (0x10, 25)])
def test_r_mac_session_when_impossible_is_refused(level: int, length: int) -> None:
    with pytest.raises(ApduError):
        begin_r_mac_session(level, bytes(length))


def test_command_when_cut_has_bit_8_in_all_parts_but_the_last() -> None:
    whole = CommandApdu(0x84, 0xE6, 0x0C, 0x00, bytes(range(256)) * 2, 256, extended=True)
    parts = in_parts(whole, 200)
    assert [part.header.hex() for part in parts] == ["84e68c00", "84e68c00", "84e60c00"]
    assert b"".join(part.data for part in parts) == whole.data
    assert not any(part.extended for part in parts)


def test_command_when_cut_by_the_class_has_bit_5_in_all_parts_but_the_last() -> None:
    whole = CommandApdu(0x80, 0x2A, 0x18, 0x10, bytes(300), 65536, extended=True)
    parts = in_iso_parts(whole)
    assert [part.header.hex() for part in parts] == ["902a1810", "802a1810"]
    assert [part.ne for part in parts] == [None, 256]
    assert len(in_iso_parts(CommandApdu(0x80, 0x2A, 0, 0))) == 1


def test_command_when_it_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ApduError):
        in_parts(CommandApdu(0x80, 0xE2, 0, 0, bytes(300), extended=True))
    for size in (0, 256):
        with pytest.raises(ApduError):
            in_parts(CommandApdu(0x80, 0xE6, 0, 0, b"x"), size)
