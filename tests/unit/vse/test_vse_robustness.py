"""Whatever comes in, the card answers with a status word and keeps its content."""

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.vse.card_host import (
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp.privileges import Privilege
from opentsm.vse.load_file import LoadFileError, read_load_file, read_package
from opentsm.vse.state import decode_image, encode_image

SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BYTE = st.integers(0, 255)
INSTRUCTIONS = st.sampled_from(
    [0xA4, 0xCA, 0xCB, 0xF2, 0xF0, 0xD8, 0xE2, 0xE4, 0xE6, 0xE8, 0x50, 0x82, 0x70, 0xC0]
)


def prepared(level: int) -> CardHost:
    host = host_with_session(level=level)
    host.load()
    host.install()
    privileged_domain(host, SSD, Privilege.AUTHORIZED_MANAGEMENT, make_keys(0x66))
    return host


PLAIN = prepared(0x00)
CLOSED = CardHost(make_card())


@SETTINGS
@given(st.binary(max_size=300))
def test_any_bytes_get_a_status_word(raw: bytes) -> None:
    answer = CLOSED.card.transmit(raw)
    assert len(answer) >= 2
    assert answer[-2:] != b"\x6f\x00"


@SETTINGS
@given(INSTRUCTIONS, BYTE, BYTE, st.binary(max_size=230))
def test_any_command_in_an_open_session_is_no_internal_fault(ins: int, p1: int, p2: int, data: bytes) -> None:
    if PLAIN.card.image().isd.state != 0x0F:
        PLAIN.card = prepared(0x00).card
    answer = PLAIN.raw(CommandApdu(0x80, ins, p1, p2, data, 256))
    assert answer.sw != 0x6F00
    image = PLAIN.card.image()
    assert decode_image(encode_image(image)) == image
    if image.isd.state == 0x0F:
        PLAIN.select()
        PLAIN.authenticate(level=0x00)


@SETTINGS
@given(BYTE, BYTE, BYTE, BYTE, st.binary(max_size=250))
def test_unprotected_commands_never_change_the_content(
    cla: int, ins: int, p1: int, p2: int, data: bytes
) -> None:
    CLOSED.raw(CommandApdu(0x00, 0xA4, 0x04, 0x00, b"", 256))
    before = CLOSED.card.image()
    answer = CLOSED.raw(CommandApdu(cla, ins, p1, p2, data, 256))
    assert answer.sw != 0x6F00
    after = CLOSED.card.image()
    for image in (before, after):
        assert image.isd.domain is not None
        image.isd.domain.sequence.clear()
        image.isd.domain.failures.clear()
    assert before == after


@SETTINGS
@given(st.binary(max_size=400))
def test_load_file_readers_refuse_garbage_with_their_own_error(data: bytes) -> None:
    for read in (read_load_file, read_package):
        with suppress(LoadFileError):
            read(data)


@SETTINGS
@given(st.integers(0, len(load_file()) - 1), BYTE)
def test_a_load_file_with_one_wrong_byte_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(load_file())
    data[position] = value
    with suppress(LoadFileError):
        read_package(bytes(data))
