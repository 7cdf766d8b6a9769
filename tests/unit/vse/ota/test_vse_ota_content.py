"""Content management over the air: commands of a security domain with the security of their packet.

Source: ETSI TS 102 226 §5.2, §8; GPCS 2.3.1 §11.
"""

from dataclasses import replace

import pytest
from tests.unit.vse.card_host import (
    INSTANCE,
    MODULE,
    PACKAGE,
    SD_MODULE,
    SD_PACKAGE,
    CardHost,
    load_file,
)
from tests.unit.vse.ota.ota_host import DES_SET, FULL, KEYS, READ_ISD, OtaHost, make_card, packet_keys

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import Toolkit, application_parameters, uicc_parameters
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.keys import AesLayout, Dek, KeyType, StaticKeys, put_key_fields
from opentsm.card.gp.privileges import Privilege
from opentsm.card.ota.remote_apdu import CompactResponse, ExpandedResponse, ExpandedScript
from opentsm.card.ota.scp80 import ResponseStatus
from opentsm.card.ota.spi import CounterMode, Integrity

SSD = Aid.from_hex("A0000001510000AA01")
SSD_TAR = bytes.fromhex("C0FFEE")
SSD_PRIVILEGES = Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH
NEW_KEYS = StaticKeys(*(Secret(bytes([seed]) * 16) for seed in (0x71, 0x72, 0x73)))
C1 = CommandApdu(0x80, 0xCA, 0x00, 0xC1, ne=256)
READ_APPLICATIONS = commands.get_status(0x40)


def host(**changes: object) -> OtaHost:
    return OtaHost(make_card(changes))


def install_ssd(
    asked: OtaHost, *, tars: tuple[bytes, ...] = (SSD_TAR,), level: bytes = b""
) -> CompactResponse:
    toolkit = Toolkit(1, minimum_security=level, tars=tars)
    parameters = application_parameters(bytes.fromhex("81028000"), uicc=uicc_parameters(toolkit))
    return asked.run(
        commands.install_for_install(
            SD_PACKAGE, SD_MODULE, SSD, SSD_PRIVILEGES, parameters, make_selectable=True
        )
    )


def put_keys(asked: OtaHost, keys: StaticKeys, kvn: int, *, replace_kvn: int = 0) -> CommandApdu:
    """PUT KEY of a set of the packet's own type, under the packet's KIK."""
    kind = KeyType.AES if asked.kic & 0x0F == 2 else KeyType.DES
    fields = put_key_fields(keys, kind, Dek(Secret(KEYS[2]), kind), AesLayout.INNER_LENGTH)
    return commands.put_key(kvn, fields, replace_kvn=replace_kvn)


def expanded(asked: OtaHost, *apdus: CommandApdu, chaining: int | None = None) -> ExpandedResponse:
    por = asked.por(ExpandedScript(apdus, chaining).to_bytes())
    assert por.status == 0
    return ExpandedResponse.parse(por.data)


@pytest.mark.parametrize("reference", [0x12, DES_SET], ids=["aes", "3des"])
def test_load_and_install_when_sent_over_the_air_make_an_application(reference: int) -> None:
    asked = OtaHost(make_card(), kic=reference, kid=reference)
    asked.ok(commands.install_for_load(PACKAGE, None))
    for block in commands.load_blocks(load_file(), block_size=100):
        asked.ok(block)
    parameters = application_parameters(b"")
    answer = asked.ok(
        commands.install_for_install(
            PACKAGE, MODULE, INSTANCE, Privilege(0), parameters, make_selectable=True
        ),
        READ_APPLICATIONS,
    )
    assert bytes(INSTANCE) in answer
    assert asked.raw(commands.select(INSTANCE)).sw == 0x9000


def test_load_when_one_packet_takes_several_short_messages_is_put_together() -> None:
    asked = host()
    blocks = commands.load_blocks(load_file(), block_size=200)
    packet_data = b"".join(one.to_bytes()[:-1] for one in (commands.install_for_load(PACKAGE, None), *blocks))
    packet = asked.packet(packet_data)
    assert len(asked.envelopes(packet)) == 3
    answer = CompactResponse.parse(asked.opened(asked.deliver(packet).data).data)
    assert (answer.executed, answer.sw) == (1 + len(blocks), 0x6101)
    assert asked.card.image().load_file(PACKAGE) is not None


@pytest.mark.parametrize("reference", [0x12, DES_SET], ids=["aes", "3des"])
def test_put_key_when_sent_over_the_air_makes_a_set_that_works(reference: int) -> None:
    asked = OtaHost(make_card(), kic=reference, kid=reference)
    assert asked.ok(put_keys(asked, NEW_KEYS, 0x05))[:1] == b"\x05"
    renewed = replace(
        asked,
        kic=0x50 | reference & 0x0F,
        kid=0x50 | reference & 0x0F,
        keys=packet_keys(NEW_KEYS.enc.reveal(), NEW_KEYS.mac.reveal()),
        counter=0,
    )
    assert renewed.run(READ_ISD).sw == 0x9000


def test_put_key_when_it_replaces_the_set_of_its_own_packet_restarts_the_counter() -> None:
    asked = host()
    asked.counter = 40
    asked.ok(put_keys(asked, NEW_KEYS, 0x01, replace_kvn=0x01))
    old = asked.sent
    asked.keys = packet_keys(NEW_KEYS.enc.reveal(), NEW_KEYS.mac.reveal())
    asked.counter = 0
    assert asked.run(READ_ISD).sw == 0x9000
    assert asked.card.transmit(asked.envelopes(old)[0])[-2:] == bytes.fromhex("9000")
    assert asked.run(READ_ISD).sw == 0x9000


def test_keys_of_messages_when_initialize_update_asks_for_them_are_not_found() -> None:
    card = make_card()
    assert OtaHost(card).raw(commands.initialize_update(0x01, bytes(8))).sw == 0x6A88
    assert OtaHost(card).raw(commands.initialize_update(0x00, bytes(8))).sw == 0x9000


def test_security_domain_when_it_has_a_tar_is_reached_and_uses_the_issuers_keys() -> None:
    asked = host()
    assert install_ssd(asked).sw in {0x9000, 0x6101}
    beneath = replace(asked, tar=SSD_TAR)
    assert beneath.run(C1).executed == 1
    assert beneath.counter == asked.counter + 1
    again = replace(asked, counter=asked.counter)
    assert again.por(READ_ISD.to_bytes()).status == ResponseStatus.COUNTER_LOW


def test_security_domain_when_keys_of_its_own_come_has_a_counter_of_its_own() -> None:
    asked = host()
    install_ssd(asked)
    beneath = replace(asked, tar=SSD_TAR, command=None)
    beneath.ok(put_keys(beneath, NEW_KEYS, 0x03))
    own = OtaHost(
        asked.card,
        kic=0x32,
        kid=0x32,
        keys=packet_keys(NEW_KEYS.enc.reveal(), NEW_KEYS.mac.reveal()),
        tar=SSD_TAR,
    )
    assert own.run(C1).executed == 1
    assert asked.card.image().instance(SSD).state == 0x0F  # type: ignore[union-attr]


def test_security_domain_when_it_has_keys_of_its_own_is_not_opened_by_the_issuers() -> None:
    asked = host()
    install_ssd(asked)
    beneath = replace(asked, tar=SSD_TAR)
    beneath.ok(put_keys(beneath, NEW_KEYS, 0x03))
    assert beneath.por(C1.to_bytes()).status == ResponseStatus.UNIDENTIFIED_SECURITY_ERROR
    reader = asked.raw(commands.select(SSD))
    assert reader.sw == 0x9000
    assert asked.raw(commands.initialize_update(0, bytes(8))).sw == 0x6A88


def test_load_when_another_owner_of_keys_comes_is_not_continued() -> None:
    """The issuer begins a load at a security domain; its new owner must begin its own."""
    asked = host()
    toolkit = uicc_parameters(Toolkit(1, tars=(SSD_TAR,)))
    parameters = application_parameters(bytes.fromhex("81028000"), uicc=toolkit)
    privileges = SSD_PRIVILEGES | Privilege.AUTHORIZED_MANAGEMENT
    asked.ok(
        commands.install_for_install(
            SD_PACKAGE, SD_MODULE, SSD, privileges, parameters, make_selectable=True
        ),
    )
    beneath = replace(asked, tar=SSD_TAR)
    beneath.ok(put_keys(beneath, NEW_KEYS, 0x03), commands.install_for_load(PACKAGE, None))
    keys = packet_keys(NEW_KEYS.enc.reveal(), NEW_KEYS.mac.reveal())
    own = OtaHost(asked.card, kic=0x32, kid=0x32, keys=keys, tar=SSD_TAR)
    (block,) = commands.load_blocks(bytes(50), block_size=200)
    assert own.run(block).sw == 0x6985
    own.ok(commands.install_for_load(PACKAGE, None))


def test_personalization_when_sent_in_packets_reaches_the_application() -> None:
    asked = host()
    asked.ok(commands.install_for_load(PACKAGE, None))
    for block in commands.load_blocks(load_file(), block_size=200):
        asked.ok(block)
    asked.ok(
        commands.install_for_install(
            PACKAGE, MODULE, INSTANCE, Privilege(0), application_parameters(b""), make_selectable=True
        )
    )
    asked.ok(commands.install_for_personalization(INSTANCE))
    asked.ok(commands.store_data(b"personal", 0, last=True))
    instance = asked.card.image().instance(INSTANCE)
    assert instance is not None
    assert any(b"personal" in value for value in instance.store.values())


def test_personalization_when_the_application_is_deleted_meanwhile_then_refused() -> None:
    """A packet has a channel of its own: what a reader deletes is gone there too."""
    asked = host()
    install = commands.install_for_install(
        PACKAGE, MODULE, INSTANCE, Privilege(0), application_parameters(b""), make_selectable=True
    )
    asked.ok(commands.install_for_load(PACKAGE, None))
    for block in commands.load_blocks(load_file(), block_size=200):
        asked.ok(block)
    asked.ok(install, commands.install_for_personalization(INSTANCE))
    reader = CardHost(asked.card)
    reader.select()
    reader.authenticate(StaticKeys(*map(Secret, KEYS)))
    reader.ok(commands.delete(INSTANCE))
    assert asked.run(commands.store_data(b"late", 0, last=True)).sw == 0x6985
    reader.ok(install)
    reader.ok(commands.install_for_personalization(INSTANCE))
    reader.ok(commands.store_data(b"new", 0, last=True))
    instance = asked.card.image().instance(INSTANCE)
    assert instance is not None
    assert any(b"new" in value for value in instance.store.values())


def test_security_domain_when_its_minimum_is_higher_refuses_what_the_issuer_takes() -> None:
    asked = host()
    install_ssd(asked, level=bytes.fromhex("0116"))
    beneath = replace(asked, tar=SSD_TAR, spi=replace(FULL, ciphered=False))
    assert beneath.por(C1.to_bytes()).status == ResponseStatus.INSUFFICIENT_SECURITY_LEVEL
    assert replace(beneath, tar=bytes(3)).por(C1.to_bytes()).status == 0


def test_security_domain_when_locked_has_no_tar_any_more() -> None:
    asked = host()
    install_ssd(asked)
    asked.ok(commands.set_status(StatusTarget.APPLICATION, 0x80, SSD))
    assert replace(asked, tar=SSD_TAR).por(C1.to_bytes()).status == ResponseStatus.TAR_UNKNOWN


@pytest.mark.parametrize("tars", [(SSD_TAR, SSD_TAR), (bytes(3),)], ids=["twice", "issuer's"])
def test_install_when_a_tar_is_taken_is_refused(tars: tuple[bytes, ...]) -> None:
    asked = host()
    assert install_ssd(asked, tars=tars).sw == 0x6A80
    assert asked.card.image().instance(SSD) is None


@pytest.mark.parametrize("level", ["01", "0216", "0136", "011600"])
def test_install_when_the_minimum_level_is_malformed_is_refused(level: str) -> None:
    assert install_ssd(host(), level=bytes.fromhex(level)).sw == 0x6A80


def test_application_when_its_aid_has_full_length_is_reached_by_the_tar_in_it() -> None:
    asked = host()
    aid = Aid(bytes.fromhex("F001020304010203040506070A0B0C0D"))
    asked.ok(commands.install_for_load(PACKAGE, None))
    for block in commands.load_blocks(load_file(), block_size=200):
        asked.ok(block)
    parameters = application_parameters(b"")
    asked.ok(
        commands.install_for_install(PACKAGE, MODULE, aid, Privilege(0), parameters, make_selectable=True)
    )
    por = replace(asked, tar=aid[12:15]).por(bytes.fromhex("80E2800002AABB"))
    assert por.status == 0
    assert por.data[0] == 1


def test_command_when_the_packet_has_no_checksum_needs_authentication() -> None:
    asked = host(ota_minimum_security=0, ota_aes_counter_required=False)
    asked.spi = replace(FULL, integrity=Integrity.NONE, ciphered=False, counter=CounterMode.NONE)
    assert asked.run(READ_APPLICATIONS) == CompactResponse(1, 0x6982)
    assert asked.run(CommandApdu(0x80, 0xCA, 0x00, 0x66, ne=256)).sw == 0x9000


def test_command_when_the_card_wants_ciphering_is_refused_without() -> None:
    asked = host(minimum_level=3)
    asked.spi = replace(FULL, ciphered=False)
    assert asked.run(READ_ISD) == CompactResponse(1, 0x6982)
    asked.spi = FULL
    assert asked.run(READ_ISD).sw == 0x9000


def test_script_when_a_command_fails_stops_there() -> None:
    asked = host()
    unknown = CommandApdu(0x80, 0xCA, 0x12, 0x34, ne=256)
    assert asked.run(unknown, READ_ISD) == CompactResponse(1, 0x6A88)
    answer = expanded(asked, READ_ISD, unknown, READ_ISD)
    assert answer.executed == 2
    assert [one.sw for one in answer.responses] == [0x9000, 0x6A88]


def test_answer_when_not_asked_for_waits_for_get_response() -> None:
    asked = host()
    silent = replace(READ_ISD, ne=None)
    announced = asked.run(silent)
    assert (announced.data, announced.sw >> 8) == (b"", 0x61)
    fetched = asked.run(CommandApdu(0x00, 0xC0, 0, 0, ne=announced.sw & 0xFF))
    assert fetched.data == asked.run(READ_ISD).data


def test_script_when_expanded_and_indefinite_is_answered_alike() -> None:
    asked = host()
    por = asked.por(ExpandedScript((READ_ISD,), indefinite=True).to_bytes())
    answer = ExpandedResponse.parse(por.data)
    assert (answer.indefinite, answer.executed) == (True, None)
    assert answer.responses == (ResponseApdu(asked.run(READ_ISD).data, 0x9000),)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("AA021100", "AB06800100900101"),
        ("AA032205AA", "AB06800100900102"),
        ("AA05220380CA00", "AB06800100900102"),
        ("AE80220580CA00C100", "AF809001030000"),
        ("AA", "AB06800100900103"),
        ("AA0A220580CA0066008101FF", "AB06800100810101"),
        ("AA03830102", "AB06800100830101"),
        ("AA03830111", "AB06800100830102"),
    ],
)
def test_script_when_it_cannot_be_read_says_why_and_runs_nothing(script: str, answer: str) -> None:
    assert host().por(bytes.fromhex(script)).data == bytes.fromhex(answer)


def test_scripts_when_chained_need_a_first_one() -> None:
    asked = host()
    assert expanded(asked, C1, chaining=3).chaining == 1
    assert expanded(asked, C1, chaining=1).executed == 1
    assert expanded(asked, C1, chaining=2).executed == 1
    assert expanded(asked, C1, chaining=3).executed == 1
    assert expanded(asked, C1, chaining=2).chaining == 1


def test_packet_when_it_holds_nothing_is_only_receipted() -> None:
    por = host().por(b"")
    assert (por.status, por.data) == (0, b"")


@pytest.mark.parametrize("command", ["8050000008", "84F24002024F00", "81F24002024F00", "00A4040000"])
def test_command_when_it_opens_channels_or_selects_is_refused(command: str) -> None:
    raw = bytes.fromhex(command)
    raw += bytes(8) if command == "8050000008" else b""
    answer = CompactResponse.parse(host().por(raw).data)
    assert answer.sw in {0x6D00, 0x6E00}
