"""Valid inputs of the card's targets: whole conversations, from which mutations reach deep states."""

from collections.abc import Iterable
from functools import cache

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import access_rules, commands, contactless
from opentsm.card.gp.instructions import StatusTarget
from opentsm.card.gp.keys import Dek, KeyType, StaticKeys, put_key_fields
from opentsm.card.gp.lifecycle import CardState
from opentsm.card.gp.privileges import Privilege
from opentsm.card.ota import remote_apdu, sms
from opentsm.card.ota.key_reference import PacketKeys
from opentsm.card.ota.scp80 import CommandPacket, Policy, encode_command
from opentsm.card.ota.spi import Spi
from opentsm.fuzz import desk
from opentsm.fuzz.mutation import framed

_OTHER = Aid.from_hex("F04F54534D04000001")
_PPSE = Aid.from_hex("325041592E5359532E4444463031")
_ISD = Aid.from_hex("A000000151000000")
_DEK = Dek(Secret(desk.KEY), KeyType.AES)
_KEYS = StaticKeys(Secret(desk.KEY), Secret(desk.KEY), Secret(desk.KEY))
_DATA_TAGS = (0x42, 0x45, 0x66, 0x67, 0xC1, 0xC2, 0xCF, 0xE0, 0x9F7F, 0xFF21, 0xBF30, 0xD3, 0xE3, 0xFF1F)

Conversation = tuple[bytes, ...]


def _hex(*texts: str) -> Conversation:
    return tuple(bytes.fromhex(text) for text in texts)


def _coded(apdus: Iterable[CommandApdu]) -> Conversation:
    return tuple(apdu.to_bytes() for apdu in apdus)


def _plain() -> list[Conversation]:
    """Conversations outside a session."""
    challenge = "0084000010"
    return [
        _coded([commands.select(), *(commands.get_data(tag) for tag in _DATA_TAGS)]),
        _coded([commands.initialize_update(0, bytes(8)), CommandApdu(0x84, 0x82, 0x33, 0, bytes(16))]),
        _coded([commands.initialize_update(0, bytes(16)), CommandApdu(0x84, 0x82, 0x01, 0, bytes(32))]),
        _coded([commands.select(_PPSE), commands.select(_PPSE, next_occurrence=True), commands.select(_ISD)]),
        _coded([commands.select(desk.DOMAIN), commands.get_data(0xE0)]),
        # MANAGE CHANNEL, a command on channels 1 and 4, GET RESPONSE, chaining
        _hex("0070000001", "01A4040000", "0070800100", "0070000401", "40A4040000", "00C0000000"),
        _hex("10A404000100", "00A4040005A000000151", "00C0000010"),
        # bank card: GET PROCESSING OPTIONS, READ RECORD, GENERATE AC
        (commands.select(desk.BANK).to_bytes(), *_hex("80A80000238321" + "00" * 33 + "00", "00B2010C00")),
        (commands.select(desk.BANK).to_bytes(), *_hex("00B2021400", "80CA9F3600", "80AE80001D" + "00" * 29)),
        # purse: INITIALIZE FOR LOAD / PURCHASE, CREDIT, DEBIT, GET BALANCE, READ RECORD
        (
            commands.select(desk.PURSE).to_bytes(),
            *_hex(
                "8050000213 01 00000064 001122334455 0000000000000001",
                "805200000F" + "20261122181500" + "00" * 8,
            ),
        ),
        (
            commands.select(desk.PURSE).to_bytes(),
            *_hex(
                "805001020B 01 00000000 001122334455", "8054010013" + "01" * 19, "805C000204", "00B201C400"
            ),
        ),
        # badge: GET CHALLENGE, EXTERNAL and INTERNAL AUTHENTICATE, retry counter
        (
            commands.select(desk.BADGE).to_bytes(),
            *_hex(challenge, "0082000020" + "00" * 32, "0088000000", "80CA9F1700"),
        ),
        # the cardholder's PIN, at the badge and where it is kept
        (
            commands.select(desk.BADGE).to_bytes(),
            *_hex("002000010431323334", "002C0300", "002401010435363738"),
            commands.select(desk.PIN).to_bytes(),
            *_hex("0020000100", "0020000202123F", "0020FF00", "80CADF3100"),
        ),
        _coded([commands.select(contactless.CRS_AID), contactless.crs_status()]),
        _coded([commands.select(_OTHER), access_rules.get_configuration(), access_rules.get_clients()]),
        # SCP11: PERFORM SECURITY OPERATION, INTERNAL and MUTUAL AUTHENTICATE
        _hex(
            "802A031007 7F210493020102",
            "8088031352 A60D900211009501348001888101105F4941" + "04" + "11" * 64,
            "8082031552 A60D900211039501348001888101105F4941" + "04" + "11" * 64,
        ),
        # SCP02 implicit, BEGIN and END R-MAC SESSION
        _hex("807A010001AA", "8078000100", "8050000008" + "00" * 8 + "00"),
        _hex("00A404000000", "80F28000024F0000", "80F240000000024F000000"),
    ]


def _managed() -> list[Conversation]:
    """Conversations inside a session with the issuer's security domain."""
    reads = [commands.get_status(p1) for p1 in (0x80, 0x40, 0x20, 0x10)]
    fields = put_key_fields(_KEYS, KeyType.AES, _DEK)
    domain = Privilege.SECURITY_DOMAIN
    conversations: list[list[CommandApdu]] = [
        [*reads, commands.get_status(0x40, aid_prefix=b"\xf0", next=True, tag_list=b"\x4f\x9f\x70")],
        [commands.get_data(tag) for tag in _DATA_TAGS],
        desk.deployment(_OTHER),
        [*desk.deployment(_OTHER), commands.delete(Aid(_OTHER[:6]), related=True)],
        [commands.install_for_extradition(desk.BADGE, desk.DOMAIN), commands.delete(desk.BADGE)],
        [commands.lock(desk.BANK), commands.unlock(desk.BANK), commands.delete(Aid(desk.BANK[:6]))],
        [
            commands.set_status(StatusTarget.CARD, state)
            for state in (CardState.SECURED, CardState.CARD_LOCKED)
        ],
        [commands.put_key(0x31, fields), commands.put_key(0x31, fields, replace_kvn=0x31)],
        [commands.put_key(0x02, fields[:1]), commands.delete_key(1, 0x02), commands.delete_key(None, 0x31)],
        [commands.install_for_personalization(desk.DOMAIN), _store(b"\x00\xb9\x00")],
        *[desk.personalization(aid, _DEK) for aid in (desk.BANK, desk.PURSE, desk.BADGE, desk.PIN)],
        [_store(encode_tlv(0x42, b"\x01\x02")), _store(encode_tlv(0x66, bytes(20)))],
        [
            commands.install_for_registry_update(
                desk.DOMAIN, privileges=domain | Privilege.FINAL_APPLICATION
            ),
            commands.install_for_registry_update(desk.BANK, parameters=encode_tlv(0xEF, b"\xcf\x01\x80")),
        ],
        [
            commands.install_for_combined_load(Aid(_OTHER[:6]), None),
            *desk.deployment(_OTHER)[1:-1],
            commands.install_for_combined_install(
                None, Aid(_OTHER[:6] + b"\x01"), _OTHER, Privilege.NONE, b"\xc9\x00"
            ),
        ],
        [
            _contactless_install(),
            contactless.crs_status(),
            contactless.set_availability([desk.BANK], activate=True),
        ],
        [CommandApdu(0x80, 0x7A, 0, 1, b"", 256), CommandApdu(0x80, 0x78, 0, 1, b"", 256), *reads],
        [
            CommandApdu(0x80, 0xF1, 0, 0, bytes.fromhex("8001FF"), 256),
            CommandApdu(
                0x80, 0xD8, 0x03, 0x10, bytes.fromhex("03B041") + b"\x04" + bytes(64) + b"\xf0\x01\x00\x00"
            ),
            _store(bytes.fromhex("A60A8302031042044341303100")),
            _store(bytes.fromhex("BF210C7F210993010142014195010100")),
        ],
        [
            access_rules.delete_rules(),
            access_rules.update_refresh_tag(),
            access_rules.register_clients([_OTHER]),
        ],
    ]
    return [_coded(each) for each in conversations]


def _store(data: bytes) -> CommandApdu:
    return CommandApdu(0x80, 0xE2, 0x90, 0x00, data)


def _contactless_install() -> CommandApdu:
    parameters = contactless.ContactlessParameters(activation=contactless.Activation.ACTIVATED).to_bytes()
    return commands.install_for_registry_update(desk.BANK, parameters=encode_tlv(0xEF, parameters))


@cache
def raw_inputs() -> tuple[bytes, ...]:
    """Return conversations outside a session, one with each profile after the other."""
    conversations = [*_plain(), *_managed()]
    count = len(desk.profiles())
    return tuple(
        bytes((number % count,)) + framed(each)
        for number, each in enumerate(conversations * (count // len(conversations) + 1))
    )


@cache
def session_inputs() -> tuple[bytes, ...]:
    """Return conversations inside a session, spread over profiles and levels."""
    conversations = _managed() + _plain()[:4]
    count = len(desk.profiles())
    return tuple(
        bytes((number % count, number % 4)) + framed(each) for number, each in enumerate(conversations * 3)
    )


@cache
def script_inputs() -> tuple[bytes, ...]:
    """Return compact and expanded scripts for the issuer's domain, and some for nobody."""
    apdus = [
        [commands.get_status(0x80), commands.get_data(0xE0)],
        [*desk.deployment(_OTHER)][:3],
        [new := desk.new_domain(), new],
        [commands.install_for_personalization(desk.DOMAIN), _store(b"\x00\xb9\x00")],
    ]
    compact = [remote_apdu.encode_compact(each) for each in apdus]
    expanded = [remote_apdu.ExpandedScript(tuple(each)).to_bytes() for each in apdus]
    return tuple(
        bytes((number % 2,)) + framed([each, each]) for number, each in enumerate(compact + expanded)
    )


@cache
def envelope_inputs() -> tuple[bytes, ...]:
    """Return messages with protected packets in one part and in several, and toolkit commands."""
    keys, policy = PacketKeys(Secret(desk.KEY), Secret(desk.KEY)), Policy(aes_without_counter=True)
    script = remote_apdu.encode_compact([commands.get_status(0x80)])
    found = []
    for spi in (Spi(), Spi(por_submit=True), Spi(ciphered=False)):
        for data in (script, script * 12):
            packet = CommandPacket(spi, 0x12, 0x12, bytes(3), 1, data)
            parts = sms.split_packet(encode_command(packet, keys, policy=policy), reference=7)
            tpdus = sms.deliver_messages(parts, sms.Address("4912345678"))
            found.append(b"\0" + framed(list(tpdus)))
    terminal = _hex(
        "80100000 0C 010203040506070809101112", "8012000000", "801400000C810301130002028281830100"
    )
    return (*found, b"\xff" + framed(terminal))
