"""SCP03 sessions: levels, refusals, chaining, long commands. Published values are in tests/vectors.

Source: Amendment D 1.1.1 §6.2, §7.1.2.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import aes_cbc_decrypt, aes_cbc_encrypt, aes_ecb_encrypt
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.padding import pad80, unpad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import (
    ApduError,
    CardCryptogramError,
    KeyFormatError,
    ResponseFormatError,
    ResponseMacError,
    SecureChannelError,
)
from opentsm.card.scp.channel import (
    InitializeUpdateResponse,
    ResponseLink,
    SecurityLevel,
    SessionKeys,
    StaticKeys,
)
from opentsm.card.scp.scp03 import Scp03Channel, card_cryptogram, derive_session_keys

ALL_I = [base | s16 for base in (0x00, 0x10, 0x20, 0x30, 0x60, 0x70) for s16 in (0, 1)]
ALL_LEVELS = [0x00, 0x01, 0x03, 0x11, 0x13, 0x33]
GET_STATUS = CommandApdu(0x80, 0xF2, 0x40, 0x02, bytes.fromhex("4F00"), 256)
NO_DATA = CommandApdu(0x80, 0xCA, 0x00, 0x66, ne=256)


def static_keys(size: int = 16) -> StaticKeys:
    enc, mac, dek = (Secret(bytes(range(start, start + size))) for start in (0x40, 0x60, 0x80))
    return StaticKeys(enc, mac, dek)


def start(i: int = 0x70, size: int = 16) -> tuple[Scp03Channel, SessionKeys]:
    length = 16 if i & 1 else 8
    host, card = b"H" * length, b"C" * length
    keys = derive_session_keys(static_keys(size), host, card)
    init = InitializeUpdateResponse(bytes(10), 0x30, 3, i, card, card_cryptogram(keys, host, card), None)
    return Scp03Channel(keys, init, host), keys


def opened(level: int, i: int = 0x70) -> tuple[Scp03Channel, SessionKeys]:
    channel, keys = start(i)
    channel.external_authenticate(SecurityLevel(level))
    return channel, keys


def protect(
    keys: SessionKeys, link: ResponseLink, data: bytes, sw: int, *, encrypt: bool, mac_length: int = 8
) -> ResponseApdu:
    """Answer as a card does, with one block of padding more than needed."""
    if encrypt and data:
        icv = aes_ecb_encrypt(keys.enc.reveal(), b"\x80" + link.counter.to_bytes(15, "big"))
        data = aes_cbc_encrypt(keys.enc.reveal(), icv, pad80(data, 16) + bytes(16))
    mac = cmac(keys.rmac.reveal(), link.chain + data + sw.to_bytes(2, "big"))[:mac_length]
    return ResponseApdu(data + mac, sw)


def needs(level: int) -> int:
    return {0x11: 0x20, 0x13: 0x20, 0x33: 0x60}.get(level, 0)


@pytest.mark.parametrize("level", ALL_LEVELS)
@pytest.mark.parametrize("i", ALL_I)
def test_level_is_open_exactly_when_i_allows_it(i: int, level: int) -> None:
    channel, _ = start(i)
    if i & needs(level) != needs(level):
        with pytest.raises(SecureChannelError, match="impossible"):
            channel.external_authenticate(SecurityLevel(level))
        assert channel.level is None
        return
    command = channel.external_authenticate(SecurityLevel(level))
    assert command.header == bytes((0x84, 0x82, level, 0x00))
    assert len(command.data) == (32 if i & 1 else 16)
    assert command.ne is None
    assert channel.level == level


@pytest.mark.parametrize("level", [0x02, 0x10, 0x20, 0x30, 0x31, 0x12, 0x23, 0x22])
def test_level_that_does_not_exist_is_refused(level: int) -> None:
    channel, _ = start()
    with pytest.raises(SecureChannelError, match="no security level"):
        channel.external_authenticate(SecurityLevel(level))


@pytest.mark.parametrize("level", ALL_LEVELS)
@pytest.mark.parametrize("i", [0x70, 0x71])
@pytest.mark.parametrize("size", [16, 24, 32])
def test_answers_of_every_level_come_back_plain(size: int, i: int, level: int) -> None:
    channel, keys = start(i, size)
    channel.external_authenticate(SecurityLevel(level))
    for sw, data in ((0x9000, b"some data"), (0x6310, b"a" * 16), (0x9000, b""), (0x6283, b"x")):
        link = channel.wrap(GET_STATUS).link
        answer = ResponseApdu(data, sw)
        if level & 0x10:
            mac_length = 16 if i & 1 else 8
            answer = protect(keys, link, data, sw, encrypt=bool(level & 0x20), mac_length=mac_length)
        assert channel.unwrap(answer, link) == ResponseApdu(data, sw)


def test_wrong_card_cryptogram_is_refused() -> None:
    keys = derive_session_keys(static_keys(), b"H" * 8, b"C" * 8)
    init = InitializeUpdateResponse(bytes(10), 0x30, 3, 0x70, b"C" * 8, bytes(8), 1)
    with pytest.raises(CardCryptogramError):
        Scp03Channel(keys, init, b"H" * 8)


@pytest.mark.parametrize("i", [0x40, 0x50, 0x08, 0x74, 0x80, 0xFF])
def test_variant_that_does_not_exist_is_refused(i: int) -> None:
    keys = derive_session_keys(static_keys(), b"H" * 8, b"C" * 8)
    init = InitializeUpdateResponse(
        bytes(10), 0x30, 3, i, b"C" * 8, card_cryptogram(keys, b"H" * 8, b"C" * 8), None
    )
    with pytest.raises(SecureChannelError, match="not an SCP03 variant"):
        Scp03Channel(keys, init, b"H" * 8)


def test_challenges_of_different_length_are_refused() -> None:
    keys = derive_session_keys(static_keys(), b"H" * 16, b"C" * 8)
    init = InitializeUpdateResponse(
        bytes(10), 0x30, 3, 0x70, b"C" * 8, card_cryptogram(keys, b"H" * 16, b"C" * 8), 1
    )
    with pytest.raises(SecureChannelError, match="equal length"):
        Scp03Channel(keys, init, b"H" * 16)


def test_keys_of_different_length_are_refused() -> None:
    with pytest.raises(KeyFormatError):
        derive_session_keys(replace(static_keys(), dek=Secret(bytes(32))), b"H" * 8, b"C" * 8)


def test_nothing_works_before_external_authenticate() -> None:
    channel, _ = start()
    with pytest.raises(SecureChannelError):
        channel.wrap(GET_STATUS)
    with pytest.raises(SecureChannelError):
        channel.unwrap(ResponseApdu(b"", 0x9000), ResponseLink(bytes(16), 1))


def test_external_authenticate_is_made_once() -> None:
    channel, _ = opened(0x33)
    with pytest.raises(SecureChannelError, match="already"):
        channel.external_authenticate(SecurityLevel.FULL)


@pytest.mark.parametrize("level", [0x11, 0x13, 0x33])
@pytest.mark.parametrize("sw", [0x9000, 0x6310, 0x6283])
@pytest.mark.parametrize("data", [b"", b"1234567", b"without any R-MAC"])
def test_success_or_warning_without_response_mac_is_refused(level: int, sw: int, data: bytes) -> None:
    channel, _ = opened(level)
    link = channel.wrap(GET_STATUS).link
    with pytest.raises(ResponseMacError):
        channel.unwrap(ResponseApdu(data, sw), link)


def test_changed_answer_is_refused() -> None:
    channel, keys = opened(0x11)
    link = channel.wrap(GET_STATUS).link
    good = protect(keys, link, b"data", 0x9000, encrypt=False)
    assert channel.unwrap(good, link).data == b"data"
    with pytest.raises(ResponseMacError):
        channel.unwrap(replace(good, sw=0x6310), link)
    for position in range(len(good.data)):
        changed = bytearray(good.data)
        changed[position] ^= 1
        with pytest.raises(ResponseMacError):
            channel.unwrap(ResponseApdu(bytes(changed), 0x9000), link)


def test_error_answer_is_unprotected_and_loses_its_data() -> None:
    channel, keys = opened(0x33)
    failed = channel.wrap(GET_STATUS).link
    following = channel.wrap(GET_STATUS).link
    assert channel.unwrap(ResponseApdu(b"", 0x6A88), failed) == ResponseApdu(b"", 0x6A88)
    assert channel.unwrap(ResponseApdu(b"not authentic", 0x6A88), failed) == ResponseApdu(b"", 0x6A88)
    answer = protect(keys, following, b"data", 0x9000, encrypt=True)
    assert channel.unwrap(answer, following).data == b"data"


def test_answer_authentic_but_not_decipherable_is_refused_as_such() -> None:
    channel, keys = opened(0x33)
    link = channel.wrap(GET_STATUS).link
    for data in (b"seven b", bytes(16)):
        with pytest.raises(ResponseFormatError):
            channel.unwrap(protect(keys, link, data, 0x9000, encrypt=False), link)


def test_command_without_data_is_not_encrypted_but_counts() -> None:
    channel, keys = opened(0x33)
    first, second = channel.wrap(NO_DATA), channel.wrap(GET_STATUS)
    assert first.apdu.data == first.link.chain[:8]
    assert (first.link.counter, second.link.counter) == (1, 2)
    icv = aes_ecb_encrypt(keys.enc.reveal(), (2).to_bytes(16, "big"))
    assert unpad80(aes_cbc_decrypt(keys.enc.reveal(), icv, second.apdu.data[:-8])) == GET_STATUS.data


def test_level_00_leaves_commands_and_answers_alone() -> None:
    channel, _ = opened(0x00)
    wrapped = channel.wrap(GET_STATUS)
    assert wrapped.apdu == GET_STATUS
    assert channel.unwrap(ResponseApdu(b"data", 0x9000), wrapped.link).data == b"data"


def test_command_on_another_logical_channel_has_its_mac_over_channel_0() -> None:
    first, _ = opened(0x01)
    second, _ = opened(0x01)
    on_channel_0 = first.wrap(GET_STATUS).apdu
    on_channel_1 = second.wrap(replace(GET_STATUS, cla=0x81)).apdu
    assert (on_channel_0.cla, on_channel_1.cla) == (0x84, 0x85)
    assert on_channel_0.data == on_channel_1.data


@pytest.mark.parametrize(
    ("level", "i", "most"), [(0x01, 0x70, 247), (0x01, 0x71, 239), (0x03, 0x70, 239), (0x03, 0x71, 223)]
)
def test_longest_short_command(level: int, i: int, most: int) -> None:
    channel, _ = opened(level, i)
    with pytest.raises(ApduError):
        channel.wrap(GET_STATUS.with_data(bytes(most + 1)))
    wrapped = channel.wrap(GET_STATUS.with_data(bytes(most)))
    assert wrapped.link.counter == 1  # the refused command changed nothing
    assert len(wrapped.apdu.data) <= 255


@pytest.mark.parametrize("size", [1, 300])
def test_extended_command_has_a_three_byte_lc_in_its_mac(size: int) -> None:
    channel, keys = start()
    chain = cmac(
        keys.mac.reveal(), bytes(16) + channel.external_authenticate(SecurityLevel.C_MAC).to_bytes()[:-8]
    )
    wrapped = channel.wrap(CommandApdu(0x80, 0xE2, 0x00, 0x01, bytes(size), extended=True))
    raw = wrapped.apdu.to_bytes()
    assert raw[4:7] == (size + 8).to_bytes(3, "big")
    assert raw[-8:] == cmac(keys.mac.reveal(), chain + raw[:-8])[:8]
    assert CommandApdu.parse(raw) == wrapped.apdu


@given(
    st.lists(st.binary(max_size=200), max_size=6), st.sampled_from(ALL_LEVELS), st.sampled_from([0x70, 0x71])
)
def test_same_inputs_give_the_same_session(datas: list[bytes], level: int, i: int) -> None:
    runs = []
    for _ in range(2):
        channel, _keys = opened(level, i)
        runs.append([channel.wrap(GET_STATUS.with_data(data)) for data in datas])
    assert runs[0] == runs[1]
