"""The off-card entity of the campaigns: cards that hold something, and sessions with them.

All keys are published test values and all random numbers are counted, so that every input can be repeated.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.dgi import encode_dgi
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.card.gp import cap_builder, commands
from opentsm.card.gp.cap_components import Version
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.instructions import StoreDataEncryption, StoreDataStructure
from opentsm.card.gp.keys import Dek
from opentsm.card.gp.privileges import Privilege
from opentsm.card.scp.channel import SecureChannel, SecurityLevel, StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel, session_dek
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import VseProfile, load_profile, profile_names

KEY = bytes.fromhex("404142434445464748494A4B4C4D4E4F")
SD_PACKAGE = Aid.from_hex("A0000001515350")
SD_MODULE = Aid.from_hex("A000000151535041")
DOMAIN = Aid.from_hex("A0000001510000AA01")
BANK, PURSE, BADGE, PIN = (Aid.from_hex(f"F04F54534D0{n}0001") for n in (1, 2, 3, 4))
_DEFAULT_SCP02_OPTION = 0x15
_BLOCK = 200


class CountedRandom:
    """A card's random numbers: never the same twice on one card, the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, length: int) -> bytes:
        """Return the next numbers."""
        self._count += 1
        return hashlib.shake_128(self._count.to_bytes(4, "big")).digest(length)


@dataclass(slots=True)
class Desk:
    """One card and the session with it."""

    card: VirtualCard
    nvm: MemoryNvm
    channel: SecureChannel | None = None
    dek: Dek | None = None

    @classmethod
    def issue(cls, profile: VseProfile) -> "Desk":
        """Make a new card."""
        nvm = MemoryNvm()
        keys = KeyMaterial(Secret(KEY), Secret(KEY), Secret(KEY))
        identity = CardIdentity.from_serial(7)
        card = VirtualCard.issue(profile, identity, keys, nvm, random=CountedRandom())
        card.power_on()
        return cls(card, nvm)

    @classmethod
    def open(cls, image: bytes) -> "Desk":
        """Open the card with this image."""
        nvm = MemoryNvm(image)
        card = VirtualCard.open(nvm, random=CountedRandom())
        card.power_on()
        return cls(card, nvm)

    def authenticate(self, level: SecurityLevel) -> bool:
        """Open a session; tell whether the card took it."""
        protocol, option = self.card.profile.channels[0]
        challenge = bytes(16 if protocol == 3 and option & 1 else 8)
        answer = self.raw(commands.initialize_update(0, challenge))
        if answer.sw != 0x9000:
            return False
        scp02_i = option if protocol == 2 else _DEFAULT_SCP02_OPTION
        init = parse_initialize_update(answer.data, scp02_i=scp02_i)
        static = StaticKeys(Secret(KEY), Secret(KEY), Secret(KEY))
        keys = derive_session_keys(static, init, challenge)
        self.channel = open_channel(keys, init, challenge)
        self.dek = session_dek(keys, init)
        try:
            opening = self.channel.external_authenticate(level)
        except CardError:
            return False
        return self.raw(opening).sw == 0x9000

    def raw(self, command: CommandApdu) -> ResponseApdu:
        """Send as it is; what a T=0 card keeps ready (61xx) is fetched (ISO/IEC 7816-3 §12.2.1)."""
        answer = ResponseApdu.parse(self.card.transmit(command.to_bytes()))
        if answer.sw1 != 0x61 or answer.data:
            return answer
        fetch = CommandApdu(0x00, 0xC0, 0x00, 0x00, ne=answer.sw2 or 256)
        return ResponseApdu.parse(self.card.transmit(fetch.to_bytes()))

    def send(self, command: CommandApdu) -> int:
        """Send under the session's protection; return the status word."""
        return self.raw(self.channel.wrap(command).apdu if self.channel else command).sw


def load_file(package: bytes, module: bytes) -> bytes:
    """Return a load file data block with one applet."""
    applet = cap_builder.AppletSpec(Aid(module), "Applet")
    spec = cap_builder.CapSpec(Aid(package), "fuzz", Version(1, 0), (applet,))
    return cap_builder.build_raw(spec)


def deployment(instance: Aid) -> list[CommandApdu]:
    """Return the commands that load a package and install its applet; the AIDs count their levels."""
    package, module = Aid(instance[:6]), Aid(instance[:6] + b"\x01")
    privileges = Privilege.GLOBAL_SERVICE if instance == PIN else Privilege.NONE
    return [
        commands.install_for_load(package, None),
        *commands.load_blocks(load_file(package, module), block_size=_BLOCK),
        commands.install_for_install(
            package, module, instance, privileges, application_parameters(b""), make_selectable=True
        ),
    ]


_PIN_VALUE = b"\x01\x041234".ljust(16, b"\x00")
_PDOL = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")
_PERSONAL: dict[Aid, tuple[list[tuple[int, bytes]], list[int]]] = {
    BANK: (
        [
            (0x9103, encode_tlv(0xA5, b"\x50\x04TEST\x87\x01\x01" + encode_tlv(0x9F38, _PDOL))),
            (0xB104, bytes.fromhex("82021800 9408 08010100 10010100 5F340100")),
            (0x9200, bytes.fromhex("06011203A0B800")),
            (0x0101, bytes.fromhex("7013 5711 1234567890123456D3012201000000000F")),
            (0x0201, bytes.fromhex("7014 5A08 1234567890123456 5F3401 00 5F2403 301231")),
            (0xDF01, b"bank-1"),
        ],
        [0x8000],
    ),
    PURSE: (
        [
            (0x5001, bytes.fromhex("01010978")),
            (0x5002, bytes.fromhex("8600000012345678")),
            (0x5003, b"CITY PASS"),
            (0x5004, (100_000).to_bytes(4, "big")),
            (0xDF01, b"purse-1"),
        ],
        [0x8001, 0x8002, 0x8003],
    ),
    BADGE: (
        [
            (0x6001, b"\x0b\xad\x6e\x01"),
            (0x6002, b"\x03"),
            (0x6003, b"FLOOR-3"),
            (0x6004, b"\x11"),
            (0xDF01, b"badge-1"),
        ],
        [0x8001, 0x8002],
    ),
    PIN: ([(0x7001, b"\x11"), (0x7002, b"\x03"), (0xDF01, b"pin-1")], [0x8001]),
}


def personalization(instance: Aid, dek: Dek) -> list[CommandApdu]:
    """Return the commands that personalise an applet of the demo."""
    plain, keys = _PERSONAL[instance]
    groups = b"".join(encode_dgi(*group) for group in plain)
    value = _PIN_VALUE if instance == PIN else KEY
    secret = b"".join(encode_dgi(group, dek.encrypt(value)) for group in keys)
    encrypted, dgi = StoreDataEncryption.ENCRYPTED, StoreDataStructure.DGI
    return [
        commands.install_for_personalization(instance),
        commands.store_data(groups, 0, last=False, structure=dgi),
        commands.store_data(secret, 1, last=False, encryption=encrypted, structure=dgi),
        commands.store_data(encode_dgi(0x7FFF, b""), 2, last=True, structure=dgi),
    ]


def new_domain() -> CommandApdu:
    """Return the command that makes a security domain with Authorised Management."""
    privileges = Privilege.SECURITY_DOMAIN | Privilege.AUTHORIZED_MANAGEMENT | Privilege.TRUSTED_PATH
    parameters = application_parameters(b"")
    return commands.install_for_install(
        SD_PACKAGE, SD_MODULE, DOMAIN, privileges, parameters, make_selectable=True
    )


@cache
def stocked_image(name: str) -> bytes:
    """Return the image of a card of this profile that holds applets, personalised, and a security domain."""
    desk = Desk.issue(load_profile(name))
    if desk.authenticate(SecurityLevel.C_MAC) and desk.dek is not None:
        for instance in _PERSONAL:
            for command in (*deployment(instance), *personalization(instance, desk.dek)):
                desk.send(command)
        desk.send(new_domain())
    image = desk.nvm.load()
    if image is None:
        raise ValueError("a card has an image")
    return image


@cache
def profiles() -> tuple[str, ...]:
    """Return the packaged profiles; an input names one by its place here."""
    return tuple(sorted(profile_names()))
