"""Cases 1 to 24: selection, logical channels, the card's states.

Source: GPCS 2.3.1 §5.1, §6.3, §6.4, §11.1.3, §11.7, §11.9.
"""

import pytest
from tests.unit.vse.card_host import (
    INSTANCE,
    ISD,
    MODULE,
    PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import encode_tlv, find, parse_tlv, parse_tlvs
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.privileges import Privilege

SECOND = Aid.from_hex("F0010203040102")


def host_with_two_instances() -> CardHost:
    host = host_with_session()
    assert host.load() == 0x9000
    assert host.install(INSTANCE) == 0x9000
    assert host.install(SECOND) == 0x9000
    return host


def selected_aid(data: bytes) -> bytes | None:
    return find(parse_tlvs(parse_tlv(data).value), 0x84)


def test_case_001_select_without_data_answers_the_issuer_domain() -> None:
    answer = CardHost(make_card()).raw("00A4040000")
    fci = parse_tlvs(parse_tlv(answer.data).value)
    assert answer.sw == 0x9000
    assert find(fci, 0x84) == ISD
    assert find(parse_tlvs(find(fci, 0xA5) or b""), 0x9F65) == b"\xff"


def test_case_002_partial_aid_selects_the_first_in_registry_order() -> None:
    host = host_with_two_instances()
    host.channel = None
    assert selected_aid(host.raw("00A4040005F001020304").data) == INSTANCE
    assert selected_aid(host.raw(commands.select(SECOND)).data) == SECOND


def test_case_003_select_next_goes_on_and_keeps_the_selection_at_the_end() -> None:
    host = host_with_two_instances()
    host.channel = None
    host.raw("00A4040005F001020304")
    assert selected_aid(host.raw("00A4040205F001020304").data) == SECOND
    assert host.raw("00A4040205F001020304").sw == 0x6A82
    assert host.raw("80CA004200").sw == 0x6D00


@pytest.mark.parametrize("aid", [PACKAGE, MODULE])
def test_case_004_load_files_and_modules_are_not_selectable(aid: Aid) -> None:
    host = host_with_session()
    host.load()
    assert host.select(aid).sw == 0x6A82


def test_case_005_installed_only_application_is_passed_over() -> None:
    host = host_with_session()
    host.load()
    host.install(selectable=False)
    assert host.select(INSTANCE).sw == 0x6A82


def test_case_006_locked_application_is_passed_over() -> None:
    host = host_with_two_instances()
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.select(INSTANCE).sw == 0x6A82
    assert selected_aid(host.raw("00A4040005F001020304").data) == SECOND


def test_case_008_select_of_unknown_aid_is_dispatched_to_the_selected_application() -> None:
    host = host_with_two_instances()
    assert host.select(INSTANCE).sw == 0x9000
    assert host.raw(commands.select(Aid.from_hex("A0A0A0A0A0"))).sw == 0x6D00
    host.select()
    assert host.raw(commands.select(Aid.from_hex("A0A0A0A0A0"))).sw == 0x6A82
    assert host.raw("80CA004200").sw == 0x9000


def test_case_009_select_not_by_name_is_dispatched() -> None:
    host = CardHost(make_card())
    assert host.raw("00A40000023F00").sw == 0x6A82
    assert host.raw("80CA004200").sw == 0x9000


def test_case_019_unknown_instruction_and_class() -> None:
    host = CardHost(make_card())
    assert host.raw("80FE000000").sw == 0x6D00
    assert host.raw("A0CA004200").sw == 0x6E00
    assert host.raw("88CA004200").sw == 0x6E00
    assert host.raw("FFCA004200").sw == 0x6E00


def test_case_014_a_channel_is_opened_used_and_closed() -> None:
    host = CardHost(make_card())
    assert host.raw("0070000001") == ResponseApdu(b"\x01", 0x9000)
    assert selected_aid(host.raw("01A4040000").data) == ISD
    assert host.raw("81CA004200").data == host.raw("80CA004200").data != b""
    assert host.raw("00708001") == ResponseApdu(b"", 0x9000)
    assert host.raw("00708001") == ResponseApdu(b"", 0x6200)
    assert host.raw("81CA004200").sw == 0x6881


def test_case_014_twenty_channels_and_no_more() -> None:
    host = CardHost(make_card(logical_channels=20))
    assert [host.raw("0070000001").data[0] for _ in range(19)] == list(range(1, 20))
    assert host.raw("0070000001").sw == 0x6A81
    assert host.raw("CFCA004200").sw == 0x9000
    assert host.raw("4F708004").sw == 0x9000
    assert host.raw("C0CA004200").sw == 0x6881
    assert host.raw("0070000001").data == b"\x04"


def test_case_014_four_channels_and_no_more() -> None:
    host = CardHost(make_card())
    assert [host.raw("0070000001").data for _ in range(3)] == [b"\x01", b"\x02", b"\x03"]
    assert host.raw("0070000001").sw == 0x6A81
    assert host.raw("00708004").sw == 0x6881


def test_case_014_a_channel_may_be_opened_by_its_number() -> None:
    host = CardHost(make_card())
    assert host.raw("0070000201") == ResponseApdu(b"\x02", 0x9000)
    assert host.raw("0070000201").sw == 0x6A86
    assert host.raw("0070000401").sw == 0x6881
    assert host.raw("0070000001").data == b"\x01"
    assert host.raw("0070400001").sw == 0x6A86
    assert host.raw("007000000155").sw == 0x6700


def test_case_014_a_card_with_one_channel_knows_or_does_not_know_of_others() -> None:
    assert CardHost(make_card(logical_channels=1)).raw("0070000001").sw == 0x6A81
    unaware = CardHost(make_card(logical_channels=0))
    assert unaware.raw("0070000001").sw == 0x6D00
    assert unaware.raw("81CA004200").sw == 0x6881
    assert unaware.raw("80CA004200").sw == 0x9000


@pytest.mark.parametrize("cla", ["81", "01", "C0", "E3", "43", "8F"])
def test_case_015_a_command_on_a_closed_channel_is_refused(cla: str) -> None:
    host = CardHost(make_card())
    assert host.raw(f"{cla}CA004200").sw == 0x6881
    assert host.raw("01A4040000").sw == 0x6881


def test_case_016_the_basic_channel_is_never_closed() -> None:
    host = CardHost(make_card())
    host.raw("0070000001")
    assert host.raw("00708000").sw == host.raw("01708000").sw == 0x6A81
    assert host.raw("80CA004200").sw == 0x9000


@pytest.mark.parametrize("cla", ["04", "08", "0C", "60"])
def test_case_017_manage_channel_takes_no_secure_messaging(cla: str) -> None:
    host = CardHost(make_card(logical_channels=20))
    for _ in range(4):
        host.raw("0070000001")
    assert host.raw(f"{cla}70000001").sw == 0x6882
    assert host.raw(f"{cla}A4040000").sw == 0x6882


def test_case_018_from_a_channel_its_application_from_the_basic_one_the_implicit() -> None:
    host = host_with_session()
    assert host.create_domain(SSD) == 0x9000
    host.select(SSD)
    assert host.raw("0070000001").data == b"\x01"
    assert host.raw("81CA004200").sw == 0x9000  # the issuer domain, although the basic channel has the other
    assert host.raw("80CA004200").sw == 0x6A88
    assert selected_aid(host.raw("01A4040009A0000001510000AA0100").data) == SSD
    assert host.raw("0170000001").data == b"\x02"
    assert host.raw("82CA004200").sw == 0x6A88
    assert host.raw("0070000001").data == b"\x03"
    assert host.raw("83CA004200").sw == 0x9000


def test_case_018_an_application_that_cannot_be_selected_twice_opens_no_channel() -> None:
    host = host_with_two_instances()
    host.raw("0070000001")
    assert selected_aid(host.raw("01A4040007F0010203040101").data) == INSTANCE
    assert host.raw("0170000001").sw == 0x6985
    # Nor is it, or another of its package, selected from the other channel.
    assert host.raw(commands.select(INSTANCE)).sw == 0x6A82
    assert host.raw(commands.select(SECOND)).sw == 0x6A82
    assert host.raw("00708001").sw == 0x9000
    assert host.raw(commands.select(SECOND)).sw == 0x9000


def test_case_018_the_implicit_application_of_the_new_channel_comes_first() -> None:
    host = host_with_session()
    assert host.load() == 0x9000
    system = bytes.fromhex("EF03CF01C1C900")
    fields = b"".join(lv(field) for field in (PACKAGE, MODULE, INSTANCE, b"\x00", system, b""))
    assert host.sw(CommandApdu(0x80, 0xE6, 0x0C, 0x00, fields, 256)) == 0x9000
    host.channel = None
    assert host.raw("0070000001").data == b"\x01"
    assert host.raw("81CA004200").sw == 0x6D00  # the opaque application, which knows no GET DATA
    assert host.raw("0070000001").data == b"\x02"
    assert host.raw("82CA004200").sw == 0x9000


def test_case_012_a_locked_card_opens_no_channel() -> None:
    host = host_with_two_instances()
    host.raw("0070000001")
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x9000
    assert host.raw("0070000001").sw == 0x6A81
    # §6.4.3.1.2: a SELECT closes the supplementary channel.
    assert host.raw("81CA004200").sw == 0x9000
    assert host.raw("01A4040000").sw == 0x6A81
    assert host.raw("81CA004200").sw == 0x6881


@pytest.mark.parametrize(
    ("command", "ignored"),
    [
        ("80E47F0007{}", "4F05F001020304"),
        ("80F240FE02{}00", "4F00"),
        ("80F05F8007{}", "F0010203040101"),
    ],
)
def test_case_020_reserved_bits_of_p1_and_p2_are_ignored(command: str, ignored: str) -> None:
    host = CardHost(make_card())
    host.authenticate(level=0x00)
    assert host.load() == 0x9000
    if not command.startswith("80E4"):
        assert host.install() == 0x9000
    assert host.raw(command.format(ignored)).sw == 0x9000


def test_case_020_reserved_bits_of_load_are_ignored() -> None:
    host = CardHost(make_card())
    host.authenticate(level=0x00)
    assert host.raw("80E602000A05F00102030400000000").sw == 0x9000
    block = encode_tlv(0xC4, load_file(size=100))
    assert host.raw(CommandApdu(0x80, 0xE8, 0xFF, 0x00, block, 256)).sw == 0x9000


def test_case_021_card_state_moves_forward_one_step_at_a_time() -> None:
    host = CardHost(make_card(isd_state=0x01))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F)) == 0x6985
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x07)) == 0x9000
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x07)) == 0x6985
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F)) == 0x9000
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x01)) == 0x6985
    assert host.states(0x80) == {ISD: 0x0F}


def locked_card() -> CardHost:
    host = host_with_two_instances()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x9000
    return host


def test_case_010_locked_card_selects_only_the_final_application() -> None:
    host = locked_card()
    answer = host.select()
    assert (answer.sw, selected_aid(answer.data)) == (0x6283, ISD)
    assert host.raw(commands.select(INSTANCE)).sw == 0x6A81
    assert host.raw("80CA004200").sw == 0x9000


def test_case_011_locked_card_answers_but_does_not_change() -> None:
    host = locked_card()
    host.authenticate()
    assert host.status(0x80)
    assert host.put_keys(make_keys(0x51)).sw == 0x6985
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.load() == 0x6985
    assert host.sw(commands.store_data(b"\x42\x01\x01", 0, last=True)) == 0x6985
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F)) == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x9000


def test_case_022_secured_and_card_locked_and_back() -> None:
    host = host_with_session()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x9000
    assert host.states(0x80) == {ISD: 0x7F}
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x6985
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F)) == 0x9000
    assert host.states(0x80) == {ISD: 0x0F}


def test_case_022_card_lock_needs_state_and_privilege() -> None:
    host = CardHost(make_card(isd_state=0x01))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x6985
    without = Privilege(0x9EFE80) & ~Privilege.CARD_LOCK
    host = CardHost(make_card(isd_privileges=without.to_bytes3().hex()))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x6985


@pytest.mark.parametrize("state", [0x01, 0x07, 0x0F])
def test_case_023_a_card_is_terminated_from_each_state_for_good(state: int) -> None:
    host = CardHost(make_card(isd_state=state))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0xFF)) == 0x9000
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F)) == 0x6985
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x9000
    assert host.card.image().isd.state == 0xFF


def test_case_023_a_locked_card_is_terminated_and_the_privilege_is_needed() -> None:
    host = locked_card()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0xFF)) == 0x9000
    assert host.card.image().isd.state == 0xFF
    without = Privilege(0x9EFE80) & ~Privilege.CARD_TERMINATE
    host = CardHost(make_card(isd_privileges=without.to_bytes3().hex()))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0xFF)) == 0x6985


@pytest.mark.parametrize("state", [0x01, 0x07, 0x0F])
def test_case_013_terminated_card_only_reads(state: int) -> None:
    host = CardHost(make_card(isd_state=state))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0xFF)) == 0x9000
    assert host.raw(commands.select()).sw == 0x6A81
    host.card.power_off()
    host.card.power_on()
    assert host.raw(commands.get_data(0x42)).sw == 0x9000
    assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6985
    assert host.raw(commands.get_status(0x80)).sw in {0x6982, 0x6985}


def test_case_024_reset_of_a_locked_card_selects_the_final_application() -> None:
    host = locked_card()
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x9000


@pytest.mark.parametrize("by_update", [True, False])
def test_case_024_reset_of_a_locked_card_selects_a_holder_that_is_not_the_issuer(by_update: bool) -> None:
    """Section 6.4.2.1.1: an application that knows no GET DATA answers then, and in no session."""
    host = host_with_session()
    assert host.load() == 0x9000
    privileges = Privilege.NONE if by_update else Privilege.FINAL_APPLICATION
    assert host.install(INSTANCE, privileges=privileges) == 0x9000
    if by_update:
        update = commands.install_for_registry_update(INSTANCE, privileges=Privilege.FINAL_APPLICATION)
        assert host.sw(update) == 0x9000
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x9000
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x6D00
    assert host.raw(commands.select()).sw == 0x6A81
    assert host.raw(commands.select(INSTANCE)).sw == 0x6283


def test_case_007_a_locked_selected_application_loses_its_session_at_the_next_select() -> None:
    host = host_with_session()
    assert host.load() == 0x9000
    assert host.install() == 0x9000
    assert host.raw("0070000001").data == b"\x01"
    assert host.raw("01A4040007F0010203040101").sw == 0x9000
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.raw("81CA004200").sw == 0x6D00  # §9.6.2: selected until its session ends
    assert host.raw("01A4040007F0010203040101").sw == 0x6A82
    assert host.raw("81CA004200").sw == 0x9000  # the implicitly selected issuer domain


def test_case_007_a_domain_that_locked_itself_gives_way_to_the_implicit_application() -> None:
    host = host_with_session()
    assert host.create_domain(SSD) == 0x9000
    host.select(SSD)
    host.authenticate()
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert host.raw(commands.get_data(0x42)).sw == 0x6985
    assert host.select(SSD).sw == 0x6A82
    assert host.raw(commands.get_data(0x45)).sw == 0x9000
