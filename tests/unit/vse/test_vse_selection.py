"""SELECT rules, commands that reach nobody, and the card's states."""

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
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import find, parse_tlv, parse_tlvs
from opentsm.card.gp import commands
from opentsm.card.gp.commands import StatusTarget
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


def test_select_without_data_answers_the_issuer_domain() -> None:
    """Case 1."""
    answer = CardHost(make_card()).raw("00A4040000")
    fci = parse_tlvs(parse_tlv(answer.data).value)
    assert answer.sw == 0x9000
    assert find(fci, 0x84) == ISD
    assert find(parse_tlvs(find(fci, 0xA5) or b""), 0x9F65) == b"\xff"


def test_partial_aid_selects_the_first_in_registry_order() -> None:
    """Case 2."""
    host = host_with_two_instances()
    host.channel = None
    assert selected_aid(host.raw("00A4040005F001020304").data) == INSTANCE
    assert selected_aid(host.raw(commands.select(SECOND)).data) == SECOND


def test_select_next_goes_on_and_keeps_the_selection_at_the_end() -> None:
    """Case 3."""
    host = host_with_two_instances()
    host.channel = None
    host.raw("00A4040005F001020304")
    assert selected_aid(host.raw("00A4040205F001020304").data) == SECOND
    assert host.raw("00A4040205F001020304").sw == 0x6A82
    assert host.raw("80CA004200").sw == 0x6D00


@pytest.mark.parametrize("aid", [PACKAGE, MODULE])
def test_load_files_and_modules_are_not_selectable(aid: Aid) -> None:
    """Case 4."""
    host = host_with_session()
    host.load()
    assert host.select(aid).sw == 0x6A82


def test_installed_only_application_is_passed_over() -> None:
    """Case 5."""
    host = host_with_session()
    host.load()
    host.install(selectable=False)
    assert host.select(INSTANCE).sw == 0x6A82


def test_locked_application_is_passed_over() -> None:
    """Case 6."""
    host = host_with_two_instances()
    assert host.sw(commands.lock(INSTANCE)) == 0x9000
    assert host.select(INSTANCE).sw == 0x6A82
    assert selected_aid(host.raw("00A4040005F001020304").data) == SECOND


def test_select_of_unknown_aid_is_dispatched_to_the_selected_application() -> None:
    """Case 8."""
    host = host_with_two_instances()
    assert host.select(INSTANCE).sw == 0x9000
    assert host.raw(commands.select(Aid.from_hex("A0A0A0A0A0"))).sw == 0x6D00
    host.select()
    assert host.raw(commands.select(Aid.from_hex("A0A0A0A0A0"))).sw == 0x6A82
    assert host.raw("80CA004200").sw == 0x9000


def test_select_not_by_name_is_dispatched() -> None:
    """Case 9."""
    host = CardHost(make_card())
    assert host.raw("00A40000023F00").sw == 0x6A82
    assert host.raw("80CA004200").sw == 0x9000


def test_unknown_instruction_and_class() -> None:
    """Case 19."""
    host = CardHost(make_card())
    assert host.raw("80FE000000").sw == 0x6D00
    assert host.raw("90CA004200").sw == 0x6E00
    assert host.raw("FFCA004200").sw == 0x6E00


def test_other_logical_channels_are_not_open() -> None:
    """Case 15."""
    host = CardHost(make_card())
    for cla in ("81", "01", "C0", "E3"):
        assert host.raw(f"{cla}CA004200").sw == 0x6881
    assert host.raw("0070000001").sw == 0x6D00


def test_card_state_moves_forward_one_step_at_a_time() -> None:
    """Case 21."""
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


def test_locked_card_selects_only_the_final_application() -> None:
    """Case 10."""
    host = locked_card()
    answer = host.select()
    assert (answer.sw, selected_aid(answer.data)) == (0x6283, ISD)
    assert host.raw(commands.select(INSTANCE)).sw == 0x6A81
    assert host.raw("80CA004200").sw == 0x9000


def test_locked_card_answers_but_does_not_change() -> None:
    """Case 11."""
    host = locked_card()
    host.authenticate()
    assert host.status(0x80)
    assert host.put_keys(make_keys(0x51)).sw == 0x6985
    assert host.sw(commands.delete(INSTANCE)) == 0x6985
    assert host.load() == 0x6985
    assert host.sw(commands.store_data(b"\x42\x01\x01", 0, last=True)) == 0x6985
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x0F)) == 0x9000
    assert host.sw(commands.delete(INSTANCE)) == 0x9000


def test_card_lock_needs_state_and_privilege() -> None:
    """Case 22."""
    host = CardHost(make_card(isd_state=0x01))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x6985
    without = Privilege(0x9EFE80) & ~Privilege.CARD_LOCK
    host = CardHost(make_card(isd_privileges=without.to_bytes3().hex()))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0x7F)) == 0x6985


@pytest.mark.parametrize("state", [0x01, 0x07, 0x0F])
def test_terminated_card_only_reads(state: int) -> None:
    """Cases 13, 23."""
    host = CardHost(make_card(isd_state=state))
    host.authenticate()
    assert host.sw(commands.set_status(StatusTarget.CARD, 0xFF)) == 0x9000
    assert host.raw(commands.select()).sw == 0x6A81
    host.card.power_off()
    host.card.power_on()
    assert host.raw(commands.get_data(0x42)).sw == 0x9000
    assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6985
    assert host.raw(commands.get_status(0x80)).sw in {0x6982, 0x6985}


def test_reset_of_a_locked_card_selects_the_final_application() -> None:
    """Case 24."""
    host = locked_card()
    host.card.power_off()
    host.card.power_on()
    assert host.raw("80CA004200").sw == 0x9000


def test_locked_selected_application_loses_its_session_at_the_next_select() -> None:
    """Case 7: here the lock comes from a second look at the image, as one channel cannot lock another's."""
    host = host_with_session()
    assert host.load(load_file()) == 0x9000
    assert host.create_domain(SSD) == 0x9000
    host.select(SSD)
    host.authenticate()
    assert host.sw(commands.lock(SSD)) == 0x9000
    assert host.raw(commands.get_data(0x42)).sw == 0x6985
    assert host.select(SSD).sw == 0x6A82
    assert host.raw(commands.get_data(0x45)).sw == 0x9000


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
    rest = host.raw(CommandApdu(0, 0xC0, 0, 0, b"", 256))
    assert rest.sw == 0x9000
    assert parse_tlv(answer.data + rest.data).tag == 0xE0
