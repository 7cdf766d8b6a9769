"""An off-card entity for the card's tests: `opentsm.card` drives a virtual card in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv, find, parse_tlv, parse_tlvs
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.instructions import StoreDataStructure
from opentsm.card.gp.keys import (
    AesLayout,
    Dek,
    KeyType,
    StaticKeys,
    key_set_control,
    put_key_fields,
    store_data_keys,
)
from opentsm.card.gp.privileges import Privilege
from opentsm.card.scp.channel import (
    InitializeUpdateResponse,
    SecureChannel,
    SecurityLevel,
    parse_initialize_update,
)
from opentsm.card.scp.session import derive_session_keys, open_channel, session_dek
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

ISD = Aid.from_hex("A000000151000000")
SD_PACKAGE = Aid.from_hex("A0000001515350")
SD_MODULE = Aid.from_hex("A000000151535041")
SSD = Aid.from_hex("A0000001510000AA01")
SSD2 = Aid.from_hex("A0000001510000AA02")
PACKAGE = Aid.from_hex("F001020304")
MODULE = Aid.from_hex("F00102030401")
INSTANCE = Aid.from_hex("F0010203040101")
FACTORY_KEYS = StaticKeys(*(Secret(bytes([0x40 + n]) * 16) for n in range(3)))
SSD_PRIVILEGES = Privilege.SECURITY_DOMAIN | Privilege.TRUSTED_PATH
NO_PRIVILEGES = Privilege(0)


def make_keys(seed: int, length: int = 16) -> StaticKeys:
    """Return three different keys."""
    return StaticKeys(*(Secret(bytes([seed + n]) * length) for n in range(3)))


def random_bytes(length: int) -> bytes:
    """A card's random numbers, always the same."""
    return bytes(range(0x11, 0x11 + length))


def make_card(
    profile: str | dict[str, object] = "scp03-i70",
    *,
    keys: StaticKeys = FACTORY_KEYS,
    nvm: MemoryNvm | None = None,
    random: Callable[[int], bytes] = random_bytes,
    **changes: object,
) -> VirtualCard:
    """Issue a card and power it on."""
    if changes:
        profile = (
            {"base": profile, "name": "test", **changes} if isinstance(profile, str) else profile | changes
        )
    material = KeyMaterial(keys.enc, keys.mac, keys.dek)
    identity = CardIdentity.from_serial(7)
    card = VirtualCard.issue(load_profile(profile), identity, material, nvm or MemoryNvm(), random=random)
    card.power_on()
    return card


def component(tag: int, body: bytes) -> bytes:
    """One CAP component."""
    return bytes([tag]) + len(body).to_bytes(2, "big") + body


def load_file(
    package: bytes = PACKAGE,
    modules: tuple[bytes, ...] = (MODULE,),
    *,
    size: int = 300,
    imports: tuple[bytes, ...] = (),
) -> bytes:
    """A load file data block with the components that the card reads, filled up to about `size` bytes."""
    header = bytes.fromhex("DECAFFED") + bytes([1, 2, 4, 3, 1, len(package)]) + package
    applets = bytes([len(modules)]) + b"".join(bytes([len(m)]) + m + b"\x00\x10" for m in modules)
    imported = bytes([len(imports)]) + b"".join(bytes([0, 1, len(i)]) + i for i in imports)
    parts = component(1, header) + component(4, imported) + (component(3, applets) if modules else b"")
    return parts + component(7, bytes(max(size - len(parts) - 3, 1)))


@dataclass
class CardHost:
    """Talks to one card, inside a secure channel when one is open."""

    card: VirtualCard
    channel: SecureChannel | None = None
    dek: Dek | None = None
    init: InitializeUpdateResponse | None = None
    host_challenge: bytes = field(default=bytes(range(8)))

    def raw(self, apdu: CommandApdu | bytes | str) -> ResponseApdu:
        """Send as it is."""
        data = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu
        data = data.to_bytes() if isinstance(data, CommandApdu) else data
        return ResponseApdu.parse(self.card.transmit(data))

    def send(self, command: CommandApdu) -> ResponseApdu:
        """Send under the session's protection; check the answer's."""
        if self.channel is None:
            return self.raw(command)
        wrapped = self.channel.wrap(command)
        return self.channel.unwrap(self.whole(self.raw(wrapped.apdu)), wrapped.link)

    def whole(self, answer: ResponseApdu) -> ResponseApdu:
        """Fetch the rest of an answer longer than 256 bytes."""
        data = answer.data
        while answer.sw >> 8 == 0x61:
            answer = self.raw("00C0000000")
            data += answer.data
        return ResponseApdu(data, answer.sw)

    def sw(self, command: CommandApdu) -> int:
        """Send and return the status word."""
        return self.send(command).sw

    def ok(self, command: CommandApdu) -> bytes:
        """Send, expect 9000 and return the data."""
        answer = self.send(command)
        assert answer.sw == 0x9000, f"{command.to_bytes().hex()}: {answer.sw:04X}"
        return answer.data

    def select(self, aid: Aid | None = None) -> ResponseApdu:
        """Select outside any session."""
        self.channel = None
        return self.raw(commands.select(aid))

    def initialize(self, keys: StaticKeys, kvn: int = 0, *, i: int = 0x15) -> None:
        """INITIALIZE UPDATE, and the host's side of the session."""
        answer = self.raw(commands.initialize_update(kvn, self.host_challenge))
        assert answer.sw == 0x9000, f"{answer.sw:04X}"
        self.init = parse_initialize_update(answer.data, scp02_i=i)
        session = derive_session_keys(keys, self.init, self.host_challenge)
        self.channel = open_channel(session, self.init, self.host_challenge)
        self.dek = session_dek(session, self.init)

    def authenticate(
        self, keys: StaticKeys = FACTORY_KEYS, *, level: int = 0x33, kvn: int = 0, i: int = 0x15
    ) -> None:
        """Open a session with the selected security domain."""
        self.initialize(keys, kvn, i=i)
        assert self.channel is not None
        answer = self.raw(self.channel.external_authenticate(SecurityLevel(level)))
        assert answer.sw == 0x9000, f"{answer.sw:04X}"

    def put_keys(
        self,
        keys: StaticKeys,
        kvn: int = 0x31,
        *,
        replace: int = 0,
        key_type: KeyType = KeyType.AES,
        layout: AesLayout = AesLayout.INNER_LENGTH,
    ) -> ResponseApdu:
        """PUT KEY of a whole set."""
        assert self.dek is not None
        fields = put_key_fields(keys, key_type, self.dek, layout)
        return self.send(commands.put_key(kvn, fields, replace_kvn=replace))

    def key_group(self, keys: StaticKeys, kvn: int = 0x31, key_type: KeyType = KeyType.AES) -> bytes:
        """The data of STORE DATA that carries a key set."""
        assert self.dek is not None
        controls = key_set_control(kvn, key_type)
        pairs = zip(controls, (keys.enc, keys.mac, keys.dek), strict=True)
        return store_data_keys(list(pairs), self.dek)

    def create_domain(
        self, aid: Aid = SSD, privileges: Privilege = SSD_PRIVILEGES, *, parameters: bytes = b""
    ) -> int:
        """INSTALL [for install and make selectable] a security domain."""
        command = commands.install_for_install(
            SD_PACKAGE, SD_MODULE, aid, privileges, application_parameters(parameters), make_selectable=True
        )
        return self.sw(command)

    def forward_keys(self, aid: Aid, keys: StaticKeys, kvn: int = 0x31) -> None:
        """Give a security domain its first keys through the one above it."""
        self.ok(commands.install_for_personalization(aid))
        block = self.key_group(keys, kvn)
        structure = StoreDataStructure.DGI
        self.ok(commands.store_data(block, 0, last=True, structure=structure))

    def load(
        self,
        block: bytes | None = None,
        *,
        package: Aid = PACKAGE,
        sd: Aid | None = None,
        hash: bytes = b"",
        block_size: int = 200,
    ) -> int:
        """INSTALL [for load] and LOAD; return the first status word that is not 9000, or 9000."""
        sw = self.sw(commands.install_for_load(package, sd, hash=hash))
        for command in commands.load_blocks(load_file() if block is None else block, block_size=block_size):
            if sw != 0x9000:
                break
            sw = self.sw(command)
        return sw

    def install(
        self,
        instance: Aid = INSTANCE,
        *,
        module: Aid = MODULE,
        package: Aid = PACKAGE,
        privileges: Privilege = NO_PRIVILEGES,
        parameters: bytes = b"",
        selectable: bool = True,
    ) -> int:
        """INSTALL [for install], usually with make selectable."""
        value = application_parameters(parameters)
        command = commands.install_for_install(
            package, module, instance, privileges, value, make_selectable=selectable
        )
        return self.sw(command)

    def status(self, p1: int, prefix: bytes = b"") -> tuple[tuple[Tlv, ...], ...]:
        """GET STATUS with continuation; the contents of all E3 templates."""
        answer = self.send(commands.get_status(p1, aid_prefix=prefix))
        data = answer.data
        while answer.sw == 0x6310:
            answer = self.send(commands.get_status(p1, aid_prefix=prefix, next=True))
            data += answer.data
        if answer.sw == 0x6A88:
            return ()
        assert answer.sw == 0x9000, f"{answer.sw:04X}"
        return tuple(parse_tlvs(entry.value) for entry in parse_tlvs(data))

    def states(self, p1: int = 0x40) -> dict[bytes, int]:
        """AID and life-cycle state of what GET STATUS lists."""
        entries = self.status(p1)
        return {find(e, 0x4F) or b"": (find(e, 0x9F70) or b"\0")[0] for e in entries}

    def field_of(self, aid: bytes, tag: int, p1: int = 0x40) -> bytes | None:
        """One data object of the registry entry of `aid`."""
        return next((find(e, tag) for e in self.status(p1) if find(e, 0x4F) == aid), None)

    def free_memory(self) -> int:
        """Free non-volatile memory as the card reports it."""
        value = parse_tlv(self.ok(commands.get_data(0xFF21))).value
        return int.from_bytes(find(parse_tlvs(value), 0x82) or b"", "big")


def host_with_session(card: VirtualCard | None = None, *, level: int = 0x33) -> CardHost:
    """A host in a session with the issuer security domain of a new card."""
    host = CardHost(card or make_card())
    host.authenticate(level=level)
    return host


def privileged_domain(host: CardHost, aid: Aid, privileges: Privilege, keys: StaticKeys) -> None:
    """Make a PERSONALIZED security domain below the issuer's."""
    assert host.create_domain(aid, SSD_PRIVILEGES | privileges) == 0x9000
    host.forward_keys(aid, keys)


def key_template(value: bytes) -> bytes:
    """GET DATA E0 as it is expected."""
    return encode_tlv(0xE0, value)
