"""GET DATA and GET STATUS."""

import pytest
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    MODULE,
    PACKAGE,
    SD_PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import read_ber_lv
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.gp import commands
from opentsm.card.gp.confirmations import parse_confirmation
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.responses import parse_card_data, parse_extended_resources, parse_key_information
from opentsm.vse.profiles import ProfileError, load_profile

KEYS = make_keys(0x66)


@pytest.mark.parametrize("tag", [0x42, 0x45, 0x66, 0xE0])
def test_case_102_identity_objects_need_no_authentication(tag: int) -> None:
    host = CardHost(make_card())
    assert parse_tlv(host.raw(commands.get_data(tag)).data).tag == tag


@pytest.mark.parametrize("tag", [0x66, 0xE0])
def test_case_102_supplementary_domain_has_its_own(tag: int) -> None:
    host = host_with_session()
    host.create_domain()
    host.select(SSD)
    assert parse_tlv(host.raw(commands.get_data(tag)).data).tag == tag


def test_case_103_iso_class_returns_the_value_only() -> None:
    host = CardHost(make_card())
    whole = host.raw("80CA004500").data
    assert host.raw("00CA004500").data == parse_tlv(whole).value


def test_case_104_unknown_tag_is_6a88() -> None:
    assert CardHost(make_card()).raw("80CA123400").sw == 0x6A88


@pytest.mark.parametrize("layout", [1, 2])
def test_case_105_recognition_data_in_both_formats(layout: int) -> None:
    card = make_card(recognition_format=layout, scp=[["03", "70"], ["02", "55"]])
    data = CardHost(card).raw(commands.get_data(0x66)).data
    inside = parse_tlvs(parse_tlv(parse_tlv(data).value).value)
    assert [entry.tag for entry in inside].count(0x64) == (2 if layout == 1 else 1)
    assert bytes.fromhex("2A864886FC6B040370") in data
    assert bytes.fromhex("2A864886FC6B040255") in data
    assert parse_card_data(data)


def test_case_105_supplementary_domain_shows_its_management_data_in_the_fci() -> None:
    host = host_with_session()
    host.create_domain()
    fci = parse_tlvs(parse_tlv(host.select(SSD).data).value)
    assert find(parse_tlvs(find(fci, 0xA5) or b""), 0x73)


def test_case_106_sequence_counter_after_n_sessions() -> None:
    host = CardHost(make_card())
    for _ in range(3):
        host.authenticate()
    assert host.ok(commands.get_data(0xC1)) == bytes.fromhex("C103000003")


def test_case_106_sequence_counter_of_a_card_with_scp02_only_has_two_bytes() -> None:
    """Section E.1.2: it counts successful sessions."""
    host = CardHost(make_card("scp02-i55"))
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C1020000")
    for _ in range(3):
        host.authenticate(level=0x03, i=0x55)
    assert host.ok(commands.get_data(0xC1)) == bytes.fromhex("C1020003")


def test_case_106_sequence_counter_where_the_protocol_has_none_is_absent() -> None:
    """SCP03 with random challenges; the card cannot be one of SCP01 only, which has no counter either."""
    host = CardHost(make_card("scp03-i00"))
    host.authenticate(level=0x03)
    assert host.sw(commands.get_data(0xC1)) == 0x6A88
    with pytest.raises(ProfileError):
        load_profile({"base": "scp02-i15", "scp": [["01", "05"]]})


def test_case_107_application_list_shows_own_or_all() -> None:
    host = host_with_session()
    host.load()
    host.install()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    listed = host.ok(commands.get_associated_applications())
    assert [find(parse_tlvs(e.value), 0x4F) for e in parse_tlvs(listed)][-2:] == [INSTANCE, SSD]
    host.select(SSD)
    assert host.raw(commands.get_associated_applications()).data == b""


def test_objects_that_practice_expects() -> None:
    host = CardHost(make_card())
    assert len(parse_tlv(host.raw(commands.get_data(0xCF)).data).value) == 10
    assert len(parse_tlv(host.raw(commands.get_data(0x9F7F)).data).value) == 42
    assert parse_extended_resources(host.raw(commands.get_data(0xFF21)).data)
    assert parse_tlv(host.raw(commands.get_data(0x67)).data).tag == 0x67
    assert host.raw(commands.get_data(0xC2)).data == bytes.fromhex("C2020000")
    host.authenticate(level=0x33)
    assert host.ok(commands.get_data(0xD3)) == bytes.fromhex("D301B3")


@pytest.mark.parametrize(
    "data",
    [
        "E012 C00401308810 C00402308820 C00403308818",
        "E020 C0080130FF8800100000 C0080230FF8800200000 C00A0330FF88001801C80100",
    ],
    ids=["basic", "extended"],
)
def test_case_162_key_information_in_both_formats_is_read(data: str) -> None:
    """Tables 11-28 and 11-29."""
    found = parse_key_information(bytes.fromhex(data))
    read = [(one.kid, one.kvn, one.components[0].key_type, one.components[0].length) for one in found]
    assert read == [(1, 0x30, 0x88, 16), (2, 0x30, 0x88, 32), (3, 0x30, 0x88, 24)]


@pytest.mark.parametrize(
    "channels",
    [
        "640B06092A864886FC6B040255 640B06092A864886FC6B040370",
        "6416 06092A864886FC6B040255 06092A864886FC6B040370",
    ],
    ids=["format 1", "format 2"],
)
def test_case_162_recognition_data_in_both_formats_is_read(channels: str) -> None:
    """Tables H-2 and H-3."""
    head = bytes.fromhex("06072A864886FC6B01 600C060A2A864886FC6B02020301 630906072A864886FC6B03")
    value = head + bytes.fromhex(channels)
    data = bytes([0x66, len(value) + 2, 0x73, len(value)]) + value
    assert parse_card_data(data).secure_channels == ((2, 0x55), (3, 0x70))


@pytest.mark.parametrize("length", ["80", "8180"])
def test_case_162_length_128_in_both_forms_is_read(length: str) -> None:
    """§11.5.2.3."""
    data = bytes.fromhex(length) + bytes(range(128))
    assert read_ber_lv(data, eighty_is_128=True) == (bytes(range(128)), len(data))


@pytest.mark.parametrize("outer", ["", "1D"])
def test_case_162_confirmation_with_and_without_outer_length_is_read(outer: str) -> None:
    """Tables 11-13, 11-14: receipt, counter, the security domain's 42 and 45, token identifier."""
    found = parse_confirmation(bytes.fromhex(outer + "10" + "5A" * 16 + "020102 0411223344 03A1A2A3"))
    assert found is not None
    assert (found.receipt, found.counter) == (b"\x5a" * 16, 0x0102)
    assert (found.sd_unique_data.hex(), found.token_id) == ("11223344", bytes.fromhex("A1A2A3"))


def full() -> CardHost:
    host = host_with_session()
    host.load()
    host.install()
    privileged_domain(host, SSD, Privilege.NONE, KEYS)
    return host


def test_case_126_status_contents_by_scope() -> None:
    host = full()
    assert host.states(0x80) == {ISD: 0x0F}
    (entry,) = [e for e in host.status(0x40) if find(e, 0x4F) == INSTANCE]
    assert [tlv.tag for tlv in entry] == [0x4F, 0x9F70, 0xC5, 0xC4, 0xCC]
    (entry,) = [e for e in host.status(0x20) if find(e, 0x4F) == PACKAGE]
    assert [tlv.tag for tlv in entry] == [0x4F, 0x9F70, 0xCE, 0xCC]
    (entry,) = [e for e in host.status(0x10) if find(e, 0x4F) == PACKAGE]
    assert [tlv.tag for tlv in entry] == [0x4F, 0x9F70, 0xCE, 0x84, 0xCC]
    assert find(entry, 0x84) == MODULE


def test_case_127_status_search_by_rid_and_full_aid() -> None:
    host = full()
    assert [find(e, 0x4F) for e in host.status(0x20, bytes.fromhex("A000000151"))] == [SD_PACKAGE]
    assert [find(e, 0x4F) for e in host.status(0x40, INSTANCE)] == [INSTANCE]
    assert host.sw(commands.get_status(0x40, aid_prefix=bytes.fromhex("A0A0A0A0A0"))) == 0x6A88


@pytest.mark.parametrize("registry", [False, True])
def test_case_128_129_global_registry_decides_what_a_domain_sees(registry: bool) -> None:
    host = full()
    second = Aid.from_hex("A0000001510000AA05")
    privileged_domain(host, second, Privilege.GLOBAL_REGISTRY if registry else Privilege.NONE, KEYS)
    host.select(second)
    host.authenticate(KEYS)
    assert host.sw(commands.get_status(0x80)) == (0x9000 if registry else 0x6A86)
    assert (INSTANCE in host.states(0x40)) is registry
    assert second in host.states(0x40)


def test_case_130_tag_list_restricts_the_answer() -> None:
    host = full()
    data = host.ok(commands.get_status(0x40, aid_prefix=bytes(INSTANCE), tag_list=bytes.fromhex("4F9F70")))
    assert [e.tag for e in parse_tlvs(parse_tlv(data).value)] == [0x4F, 0x9F70]


@pytest.mark.parametrize("level", [0x01, 0x13, 0x33])
def test_case_131_151_long_list_continues_with_6310(level: int) -> None:
    host = CardHost(make_card(status_chunk=60))
    host.authenticate(level=level)
    host.load()
    host.install()
    assert host.send(commands.get_status(0x40)).sw == 0x6310
    assert host.sw(commands.get_status(0x10, next=True)) == 0x6985
    assert INSTANCE in host.states(0x40)
    assert host.sw(commands.get_status(0x40, next=True)) == 0x6985
    host.send(commands.get_status(0x40))
    host.select()
    host.authenticate(level=level)
    assert host.sw(commands.get_status(0x40, next=True)) == 0x6985


def test_case_131_issuer_alone_has_no_next_occurrence() -> None:
    host = host_with_session()
    assert host.send(commands.get_status(0x80)).sw == 0x9000
    assert host.sw(commands.get_status(0x80, next=True)) == 0x6A86


def test_answers_fit_a_short_response_at_every_level() -> None:
    host = CardHost(make_card("scp03-s16-i71"))
    host.host_challenge = bytes(16)
    host.authenticate()
    host.load()
    for number in range(16):
        assert host.install(Aid(bytes(INSTANCE) + bytes([number]))) == 0x9000
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_status(0x40))
    answer = host.raw(wrapped.apdu)
    assert answer.sw == 0x6310
    assert len(answer.data) <= 256


def test_case_132_status_without_authentication_is_6982() -> None:
    assert CardHost(make_card()).raw(commands.get_status(0x40)).sw == 0x6982


def test_status_scopes_can_be_combined_and_bad_ones_are_refused() -> None:
    host = full()
    assert {bytes(ISD), bytes(INSTANCE), bytes(PACKAGE)} <= host.states(0xE0).keys()
    assert host.sw(CommandApdu(0x80, 0xF2, 0x00, 0x02, b"\x4f\x00", 256)) == 0x6A86
    assert host.sw(CommandApdu(0x80, 0xF2, 0x40, 0x00, b"\x4f\x00", 256)) == 0x6A86
    assert host.sw(CommandApdu(0x80, 0xF2, 0x40, 0x02, b"\x4f\x05", 256)) == 0x6A80
    assert host.sw(CommandApdu(0x80, 0xF2, 0x40, 0x02, b"", 256)) == 0x6A80


def test_case_020_rfu_bits_of_get_status_are_ignored() -> None:
    host = full()
    assert host.sw(CommandApdu(0x80, 0xF2, 0x40, 0xFE, b"\x4f\x00", 256)) == 0x9000


def test_card_capability_lists_what_tokens_receipts_and_signatures_may_use() -> None:
    """Tables H-5, H-8 to H-10."""
    capability = parse_tlvs(parse_tlv(CardHost(make_card()).raw(commands.get_data(0x67)).data).value)
    found = {entry.tag: entry.value.hex().upper() for entry in capability if entry.tag != 0xA0}
    assert found == {
        0x81: "FFFFF0",
        0x82: "1EBFB0",
        0x83: "01020304",
        0x84: "8F",
        0x85: "FF03",
        0x86: "FF03",
        0x87: "FF03",
        0x88: "000102030507",
    }
