"""The receiving entity: from a command packet to remote APDUs, and to the proof of receipt.

The order is fixed: TAR, minimum security, keys, deciphering, checksum, counter. Then the counter is written
to the non-volatile memory, and only then is anything carried out: a packet never runs twice, whatever the
power does.
Source: ETSI TS 102 225 §5; ETSI TS 102 226 §8 (remote application management); GPCS 2.3.1 §10.4.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.vse.domain_commands import execute
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.keysets import CHANNEL_KIDS, is_owned, is_remote_version
from opentsm.vse.lifecycle import CardState, is_locked, is_selectable
from opentsm.vse.ota.counter import HIGHER, NEXT, accept_counter
from opentsm.vse.ota.packet import (
    Header,
    OpenedPacket,
    PacketCiphers,
    PacketRefusedError,
    ResponseSeal,
    Rsc,
    cipher_for,
    clear_seal,
    open_packet,
    read_first_part,
    read_header,
    response_seal,
)
from opentsm.vse.ota.registration import find_by_tar, is_enough
from opentsm.vse.ota.remote_session import remote_session
from opentsm.vse.ota.scripts import ScriptChain, run_script
from opentsm.vse.state import SYMMETRIC_AES, Instance, Key
from opentsm.vse.status import SW_CLA_NOT_SUPPORTED, StatusError

_KIC, _KID, _KIK = CHANNEL_KIDS
_INTEGRITY_CC: Final = 2
_ALWAYS: Final = 1
_ON_ERROR: Final = 2
_GET_RESPONSE: Final = 0xC0
_FOREIGN_CLASS_BITS: Final = 0x7F
_SHORT: Final = 256


@dataclass(slots=True)
class _Context:
    """What an entity remembers from one packet to the next while the card has power."""

    channel: LogicalChannel
    owner: Instance
    chain: ScriptChain = field(default_factory=ScriptChain)
    waiting: ResponseApdu | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """How a packet is answered: what it asked for, the protection it has earned, its counter."""

    header: Header
    seal: ResponseSeal
    counter: int = 0

    def packet(self, code: Rsc, data: bytes = b"") -> bytes:
        """Return a response packet; the counter is that of the command (TS 102 225 §5.2)."""
        return self.seal.seal(self.counter.to_bytes(5, "big"), code, data)

    def receipt(self, code: Rsc, data: bytes = b"", executed: int = 0) -> "Receipt":
        """Return the outcome, with a response packet if one is wanted."""
        wanted = self.header.response_wanted
        send = wanted == _ALWAYS or (wanted == _ON_ERROR and code is not Rsc.OK)
        return Receipt(self, code, self.packet(code, data) if send else None, executed)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a packet.

    Attributes:
        response: the response packet, or None when none is wanted.
        commands: number of remote APDUs that were carried out.
    """

    reply: Reply
    code: Rsc
    response: bytes | None
    commands: int


@dataclass(frozen=True, slots=True)
class _KeySet:
    """The key set that KIc and KID name, and who owns it."""

    owner: Instance
    counter_version: int
    dek: Key | None
    ciphers: PacketCiphers


class Receiver:
    """Takes command packets; volatile but for what it writes to the image.

    Args:
        environment: the card.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._contexts: dict[bytes, _Context] = {}

    def receive(self, packet: bytes) -> Receipt:
        """Carry out one command packet.

        Raises:
            MalformedPacketError: it is none, so that nobody can be answered.
        """
        header = read_header(packet)
        reply = Reply(header, clear_seal(header))
        try:
            target = self._target(header)
            keys = self._key_set(header, target)
            wanted = response_seal(header, keys.ciphers)
            opened = open_packet(header, keys.ciphers)
            if header.integrity == _INTEGRITY_CC:
                reply = Reply(header, wanted, opened.counter)
            self._keep_counter(header, keys, opened)
        except PacketRefusedError as refusal:
            return reply.receipt(refusal.code)
        data, executed = self._run(header, target, keys, opened)
        return Reply(header, wanted, opened.counter).receipt(Rsc.OK, data, executed)

    def refuse(self, first: bytes, code: Rsc) -> Receipt:
        """Answer a packet of which only the first part is held, without protection.

        Raises:
            MalformedPacketError: not even its header is there.
        """
        header = read_first_part(first)
        return Reply(header, clear_seal(header)).receipt(code)

    def _target(self, header: Header) -> Instance:
        """Find who is addressed, and whether the packet is good enough for it; nothing is deciphered yet."""
        environment = self._environment
        image, profile = environment.image, environment.profile
        target = find_by_tar(image, profile, header.tar)
        if target is None or not _is_reachable(environment, target):
            raise PacketRefusedError(Rsc.TAR_UNKNOWN)
        minimum = target.minimum_security
        if not is_enough(header.spi1, profile.ota_minimum_security if minimum is None else minimum):
            raise PacketRefusedError(Rsc.LEVEL)
        return target

    def _key_set(self, header: Header, target: Instance) -> _KeySet:
        """Find the keys that KIc and KID name, at the entity's security domain or the nearest one above."""
        kic_version, kid_version = header.kic >> 4, header.kid >> 4
        uses_kic = header.ciphered or bool(header.spi2 & 0x10)
        uses_kid = _INTEGRITY_CC in {header.integrity, header.spi2 >> 2 & 0x03}
        version = kid_version if uses_kid else kic_version
        owner = self._owner(target, version)
        data = owner.domain_data()
        kic, kid = data.find_key(_KIC, kic_version), data.find_key(_KID, kid_version)
        keys = [key for key, used in ((kic, uses_kic), (kid, uses_kid)) if used and key is not None]
        self._check_replay_rule(header, keys)
        ciphers = PacketCiphers(
            cipher_for(header.kic, kic) if uses_kic else None,
            cipher_for(header.kid, kid) if uses_kid else None,
        )
        dek = data.find_key(_KIK, kic_version if uses_kic else kid_version)
        return _KeySet(owner, version, dek, ciphers)

    def _owner(self, target: Instance, version: int) -> Instance:
        """Return whose keys count; a security domain that is somebody's is not opened by an ancestor's."""
        image, inherit = self._environment.image, self._environment.profile.inherit_keys
        candidates = [target, *image.ancestors(target)]
        domains = [entry for entry in candidates if entry.domain is not None]
        owner = next((entry for entry in domains if not inherit or is_owned(entry.domain_data())), image.isd)
        data = owner.domain_data()
        known = is_remote_version(data, version) and data.find_key(_KID, version)
        if version and not known:
            raise PacketRefusedError(Rsc.UNIDENTIFIED)
        return owner

    def _check_replay_rule(self, header: Header, keys: list[Key]) -> None:
        """TS 102 225 §5.1.2: AES goes with a counter that is checked."""
        uses_aes = any(key.type == SYMMETRIC_AES for key in keys)
        checked = header.counter_mode in {HIGHER, NEXT}
        if uses_aes and not checked and self._environment.profile.ota_aes_counter_required:
            raise PacketRefusedError(Rsc.LEVEL)

    def _keep_counter(self, header: Header, keys: _KeySet, opened: OpenedPacket) -> None:
        """Check the counter; write that of an authentic packet before anything is carried out."""
        if header.counter_mode not in {HIGHER, NEXT}:
            return
        if not keys.counter_version:
            raise PacketRefusedError(Rsc.UNIDENTIFIED)
        sequence = keys.owner.domain_data().sequence
        kept = sequence.get(keys.counter_version, 0)
        window = self._environment.profile.ota_counter_window
        accepted = accept_counter(header.counter_mode, kept, opened.counter, window)
        if header.integrity != _INTEGRITY_CC:
            # Anybody can send it: it must not push the counter of those who hold the keys to its end.
            return
        sequence[keys.counter_version] = accepted
        self._environment.touch()
        self._environment.commit()

    def _run(
        self, header: Header, target: Instance, keys: _KeySet, opened: OpenedPacket
    ) -> tuple[bytes, int]:
        if not opened.data:
            return b"", 0
        context = self._context(target, keys.owner)
        context.channel.session = remote_session(header, keys.owner, keys.dek)
        count = _Count()
        try:
            run = partial(self._execute, target, context, count)
            return run_script(opened.data, run, context.chain), count.value
        finally:
            context.channel.session = None

    def _context(self, target: Instance, owner: Instance) -> _Context:
        """Return what is remembered; another owner of keys does not go on where the first one stopped."""
        context = self._contexts.get(target.aid)
        if context is None or context.channel.selected is not target or context.owner is not owner:
            context = self._contexts[target.aid] = _Context(LogicalChannel(0, target), owner)
        return context

    def _execute(
        self, target: Instance, context: _Context, count: "_Count", command: CommandApdu
    ) -> ResponseApdu:
        """Carry out one command; each is saved on its own, as commands of a reader are."""
        count.value += 1
        waiting, context.waiting = context.waiting, None
        if waiting and command.ins == _GET_RESPONSE and not command.cla & _FOREIGN_CLASS_BITS:
            return _hand_out(context, waiting, command.ne or _SHORT)
        try:
            answer = self._answer(target, context, command)
        except StatusError as refusal:
            answer = ResponseApdu(refusal.data, refusal.sw)
        self._environment.commit()
        if not answer.data or answer.sw >> 8 not in {0x90, 0x62, 0x63}:
            return answer
        return _hand_out(context, answer, command.ne or 0)

    def _answer(self, target: Instance, context: _Context, command: CommandApdu) -> ResponseApdu:
        if target.domain is None:
            return self._environment.applet(target).process(command)
        if command.cla & _FOREIGN_CLASS_BITS:
            raise StatusError(SW_CLA_NOT_SUPPORTED)
        return execute(self._environment, context.channel, target, command)


@dataclass(slots=True)
class _Count:
    value: int = 0


def _hand_out(context: _Context, answer: ResponseApdu, length: int) -> ResponseApdu:
    """Return as much as was asked for; the rest waits for GET RESPONSE (61xx)."""
    rest = answer.data[length:]
    if not rest:
        return answer
    context.waiting = ResponseApdu(rest, answer.sw)
    return ResponseApdu(answer.data[:length], 0x6100 | min(len(rest), _SHORT) & 0xFF)


def _is_reachable(environment: Environment, target: Instance) -> bool:
    state = environment.image.isd.state
    if state == CardState.TERMINATED:
        return False
    if target is environment.image.isd:
        return True
    if state == CardState.CARD_LOCKED:
        return False
    return not is_locked(target.state) if target.domain is not None else is_selectable(target.state)
