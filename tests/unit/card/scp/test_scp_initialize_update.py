"""Parts common to both protocols: the answer to INITIALIZE UPDATE, response links, class bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ResponseFormatError, ScriptError, SecureChannelError
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.scp.channel import (
    ResponseLink,
    carries_response_mac,
    mac_class,
    parse_initialize_update,
    plain_class,
    secured_class,
)
from opentsm.card.scp.session import predict_initialize_update

KEY = Secret(bytes(range(0x40, 0x50)))
SCP03_S8 = bytes.fromhex("000000000000000000003003703eb51047495b249f66c484c1d2ef1948000002")
SCP02 = bytes.fromhex("00000000000000000000700200016b4524abee7cf32ea3838bc148f3")


def test_scp03_answer_is_taken_apart() -> None:
    init = parse_initialize_update(SCP03_S8)
    assert (init.kvn, init.scp, init.i, init.sequence_counter) == (0x30, 3, 0x70, 2)
    assert init.card_challenge.hex() == "3eb51047495b249f"
    assert init.card_cryptogram.hex() == "66c484c1d2ef1948"
    assert init.to_bytes() == SCP03_S8


def test_scp02_answer_is_taken_apart() -> None:
    init = parse_initialize_update(SCP02, scp02_i=0x55)
    assert (init.kvn, init.scp, init.i, init.sequence_counter) == (0x70, 2, 0x55, 1)
    assert init.card_challenge.hex() == "6b4524abee7c"
    assert init.to_bytes() == SCP02


@pytest.mark.parametrize(
    ("i", "size"), [(0x00, 29), (0x60, 29), (0x70, 32), (0x10, 32), (0x61, 45), (0x01, 45), (0x71, 48)]
)
def test_scp03_answer_has_the_length_that_i_promises(i: int, size: int) -> None:
    data = bytes(10) + bytes((0x30, 3, i)) + bytes(size - 13)
    init = parse_initialize_update(data)
    assert (init.sequence_counter is None) == (not i & 0x10)
    assert len(init.card_challenge) == len(init.card_cryptogram) == (16 if i & 1 else 8)
    assert init.to_bytes() == data


@pytest.mark.parametrize(
    "data", [b"", SCP02[:-1], SCP02 + b"\0", SCP03_S8[:-3], SCP03_S8 + b"\0", SCP03_S8[:12]]
)
def test_answer_of_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(ResponseFormatError):
        parse_initialize_update(data)


def test_answer_of_another_protocol_is_refused() -> None:
    with pytest.raises(ResponseFormatError, match="SCP01"):
        parse_initialize_update(bytes(11) + b"\x01" + bytes(16))


@given(st.binary(max_size=16), st.integers(0, 0xFFFFFFFF), st.binary(max_size=300))
def test_response_link_survives_a_round_trip(chain: bytes, counter: int, command: bytes) -> None:
    link = ResponseLink(chain, counter, command)
    assert ResponseLink.from_hex(link.to_hex()) == link


@pytest.mark.parametrize("text", ["", "zz", "00000001", "0000000108AA"])
def test_response_link_damaged_is_refused(text: str) -> None:
    with pytest.raises(ScriptError):
        ResponseLink.from_hex(text)


@pytest.mark.parametrize(
    ("cla", "secured", "in_mac", "plain"),
    [
        (0x80, 0x84, 0x84, 0x80),
        (0x81, 0x85, 0x84, 0x80),
        (0x84, 0x84, 0x84, 0x80),
        (0x00, 0x04, 0x04, 0x00),
        (0xC3, 0xE3, 0x84, 0x80),
        (0x42, 0x62, 0x04, 0x00),
    ],
)
def test_class_byte_on_each_kind_of_channel(cla: int, secured: int, in_mac: int, plain: int) -> None:
    assert (secured_class(cla), mac_class(cla), plain_class(cla)) == (secured, in_mac, plain)


@pytest.mark.parametrize(
    ("sw", "expected"),
    [(0x9000, True), (0x6310, True), (0x6283, True), (0x6A88, False), (0x6982, False), (0x9100, False)],
)
def test_response_mac_belongs_to_success_and_warnings(sw: int, expected: bool) -> None:
    assert carries_response_mac(sw) is expected


@pytest.mark.parametrize(("scp", "i"), [(1, 0x15), (2, 0x15), (3, 0x60), (3, 0x74)])
def test_prediction_for_a_random_challenge_is_refused(scp: int, i: int) -> None:
    with pytest.raises(SecureChannelError):
        predict_initialize_update(
            StaticKeys(KEY, KEY, KEY),
            scp=scp,
            i=i,
            kdd=bytes(10),
            kvn=0x30,
            counter=1,
            aid=bytes(5),
            host_challenge=bytes(8),
        )


@pytest.mark.parametrize(("scp", "i", "size"), [(2, 0x55, 8), (3, 0x70, 8), (3, 0x10, 8), (3, 0x71, 16)])
def test_prediction_parses_as_an_answer(scp: int, i: int, size: int) -> None:
    predicted = predict_initialize_update(
        StaticKeys(KEY, KEY, KEY),
        scp=scp,
        i=i,
        kdd=bytes(10),
        kvn=0x30,
        counter=7,
        aid=bytes(8),
        host_challenge=bytes(size),
    )
    assert parse_initialize_update(predicted.to_bytes(), scp02_i=i) == predicted
    assert predicted.sequence_counter == 7


@pytest.mark.parametrize(("scp", "i", "counter"), [(2, 0x55, 0x10000), (3, 0x70, 0x1000000), (3, 0x70, -1)])
def test_prediction_with_a_counter_out_of_range_is_refused(scp: int, i: int, counter: int) -> None:
    with pytest.raises(SecureChannelError, match="counter"):
        predict_initialize_update(
            StaticKeys(KEY, KEY, KEY),
            scp=scp,
            i=i,
            kdd=bytes(10),
            kvn=0x30,
            counter=counter,
            aid=bytes(8),
            host_challenge=bytes(8),
        )
