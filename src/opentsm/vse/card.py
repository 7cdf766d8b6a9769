"""The virtual secure element: power, commands in, answers out.

`transmit` never raises for what comes in: bad input has a status word. Each command changes the saved image
as a whole or not at all.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import ApduError
from opentsm.vse import factory
from opentsm.vse.domain_commands import process
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.faults import FaultPlan, FaultyNvm, LostAnswerError, TornError
from opentsm.vse.lifecycle import CardState
from opentsm.vse.nvm import Nvm
from opentsm.vse.profiles import VseProfile, load_profile
from opentsm.vse.selection import NoMatchError, implicit_application, select
from opentsm.vse.state import CardImage, decode_image, encode_image
from opentsm.vse.status import (
    SW_CHANNEL_NOT_OPEN,
    SW_CLA_NOT_SUPPORTED,
    SW_CONDITIONS,
    SW_INTERNAL,
    SW_WRONG_LENGTH,
    StatusError,
)

Random = Callable[[int], bytes]

_SELECT: Final = 0xA4
_BY_NAME: Final = 0x04
_GET_RESPONSE: Final = 0xC0
_SHORT_RESPONSE: Final = 256


@dataclass(frozen=True, slots=True)
class CardIdentity:
    """What tells one card from others.

    Args:
        iin: issuer identification number, tag 42.
        cin: card image number, tag 45.
        kdd: 10 bytes of key diversification data.
        cplc: 42 bytes of card production life cycle data.
    """

    iin: bytes
    cin: bytes
    kdd: bytes
    cplc: bytes

    def __post_init__(self) -> None:
        if len(self.kdd) != 10 or len(self.cplc) != 42:
            raise ValueError("key diversification data has 10 bytes, CPLC has 42")

    @classmethod
    def from_serial(cls, serial: int) -> "CardIdentity":
        """Return the identity of the card with this serial number (0..2^32-1)."""
        number = serial.to_bytes(4, "big")
        kdd = b"\x00\x00" + number + b"\x4f\x54\x00\x01"
        cplc = bytes(12) + number + bytes(26)
        return cls(bytes.fromhex("F04F5453"), bytes(4) + number, kdd, cplc)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """The first key set of the issuer security domain; three keys of one length (16, 24 or 32 bytes)."""

    enc: Secret
    mac: Secret
    dek: Secret
    kvn: int | None = None


class VirtualCard:
    """One card. Make it with `issue` or `open`, then power it on.

    Args:
        nvm: its non-volatile memory, which holds an image.
        random: its random number generator.
    """

    def __init__(self, nvm: Nvm, *, random: Random = secrets.token_bytes) -> None:
        self._nvm = FaultyNvm(nvm)
        self._random = random
        self._environment: Environment | None = None
        self._channel: LogicalChannel | None = None
        self._profile = load_profile(self._image().profile)

    @classmethod
    def issue(
        cls,
        profile: VseProfile,
        identity: CardIdentity,
        isd_keys: KeyMaterial,
        nvm: Nvm,
        *,
        random: Random = secrets.token_bytes,
    ) -> "VirtualCard":
        """Write the factory image of a new card into `nvm`."""
        nvm.save(encode_image(factory.build_image(profile, identity, isd_keys, random)))
        return cls(nvm, random=random)

    @classmethod
    def open(cls, nvm: Nvm, *, random: Random = secrets.token_bytes) -> "VirtualCard":
        """Return the card whose image is in `nvm`.

        Raises:
            ValueError: there is no card in it.
        """
        return cls(nvm, random=random)

    @property
    def profile(self) -> VseProfile:
        """The kind of card."""
        return self._profile

    @property
    def is_powered(self) -> bool:
        """Tell whether the card has power."""
        return self._environment is not None

    def image(self) -> CardImage:
        """Return the content as it was saved last (a copy)."""
        return self._image()

    def _image(self) -> CardImage:
        saved = self._nvm.load()
        if saved is None:
            raise ValueError("there is no card in this memory")
        return decode_image(saved)

    def arm(self, plan: FaultPlan) -> None:
        """Let the faults of `plan` happen from now on; an empty plan ends them."""
        self._nvm.plan = plan

    def power_on(self) -> bytes:
        """Reset the card and return its ATR."""
        environment = Environment(self._image(), self._profile, self._nvm, self._random)
        self._environment = environment
        self._channel = LogicalChannel(0, implicit_application(environment.image))
        return bytes.fromhex(self._profile.atr)

    def power_off(self) -> None:
        """Take the power away: what was not saved is gone."""
        self._environment = self._channel = None

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command APDU.

        Raises:
            TornError: only when a fault is armed.
        """
        if self._environment is None or self._channel is None:
            return ResponseApdu(b"", SW_INTERNAL).to_bytes()
        try:
            self._nvm.plan.before_apdu()
            answer = self._answer(self._environment, self._channel, raw)
            self._nvm.plan.after_apdu()
        except LostAnswerError:
            raise
        except TornError:
            self.power_off()
            raise
        return answer.to_bytes()

    def _answer(self, environment: Environment, channel: LogicalChannel, raw: bytes) -> ResponseApdu:
        try:
            answer = self._fit(channel, raw, _dispatch(environment, channel, raw))
            environment.commit()
        except StatusError as refusal:
            environment.commit()
            return ResponseApdu(refusal.data, refusal.sw)
        except TornError:
            raise
        except Exception:  # a card does not crash: it forgets what it was doing and says so
            self.power_on()
            return ResponseApdu(b"", SW_INTERNAL)
        return answer

    def _fit(self, channel: LogicalChannel, raw: bytes, answer: ResponseApdu) -> ResponseApdu:
        """Hand out a response longer than a short APDU in parts (61xx, GET RESPONSE)."""
        extended = len(raw) > 6 and raw[4] == 0
        if len(answer.data) <= _SHORT_RESPONSE or extended:
            return answer
        channel.answer_rest = answer.data[_SHORT_RESPONSE:]
        channel.answer_sw = answer.sw
        return ResponseApdu(answer.data[:_SHORT_RESPONSE], 0x6100 | min(len(channel.answer_rest), 256) & 0xFF)


def _dispatch(environment: Environment, channel: LogicalChannel, raw: bytes) -> ResponseApdu:
    try:
        command = CommandApdu.parse(raw)
    except ApduError:
        raise StatusError(SW_WRONG_LENGTH) from None
    if command.extended and not environment.profile.extended_length:
        raise StatusError(SW_WRONG_LENGTH)
    if command.cla & 0xEF == 0 and command.ins == _GET_RESPONSE and channel.answer_rest:
        return _next_part(channel, command)
    channel.answer_rest = b""
    _require_basic_channel(channel, command)
    if command.cla & 0x90 == 0 and command.ins == _SELECT and command.p1 == _BY_NAME:
        try:
            return select(environment, channel, command)
        except NoMatchError:
            pass
    return _to_selected(environment, channel, command)


def _next_part(channel: LogicalChannel, command: CommandApdu) -> ResponseApdu:
    length = min(command.ne or _SHORT_RESPONSE, _SHORT_RESPONSE)
    data, channel.answer_rest = channel.answer_rest[:length], channel.answer_rest[length:]
    rest = len(channel.answer_rest)
    return ResponseApdu(data, 0x6100 | min(rest, 256) & 0xFF if rest else channel.answer_sw)


def _require_basic_channel(channel: LogicalChannel, command: CommandApdu) -> None:
    """§11.1.4: this card has only the basic channel; an unknown class is the application's own affair."""
    if command.cla == 0xFF:
        raise StatusError(SW_CLA_NOT_SUPPORTED)
    further = command.cla & 0x40
    if further or command.cla & 0x03:
        raise StatusError(SW_CHANNEL_NOT_OPEN)
    if command.cla & 0x18 and channel.selected.domain is not None:
        raise StatusError(SW_CLA_NOT_SUPPORTED)


def _to_selected(environment: Environment, channel: LogicalChannel, command: CommandApdu) -> ResponseApdu:
    selected = channel.selected
    if selected.domain is not None:
        return process(environment, channel, selected, command)
    if environment.image.isd.state == CardState.TERMINATED:
        raise StatusError(SW_CONDITIONS)
    return environment.applet(selected).process(command)
