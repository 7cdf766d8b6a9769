"""An OTA server for the card's tests: `opentsm.card.ota` makes packets, a virtual card takes ENVELOPEs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.ota import sms
from opentsm.card.ota.key_reference import PacketKeys
from opentsm.card.ota.remote_apdu import CompactResponse, encode_compact
from opentsm.card.ota.scp80 import (
    RESPONSE_HEADER,
    CommandPacket,
    Policy,
    ResponsePacket,
    decode_response,
    encode_command,
)
from opentsm.card.ota.spi import Spi
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile

KEYS = tuple(bytes([0x40 + n]) * 15 + bytes([n]) for n in range(3))
ISD_TAR = bytes(3)
AES_SET = 0x12
DES_SET = 0x25
OLD = Policy(aes_without_counter=True)
SERVER = sms.Address("4912345678")
READ_ISD = commands.get_status(0x80)
FULL = Spi()
SUBMIT = replace(FULL, por_submit=True)


def packet_keys(kic: bytes = KEYS[0], kid: bytes = KEYS[1]) -> PacketKeys:
    """The keys of one version."""
    return PacketKeys(Secret(kic), Secret(kid))


def make_card(changes: Mapping[str, object] | None = None, nvm: MemoryNvm | None = None) -> VirtualCard:
    """Issue a card with the factory key sets, and power it on."""
    source: dict[str, object] = {"base": "uicc-scp80", "name": "test", **(changes or {})}
    enc, mac, dek = map(Secret, KEYS)
    material = KeyMaterial(enc, mac, dek)
    card = VirtualCard.issue(load_profile(source), CardIdentity.from_serial(7), material, nvm or MemoryNvm())
    card.power_on()
    return card


@dataclass
class OtaHost:
    """The server of one card: its key set, and its counter, which moves before each packet."""

    card: VirtualCard
    kic: int = AES_SET
    kid: int = AES_SET
    keys: PacketKeys = field(default_factory=packet_keys)
    spi: Spi = FULL
    tar: bytes = ISD_TAR
    counter: int = 0
    command: CommandPacket | None = None
    sent: bytes = b""

    def packet(self, data: bytes, **changes: object) -> bytes:
        """Protect secured data with the next counter; `changes` replace fields of the packet."""
        self.counter += 1
        clear = CommandPacket(self.spi, self.kic, self.kid, self.tar, self.counter, data)
        self.command = replace(clear, **changes)  # type: ignore[arg-type]
        self.sent = encode_command(self.command, self.keys, policy=OLD)
        return self.sent

    def envelopes(self, packet: bytes) -> list[bytes]:
        """The ENVELOPE commands for a packet, in one short message or more."""
        parts = sms.split_packet(packet, reference=self.counter & 0xFF)
        return [sms.envelope(tpdu).to_bytes() for tpdu in sms.deliver_messages(parts, SERVER)]

    def raw(self, command: CommandApdu) -> ResponseApdu:
        """Send a command of the terminal."""
        return ResponseApdu.parse(self.card.transmit(command.to_bytes()))

    def deliver(self, packet: bytes) -> ResponseApdu:
        """Hand a packet to the card and return the answer to the last ENVELOPE."""
        answer = ResponseApdu(b"", 0)
        for command in self.envelopes(packet):
            answer = ResponseApdu.parse(self.card.transmit(command))
        return answer

    def opened(self, report: bytes) -> ResponsePacket:
        """Check and open a response packet."""
        assert self.command is not None
        return decode_response(report, self.command, self.keys)

    def por(self, data: bytes, **changes: object) -> ResponsePacket:
        """Send secured data and open the proof of receipt in the delivery report."""
        answer = self.deliver(self.packet(data, **changes))
        assert answer.sw == 0x9000, f"{answer.sw:04X}"
        assert answer.data.startswith(RESPONSE_HEADER)
        return self.opened(answer.data)

    def run(self, *apdus: CommandApdu) -> CompactResponse:
        """Run a compact script; the packet must be accepted."""
        por = self.por(encode_compact(apdus))
        assert por.status == 0, por.status_name
        return CompactResponse.parse(por.data)

    def ok(self, *apdus: CommandApdu) -> bytes:
        """Run a compact script that must succeed as a whole; return the data of the last command."""
        answer = self.run(*apdus)
        assert answer.executed == len(apdus)
        assert answer.sw >> 8 in {0x90, 0x61}, f"{answer.sw:04X}"
        return answer.data

    def fetch_all(self, waiting: int) -> list[bytes]:
        """Fetch the proactive commands that a status word 91xx announces; answer each; return the TPDUs."""
        tpdus = []
        while waiting >> 8 == 0x91:
            length = waiting & 0xFF
            fetched = self.raw(CommandApdu(0x80, 0x12, 0, 0, ne=length or 256))
            assert fetched.sw == 0x9000, f"{fetched.sw:04X}"
            tpdus.append(sms.open_proactive_message(fetched.data))
            done = bytes.fromhex("810301130002028281830100")
            waiting = self.raw(CommandApdu(0x80, 0x14, 0, 0, done)).sw
        assert waiting == 0x9000
        return tpdus

    def submitted(self, waiting: int) -> ResponsePacket:
        """Return the response packet that the card sends by SMS-SUBMIT."""
        tpdus = [sms.SmsTpdu.parse(one) for one in self.fetch_all(waiting)]
        assert all(tpdu.submit and tpdu.address == SERVER for tpdu in tpdus)
        kind, packet = sms.join_packet(tpdu.user_data for tpdu in tpdus)
        assert kind is sms.PacketKind.RESPONSE
        return self.opened(packet)
