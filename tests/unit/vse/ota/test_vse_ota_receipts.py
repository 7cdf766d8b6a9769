"""Every response status, and every form of the proof of receipt.

Source: ETSI TS 102 225 §5.1.1, §5.2, Table 5; 3GPP TS 31.115 §4.
"""

from dataclasses import replace

import pytest
from tests.unit.vse.ota.ota_host import (
    AES_SET,
    DES_SET,
    FULL,
    READ_ISD,
    SUBMIT,
    OtaHost,
    make_card,
    packet_keys,
)

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import PacketChecksumError
from opentsm.card.ota.key_reference import Algorithm, PacketKeys
from opentsm.card.ota.remote_apdu import ExpandedResponse, ExpandedScript
from opentsm.card.ota.scp80 import RESPONSE_HEADER, CommandPacket, ResponseStatus, decode_response
from opentsm.card.ota.sms import SmsTpdu, join_packet
from opentsm.card.ota.spi import CounterMode, Integrity, PorRequest, Spi

READ = READ_ISD.to_bytes()
LAST = 0xFFFFFFFFFF
OTHER = packet_keys(bytes(range(16)), bytes(range(1, 17)))


def host(**changes: object) -> OtaHost:
    return OtaHost(make_card(changes))


def status(asked: OtaHost, data: bytes = READ, **changes: object) -> tuple[int, bool]:
    por = asked.por(data, **changes)
    return por.status, por.authentic


@pytest.mark.parametrize("reference", [AES_SET, DES_SET, 0x10, 0x20])
@pytest.mark.parametrize("ciphered", [True, False])
@pytest.mark.parametrize("por_ciphered", [True, False])
@pytest.mark.parametrize("por_integrity", [Integrity.NONE, Integrity.CC])
def test_receipt_when_asked_for_in_any_protection_opens_on_the_host(
    reference: int, ciphered: bool, por_ciphered: bool, por_integrity: Integrity
) -> None:
    """10 and 20 leave the algorithm to the card."""
    asked = OtaHost(make_card(), kic=reference, kid=reference)
    implicit = Algorithm.AES if reference >> 4 == 1 else Algorithm.TDES_2_KEYS
    asked.keys = replace(asked.keys, implicit=implicit)
    asked.spi = replace(FULL, ciphered=ciphered, por_ciphered=por_ciphered, por_integrity=por_integrity)
    por = asked.por(READ)
    assert (por.status, por.counter) == (0, 1)
    assert por.data[:3] == bytes.fromhex("019000")


def test_receipt_when_never_wanted_is_not_sent() -> None:
    asked = host()
    asked.spi = replace(FULL, por=PorRequest.NEVER)
    answer = asked.deliver(asked.packet(READ))
    assert (answer.data, answer.sw) == (b"", 0x9000)


def test_receipt_when_wanted_on_error_is_sent_for_errors_only() -> None:
    asked = host()
    asked.spi = replace(FULL, por=PorRequest.ON_ERROR)
    assert asked.deliver(asked.packet(READ)).data == b""
    replay = asked.deliver(asked.sent)
    assert asked.opened(replay.data).status == ResponseStatus.COUNTER_LOW


def test_receipt_when_asked_by_submit_is_fetched_as_proactive_command() -> None:
    asked = host()
    asked.spi = SUBMIT
    answer = asked.deliver(asked.packet(READ))
    assert (answer.data, answer.sw >> 8) == (b"", 0x91)
    assert asked.submitted(answer.sw).data[:3] == bytes.fromhex("019000")


def test_envelope_when_a_receipt_still_waits_is_busy() -> None:
    asked = host()
    asked.spi = SUBMIT
    first = asked.deliver(asked.packet(READ))
    assert asked.deliver(asked.packet(READ)).sw == 0x9300
    assert asked.submitted(first.sw).status == 0


def test_receipt_when_longer_than_a_report_says_so_and_comes_by_submit() -> None:
    asked = host(ota_report_limit=50)
    answer = asked.deliver(asked.packet(READ))
    assert asked.opened(answer.data).status == ResponseStatus.RESPONSE_BY_SUBMIT
    por = asked.submitted(answer.sw)
    assert (por.status, por.data[:3]) == (0, bytes.fromhex("019000"))


def test_receipt_when_longer_than_a_short_message_comes_in_parts() -> None:
    asked = host()
    asked.spi = SUBMIT
    script = ExpandedScript((READ_ISD, READ_ISD, READ_ISD, READ_ISD, READ_ISD))
    answer = asked.deliver(asked.packet(script.to_bytes()))
    messages = [SmsTpdu.parse(one).user_data for one in asked.fetch_all(answer.sw)]
    assert len(messages) == 2
    por = asked.opened(join_packet(reversed(messages))[1])
    assert ExpandedResponse.parse(por.data).executed == 5


def test_receipt_when_a_script_is_long_asks_for_time_and_comes_by_submit() -> None:
    asked = host(ota_report_commands=1)
    answer = asked.deliver(asked.packet(bytes.fromhex("80CA00C100") + READ))
    assert asked.opened(answer.data).status == ResponseStatus.MORE_TIME
    por = asked.submitted(answer.sw)
    assert (por.status, por.data[:3]) == (0, bytes.fromhex("029000"))


def test_packet_when_its_tar_is_unknown_is_answered_in_clear() -> None:
    assert status(host(), tar=bytes.fromhex("B00010")) == (ResponseStatus.TAR_UNKNOWN, False)


@pytest.mark.parametrize(
    "spi",
    [
        replace(FULL, integrity=Integrity.NONE),
        replace(FULL, integrity=Integrity.RC),
        replace(FULL, counter=CounterMode.NONE),
        replace(FULL, counter=CounterMode.UNCHECKED),
    ],
)
def test_packet_when_below_the_minimum_is_refused(spi: Spi) -> None:
    asked = host()
    changes: dict[str, object] = {"spi": spi}
    if spi.integrity is Integrity.RC:
        changes["kid"] = 0x15
    asked.packet(READ, **changes)
    assert asked.command is not None
    answer = asked.deliver(asked.sent)
    assert answer.data[RESPONSE_STATUS] == ResponseStatus.INSUFFICIENT_SECURITY_LEVEL


# 027100 RPL(2) RHL TAR(3) CNTR(5) PCNTR, then the status.
RESPONSE_STATUS = len(RESPONSE_HEADER) + 2 + 1 + 3 + 5 + 1


def test_packet_when_aes_comes_without_a_checked_counter_is_refused_whatever_the_minimum() -> None:
    spi = replace(FULL, counter=CounterMode.NONE)
    assert status(host(ota_minimum_security=0x02), spi=spi) == (0x0A, False)
    asked = OtaHost(make_card({"ota_minimum_security": 0x02}), kic=DES_SET, kid=DES_SET)
    assert status(asked, spi=spi) == (0, True)
    assert status(host(ota_minimum_security=0x02, ota_aes_counter_required=False), spi=spi) == (0, True)


def test_packet_when_checksum_key_differs_is_refused_in_clear_and_changes_nothing() -> None:
    asked = host()
    before = asked.card.image()
    asked.keys = PacketKeys(asked.keys.kic, OTHER.kid)
    assert status(asked) == (ResponseStatus.CHECKSUM_FAILED, False)
    assert asked.card.image() == before


def test_packet_when_cut_inside_a_block_is_a_ciphering_error() -> None:
    asked = host()
    packet = asked.packet(READ)
    cut = (len(packet) - 3).to_bytes(2, "big") + packet[2:-1]
    assert asked.opened(asked.deliver(cut).data).status == ResponseStatus.CIPHERING_ERROR


@pytest.mark.parametrize("reference", [0x32, 0x15, 0x1D, 0x02], ids=["version", "type", "ecb", "none"])
def test_packet_when_key_or_algorithm_is_unknown_is_an_unidentified_error(reference: int) -> None:
    asked = host()
    packet = bytearray(asked.packet(READ))
    packet[5] = packet[6] = reference
    answer = asked.deliver(bytes(packet))
    assert answer.data[RESPONSE_STATUS] == ResponseStatus.UNIDENTIFIED_SECURITY_ERROR


def test_packet_when_signed_is_an_unidentified_error() -> None:
    asked = host()
    packet = bytearray(asked.packet(READ))
    packet[3] |= 0x03
    answer = asked.deliver(bytes(packet))
    assert answer.data[RESPONSE_STATUS] == ResponseStatus.UNIDENTIFIED_SECURITY_ERROR


def test_packet_when_sent_again_is_refused_with_its_counter() -> None:
    asked = host()
    assert status(asked) == (0, True)
    por = asked.opened(asked.deliver(asked.sent).data)
    assert (por.status, por.counter, por.authentic) == (ResponseStatus.COUNTER_LOW, 1, True)


def test_counter_when_higher_may_leap_and_when_next_may_not() -> None:
    asked = host()
    assert status(asked, counter=1000) == (0, True)
    step = replace(FULL, counter=CounterMode.NEXT)
    assert status(asked, counter=1002, spi=step) == (ResponseStatus.COUNTER_HIGH, True)
    assert status(asked, counter=1000, spi=step) == (ResponseStatus.COUNTER_LOW, True)
    assert status(asked, counter=1001, spi=step) == (0, True)


def test_counter_when_beyond_the_window_is_too_high() -> None:
    asked = host(ota_counter_window=10)
    assert status(asked, counter=11) == (ResponseStatus.COUNTER_HIGH, True)
    assert status(asked, counter=10) == (0, True)


def test_counter_when_at_its_end_blocks_the_key_set_only() -> None:
    asked = host()
    assert status(asked, counter=LAST) == (0, True)
    assert status(asked, counter=LAST) == (ResponseStatus.COUNTER_BLOCKED, True)
    other = OtaHost(asked.card, kic=DES_SET, kid=DES_SET)
    assert status(other) == (0, True)


def test_counter_when_the_packet_is_refused_does_not_move() -> None:
    asked = host()
    asked.keys = OTHER
    asked.deliver(asked.packet(READ, counter=500))
    asked.keys = packet_keys()
    assert status(asked, counter=1) == (0, True)


@pytest.mark.parametrize("integrity", [Integrity.NONE, Integrity.RC])
def test_counter_when_anybody_could_have_sent_the_packet_does_not_move(integrity: Integrity) -> None:
    """Else one packet to an application with a low minimum would close the key set for good."""
    asked = host(ota_minimum_security=0x10)
    before = asked.card.image()
    spi = Spi(
        integrity=integrity,
        ciphered=False,
        counter=CounterMode.HIGHER,
        por_integrity=Integrity.NONE,
        por_ciphered=False,
    )
    asked.packet(b"", spi=spi, counter=2**40 - 1, kic=0x10, kid=0x15)
    assert asked.deliver(asked.sent).data[RESPONSE_STATUS] == 0
    assert asked.card.image() == before
    assert status(asked)[0] == 0


def test_receipt_when_success_comes_in_clear_is_not_believed() -> None:
    """An attacker who drops a packet could otherwise answer for the card."""
    clear = CommandPacket(FULL, AES_SET, AES_SET, bytes(3), 1, READ)
    forged = bytes.fromhex("000E0A000000000000000100009000")
    forged = (len(forged) - 2).to_bytes(2, "big") + forged[2:]
    with pytest.raises(PacketChecksumError):
        decode_response(forged, clear, PacketKeys(Secret(bytes(16)), Secret(bytes(16))))
