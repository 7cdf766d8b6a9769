"""Cases 141 to 161: SCP03, and what both protocols share.

Source: Amendment D 1.1.1; GPCS 2.3.1 §10.2, §11.1.5.1.
"""

from dataclasses import replace

import pytest
from tests.conformance.delegation import second_host
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    INSTANCE,
    MODULE,
    PACKAGE,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.cipher import aes_cbc_encrypt, aes_ecb_encrypt
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.padding import pad80
from opentsm.card.gp import commands
from opentsm.card.gp.keys import KeyType, put_key_field
from opentsm.card.gp.privileges import Privilege
from opentsm.card.gp.session_commands import begin_r_mac_session, end_r_mac_session, on_channel, open_channel
from opentsm.card.scp.channel import SecurityLevel, parse_initialize_update, secured_class
from opentsm.card.scp.scp03 import Scp03Channel, derive_session_keys, host_cryptogram
from opentsm.card.scp.session import predict_initialize_update
from opentsm.vse.card import VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.state import encode_image

ALL_S8 = ["scp03-i00", "scp03-i10", "scp03-i20", "scp03-i30", "scp03-i60", "scp03-i70"]
ALL_S16 = [f"scp03-s16-i{i}" for i in ("01", "11", "21", "31", "61", "71")]


def option_of(profile: str) -> int:
    return int(profile[-2:], 16)


def levels_of(option: int) -> list[int]:
    levels = [0x00, 0x01, 0x03]
    if option & 0x20:
        levels += [0x11, 0x13]
    if option & 0x40:
        levels += [0x33]
    return levels


def host_for(profile: str, length: int = 16) -> tuple[CardHost, int]:
    keys = make_keys(0x40, length)
    host = CardHost(make_card(profile, keys=keys))
    if option_of(profile) & 1 and "s16" in profile:
        host.host_challenge = bytes(range(16))
    return host, length


@pytest.mark.parametrize("length", [16, 24, 32])
@pytest.mark.parametrize("profile", ALL_S8 + ALL_S16)
def test_case_141_scp03_every_level_of_every_variant_carries_commands(profile: str, length: int) -> None:
    host, _ = host_for(profile, length)
    keys = make_keys(0x40, length)
    for level in levels_of(option_of(profile)):
        host.authenticate(keys, level=level)
        assert host.ok(commands.get_data(0x42))
        assert host.status(0x80)
        assert host.load(load_file(size=700), block_size=150) == 0x9000
        assert host.install() == 0x9000
        assert host.sw(commands.get_data(0xC2 + 1)) == 0x6A88
        assert host.sw(commands.delete(Aid(INSTANCE))) == 0x9000
        assert host.sw(commands.delete(Aid.from_hex("F001020304"))) == 0x9000


def test_case_142_scp03_counter_counts_attempts_and_is_in_the_answer() -> None:
    host = CardHost(make_card())
    for expected in (1, 2, 3):
        host.initialize(FACTORY_KEYS)
        assert host.init is not None
        assert host.init.sequence_counter == expected
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C103000003")


@pytest.mark.parametrize("profile", ["scp03-i70", "scp03-s16-i71", "scp02-i55"])
def test_case_136_143_pseudo_random_answer_is_predicted_byte_for_byte(profile: str) -> None:
    host = CardHost(make_card(profile))
    scp02 = profile.startswith("scp02")
    if "s16" in profile:
        host.host_challenge = bytes(range(16))
    answer = host.raw(commands.initialize_update(0, host.host_challenge)).data
    predicted = predict_initialize_update(
        FACTORY_KEYS,
        scp=2 if scp02 else 3,
        i=option_of(profile),
        kdd=answer[:10],
        kvn=answer[10],
        counter=0 if scp02 else 1,
        aid=bytes.fromhex("A000000151000000"),
        host_challenge=host.host_challenge,
    )
    assert predicted.to_bytes() == answer


def test_case_144_scp03_counter_restarts_with_a_whole_new_set_only() -> None:
    host = host_with_session()
    assert host.put_keys(make_keys(0x55), 0x30, replace=0x30).sw == 0x9000
    host.select()
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C103000000")


def test_case_145_scp03_counter_at_its_end_refuses_initialize_update() -> None:
    card = make_card()
    card.power_off()
    image = card.image()
    assert image.isd.domain is not None
    image.isd.domain.sequence[0x30] = 0xFFFFFF
    worn = VirtualCard.open(MemoryNvm(encode_image(image)))
    worn.power_on()
    assert CardHost(worn).raw(commands.initialize_update(0, bytes(8))).sw == 0x6985


def test_case_146_random_challenge_has_no_counter() -> None:
    host = CardHost(make_card("scp03-i60"))
    assert len(host.raw(commands.initialize_update(0, bytes(8))).data) == 29
    assert host.raw(commands.get_data(0xC1)).sw == 0x6A88


@pytest.mark.parametrize("level", [0x02, 0x10, 0x31, 0xFF, 0x23])
def test_case_147_undefined_level_is_refused(level: int) -> None:
    host = CardHost(make_card())
    host.initialize(FACTORY_KEYS)
    command = CommandApdu(0x84, 0x82, level, 0, bytes(16))
    assert host.raw(command).sw == 0x6A86


def test_case_147_level_above_what_i_allows_is_refused() -> None:
    host = CardHost(make_card("scp03-i10"))
    host.initialize(FACTORY_KEYS)
    assert host.raw(CommandApdu(0x84, 0x82, 0x33, 0, bytes(16))).sw == 0x6A86


@pytest.mark.parametrize(
    "attack",
    ["80F28002024F0000", "84F28002024F0000", "84F280020A4F000102030405060708", "80CA004200"],
    ids=["plain class", "no MAC", "wrong MAC", "plain GET DATA"],
)
def test_case_148_wrong_protection_aborts_until_initialize_update(attack: str) -> None:
    host = host_with_session(level=0x01)
    assert host.raw(attack).sw == 0x6982
    assert host.raw(commands.get_data(0x42)).sw == 0x6982
    host.authenticate(level=0x01)
    assert host.sw(commands.get_data(0x42)) == 0x9000


def test_case_148_select_ends_an_abort() -> None:
    host = host_with_session(level=0x01)
    host.raw("80CA004200")
    host.select()
    assert host.raw(commands.get_data(0x42)).sw == 0x9000


def test_case_149_error_inside_a_session_has_no_mac_and_keeps_the_chain() -> None:
    host = host_with_session()
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_data(0xC3))
    answer = host.raw(wrapped.apdu)
    assert (answer.sw, answer.data) == (0x6A88, b"")
    assert host.sw(commands.get_data(0x42)) == 0x9000


def test_case_151_success_without_data_has_a_mac_only() -> None:
    host = host_with_session()
    host.load()
    host.install()
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.lock(Aid(INSTANCE)))
    answer = host.raw(wrapped.apdu)
    assert (answer.sw, len(answer.data)) == (0x9000, 8)
    assert host.channel.unwrap(answer, wrapped.link).data == b""


def test_case_153_unknown_and_incomplete_key_sets_are_6a88() -> None:
    host = host_with_session()
    assert host.dek is not None
    single = put_key_field(make_keys(0x51).enc, KeyType.AES, host.dek)
    assert host.sw(commands.put_key(0x35, [single])) == 0x9000
    host.select()
    for kvn in (0x35, 0x11, 0x7F):
        assert host.raw(commands.initialize_update(kvn, bytes(8))).sw == 0x6A88


def test_case_154_domain_without_keys_uses_its_parents() -> None:
    """The parent's keys and counter, the child's AID in the challenge."""
    host = host_with_session()
    assert host.create_domain() == 0x9000
    host.select(SSD)
    host.authenticate()
    assert host.init is not None
    assert (host.init.kvn, host.init.sequence_counter) == (0x30, 2)
    assert host.put_keys(make_keys(0x66), 0x31).sw == 0x9000
    host.select(SSD)
    host.authenticate(make_keys(0x66), kvn=0x31)
    host.select(SSD)
    assert host.raw(commands.initialize_update(0x30, bytes(8))).sw == 0x6A88


def test_case_154_domain_without_keys_is_unreachable_when_the_card_does_not_inherit() -> None:
    """Switch off."""
    host = CardHost(make_card(inherit_keys=False))
    host.authenticate()
    host.create_domain()
    host.select(SSD)
    assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6A88


def test_case_155_wrong_host_cryptogram_is_6300_and_leaves_no_session() -> None:
    host = CardHost(make_card())
    host.initialize(FACTORY_KEYS)
    assert host.init is not None
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    head = bytes.fromhex("8482330010") + bytes(8)
    mac = cmac(session.mac.reveal(), bytes(16) + head)[:8]
    assert host.raw(head + mac).sw == 0x6300
    assert host.raw(commands.get_status(0x80)).sw == 0x6982


def test_case_156_initialize_update_and_select_end_a_session() -> None:
    host = host_with_session()
    host.raw(commands.initialize_update(0, bytes(8)))
    assert host.raw(commands.get_status(0x80)).sw == 0x6982
    host.authenticate()
    host.select()
    assert host.raw(commands.get_status(0x80)).sw == 0x6982


def test_case_156_failed_initialize_update_ends_a_session_too() -> None:
    host = host_with_session(level=0x00)
    assert host.raw(commands.initialize_update(0x7E, bytes(8))).sw == 0x6A88
    assert host.raw(commands.get_status(0x80)).sw == 0x6982


def test_external_authenticate_without_initialize_update_is_6985() -> None:
    host = CardHost(make_card())
    assert host.raw(CommandApdu(0x84, 0x82, 0x01, 0, bytes(16))).sw == 0x6985


def test_protected_command_outside_a_session_is_6982_without_abort() -> None:
    host = CardHost(make_card())
    assert host.raw("84CA0042080000000000000000").sw == 0x6982
    assert host.raw(commands.get_data(0x42)).sw == 0x9000


def test_key_set_is_blocked_after_the_retry_limit_and_across_power_cycles() -> None:
    host = CardHost(make_card(retry_limit=3))
    for _ in range(3):
        host.raw(commands.initialize_update(0, bytes(8)))
        assert host.raw(CommandApdu(0x84, 0x82, 0x01, 0, bytes(16))).sw == 0x6982
    host.card.power_off()
    host.card.power_on()
    assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6983


def test_blocked_key_set_works_again_when_it_is_replaced() -> None:
    """§7.5.1: tries are counted for a key set; new keys have all of theirs."""
    host = CardHost(make_card(retry_limit=2))
    host.authenticate()
    assert host.put_keys(make_keys(0x51), 0x31).sw == 0x9000
    for _ in range(2):
        host.raw(commands.initialize_update(0x30, bytes(8)))
        host.raw("8482010010" + "00" * 16)
    assert host.raw(commands.initialize_update(0x30, bytes(8))).sw == 0x6983
    host.authenticate(make_keys(0x51), kvn=0x31)
    assert host.put_keys(make_keys(0x61), 0x30, replace=0x30).sw == 0x9000
    host.authenticate(make_keys(0x61), kvn=0x30)


def test_success_clears_the_retry_counter() -> None:
    host = CardHost(make_card(retry_limit=2))
    for _ in range(3):
        host.raw(commands.initialize_update(0, bytes(8)))
        host.raw(CommandApdu(0x84, 0x82, 0x01, 0, bytes(16)))
        host.authenticate()


def test_minimum_level_of_the_card_is_demanded() -> None:
    host = CardHost(make_card(minimum_level=0x03))
    host.authenticate(level=0x01)
    assert host.sw(commands.get_status(0x80)) == 0x6982
    assert host.sw(commands.get_data(0x42)) == 0x9000
    host.authenticate(level=0x03)
    assert host.sw(commands.get_status(0x80)) == 0x9000


def test_counter_quirk_of_some_cards_does_not_count_empty_commands() -> None:
    """Some real cards do not move the encryption counter for commands without data."""
    host = CardHost(make_card(counter_moves_without_data=False))
    host.authenticate(level=0x03)
    assert host.sw(commands.get_data(0x42)) == 0x9000
    assert host.sw(commands.get_status(0x80)) == 0x6982


def test_case_143_session_of_a_supplementary_domain_with_its_own_keys() -> None:
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.NONE, make_keys(0x66))
    host.select(SSD)
    host.authenticate(make_keys(0x66))
    assert host.init is not None
    assert host.init.sequence_counter == 1
    assert set(host.states(0x40)) == {bytes(SSD)}


def test_case_160_extended_length_commands_are_taken_or_refused_by_profile() -> None:
    command = CommandApdu(0x80, 0xCA, 0, 0x42, b"", 65536, extended=True)
    assert CardHost(make_card()).raw(command).sw == 0x9000
    assert CardHost(make_card(extended_length=False)).raw(command).sw == 0x6700


def test_case_158_two_sessions_at_once_keep_their_own_keys_and_chains() -> None:
    first = host_with_session()
    other = second_host(first)
    for host in (other, first, first, other, first):
        assert host.ok(commands.get_status(0x80))
    # A wrong MAC ends the one session only.
    assert other.raw("84F28002024F0000").sw == 0x6982
    assert other.raw("80CA004200").sw == 0x6982
    assert first.ok(commands.get_status(0x80))


@pytest.mark.parametrize(("counted", "sw"), [("000008", 0x9000), ("08", 0x6982)])
def test_case_160_mac_of_an_extended_command_covers_three_bytes_of_length(counted: str, sw: int) -> None:
    """Octets from the text (Amendment D §6.2.4), not from a channel."""
    host = CardHost(make_card())
    host.initialize(FACTORY_KEYS)
    assert host.init is not None
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    cryptogram = host_cryptogram(session, host.host_challenge, host.init.card_challenge)
    head = bytes.fromhex("8482010010") + cryptogram
    chain = cmac(session.mac.reveal(), bytes(16) + head)
    assert host.raw(head + chain[:8]).sw == 0x9000
    mac = cmac(session.mac.reveal(), chain + bytes.fromhex("84CA0042" + counted))[:8]
    assert host.raw(bytes.fromhex("84CA0042000008") + mac + bytes(2)).sw == sw


def test_case_160_extended_load_blocks_in_a_level_33_session() -> None:
    host = host_with_session()
    assert host.load(load_file(size=5000), block_size=2000) == 0x9000


def note_host(profile: str = "scp03-i70") -> CardHost:
    """A card with an applet that leaves its secure channel to its security domain."""
    host = CardHost(make_card(profile))
    host.authenticate()
    package, module = Aid.from_hex("F04F54534D7F"), Aid.from_hex("F04F54534D7F01")
    assert host.load(load_file(package, (module,)), package=package) == 0x9000
    assert host.install(INSTANCE, module=module, package=package) == 0x9000
    return host


def test_case_143_challenge_of_an_applet_has_the_applets_aid() -> None:
    host = note_host()
    host.select(INSTANCE)
    answer = host.raw("8050000008000102030405060700").data
    predicted = predict_initialize_update(
        FACTORY_KEYS,
        scp=3,
        i=0x70,
        kdd=answer[:10],
        kvn=0x30,
        counter=2,
        aid=INSTANCE,
        host_challenge=bytes(range(8)),
    )
    assert answer == predicted.to_bytes()


def test_case_143_applet_works_in_the_session_of_its_security_domain() -> None:
    host = note_host()
    host.select(INSTANCE)
    write, read = CommandApdu(0x80, 0xD0, 0, 0, b"note"), CommandApdu(0x80, 0xB0, 0, 0, b"", 256)
    assert host.raw(write).sw == 0x6982
    assert host.raw(read).sw == 0x6A88
    host.authenticate()
    assert host.sw(write) == 0x9000
    assert host.ok(read) == b"note"
    assert host.raw(read).sw == 0x6982  # unprotected: aborted
    assert host.raw(write).sw == 0x6982
    host.select(INSTANCE)
    assert host.raw(read).data == b"note"


def test_case_143_a_locked_domain_or_one_without_own_state_serves_no_applet() -> None:
    host = note_host()
    privileged_domain(host, SSD, Privilege.NONE, make_keys(0x66))
    assert host.sw(commands.install_for_extradition(INSTANCE, SSD)) == 0x9000
    host.select(INSTANCE)
    host.authenticate(make_keys(0x66))
    assert host.init is not None
    assert (host.init.kvn, host.init.sequence_counter) == (0x31, 1)
    host.select()
    host.authenticate()
    assert host.sw(commands.lock(SSD)) == 0x9000
    host.select(INSTANCE)
    assert host.raw("8050000008000102030405060700").sw == 0x6985


def test_case_150_a_command_without_data_moves_the_encryption_counter() -> None:
    """D §6.2.6: the third command's ICV comes from counter 3, with or without data in the second."""
    host = host_with_session(level=0x03)
    assert host.init is not None
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    assert host.ok(commands.get_status(0x80))
    assert host.ok(commands.get_data(0x42))
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_status(0x80)).apdu
    icv = aes_ecb_encrypt(session.enc.reveal(), (3).to_bytes(16, "big"))
    assert wrapped.data[:-8] == aes_cbc_encrypt(session.enc.reveal(), icv, pad80(b"\x4f\x00", 16))
    assert host.raw(wrapped).sw == 0x9000


def test_case_152_begin_raises_and_end_restores_the_response_level() -> None:
    host = host_with_session(level=0x03)
    assert host.ok(begin_r_mac_session(0x30, b"challenge")) == b""
    answer = host.ok(commands.get_status(0x80))
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_status(0x80))
    protected = host.raw(wrapped.apdu)
    assert len(protected.data) % 16 == 8
    assert host.channel.unwrap(protected, wrapped.link).data == answer
    # The answer to END is the R-MAC alone; the next one has none.
    wrapped = host.channel.wrap(end_r_mac_session())
    assert len(host.raw(wrapped.apdu).data) == 8
    assert host.ok(commands.get_status(0x80)) == answer


def test_case_152_answer_to_begin_has_an_r_mac_only_when_the_session_had_it() -> None:
    host = host_with_session(level=0x13)
    assert host.channel is not None
    wrapped = host.channel.wrap(begin_r_mac_session(0x30))
    answer = host.raw(wrapped.apdu)
    assert len(answer.data) == 8
    host.channel.unwrap(answer, wrapped.link)
    assert host.ok(commands.get_data(0x42))
    host = host_with_session(level=0x01)
    assert host.channel is not None
    assert host.raw(host.channel.wrap(begin_r_mac_session(0x10)).apdu) == ResponseApdu(b"", 0x9000)


@pytest.mark.parametrize(
    ("level", "asked"), [(0x33, 0x10), (0x33, 0x30), (0x13, 0x10), (0x00, 0x10), (0x00, 0x30), (0x01, 0x30)]
)
def test_case_152_begin_is_refused_without_an_abort(level: int, asked: int) -> None:
    host = host_with_session(level=level)
    assert host.sw(begin_r_mac_session(asked)) == 0x6985
    assert host.ok(commands.get_data(0x42))
    assert host.sw(commands.get_status(0x80)) == 0x9000


def test_case_152_begin_and_end_outside_their_session() -> None:
    host = CardHost(make_card())
    assert host.raw("807A100100").sw == 0x6982
    assert host.raw("8078000300").sw == 0x6982
    host.authenticate(level=0x01)
    assert host.sw(end_r_mac_session()) == 0x6985
    assert host.sw(end_r_mac_session(keep=True)) == 0x6A86
    assert host.sw(CommandApdu(0x80, 0x78, 0x01, 0x03, b"", 256)) == 0x6A86
    assert host.sw(CommandApdu(0x80, 0x7A, 0x20, 0x01)) == 0x6A86
    assert host.sw(begin_r_mac_session(0x10)) == 0x9000
    assert host.sw(begin_r_mac_session(0x10)) == 0x6985
    assert host.sw(end_r_mac_session(keep=True)) == 0x6A86
    assert host.ok(commands.get_data(0x42))  # still with its R-MAC, as the host checks


def test_case_152_second_begin_that_asks_for_more_is_refused() -> None:
    """The text leaves it open; a host that was refused keeps the level that it has."""
    host = host_with_session(level=0x03)
    assert host.sw(begin_r_mac_session(0x10)) == 0x9000
    assert host.sw(begin_r_mac_session(0x30)) == 0x6985
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_data(0x42))
    plain = CardHost(make_card()).raw(commands.get_data(0x42)).data
    protected = host.raw(wrapped.apdu)
    assert protected.data[:-8] == plain
    assert host.channel.unwrap(protected, wrapped.link).data == plain


def test_case_152_response_security_that_i_lacks_is_refused() -> None:
    host = CardHost(make_card("scp03-i10"))
    host.authenticate(level=0x03)
    assert host.sw(begin_r_mac_session(0x10)) == 0x6A86
    host = CardHost(make_card("scp03-i20"))
    host.authenticate(level=0x03)
    assert host.sw(begin_r_mac_session(0x30)) == 0x6A86


def test_case_152_end_with_a_wrong_mac_aborts_everything() -> None:
    host = host_with_session(level=0x01)
    host.ok(begin_r_mac_session(0x10))
    assert host.raw("8478000308000000000000000000").sw == 0x6982
    assert host.raw(commands.get_data(0x42)).sw == 0x6982


@pytest.mark.parametrize("number", [1, 4, 19])
def test_case_157_session_on_a_supplementary_channel_has_no_channel_in_its_macs(number: int) -> None:
    host = CardHost(make_card(logical_channels=20))
    for _ in range(number):
        assert host.raw(open_channel()).sw == 0x9000

    def moved(command: CommandApdu) -> CommandApdu:
        plain = on_channel(command, number)
        secured = bool(command.cla & 0x04)
        return replace(plain, cla=secured_class(plain.cla)) if secured else plain

    init = host.raw(moved(commands.initialize_update(0, bytes(range(8)))))
    host.init = parse_initialize_update(init.data)
    session = derive_session_keys(FACTORY_KEYS, bytes(range(8)), host.init.card_challenge)
    channel = Scp03Channel(session, host.init, bytes(range(8)))
    opening = channel.external_authenticate(SecurityLevel.FULL)
    assert host.raw(moved(opening)).sw == 0x9000
    # The MAC is computed with CLA 84 whatever the channel.
    wrapped = channel.wrap(commands.get_status(0x80))
    answer = host.raw(moved(wrapped.apdu))
    assert channel.unwrap(answer, wrapped.link).sw == 0x9000
    assert channel.unwrap(answer, wrapped.link).data
    wrapped = channel.wrap(on_channel(commands.get_data(0x42), number))
    assert channel.unwrap(host.raw(wrapped.apdu), wrapped.link).sw == 0x9000


def test_case_158_second_session_on_another_channel_leaves_the_first_alone() -> None:
    host = host_with_session()
    assert host.raw("0070000001").data == b"\x01"
    second = host.raw("8150000008000102030405060700").data
    assert second[10:13] == bytes.fromhex("300370")
    assert host.ok(commands.get_status(0x80))
    # Nor does its end touch the first.
    assert host.raw("8582330010" + "00" * 16).sw == 0x6982
    assert host.raw("00708001").sw == 0x9000
    assert host.ok(commands.get_status(0x80))


def long_order() -> tuple[CommandApdu, CommandApdu]:
    """A load file's INSTALL, and INSTALL [for install] of 300 bytes of parameters."""
    parameters = b"\xc9\x82\x01\x2c" + bytes(300)
    plain = commands.install_for_install(
        PACKAGE, MODULE, INSTANCE, Privilege.NONE, parameters, make_selectable=True
    )
    return commands.install_for_load(PACKAGE, None), plain


@pytest.mark.parametrize("level", [0x00, 0x01, 0x03, 0x11, 0x13, 0x33])
@pytest.mark.parametrize("profile", ["scp03-i70", "scp03-s16-i71", "scp02-i15"])
def test_case_159_chained_install_is_protected_as_a_whole(profile: str, level: int) -> None:
    if profile.startswith("scp02") and level & 0x30:
        level &= 0x03
    host, _ = host_for(profile)
    host.authenticate(level=level)
    assert host.load() == 0x9000
    assert host.channel is not None
    chain = host.channel.wrap_in_parts(long_order()[1])
    assert len(chain.apdus) == 2
    assert chain.apdus[0].p1 == 0x8C
    assert len(chain.apdus[0].data) == 255
    assert host.raw(chain.apdus[0]) == ResponseApdu(b"", 0x9000)
    answer = host.channel.unwrap(host.raw(chain.apdus[1]), chain.link)
    assert (answer.sw, answer.data) == (0x9000, b"\x00")
    assert host.field_of(INSTANCE, 0x9F70) == b"\x07"


@pytest.mark.parametrize("counted", [True, False])
def test_case_159_length_in_the_mac_counts_the_mac_by_profile(counted: bool) -> None:
    """OPEN-9; the octets come from §11.1.5.1 and D §6.2.4, not from a channel."""
    host = CardHost(make_card(chain_mac_counted=counted))
    host.initialize(FACTORY_KEYS)
    assert host.channel is not None and host.init is not None
    opening = host.channel.external_authenticate(SecurityLevel.C_MAC)
    assert host.raw(opening).sw == 0x9000
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    key = session.mac.reveal()
    chain = cmac(key, bytes(16) + bytes.fromhex("8482010010") + opening.data[:-8])
    data = bytes.fromhex("4F05A0A0A0A0A0") + b"\x9f\x7f\x81\xfa" + bytes(250)
    length = len(data) + (8 if counted else 0)
    mac = cmac(key, chain + bytes.fromhex("84E4000000") + length.to_bytes(2, "big") + data)[:8]
    assert host.raw(CommandApdu(0x84, 0xE4, 0x80, 0x00, data[:200])) == ResponseApdu(b"", 0x9000)
    assert host.raw(CommandApdu(0x84, 0xE4, 0x00, 0x00, data[200:] + mac, 256)).sw == 0x6A88


@pytest.mark.parametrize(("steps", "counter"), [("command", 2), ("part", 3)])
def test_case_159_encryption_counter_moves_for_the_command_or_for_each_part(steps: str, counter: int) -> None:
    """OPEN-10, seen at the command behind a chain of two."""
    host = CardHost(make_card(chain_counter_steps=steps))
    host.authenticate(level=0x03)
    assert host.channel is not None and host.init is not None
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    enc, first = session.enc.reveal(), counter - 1
    data = pad80(bytes.fromhex("4F05A0A0A0A0A0") + b"\x9f\x7f\x81\xfa" + bytes(250), 16)
    body = aes_cbc_encrypt(enc, aes_ecb_encrypt(enc, first.to_bytes(16, "big")), data)
    opening = bytes.fromhex("8482030010") + host_cryptogram(
        session, host.host_challenge, host.init.card_challenge
    )
    chain = cmac(session.mac.reveal(), bytes(16) + opening)
    head = bytes.fromhex("84E4000000") + (len(body) + 8).to_bytes(2, "big")
    chain = cmac(session.mac.reveal(), chain + head + body)
    assert host.raw(CommandApdu(0x84, 0xE4, 0x80, 0x00, body[:200])).sw == 0x9000
    assert host.raw(CommandApdu(0x84, 0xE4, 0x00, 0x00, body[200:] + chain[:8], 256)).sw == 0x6A88
    body = aes_cbc_encrypt(enc, aes_ecb_encrypt(enc, counter.to_bytes(16, "big")), pad80(b"\x4f\x00", 16))
    chain = cmac(session.mac.reveal(), chain + bytes.fromhex("84F2800218") + body)
    assert host.raw(CommandApdu(0x84, 0xF2, 0x80, 0x02, body + chain[:8], 256)).sw == 0x9000


def test_case_159_interrupted_chain_keeps_the_session() -> None:
    host = host_with_session(level=0x01)
    assert host.load() == 0x9000
    assert host.raw(CommandApdu(0x84, 0xE4, 0x80, 0x00, bytes(200))).sw == 0x9000
    assert host.sw(commands.get_status(0x80)) == 0x6985
    assert host.sw(commands.get_status(0x80)) == 0x9000


@pytest.mark.parametrize(("code", "sw"), [("6985", 0x6985), ("6982", 0x6982)])
def test_external_authenticate_without_initialize_update_by_profile(code: str, sw: int) -> None:
    """OPEN-11."""
    host = CardHost(make_card(authentication_unstarted=code))
    assert host.raw(CommandApdu(0x84, 0x82, 0x01, 0, bytes(16))).sw == sw


@pytest.mark.parametrize(("code", "sw"), [("6982", 0x6982), ("6300", 0x6300)])
def test_external_authenticate_with_a_wrong_mac_by_profile(code: str, sw: int) -> None:
    """OPEN-12; both ways a new INITIALIZE UPDATE is needed."""
    host = CardHost(make_card(authentication_wrong_mac=code))
    host.initialize(FACTORY_KEYS)
    assert host.raw(CommandApdu(0x84, 0x82, 0x01, 0, bytes(16))).sw == sw
    assert host.raw(CommandApdu(0x84, 0x82, 0x01, 0, bytes(16))).sw == 0x6985


@pytest.mark.parametrize(("reaction", "after"), [("refuse", 0x9000), ("abort", 0x6982)])
@pytest.mark.parametrize("level", [None, 0x00])
def test_protection_that_nobody_asked_for_by_profile(reaction: str, after: int, level: int | None) -> None:
    """OPEN-22."""
    host = CardHost(make_card(protected_unasked=reaction))
    if level is not None:
        host.authenticate(level=level)
    assert host.raw("84CA0042080000000000000000").sw == 0x6982
    assert host.raw(commands.get_data(0x42)).sw == after


def test_case_161_host_takes_response_padding_of_more_than_a_block() -> None:
    """A real card padded 11 bytes to 32: the host strips zeros back to the 80."""
    host = host_with_session(level=0x33)
    assert host.channel is not None and host.init is not None
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    wrapped = host.channel.wrap(commands.get_data(0x42))
    icv = aes_ecb_encrypt(session.enc.reveal(), b"\x80" + bytes(14) + b"\x01")
    padded = b"eleven byte" + b"\x80" + bytes(20)
    data = aes_cbc_encrypt(session.enc.reveal(), icv, padded)
    mac = cmac(session.rmac.reveal(), wrapped.link.chain + data + b"\x90\x00")[:8]
    assert host.channel.unwrap(ResponseApdu(data + mac, 0x9000), wrapped.link).data == b"eleven byte"
