"""Answers of cards: well-formed, unusual but lawful, and broken."""

import pytest

from opentsm.card.codec.aid import Aid
from opentsm.card.errors import CardError, ResponseFormatError
from opentsm.card.gp import responses as rsp
from opentsm.card.gp.confirmations import parse_confirmation
from opentsm.card.gp.instructions import StatusScope
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.registry import RegistryKind

SD = Aid(bytes.fromhex("A000000151000000"))
APP = "F04F54534D0101"
ELF = "F04F54534D01"


def test_parse_status_when_application_then_all_fields() -> None:
    fields = f"4F07{APP} 9F700107 C503000000 CF0180 C406{ELF} CC08A000000151000000"
    value = bytes.fromhex(fields)
    (entry,) = rsp.parse_status(bytes((0xE3, len(value))) + value, StatusScope.APPLICATIONS)
    assert entry.kind is RegistryKind.APPLICATION
    assert entry.aid == bytes.fromhex(APP) and entry.state_name == "SELECTABLE"
    assert entry.load_file == bytes.fromhex(ELF) and entry.associated_sd == SD
    assert entry.implicit_selection == (0x80,)


def test_parse_status_when_security_domain_then_ssd() -> None:
    (entry,) = rsp.parse_status(
        bytes.fromhex("E3124F07F04F54534D01019F70010FC503808000"), StatusScope.APPLICATIONS
    )
    assert entry.kind is RegistryKind.SSD
    assert Privilege.TRUSTED_PATH in entry.privileges


def test_parse_status_when_load_files_then_version_and_modules() -> None:
    data = bytes.fromhex(f"E31B 4F06{ELF} 9F700101 CE020100 8407{APP} CC00")
    (entry,) = rsp.parse_status(data, StatusScope.LOAD_FILES_AND_MODULES)
    assert entry.kind is RegistryKind.LOAD_FILE
    assert entry.version == b"\x01\x00" and entry.modules == (Aid(bytes.fromhex(APP)),)
    assert entry.associated_sd is None


def test_parse_status_when_empty_then_no_entry() -> None:
    assert rsp.parse_status(b"", StatusScope.APPLICATIONS) == ()


@pytest.mark.parametrize(
    "data",
    [
        "E100",  # not an entry
        "E3049F700107",  # no AID
        "E3074F05A000000151",  # no state
        "E3074F01A09F700107",  # AID too short
        "E30C4F05A0000001519F7003070707",  # state too long
        "E3104F05A000000151",  # cut
        "E3104F05A0000001519F700107C502800000",  # privileges of two bytes, then rubbish
    ],
)
def test_parse_status_when_broken_then_card_error(data: str) -> None:
    with pytest.raises(CardError):
        rsp.parse_status(bytes.fromhex(data), StatusScope.APPLICATIONS)


def test_parse_key_information_when_length_00_then_256() -> None:
    (key,) = rsp.parse_key_information(bytes.fromhex("E008C0060173A100A003"))
    assert key.components == (rsp.KeyComponent(0xA1, 256), rsp.KeyComponent(0xA0, 3))


def test_parse_key_information_when_curve_reference_then_kept() -> None:
    (key,) = rsp.parse_key_information(bytes.fromhex("E008C0060173B040F003"))
    assert key.components == (rsp.KeyComponent(0xB0, 0x40), rsp.KeyComponent(0xF0, 3))


def test_parse_key_information_when_ff_before_each_then_the_same() -> None:
    (key,) = rsp.parse_key_information(bytes.fromhex("E010C00E0173FFA10080FFA0000301840100"))
    assert key.components == (rsp.KeyComponent(0xA1, 128), rsp.KeyComponent(0xA0, 3))
    assert (key.usage, key.access) == (0x84, 0x00)


def test_parse_key_information_when_no_usage_then_none() -> None:
    (key,) = rsp.parse_key_information(bytes.fromhex("E00AC0080130FF8800100000"))
    assert (key.usage, key.access) == (None, None)


def test_parse_key_information_when_outer_tag_missing_then_read() -> None:
    assert rsp.parse_key_information(bytes.fromhex("C00401308810"))[0].kvn == 0x30


@pytest.mark.parametrize("data", ["E005C003013088", "E007C005013088108A", "E00AC0080130FF8800100501"])
def test_parse_key_information_when_cut_then_refused(data: str) -> None:
    with pytest.raises(CardError):
        rsp.parse_key_information(bytes.fromhex(data))


@pytest.mark.parametrize("prefix", ["FF210E", ""])
def test_parse_extended_resources_when_given_then_numbers(prefix: str) -> None:
    resources = rsp.parse_extended_resources(bytes.fromhex(prefix + "8101058204000186A083030010E1"))
    assert resources == rsp.ExtendedResources(5, 100_000, 0x0010E1)


def test_parse_card_data_when_both_formats_then_the_same() -> None:
    oid = "2A864886FC6B"
    many = f"640B0609{oid}040215 640B0609{oid}040370"
    one = f"64160609{oid}0402150609{oid}040370"
    for channels in (many, one):
        value = bytes.fromhex(f"0607{oid}01 600C060A{oid}02020301" + channels)
        inner = bytes((0x73, len(value))) + value
        card = rsp.parse_card_data(bytes((0x66, len(inner))) + inner)
        assert card.version == "2.3.1"
        assert card.secure_channels == ((0x02, 0x15), (0x03, 0x70))


def test_parse_card_capability_when_given_then_read() -> None:
    data = bytes.fromhex("671AA00B80010381033070718201078103808000820304020083010E")
    capability = rsp.parse_card_capability(data)
    assert capability.secure_channels == (rsp.SecureChannelCapability(3, b"\x30\x70\x71", 7),)
    assert capability.assignable_to_sd == Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH
    assert capability.hash_algorithms == b"\x0e"


def test_parse_sequence_counter_when_tlv_or_value_then_read() -> None:
    assert rsp.parse_sequence_counter(bytes.fromhex("C103000102")) == 0x102
    assert rsp.parse_sequence_counter(b"\x00\x07") == 7
    with pytest.raises(ResponseFormatError):
        rsp.parse_sequence_counter(b"\x00\x00\x00\x07")


def test_parse_associated_applications_when_given_then_aids() -> None:
    assert rsp.parse_associated_applications(bytes.fromhex(f"61094F07{APP}61084F06{ELF}")) == (
        Aid(bytes.fromhex(APP)),
        Aid(bytes.fromhex(ELF)),
    )


def test_parse_select_when_security_domain_then_aid_and_size() -> None:
    fci = rsp.parse_select(bytes.fromhex("6F108408A000000151000000A5049F6501FF"))
    assert fci == rsp.FileControlInformation(SD, 255, None)


def test_parse_put_key_when_three_keys_then_kcvs() -> None:
    answer = rsp.parse_put_key(bytes.fromhex("30C35280013808840DE5"))
    assert answer.kvn == 0x30
    assert [kcv.hex() for kcv in answer.kcvs] == ["c35280", "013808", "840de5"]


@pytest.mark.parametrize("data", ["", "30C3", "30C352"])
def test_parse_put_key_when_cut_then_refused(data: str) -> None:
    with pytest.raises(ResponseFormatError):
        rsp.parse_put_key(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["", "00"])
def test_parse_confirmation_when_none_then_none(data: str) -> None:
    assert parse_confirmation(bytes.fromhex(data)) is None


CONFIRMATION_DATA = "020007" + "04AABBCCDD"


@pytest.mark.parametrize("outer", [True, False])
def test_parse_confirmation_when_with_or_without_outer_length_then_the_same(outer: bool) -> None:
    body = bytes.fromhex("08" + "11" * 8 + CONFIRMATION_DATA)
    confirmation = parse_confirmation((bytes((len(body),)) if outer else b"") + body)
    assert confirmation is not None
    assert confirmation.receipt == b"\x11" * 8
    assert confirmation.data.hex().upper() == CONFIRMATION_DATA
    assert confirmation.counter == 7 and confirmation.sd_unique_data.hex() == "aabbccdd"
    assert confirmation.token_id is None


def test_parse_confirmation_when_rsa_receipt_then_two_byte_lengths() -> None:
    body = bytes.fromhex("8180" + "22" * 128 + CONFIRMATION_DATA + "0101" + "02FFEE")
    confirmation = parse_confirmation(b"\x81" + bytes((len(body),)) + body)
    assert confirmation is not None
    assert len(confirmation.receipt) == 128
    assert confirmation.token_id == b"\x01" and confirmation.token_digest == b"\xff\xee"


@pytest.mark.parametrize("data", ["0102", "0511", "030200", "0A08111111111111111102", "0008"])
def test_parse_confirmation_when_broken_then_refused(data: str) -> None:
    with pytest.raises(ResponseFormatError):
        parse_confirmation(bytes.fromhex(data))
