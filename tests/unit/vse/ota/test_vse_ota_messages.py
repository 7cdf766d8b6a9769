"""Short messages at the card: parts in any order, memory for them, toolkit commands.

Source: 3GPP TS 23.040 §9.2.3.24.1; 3GPP TS 31.115 §4; ETSI TS 102 221 §7.4.2.
"""

from dataclasses import replace

import pytest
from tests.unit.vse.card_host import CardHost
from tests.unit.vse.ota.ota_host import READ_ISD, SERVER, SUBMIT, OtaHost, make_card

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.ota import sms
from opentsm.card.ota.remote_apdu import ExpandedResponse, ExpandedScript
from opentsm.card.ota.scp80 import RESPONSE_HEADER, ResponseStatus

LONG = ExpandedScript((READ_ISD,) * 30).to_bytes()
# The status octet of a response packet in clear, behind 027100 RPL(2) RHL TAR(3) CNTR(5) PCNTR.
STATUS_AT = len(RESPONSE_HEADER) + 12


def host(**changes: object) -> OtaHost:
    return OtaHost(make_card({"ota_report_limit": 250, **changes}))


def send(asked: OtaHost, envelope: bytes) -> ResponseApdu:
    return ResponseApdu.parse(asked.card.transmit(envelope))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 0, 2, 1)])
def test_parts_when_they_come_in_any_order_make_one_packet(order: tuple[int, ...]) -> None:
    asked = OtaHost(make_card())
    asked.spi = SUBMIT
    parts = asked.envelopes(asked.packet(LONG))
    assert len(parts) == 3
    answers = [send(asked, parts[at]) for at in order]
    assert all((one.data, one.sw) == (b"", 0x9000) for one in answers[:-1])
    assert ExpandedResponse.parse(asked.submitted(answers[-1].sw).data).executed == 30


def test_parts_when_two_packets_are_mixed_are_told_apart_by_reference() -> None:
    asked = OtaHost(make_card())
    asked.spi = SUBMIT
    first = asked.envelopes(asked.packet(LONG))
    second = asked.envelopes(asked.packet(LONG))
    for at in (0, 1):
        send(asked, first[at])
        send(asked, second[at])
    assert asked.submitted(send(asked, second[2]).sw).status == 0


def test_parts_when_the_power_goes_are_lost_and_the_packet_can_be_sent_again() -> None:
    asked = OtaHost(make_card())
    asked.spi = SUBMIT
    parts = asked.envelopes(asked.packet(LONG))
    send(asked, parts[0])
    asked.card.power_off()
    asked.card.power_on()
    assert [send(asked, one).sw for one in parts[1:]] == [0x9000, 0x9000]
    assert asked.submitted(send(asked, parts[0]).sw).status == 0


def test_parts_when_they_exceed_the_memory_are_refused_and_dropped() -> None:
    asked = host(ota_buffer=200)
    parts = asked.envelopes(asked.packet(LONG))
    assert send(asked, parts[0]).sw == 0x9000
    full = send(asked, parts[1])
    assert full.data[STATUS_AT] == ResponseStatus.INSUFFICIENT_MEMORY
    assert asked.run(READ_ISD).sw == 0x9000


def test_parts_when_memory_ends_before_the_first_one_make_the_card_busy() -> None:
    asked = host(ota_buffer=180)
    parts = asked.envelopes(asked.packet(LONG))
    assert [send(asked, parts[at]).sw for at in (2, 1)] == [0x9000, 0x9300]


def test_parts_when_another_packet_was_never_finished_drop_the_older_one() -> None:
    asked = OtaHost(make_card({"ota_buffer": 450}))
    asked.spi = SUBMIT
    first = asked.envelopes(asked.packet(LONG))
    for one in first[:2]:
        assert send(asked, one).sw == 0x9000
    second = asked.envelopes(asked.packet(LONG))
    answers = [send(asked, one) for one in second]
    assert asked.submitted(answers[-1].sw).status == 0
    assert send(asked, first[2]).sw == 0x9000


def test_parts_when_a_wide_reference_is_used_are_joined_too() -> None:
    asked = OtaHost(make_card())
    asked.spi = SUBMIT
    parts = sms.split_packet(asked.packet(LONG), reference=0x1234, wide=True)
    answers = [asked.raw(sms.envelope(one)) for one in sms.deliver_messages(parts, SERVER)]
    assert asked.submitted(answers[-1].sw).status == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda tpdu: tpdu[:-1],
        lambda tpdu: tpdu + b"\0",
        lambda tpdu: bytes([tpdu[0] & ~0x40]) + tpdu[1:],
        lambda tpdu: bytes([tpdu[0] | 1]) + tpdu[1:],
        lambda _: b"",
    ],
)
def test_envelope_when_the_message_is_malformed_is_refused(change: object) -> None:
    asked = OtaHost(make_card())
    before = asked.card.image()
    parts = sms.split_packet(asked.packet(READ_ISD.to_bytes()))
    (tpdu,) = sms.deliver_messages(parts, SERVER)
    assert callable(change)
    assert asked.raw(sms.envelope(change(tpdu))).sw == 0x6A80
    assert asked.card.image() == before


def test_envelope_when_it_is_of_another_kind_is_refused() -> None:
    asked = OtaHost(make_card())
    menu = CommandApdu(0x80, 0xC2, 0, 0, encode_tlv(0xD3, bytes.fromhex("8202018190010A")))
    assert asked.raw(menu).sw == 0x6A80
    assert asked.raw(CommandApdu(0x80, 0xC2, 1, 0, b"\xd1\x00")).sw == 0x6A86


def test_envelope_when_the_card_has_no_toolkit_goes_to_the_selected_entity() -> None:
    asked = OtaHost(make_card({"scp": [["03", "70"]]}))
    assert asked.deliver(asked.packet(READ_ISD.to_bytes())).sw == 0x6D00
    assert asked.raw(commands.select()).sw == 0x9000


def test_fetch_and_terminal_response_when_nothing_waits_are_refused() -> None:
    asked = OtaHost(make_card())
    assert asked.raw(CommandApdu(0x80, 0x10, 0, 0, bytes(4))).sw == 0x9000
    assert asked.raw(CommandApdu(0x80, 0x12, 0, 0, ne=16)).sw == 0x6985
    done = CommandApdu(0x80, 0x14, 0, 0, bytes.fromhex("810301130002028281830100"))
    assert asked.raw(done).sw == 0x6985


def test_terminal_response_when_malformed_leaves_the_command_waiting() -> None:
    asked = OtaHost(make_card())
    asked.spi = SUBMIT
    waiting = asked.deliver(asked.packet(READ_ISD.to_bytes())).sw
    assert asked.raw(CommandApdu(0x80, 0x14, 0, 0, bytes.fromhex("8103011300"))).sw == 0x6A80
    assert asked.raw(CommandApdu(0x80, 0x12, 0, 0, ne=1)).sw == 0x6700
    assert asked.submitted(waiting).status == 0


def test_service_centre_when_the_envelope_names_one_is_where_the_answer_goes() -> None:
    asked = OtaHost(make_card())
    asked.spi = SUBMIT
    centre = sms.Address("49170000000")
    (tpdu,) = sms.deliver_messages(sms.split_packet(asked.packet(READ_ISD.to_bytes())), SERVER)
    waiting = asked.raw(sms.envelope(tpdu, service_centre=centre)).sw
    fetched = asked.raw(CommandApdu(0x80, 0x12, 0, 0, ne=waiting & 0xFF)).data
    assert encode_tlv(0x86, centre.packed()) in fetched


def test_report_when_the_card_speaks_t0_is_fetched_by_get_response() -> None:
    asked = OtaHost(make_card({"protocol": "T=0", "atr": "3B00"}))
    packet = asked.packet(READ_ISD.to_bytes())
    (envelope,) = asked.envelopes(packet)
    announced = send(asked, envelope[:-1])
    assert (announced.data, announced.sw >> 8) == (b"", 0x61)
    report = asked.raw(CommandApdu(0x80, 0xC0, 0, 0, ne=announced.sw & 0xFF))
    assert asked.opened(report.data).status == 0


def test_session_when_a_message_comes_in_between_goes_on() -> None:
    """A secure channel on the reader's side and a packet do not disturb each other."""
    asked = OtaHost(make_card())
    enc, mac, dek = (Secret(bytes([0x40 + n]) * 15 + bytes([n])) for n in range(3))
    reader = CardHost(asked.card)
    reader.select()
    reader.authenticate(StaticKeys(enc, mac, dek))
    assert asked.run(READ_ISD).sw == 0x9000
    assert reader.sw(READ_ISD) == 0x9000
    assert replace(asked, counter=asked.counter).run(READ_ISD).sw == 0x9000
