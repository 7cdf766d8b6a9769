"""Whatever comes in, the receiver answers with a status and refuses without a change of state."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.vse.ota.ota_host import READ_ISD, SERVER, OtaHost, make_card

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.ota import sms

CARD = make_card()
SW_INTERNAL = 0x6F00
FEW = settings(max_examples=200, deadline=None)


def answer(command: CommandApdu) -> ResponseApdu:
    return ResponseApdu.parse(CARD.transmit(command.to_bytes()))


@FEW
@given(data=st.binary(max_size=255), ins=st.sampled_from([0xC2, 0x10, 0x12, 0x14]))
def test_toolkit_commands_when_random_are_refused_without_a_change(data: bytes, ins: int) -> None:
    before = CARD.image()
    assert answer(CommandApdu(0x80, ins, 0, 0, data, ne=256)).sw != SW_INTERNAL
    assert CARD.image() == before


@FEW
@given(tpdu=st.binary(max_size=170))
def test_envelope_when_its_message_is_random_is_refused_without_a_change(tpdu: bytes) -> None:
    before = CARD.image()
    data = encode_tlv(0xD1, encode_tlv(0x82, b"\x83\x81") + encode_tlv(0x8B, tpdu))
    assert answer(CommandApdu(0x80, 0xC2, 0, 0, data, ne=256)).sw != SW_INTERNAL
    assert CARD.image() == before


@FEW
@given(packet=st.binary(max_size=130))
def test_packet_when_random_is_refused_without_a_change(packet: bytes) -> None:
    before = CARD.image()
    (tpdu,) = sms.deliver_messages((b"\x02\x70\x00" + packet,), SERVER)
    assert answer(sms.envelope(tpdu)).sw != SW_INTERNAL
    assert CARD.image() == before


@FEW
@given(at=st.integers(0, 41), flip=st.integers(1, 255))
def test_packet_when_one_octet_differs_never_runs(at: int, flip: int) -> None:
    """Any flipped octet: the checksum covers header, counter and data."""
    host = OtaHost(make_card())
    packet = bytearray(host.packet(READ_ISD.to_bytes()))
    packet[at % len(packet)] ^= flip
    before = host.card.image()
    reply = host.deliver(bytes(packet))
    # 91xx: the flipped bit asked for the refusal by SMS-SUBMIT.
    assert reply.sw in {0x9000, 0x6A80} or reply.sw >> 8 == 0x91
    assert host.card.image() == before


@FEW
@given(data=st.binary(max_size=100))
def test_script_when_random_is_answered(data: bytes) -> None:
    host = OtaHost(make_card({"isd_privileges": "800000"}))
    assert host.por(data).status == 0


@FEW
@given(data=st.binary(max_size=60), tag=st.sampled_from([b"\xaa", b"\xae\x80"]))
def test_script_when_expanded_and_random_is_answered(data: bytes, tag: bytes) -> None:
    host = OtaHost(make_card({"isd_privileges": "800000"}))
    body = tag + (bytes([len(data)]) + data if tag == b"\xaa" else data + bytes(2))
    assert host.por(body).status == 0
