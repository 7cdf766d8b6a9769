"""Cases 133 to 140: SCP02, explicit and implicit.

Source: GPCS 2.3.1 Appendix E. There is no public trace with R-MAC or of implicit mode: the values that a test
needs are computed here from the formulas of the sections named, apart from both sides.
"""

import pytest
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    INSTANCE,
    ISD,
    CardHost,
    load_file,
    make_card,
    make_keys,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import des_ecb_encrypt, tdes_cbc_encrypt
from opentsm.card.crypto.kcv import kcv_des
from opentsm.card.crypto.mac import retail_mac
from opentsm.card.crypto.padding import pad80
from opentsm.card.gp import commands
from opentsm.card.gp.keys import KeyType, StaticKeys
from opentsm.card.gp.session_commands import begin_r_mac_session, end_r_mac_session
from opentsm.card.scp.channel import SecurityLevel
from opentsm.card.scp.scp02_implicit import Scp02ImplicitChannel
from opentsm.card.scp.session import predict_initialize_update

NOTE_PACKAGE, NOTE_MODULE = Aid.from_hex("F04F54534D7F"), Aid.from_hex("F04F54534D7F01")
ZERO = bytes(8)


def option_of(profile: str) -> int:
    return int(profile[-2:], 16)


def session_key(static: bytes, constant: int, counter: int) -> bytes:
    """§E.4.1."""
    return tdes_cbc_encrypt(
        static, ZERO, constant.to_bytes(2, "big") + counter.to_bytes(2, "big") + bytes(12)
    )


def r_mac_host(level: int = 0x01) -> CardHost:
    """A host in a session of a card with R-MAC (i = 35)."""
    host = CardHost(make_card("scp02-i15", scp=[["02", "35"]]))
    host.authenticate(level=level, i=0x35)
    return host


@pytest.mark.parametrize("profile", ["scp02-i15", "scp02-i55"])
@pytest.mark.parametrize("level", [0x00, 0x01, 0x03])
def test_case_133_136_137_139_scp02_every_level_carries_commands(profile: str, level: int) -> None:
    host = CardHost(make_card(profile))
    host.authenticate(level=level, i=option_of(profile))
    assert host.load() == 0x9000
    assert host.sw(commands.get_data(0xC3)) == 0x6A88
    assert host.install() == 0x9000
    assert host.put_keys(make_keys(0x55), 0x21, key_type=KeyType.DES).sw == 0x9000


@pytest.mark.parametrize("level", [0x11, 0x13, 0x10])
def test_case_138_scp02_response_mac_when_i_allows_it(level: int) -> None:
    """By level."""
    host = CardHost(make_card("scp02-i15", scp=[["02", "35"]]))
    host.authenticate(level=level, i=0x35)
    assert host.ok(commands.get_data(0x42))
    assert host.sw(commands.get_data(0xC3)) == 0x6A88
    assert host.status(0x40)


def test_case_134_scp02_counter_moves_only_with_a_valid_first_mac() -> None:
    host = CardHost(make_card("scp02-i55"))
    counter = commands.get_data(0xC1)
    for _ in range(2):
        host.initialize(FACTORY_KEYS, i=0x55)
    assert host.raw(counter).data == bytes.fromhex("C1020000")
    assert host.channel is not None
    good = host.channel.external_authenticate(SecurityLevel.C_MAC)
    broken = good.with_data(good.data[:-1] + bytes([good.data[-1] ^ 1]))
    assert host.raw(broken).sw == 0x6982
    assert host.raw(counter).data == bytes.fromhex("C1020000")
    host.authenticate(level=1, i=0x55)
    host.select()
    assert host.raw(counter).data == bytes.fromhex("C1020001")


def test_case_134_scp02_counter_moves_with_a_valid_mac_and_a_wrong_cryptogram() -> None:
    """§E.1.2: it moves before the cryptogram is looked at. Octets from the text, not from a channel."""
    host = CardHost(make_card("scp02-i55"))
    host.initialize(FACTORY_KEYS, i=0x55)
    head = bytes.fromhex("8482010010") + bytes(8)
    key = session_key(FACTORY_KEYS.mac.reveal(), 0x0101, 0)
    assert host.raw(head + retail_mac(key, pad80(head, 8), ZERO)).sw == 0x6300
    assert host.raw("80CA00C100").data == bytes.fromhex("C1020001")
    assert host.raw("80F28002024F0000").sw == 0x6982


def test_case_135_scp02_counter_restarts_when_one_key_of_the_set_changes() -> None:
    host = CardHost(make_card("scp02-i55"))
    host.authenticate(level=1, i=0x55)
    keys = make_keys(0x55)
    assert host.put_keys(keys, 0x20, replace=0x20, key_type=KeyType.DES).sw == 0x9000
    host.select()
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C1020000")


def test_case_136_challenge_of_an_applet_has_the_applets_aid() -> None:
    host = CardHost(make_card("scp02-i55"))
    host.authenticate(level=0x01, i=0x55)
    assert host.load(load_file(NOTE_PACKAGE, (NOTE_MODULE,)), package=NOTE_PACKAGE) == 0x9000
    assert host.install(INSTANCE, module=NOTE_MODULE, package=NOTE_PACKAGE) == 0x9000
    host.select(INSTANCE)
    answer = host.raw("8050000008000102030405060700").data
    predicted = predict_initialize_update(
        FACTORY_KEYS,
        scp=2,
        i=0x55,
        kdd=answer[:10],
        kvn=0x20,
        counter=1,
        aid=INSTANCE,
        host_challenge=bytes(range(8)),
    )
    assert answer == predicted.to_bytes()


def test_case_137_chaining_value_survives_a_command_that_fails_behind_its_mac() -> None:
    host = CardHost(make_card("scp02-i15"))
    host.authenticate(level=0x01)
    assert host.sw(commands.delete(Aid.from_hex("A0A0A0A0A0"))) == 0x6A88
    assert host.sw(commands.get_status(0x80)) == 0x9000


def test_case_138_begin_and_end_with_each_response() -> None:
    host = r_mac_host()
    assert host.ok(begin_r_mac_session(0x10, b"challenge")) == b""
    assert len(host.ok(commands.get_data(0x42))) == 6
    assert len(host.ok(end_r_mac_session())) == 8


def test_case_138_the_r_mac_is_that_of_the_text() -> None:
    """§E.4.5: BEGIN and what follows, Li, no sending of the first; §E.3.2: from the C-MAC of the opening."""
    host = r_mac_host(level=0x00)
    host.select()
    host.initialize(FACTORY_KEYS, i=0x35)
    assert host.channel is not None and host.init is not None
    opening = host.channel.external_authenticate(SecurityLevel.NONE)
    assert host.raw(opening).sw == 0x9000
    counter = host.init.sequence_counter or 0
    key = session_key(FACTORY_KEYS.mac.reveal(), 0x0102, counter)
    assert host.raw("807A10010302AABB") == ResponseApdu(b"", 0x9000)
    begin = bytes.fromhex("807A10010302AABB009000")
    chain = retail_mac(key, pad80(begin, 8), opening.data[-8:])
    answer = host.raw("80CA004200")
    data = answer.data[:-8]
    chain = retail_mac(
        key, pad80(bytes.fromhex("80CA004200") + bytes([len(data)]) + data + b"\x90\x00", 8), chain
    )
    assert answer.data[-8:] == chain
    # An error is in the chain too, with no data.
    assert host.raw("80CA00C300") == ResponseApdu(b"", 0x6A88)
    chain = retail_mac(key, pad80(bytes.fromhex("80CA00C300006A88"), 8), chain)
    assert host.raw("8078000100") == ResponseApdu(chain, 0x9000)
    assert host.raw("8078000300") == ResponseApdu(chain, 0x9000)
    assert host.raw("80CA004200").data == data


def test_case_138_end_with_p2_01_keeps_the_r_mac_session() -> None:
    host = r_mac_host()
    host.ok(begin_r_mac_session(0x10))
    first = host.ok(end_r_mac_session(keep=True))
    assert host.ok(end_r_mac_session(keep=True)) == first
    host.ok(commands.get_data(0x42))
    assert host.ok(end_r_mac_session()) != first
    assert host.sw(end_r_mac_session()) == 0x6985


def test_case_138_r_mac_only_at_the_end() -> None:
    host = r_mac_host()
    host.ok(begin_r_mac_session(0x00))
    assert len(host.ok(commands.get_data(0x42))) == 6
    assert host.sw(commands.get_data(0xC3)) == 0x6A88
    assert len(host.ok(end_r_mac_session())) == 8


def test_case_138_a_second_r_mac_session_starts_from_the_opening_again() -> None:
    host = r_mac_host(level=0x03)
    for _ in range(2):
        host.ok(begin_r_mac_session(0x10, b"x"))
        host.ok(commands.get_data(0x42))
        host.ok(end_r_mac_session())


def test_case_138_what_begin_and_end_refuse() -> None:
    host = r_mac_host()
    assert host.raw("8078000300").sw == 0x6982  # unprotected in a session with C-MAC
    host = CardHost(make_card("scp02-i15", scp=[["02", "35"]]))
    assert host.raw("807A100100").sw == 0x6982
    assert host.raw("8078000300").sw == 0x6982
    host.authenticate(level=0x00, i=0x35)
    assert host.raw("8078000300").sw == 0x6985
    assert host.raw("807A300100").sw == 0x6A86
    assert host.raw("807A100200").sw == 0x6A86
    assert host.raw("807A100100").sw == 0x9000
    assert host.raw("807A100100").sw == 0x6985
    host = r_mac_host(level=0x11)
    assert host.sw(begin_r_mac_session(0x10)) == 0x6985
    without = CardHost(make_card("scp02-i15"))
    without.authenticate(level=0x00)
    assert without.raw("807A100100").sw == 0x6A86


@pytest.mark.parametrize("sent", [False, True])
def test_case_138_r_mac_of_an_error_is_sent_by_profile(sent: bool) -> None:
    host = CardHost(make_card("scp02-i15", scp=[["02", "35"]], scp02_mac_on_errors=sent))
    host.authenticate(level=0x10, i=0x35)
    assert len(host.raw("80CA00C300").data) == (8 if sent else 0)


@pytest.mark.parametrize("encrypted", [False, True])
def test_case_133_command_without_data_is_encrypted_by_profile(encrypted: bool) -> None:
    host = CardHost(make_card("scp02-i15", scp02_encrypts_empty=encrypted))
    host.authenticate(level=0x03)
    assert host.init is not None
    counter = host.init.sequence_counter or 0
    wrapped = host.channel.wrap(commands.get_data(0x42)).apdu if host.channel else None
    assert wrapped is not None
    if encrypted:
        key = session_key(FACTORY_KEYS.enc.reveal(), 0x0182, counter)
        wrapped = wrapped.with_data(tdes_cbc_encrypt(key, ZERO, pad80(b"", 8)) + wrapped.data)
    assert host.raw(wrapped).sw == 0x9000


def implicit_card(option: str = "1A", *, retry_limit: int = 64) -> CardHost:
    return CardHost(make_card("scp02-i15", scp=[["02", option]], retry_limit=retry_limit))


def implicit_channel(option: int = 0x1A, counter: int = 0, aid: Aid = ISD) -> Scp02ImplicitChannel:
    enc = FACTORY_KEYS.enc
    static = FACTORY_KEYS if option & 1 else StaticKeys(enc, enc, enc)
    return Scp02ImplicitChannel(static, counter=counter, aid=aid, i=option)


def test_case_140_the_first_c_mac_opens_a_session() -> None:
    """§E.1.2.2, §E.3.3, §E.4.4, unmodified command: octets from the text, not from a channel."""
    host = implicit_card()
    base = FACTORY_KEYS.enc.reveal()
    key = session_key(base, 0x0101, 0)
    icv = retail_mac(key, pad80(ISD, 8), ZERO)
    assert host.raw("80F28002024F0000").sw == 0x6982
    mac = retail_mac(key, pad80(bytes.fromhex("80F28002024F00"), 8), icv)
    assert host.raw(bytes.fromhex("84F280020A4F00") + mac + b"\x00").sw == 0x9000
    assert host.raw("80CA00C100").data == bytes.fromhex("C1020001")
    # §E.3.4: the second ICV is encrypted. An unprotected command came between: it ends C_MAC, so a new
    # session begins, whose first ICV is not.
    key = session_key(base, 0x0101, 1)
    icv = retail_mac(key, pad80(ISD, 8), ZERO)
    first = retail_mac(key, pad80(bytes.fromhex("80F28002024F00"), 8), icv)
    assert host.raw(bytes.fromhex("84F280020A4F00") + first + b"\x00").sw == 0x9000
    icv = des_ecb_encrypt(key[:8], first)
    second = retail_mac(key, pad80(bytes.fromhex("80F28002024F00"), 8), icv)
    assert host.raw(bytes.fromhex("84F280020A4F00") + second + b"\x00").sw == 0x9000
    assert host.raw("80CA00C100").data == bytes.fromhex("C1020002")


@pytest.mark.parametrize("option", [0x0A, 0x0B, 0x1A, 0x1B, 0x18 | 0x01])
def test_case_140_second_session_after_an_unprotected_command(option: int) -> None:
    host, channel = implicit_card(f"{option:02X}"), implicit_channel(option)
    for _ in range(2):
        assert host.raw(channel.wrap(commands.get_status(0x80)).apdu).sw == 0x9000
    # The session stays AUTHENTICATED, only its C_MAC goes.
    assert host.raw(channel.wrap(commands.get_status(0x80), protected=False).apdu).sw == 0x9000
    assert host.raw(channel.wrap(commands.get_status(0x80)).apdu).sw == 0x9000
    assert channel.counter == 2
    assert host.raw("80CA00C100").data == bytes.fromhex("C1020002")


def test_case_140_wrong_c_mac_opens_nothing_and_counts_nothing() -> None:
    host, channel = implicit_card(), implicit_channel()
    good = channel.wrap(commands.get_status(0x80)).apdu
    assert host.raw(good.with_data(good.data[:-1] + bytes([good.data[-1] ^ 1]))).sw == 0x6982
    assert host.raw("80CA00C100").data == bytes.fromhex("C1020000")
    assert host.raw(good).sw == 0x9000
    # In a session it aborts; unprotected commands are only no longer authenticated (§E.1.6).
    bad = channel.wrap(commands.get_status(0x80)).apdu
    assert host.raw(bad.with_data(bytes(len(bad.data)))).sw == 0x6982
    assert host.raw("80CA004200").sw == 0x9000
    assert host.raw("80F28002024F0000").sw == 0x6982
    again = implicit_channel(counter=1)
    assert host.raw(again.wrap(commands.get_status(0x80)).apdu).sw == 0x9000


def test_case_140_tries_are_limited_and_other_application_is_other_session() -> None:
    host = implicit_card(retry_limit=2)
    wrong = implicit_channel(aid=INSTANCE).wrap(commands.get_status(0x80)).apdu
    assert [host.raw(wrong).sw for _ in range(3)] == [0x6982, 0x6982, 0x6983]
    assert host.raw(implicit_channel().wrap(commands.get_status(0x80)).apdu).sw == 0x6983


def test_case_140_implicit_mode_has_no_initialize_update() -> None:
    host = implicit_card()
    assert host.raw("8050000008000102030405060700").sw == 0x6985


def test_case_140_keys_go_under_the_dek_of_the_incremented_counter_in_cbc() -> None:
    """§E.4.7: CBC in implicit mode."""
    host, channel = implicit_card("1B"), implicit_channel(0x1B)
    assert host.raw(channel.wrap(commands.get_data(0x42)).apdu).sw == 0x9000
    dek = session_key(FACTORY_KEYS.dek.reveal(), 0x0181, 1)
    fields = b""
    for key in (make_keys(0x55).enc, make_keys(0x55).mac, make_keys(0x55).dek):
        value = key.reveal()
        encrypted = tdes_cbc_encrypt(dek, ZERO, value)
        assert channel.encrypt(value) == encrypted
        fields += b"\x80\x10" + encrypted + b"\x03" + kcv_des(value)
    assert host.raw(channel.wrap(commands.put_key(0x21, [fields])).apdu).sw != 0x9000  # P2 names one key only
    put = CommandApdu(0x80, 0xD8, 0x00, 0x81, b"\x21" + fields, 256)
    assert host.raw(channel.wrap(put).apdu).sw == 0x9000


def test_case_140_r_mac_without_any_c_mac() -> None:
    """§E.5.3.1: at any time; §E.3.3: from a MAC over the AID with the R-MAC key of the current counter."""
    host = implicit_card("3A")
    key = session_key(FACTORY_KEYS.enc.reveal(), 0x0102, 0)
    chain = retail_mac(key, pad80(ISD, 8), ZERO)
    assert host.raw("807A100100") == ResponseApdu(b"", 0x9000)
    chain = retail_mac(key, pad80(bytes.fromhex("807A100100009000"), 8), chain)
    answer = host.raw("80CA00C100")
    message = bytes.fromhex("80CA00C10004C10200009000")
    chain = retail_mac(key, pad80(message, 8), chain)
    assert answer.data == bytes.fromhex("C1020000") + chain
    assert host.raw("80F28002024F0000").sw == 0x6982


def test_case_140_r_mac_session_with_c_macs_on_both_sides() -> None:
    host, channel = implicit_card("3A"), implicit_channel(0x3A)

    def sent(command: CommandApdu, *, protected: bool = True) -> ResponseApdu:
        wrapped = channel.wrap(command, protected=protected)
        return channel.unwrap(host.raw(wrapped.apdu), wrapped.link)

    assert sent(commands.get_data(0x42)).sw == 0x9000
    assert sent(begin_r_mac_session(0x10, b"challenge")).sw == 0x9000
    assert sent(commands.get_status(0x80)).sw == 0x9000
    assert sent(commands.get_data(0x42), protected=False).data == bytes.fromhex("4204F04F5453")
    assert sent(commands.get_status(0x80)).sw == 0x9000
    assert len(sent(end_r_mac_session()).data) == 8
    assert sent(commands.get_data(0x42)).data == bytes.fromhex("4204F04F5453")
