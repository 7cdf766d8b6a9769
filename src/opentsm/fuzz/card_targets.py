"""Targets that drive the virtual card: raw commands, commands inside a session, messages over the air."""

from collections.abc import Callable

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ApduError, CardError, OtaError
from opentsm.card.ota import sms
from opentsm.card.ota.key_reference import PacketKeys
from opentsm.card.ota.scp80 import CommandPacket, Policy, encode_command
from opentsm.card.ota.spi import Spi
from opentsm.card.scp.channel import SecurityLevel
from opentsm.fuzz import card_seeds, desk
from opentsm.fuzz.card_promises import WatchedCard
from opentsm.fuzz.mutation import frames, mutate_commands
from opentsm.fuzz.target import Run, Target

_MAX_COMMANDS = 12
_OTA_PROFILE = "uicc-scp80"
_OTA_SET = 0x12
_LEVELS = (
    SecurityLevel.NONE,
    SecurityLevel.C_MAC,
    SecurityLevel.C_MAC_C_DECRYPTION,
    SecurityLevel.FULL,
)


def _opened(profile: int) -> desk.Desk:
    names = desk.profiles()
    return desk.Desk.open(desk.stocked_image(names[profile % len(names)]))


def run_raw(data: bytes) -> None:
    """Send commands outside a session: profile, then framed commands."""
    opened = _opened(data[0] if data else 0)
    watched = WatchedCard(opened.card, opened.nvm)
    for raw in frames(data[1:])[:_MAX_COMMANDS]:
        watched.transmit(raw)
    watched.reopen()


def run_in_session(data: bytes) -> None:
    """Send commands inside a session with the issuer's domain: profile, level, then framed commands.

    A command that cannot be protected (or whose frame is no APDU) goes as it is.
    """
    head = data[:2].ljust(2, b"\0")
    opened = _opened(head[0])
    opened.authenticate(_LEVELS[head[1] % len(_LEVELS)])
    watched = WatchedCard(opened.card, opened.nvm)
    for raw in frames(data[2:])[:_MAX_COMMANDS]:
        watched.transmit(_protected(opened, raw))
    watched.reopen()


def _protected(opened: desk.Desk, raw: bytes) -> bytes:
    if opened.channel is None:
        return raw
    try:
        command = CommandApdu.parse(raw)
        # Outside the class of a security domain the channel protects nothing: applets and SELECT.
        return opened.channel.wrap(command).apdu.to_bytes() if command.cla & 0x80 else raw
    except CardError:
        return raw


def run_envelope(data: bytes) -> None:
    """Send toolkit commands: framed messages, each the TPDU of one ENVELOPE, or whole raw commands."""
    opened = desk.Desk.open(desk.stocked_image(_OTA_PROFILE))
    watched = WatchedCard(opened.card, opened.nvm)
    for number, part in enumerate(frames(data[1:])[:_MAX_COMMANDS]):
        whole = data[0] >> (number % 8) & 1
        watched.transmit(part if whole else _envelope(part))
    watched.reopen()


def _envelope(tpdu: bytes) -> bytes:
    try:
        return sms.envelope(tpdu).to_bytes()
    except (ApduError, OtaError):
        return bytes.fromhex("80C20000") + bytes((len(tpdu[:255]),)) + tpdu[:255]


def run_script(data: bytes) -> None:
    """Send remote APDU scripts under valid protection: first octet of the TAR, then framed scripts."""
    opened = desk.Desk.open(desk.stocked_image(_OTA_PROFILE))
    watched = WatchedCard(opened.card, opened.nvm)
    keys = PacketKeys(Secret(desk.KEY), Secret(desk.KEY))
    tar = bytes((data[0] if data else 0, 0, 0))
    for counter, script in enumerate(frames(data[1:])[:_MAX_COMMANDS], 1):
        packet = CommandPacket(Spi(), _OTA_SET, _OTA_SET, tar, counter, script[:1024])
        secured = encode_command(packet, keys, policy=Policy(aes_without_counter=True))
        parts = sms.split_packet(secured, reference=counter & 0xFF)
        for tpdu in sms.deliver_messages(parts, sms.Address("4912345678")):
            watched.transmit(sms.envelope(tpdu).to_bytes())
    watched.reopen()


def _prepared(run: Run) -> Callable[[], Run]:
    def prepare() -> Run:
        for name in desk.profiles():
            desk.stocked_image(name)
        return run

    return prepare


CARD_TARGETS = (
    Target(
        "card",
        "commands to a virtual card of each packaged profile",
        _prepared(run_raw),
        card_seeds.raw_inputs,
        mutate_commands(1),
    ),
    Target(
        "card-session",
        "commands inside a session with a card of each profile, at each level",
        _prepared(run_in_session),
        card_seeds.session_inputs,
        mutate_commands(2),
    ),
    Target(
        "card-envelope",
        "toolkit commands and short messages to a card that takes them",
        _prepared(run_envelope),
        card_seeds.envelope_inputs,
        mutate_commands(1),
    ),
    Target(
        "card-ota",
        "remote scripts under valid protection",
        _prepared(run_script),
        card_seeds.script_inputs,
        mutate_commands(1),
    ),
)
