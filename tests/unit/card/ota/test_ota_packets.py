"""Packets on the host: what is refused, what a response may say, the server's counter, SPI and key octets.

Source: ETSI TS 102 225 §5.1, §5.2.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import OtaError, PacketChecksumError
from opentsm.card.ota.counters import Verdict, judge, next_counter, resynchronized
from opentsm.card.ota.key_reference import Algorithm, KeyReference, PacketKeys
from opentsm.card.ota.scp80 import (
    COUNTER_MAX,
    CommandPacket,
    Policy,
    ResponsePacket,
    ResponseStatus,
    decode_command,
    decode_response,
    encode_command,
    encode_response,
    peek_command,
    peek_response_tar,
    wants_response,
)
from opentsm.card.ota.spi import CounterMode, Integrity, PorRequest, Spi

FULL = Spi()
TAR = bytes.fromhex("B00011")
ANY = Policy(weak_des=True, aes_without_counter=True)
# Low half of KIc and KID, key length.
ALGORITHMS = {0x2: (16, 24, 32), 0x5: (16,), 0x9: (24,), 0x1: (8,)}
references = st.sampled_from([(code, size) for code, sizes in ALGORITHMS.items() for size in sizes])
spis = st.builds(
    Spi,
    integrity=st.sampled_from([Integrity.NONE, Integrity.CC]),
    ciphered=st.booleans(),
    counter=st.sampled_from(CounterMode),
    por=st.sampled_from(PorRequest),
    por_integrity=st.sampled_from([Integrity.NONE, Integrity.CC]),
    por_ciphered=st.booleans(),
    por_submit=st.booleans(),
)
counters = st.integers(0, COUNTER_MAX)


def keys(size: int) -> PacketKeys:
    return PacketKeys(Secret(bytes(range(1, 1 + size))), Secret(bytes(range(0x41, 0x41 + size))))


def command(spi: Spi = FULL, code: int = 0x12, data: bytes = b"\x80\xca\x00\xc1\x00") -> CommandPacket:
    return CommandPacket(spi, code, code, TAR, 1, data)


@settings(max_examples=200)
@given(spi=spis, reference=references, counter=counters, data=st.binary(max_size=200))
def test_command_when_decoded_is_what_was_encoded(
    spi: Spi, reference: tuple[int, int], counter: int, data: bytes
) -> None:
    code, size = reference
    packet = CommandPacket(spi, 0x10 | code, 0x10 | code, TAR, counter, data)
    sealed = encode_command(packet, keys(size), policy=ANY)
    assert decode_command(sealed, keys(size), policy=ANY) == packet
    assert replace(peek_command(sealed), counter=counter, data=data) == packet


@settings(max_examples=200)
@given(
    spi=spis,
    reference=references,
    counter=counters,
    status=st.integers(0, 255),
    data=st.binary(max_size=100),
)
def test_response_when_decoded_is_what_was_encoded(
    spi: Spi, reference: tuple[int, int], counter: int, status: int, data: bytes
) -> None:
    code, size = reference
    asked = command(spi, 0x10 | code)
    sent = ResponsePacket(TAR, counter, status, data, authentic=spi.por_integrity is Integrity.CC)
    for covered in (True, False):
        sealed = encode_response(sent, asked, keys(size), policy=ANY, header_in_checksum=covered)
        assert peek_response_tar(sealed) == TAR
        opened = decode_response(sealed, asked, keys(size), policy=ANY, header_in_checksum=covered)
        assert opened == sent


@settings(max_examples=300)
@given(data=st.binary(max_size=120), spi=spis)
def test_packets_when_random_raise_the_named_error_only(data: bytes, spi: Spi) -> None:
    framed = len(data).to_bytes(2, "big") + data
    for raw in (data, framed):
        for read in (decode_command, peek_command):
            try:
                read(raw, keys(16)) if read is decode_command else peek_command(raw)
            except OtaError:
                continue
        try:
            decode_response(raw, command(spi), keys(16))
        except OtaError:
            continue


@given(data=st.binary(min_size=1, max_size=40), at=st.integers(0, 200), flip=st.integers(1, 255))
def test_command_when_one_octet_differs_is_refused(data: bytes, at: int, flip: int) -> None:
    sealed = bytearray(encode_command(command(data=data), keys(16)))
    sealed[at % len(sealed)] ^= flip
    with pytest.raises(OtaError):
        decode_command(bytes(sealed), keys(16))


@pytest.mark.parametrize("integrity", [Integrity.RC])
@pytest.mark.parametrize(("kid", "length"), [(0x11, 2), (0x15, 4)])
def test_redundancy_check_when_used_needs_no_key(integrity: Integrity, kid: int, length: int) -> None:
    spi = Spi(integrity=integrity, ciphered=False, por=PorRequest.NEVER)
    packet = CommandPacket(spi, 0, kid, TAR, 1, b"data")
    sealed = encode_command(packet)
    assert sealed[2] == 13 + length
    assert decode_command(sealed) == packet
    changed = sealed[:-1] + b"?"
    with pytest.raises(PacketChecksumError):
        decode_command(changed)


def test_aes_checksum_when_short_is_asked_for_has_four_octets() -> None:
    sealed = encode_command(command(), keys(16), check_length=4)
    assert sealed[2] == 17
    assert decode_command(sealed, keys(16)) == command()
    with pytest.raises(OtaError):
        encode_command(command(), keys(16), check_length=5)
    with pytest.raises(OtaError):
        encode_command(command(code=0x15), keys(16), check_length=4)


@pytest.mark.parametrize("mode", [CounterMode.NONE, CounterMode.UNCHECKED])
@pytest.mark.parametrize(("kic", "kid"), [(0x12, 0x15), (0x15, 0x12), (0x10, 0x10)])
def test_aes_when_the_counter_is_not_checked_is_refused_unless_allowed(
    mode: CounterMode, kic: int, kid: int
) -> None:
    packet = CommandPacket(Spi(counter=mode), kic, kid, TAR)
    held = replace(keys(16), implicit=Algorithm.AES)
    with pytest.raises(OtaError, match="replay"):
        encode_command(packet, held)
    assert encode_command(packet, held, policy=Policy(aes_without_counter=True))


@pytest.mark.parametrize("code", [0x11, 0x1D])
def test_single_des_when_not_asked_for_is_refused(code: int) -> None:
    spi = Spi(integrity=Integrity.NONE)
    packet = CommandPacket(spi, code, code, TAR, 1, b"x")
    with pytest.raises(OtaError, match="single DES"):
        encode_command(packet, keys(8))
    sealed = encode_command(packet, keys(8), policy=Policy(weak_des=True))
    with pytest.raises(OtaError, match="single DES"):
        decode_command(sealed, keys(8))
    assert decode_command(sealed, keys(8), policy=ANY) == packet


@pytest.mark.parametrize(
    ("packet", "held"),
    [
        (command(), PacketKeys()),
        (command(), keys(8)),
        (command(code=0x15), keys(24)),
        (command(code=0x10), keys(16)),
        (command(code=0x13), keys(16)),
        (command(code=0x16), keys(16)),
        (command(Spi(integrity=Integrity.DS)), keys(16)),
    ],
)
def test_key_or_algorithm_when_it_does_not_fit_is_refused(packet: CommandPacket, held: PacketKeys) -> None:
    with pytest.raises(OtaError):
        encode_command(packet, held)


def test_refusal_when_in_clear_is_read_but_not_authentic() -> None:
    refusal = bytes.fromhex("000B0AB0001100000000000009")
    refusal = (len(refusal) - 2).to_bytes(2, "big") + refusal[2:]
    opened = decode_response(refusal, command(), keys(16))
    assert (opened.status, opened.authentic) == (ResponseStatus.TAR_UNKNOWN, False)
    assert opened.status_name == "no application has this TAR"


def test_response_when_of_another_tar_is_refused() -> None:
    sealed = encode_response(ResponsePacket(b"\0\0\1", 1, 0), command(), keys(16))
    with pytest.raises(OtaError, match="TAR"):
        decode_response(sealed, command(), keys(16))


@pytest.mark.parametrize("field", ["tar", "counter", "kic"])
def test_packet_when_a_field_does_not_fit_is_refused(field: str) -> None:
    wrong: dict[str, object] = {"tar": b"\0\0", "counter": COUNTER_MAX + 1, "kic": 256}
    with pytest.raises(OtaError):
        replace(command(), **{field: wrong[field]})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "stored", "received", "window", "verdict"),
    [
        (CounterMode.NONE, 9, 0, None, Verdict.ACCEPTED),
        (CounterMode.UNCHECKED, 9, 0, None, Verdict.ACCEPTED),
        (CounterMode.HIGHER, 9, 9, None, Verdict.LOW),
        (CounterMode.HIGHER, 9, 10, None, Verdict.ACCEPTED),
        (CounterMode.HIGHER, 9, COUNTER_MAX, None, Verdict.ACCEPTED),
        (CounterMode.HIGHER, 9, 14, 5, Verdict.ACCEPTED),
        (CounterMode.HIGHER, 9, 15, 5, Verdict.HIGH),
        (CounterMode.NEXT, 9, 9, None, Verdict.LOW),
        (CounterMode.NEXT, 9, 10, None, Verdict.ACCEPTED),
        (CounterMode.NEXT, 9, 11, None, Verdict.HIGH),
        (CounterMode.HIGHER, COUNTER_MAX, COUNTER_MAX, None, Verdict.BLOCKED),
    ],
)
def test_counter_when_judged_follows_its_mode(
    mode: CounterMode, stored: int, received: int, window: int | None, verdict: Verdict
) -> None:
    assert judge(mode, stored, received, window=window) is verdict


def test_server_counter_when_moved_only_goes_forward_and_ends() -> None:
    assert next_counter(0) == 1
    with pytest.raises(OtaError):
        next_counter(COUNTER_MAX)
    low = ResponsePacket(TAR, 50, ResponseStatus.COUNTER_LOW, authentic=True)
    assert resynchronized(10, low) == 50
    assert resynchronized(90, low) == 90
    assert resynchronized(10, replace(low, authentic=False)) == 10
    assert resynchronized(10, replace(low, status=0)) == 10


@given(st.binary(min_size=2, max_size=2))
def test_spi_when_valid_comes_back_and_else_is_refused(data: bytes) -> None:
    reserved = data[0] & 0xE0 or data[1] & 0xC0 or data[1] & 3 == 3
    if reserved:
        with pytest.raises(OtaError):
            Spi.from_bytes(data)
    else:
        assert Spi.from_bytes(data).to_bytes() == data


@given(st.integers(0, 255), st.booleans())
def test_key_octet_when_valid_comes_back_and_else_is_refused(value: int, redundancy: bool) -> None:
    known = {0x0, 0x1, 0x3, 0x5} if redundancy else {0x0, 0x1, 0x2, 0x3, 0x5, 0x9, 0xD}
    if value & 0x0F in known:
        assert KeyReference.from_byte(value, redundancy=redundancy).to_byte() == value
    else:
        with pytest.raises(OtaError):
            KeyReference.from_byte(value, redundancy=redundancy)


def test_spi_when_explained_names_every_part() -> None:
    assert Spi.from_bytes(bytes.fromhex("1639")).lines() == (
        "command: cryptographic checksum, ciphered",
        "counter: must be higher than the card's",
        "proof of receipt: always; cryptographic checksum, ciphered, by SMS-SUBMIT",
    )


def test_response_when_wanted_follows_the_request() -> None:
    on_error = Spi(por=PorRequest.ON_ERROR)
    assert [wants_response(on_error, status) for status in (0, 1)] == [False, True]
    assert not wants_response(Spi(por=PorRequest.NEVER), 1)
    assert wants_response(Spi(), 0)
