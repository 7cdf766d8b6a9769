"""Opening secure channels, secure messaging and what breaks them; `opentsm.card` is the other side."""

import pytest
from tests.unit.vse.card_host import (
    FACTORY_KEYS,
    INSTANCE,
    SSD,
    CardHost,
    host_with_session,
    load_file,
    make_card,
    make_keys,
    privileged_domain,
)

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.mac import cmac
from opentsm.card.gp import commands
from opentsm.card.gp.keys import KeyType, put_key_field
from opentsm.card.gp.privileges import Privilege
from opentsm.card.scp.channel import SecurityLevel
from opentsm.card.scp.scp03 import derive_session_keys
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
def test_scp03_every_level_of_every_variant_carries_commands(profile: str, length: int) -> None:
    """Case 141."""
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


@pytest.mark.parametrize("profile", ["scp02-i15", "scp02-i55"])
@pytest.mark.parametrize("level", [0x00, 0x01, 0x03])
def test_scp02_every_level_carries_commands(profile: str, level: int) -> None:
    """Cases 133, 136, 137, 139."""
    host = CardHost(make_card(profile))
    host.authenticate(level=level, i=option_of(profile))
    assert host.load() == 0x9000
    assert host.sw(commands.get_data(0xC3)) == 0x6A88
    assert host.install() == 0x9000
    assert host.put_keys(make_keys(0x55), 0x21, key_type=KeyType.DES).sw == 0x9000


@pytest.mark.parametrize("level", [0x11, 0x13, 0x10])
def test_scp02_response_mac_when_i_allows_it(level: int) -> None:
    """Case 138, by level."""
    host = CardHost(make_card("scp02-i15", scp=[["02", "35"]]))
    host.authenticate(level=level, i=0x35)
    assert host.ok(commands.get_data(0x42))
    assert host.sw(commands.get_data(0xC3)) == 0x6A88
    assert host.status(0x40)


def test_scp02_counter_moves_only_with_a_valid_first_mac() -> None:
    """Case 134."""
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


def test_scp02_counter_restarts_when_one_key_of_the_set_changes() -> None:
    """Case 135."""
    host = CardHost(make_card("scp02-i55"))
    host.authenticate(level=1, i=0x55)
    keys = make_keys(0x55)
    assert host.put_keys(keys, 0x20, replace=0x20, key_type=KeyType.DES).sw == 0x9000
    host.select()
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C1020000")


def test_scp03_counter_counts_attempts_and_is_in_the_answer() -> None:
    """Case 142."""
    host = CardHost(make_card())
    for expected in (1, 2, 3):
        host.initialize(FACTORY_KEYS)
        assert host.init is not None
        assert host.init.sequence_counter == expected
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C103000003")


@pytest.mark.parametrize("profile", ["scp03-i70", "scp03-s16-i71", "scp02-i55"])
def test_pseudo_random_answer_is_predicted_byte_for_byte(profile: str) -> None:
    """Cases 136, 143."""
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


def test_scp03_counter_restarts_with_a_whole_new_set_only() -> None:
    """Case 144."""
    host = host_with_session()
    assert host.put_keys(make_keys(0x55), 0x30, replace=0x30).sw == 0x9000
    host.select()
    assert host.raw(commands.get_data(0xC1)).data == bytes.fromhex("C103000000")


def test_scp03_counter_at_its_end_refuses_initialize_update() -> None:
    """Case 145."""
    card = make_card()
    card.power_off()
    image = card.image()
    assert image.isd.domain is not None
    image.isd.domain.sequence[0x30] = 0xFFFFFF
    worn = VirtualCard.open(MemoryNvm(encode_image(image)))
    worn.power_on()
    assert CardHost(worn).raw(commands.initialize_update(0, bytes(8))).sw == 0x6985


def test_random_challenge_has_no_counter() -> None:
    """Case 146."""
    host = CardHost(make_card("scp03-i60"))
    assert len(host.raw(commands.initialize_update(0, bytes(8))).data) == 29
    assert host.raw(commands.get_data(0xC1)).sw == 0x6A88


@pytest.mark.parametrize("level", [0x02, 0x10, 0x31, 0xFF, 0x23])
def test_undefined_level_is_refused(level: int) -> None:
    """Case 147."""
    host = CardHost(make_card())
    host.initialize(FACTORY_KEYS)
    command = CommandApdu(0x84, 0x82, level, 0, bytes(16))
    assert host.raw(command).sw == 0x6A86


def test_level_above_what_i_allows_is_refused() -> None:
    """Case 147."""
    host = CardHost(make_card("scp03-i10"))
    host.initialize(FACTORY_KEYS)
    assert host.raw(CommandApdu(0x84, 0x82, 0x33, 0, bytes(16))).sw == 0x6A86


@pytest.mark.parametrize(
    "attack",
    ["80F28002024F0000", "84F28002024F0000", "84F280020A4F000102030405060708", "80CA004200"],
    ids=["plain class", "no MAC", "wrong MAC", "plain GET DATA"],
)
def test_wrong_protection_aborts_until_initialize_update(attack: str) -> None:
    """Case 148."""
    host = host_with_session(level=0x01)
    assert host.raw(attack).sw == 0x6982
    assert host.raw(commands.get_data(0x42)).sw == 0x6982
    host.authenticate(level=0x01)
    assert host.sw(commands.get_data(0x42)) == 0x9000


def test_select_ends_an_abort() -> None:
    """Case 148."""
    host = host_with_session(level=0x01)
    host.raw("80CA004200")
    host.select()
    assert host.raw(commands.get_data(0x42)).sw == 0x9000


def test_error_inside_a_session_has_no_mac_and_keeps_the_chain() -> None:
    """Case 149."""
    host = host_with_session()
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.get_data(0xC3))
    answer = host.raw(wrapped.apdu)
    assert (answer.sw, answer.data) == (0x6A88, b"")
    assert host.sw(commands.get_data(0x42)) == 0x9000


def test_success_without_data_has_a_mac_only() -> None:
    """Case 151."""
    host = host_with_session()
    host.load()
    host.install()
    assert host.channel is not None
    wrapped = host.channel.wrap(commands.lock(Aid(INSTANCE)))
    answer = host.raw(wrapped.apdu)
    assert (answer.sw, len(answer.data)) == (0x9000, 8)
    assert host.channel.unwrap(answer, wrapped.link).data == b""


def test_unknown_and_incomplete_key_sets_are_6a88() -> None:
    """Case 153."""
    host = host_with_session()
    assert host.dek is not None
    single = put_key_field(make_keys(0x51).enc, KeyType.AES, host.dek)
    assert host.sw(commands.put_key(0x35, [single])) == 0x9000
    host.select()
    for kvn in (0x35, 0x11, 0x7F):
        assert host.raw(commands.initialize_update(kvn, bytes(8))).sw == 0x6A88


def test_domain_without_keys_uses_its_parents() -> None:
    """Case 154: the parent's keys and counter, the child's AID in the challenge."""
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


def test_domain_without_keys_is_unreachable_when_the_card_does_not_inherit() -> None:
    """Case 154, switch off."""
    host = CardHost(make_card(inherit_keys=False))
    host.authenticate()
    host.create_domain()
    host.select(SSD)
    assert host.raw(commands.initialize_update(0, bytes(8))).sw == 0x6A88


def test_wrong_host_cryptogram_is_6300_and_leaves_no_session() -> None:
    """Case 155."""
    host = CardHost(make_card())
    host.initialize(FACTORY_KEYS)
    assert host.init is not None
    session = derive_session_keys(FACTORY_KEYS, host.host_challenge, host.init.card_challenge)
    head = bytes.fromhex("8482330010") + bytes(8)
    mac = cmac(session.mac.reveal(), bytes(16) + head)[:8]
    assert host.raw(head + mac).sw == 0x6300
    assert host.raw(commands.get_status(0x80)).sw == 0x6982


def test_initialize_update_and_select_end_a_session() -> None:
    """Case 156."""
    host = host_with_session()
    host.raw(commands.initialize_update(0, bytes(8)))
    assert host.raw(commands.get_status(0x80)).sw == 0x6982
    host.authenticate()
    host.select()
    assert host.raw(commands.get_status(0x80)).sw == 0x6982


def test_failed_initialize_update_ends_a_session_too() -> None:
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
    """card-clients.md: some real cards do not move the encryption counter for commands without data."""
    host = CardHost(make_card(counter_moves_without_data=False))
    host.authenticate(level=0x03)
    assert host.sw(commands.get_data(0x42)) == 0x9000
    assert host.sw(commands.get_status(0x80)) == 0x6982


def test_session_of_a_supplementary_domain_with_its_own_keys() -> None:
    """Case 143."""
    host = host_with_session()
    privileged_domain(host, SSD, Privilege.NONE, make_keys(0x66))
    host.select(SSD)
    host.authenticate(make_keys(0x66))
    assert host.init is not None
    assert host.init.sequence_counter == 1
    assert set(host.states(0x40)) == {bytes(SSD)}


def test_extended_length_commands_are_taken_or_refused_by_profile() -> None:
    """Case 160."""
    command = CommandApdu(0x80, 0xCA, 0, 0x42, b"", 65536, extended=True)
    assert CardHost(make_card()).raw(command).sw == 0x9000
    assert CardHost(make_card(extended_length=False)).raw(command).sw == 0x6700


def test_extended_load_blocks_in_a_level_33_session() -> None:
    """Case 160."""
    host = host_with_session()
    assert host.load(load_file(size=5000), block_size=2000) == 0x9000
