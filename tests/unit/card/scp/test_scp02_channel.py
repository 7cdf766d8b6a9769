"""SCP02 sessions: levels, refusals, R-MAC chain. Published values are in tests/vectors.

Source: GPCS 2.3.1 Appendix E; no public trace with R-MAC is known, so its tests compute E.4.5 on their own.
"""

from dataclasses import replace

import pytest

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import des_ecb_encrypt, tdes_cbc_decrypt
from opentsm.card.crypto.mac import retail_mac
from opentsm.card.crypto.padding import pad80, unpad80
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import (
    ApduError,
    CardCryptogramError,
    KeyFormatError,
    ResponseMacError,
    SecureChannelError,
)
from opentsm.card.scp.channel import InitializeUpdateResponse, SecurityLevel, SessionKeys, StaticKeys
from opentsm.card.scp.scp02 import Scp02Channel, card_cryptogram, derive_session_keys

HOST, CARD, COUNTER = b"HOSTCHAL", b"CARDCH", 5
GET_STATUS = CommandApdu(0x80, 0xF2, 0x40, 0x02, bytes.fromhex("4F00"), 256)
NO_DATA = CommandApdu(0x80, 0xCA, 0x00, 0x66, ne=256)


def start(i: int = 0x15) -> tuple[Scp02Channel, SessionKeys]:
    enc, mac, dek = (Secret(bytes(range(begin, begin + 16))) for begin in (0x40, 0x60, 0x80))
    keys = derive_session_keys(StaticKeys(enc, mac, dek), COUNTER)
    cryptogram = card_cryptogram(keys, COUNTER, HOST, CARD)
    init = InitializeUpdateResponse(bytes(10), 0x20, 2, i, CARD, cryptogram, COUNTER)
    return Scp02Channel(keys, init, HOST, i=i), keys


def opened(level: int, i: int = 0x15) -> tuple[Scp02Channel, SessionKeys, bytes]:
    """Return the channel, its keys and the C-MAC of EXTERNAL AUTHENTICATE."""
    channel, keys = start(i)
    return channel, keys, channel.external_authenticate(SecurityLevel(level)).data[-8:]


def response_mac(keys: SessionKeys, icv: bytes, plain: CommandApdu, data: bytes, sw: int) -> bytes:
    head = bytes((plain.cla & 0x80, plain.ins, plain.p1, plain.p2, len(plain.data)))
    message = head + plain.data + bytes((len(data),)) + data + sw.to_bytes(2, "big")
    return retail_mac(keys.rmac.reveal(), pad80(message, 8), icv)


@pytest.mark.parametrize("i", [0x15, 0x55])
@pytest.mark.parametrize("level", [0x00, 0x01, 0x03])
def test_levels_without_response_mac(i: int, level: int) -> None:
    channel, _ = start(i)
    command = channel.external_authenticate(SecurityLevel(level))
    assert command.header == bytes((0x84, 0x82, level, 0x00))
    assert len(command.data) == 16
    assert channel.level == level


@pytest.mark.parametrize("i", [0x15, 0x55])
@pytest.mark.parametrize("level", [0x10, 0x11, 0x13])
def test_response_mac_without_support_is_refused(i: int, level: int) -> None:
    channel, _ = start(i)
    with pytest.raises(SecureChannelError, match="no R-MAC"):
        channel.external_authenticate(SecurityLevel(level))
    assert channel.level is None


@pytest.mark.parametrize("level", [0x02, 0x12, 0x20, 0x31, 0x33])
def test_level_that_does_not_exist_is_refused(level: int) -> None:
    channel, _ = start(0x35)
    with pytest.raises(SecureChannelError, match="no security level"):
        channel.external_authenticate(SecurityLevel(level))


@pytest.mark.parametrize("i", [0x0A, 0x1A, 0x1B, 0x1D])
def test_implicit_variants_are_refused(i: int) -> None:
    with pytest.raises(SecureChannelError, match="not supported"):
        start(i)


def test_wrong_card_cryptogram_is_refused() -> None:
    _, keys = start()
    init = InitializeUpdateResponse(bytes(10), 0x20, 2, None, CARD, bytes(8), COUNTER)
    with pytest.raises(CardCryptogramError):
        Scp02Channel(keys, init, HOST)


def test_answer_of_another_protocol_is_refused() -> None:
    _, keys = start()
    with pytest.raises(SecureChannelError, match="not SCP02"):
        Scp02Channel(keys, InitializeUpdateResponse(bytes(10), 0x30, 3, 0x70, CARD, CARD, 1), HOST)


def test_keys_of_wrong_length_are_refused() -> None:
    short = Secret(bytes(8))
    with pytest.raises(KeyFormatError):
        derive_session_keys(StaticKeys(short, short, short), 0)


def test_nothing_works_before_external_authenticate_which_is_made_once() -> None:
    channel, _ = start()
    with pytest.raises(SecureChannelError):
        channel.wrap(GET_STATUS)
    channel.external_authenticate(SecurityLevel.C_MAC)
    with pytest.raises(SecureChannelError, match="already"):
        channel.external_authenticate(SecurityLevel.C_MAC)


@pytest.mark.parametrize(("i", "encrypted_icv"), [(0x15, True), (0x05, False), (0x45, False)])
def test_c_mac_chain_encrypts_its_icv_when_i_says_so(i: int, encrypted_icv: bool) -> None:
    channel, keys, icv = opened(0x01, i)
    for _ in range(3):
        raw = channel.wrap(GET_STATUS).apdu.to_bytes()
        start_value = des_ecb_encrypt(keys.mac.reveal()[:8], icv) if encrypted_icv else icv
        expected = retail_mac(keys.mac.reveal(), pad80(raw[:-9], 8), start_value)
        assert raw[-9:-1] == expected
        icv = expected


def test_c_mac_over_the_unmodified_command_when_i_says_so() -> None:
    channel, keys, icv = opened(0x01, 0x07)
    mac = retail_mac(keys.mac.reveal(), pad80(GET_STATUS.to_bytes()[:-1], 8), icv)
    assert channel.wrap(GET_STATUS).apdu == replace(GET_STATUS, cla=0x84, data=GET_STATUS.data + mac)


def test_encryption_comes_after_the_mac_and_spares_empty_data() -> None:
    plain, _, _ = opened(0x01)
    channel, keys, _ = opened(0x03)
    # The level enters the C-MAC of EXTERNAL AUTHENTICATE, so only the layout can be compared.
    assert len(plain.wrap(NO_DATA).apdu.data) == len(channel.wrap(NO_DATA).apdu.data) == 8
    data = channel.wrap(GET_STATUS).apdu.data
    assert unpad80(tdes_cbc_decrypt(keys.enc.reveal(), bytes(8), data[:-8])) == GET_STATUS.data


@pytest.mark.parametrize(("level", "most"), [(0x01, 247), (0x03, 239)])
def test_longest_short_command(level: int, most: int) -> None:
    channel, _, _ = opened(level)
    with pytest.raises(ApduError):
        channel.wrap(GET_STATUS.with_data(bytes(most + 1)))
    assert channel.wrap(GET_STATUS.with_data(bytes(most))).link.counter == 1


@pytest.mark.parametrize("level", [0x10, 0x11, 0x13])
@pytest.mark.parametrize("i", [0x35, 0x75])
def test_response_mac_chain_goes_on_over_errors(i: int, level: int) -> None:
    channel, keys, icv = opened(level, i)
    exchange = ((GET_STATUS, b"data", 0x9000), (NO_DATA, b"", 0x6A88), (GET_STATUS, b"", 0x6310))
    links = [channel.wrap(command).link for command, _, _ in exchange]
    for (command, data, sw), link in zip(exchange, links, strict=True):
        icv = response_mac(keys, icv, command, data, sw)
        sent = data if sw == 0x6A88 else data + icv
        assert channel.unwrap(ResponseApdu(sent, sw), link) == ResponseApdu(data, sw)


def test_level_10_protects_answers_only() -> None:
    channel, _, _ = opened(0x10, 0x35)
    assert channel.wrap(GET_STATUS).apdu == GET_STATUS


@pytest.mark.parametrize("data", [b"", b"1234567", b"data without R-MAC"])
def test_success_without_response_mac_is_refused(data: bytes) -> None:
    channel, _, _ = opened(0x11, 0x35)
    link = channel.wrap(GET_STATUS).link
    with pytest.raises(ResponseMacError):
        channel.unwrap(ResponseApdu(data, 0x9000), link)


def test_answer_left_out_is_refused() -> None:
    channel, _, _ = opened(0x11, 0x35)
    channel.wrap(GET_STATUS)
    link = channel.wrap(GET_STATUS).link
    with pytest.raises(SecureChannelError, match="left out"):
        channel.unwrap(ResponseApdu(bytes(8), 0x9000), link)


def test_answers_without_response_mac_level_pass_in_any_order() -> None:
    channel, _, _ = opened(0x03)
    channel.wrap(GET_STATUS)
    link = channel.wrap(GET_STATUS).link
    assert channel.unwrap(ResponseApdu(b"data", 0x9000), link).data == b"data"
