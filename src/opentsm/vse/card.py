"""The virtual secure element: power, commands in, answers out.

`transmit` never raises for what comes in: bad input has a status word. Each command changes the saved image
as a whole or not at all.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.crypto.secret import Secret
from opentsm.vse import factory
from opentsm.vse.applet_channel import AppletChannel
from opentsm.vse.dispatch import chains, dispatch
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.faults import FaultPlan, FaultyNvm, LostAnswerError, TornError
from opentsm.vse.nvm import Nvm
from opentsm.vse.ota.toolkit import open_toolkit
from opentsm.vse.profiles import VseProfile, shared_profile
from opentsm.vse.selection import implicit_application
from opentsm.vse.state import CardImage, decode_image, encode_image
from opentsm.vse.status import SW_INTERNAL, StatusError
from opentsm.vse.transport import Transport

Random = Callable[[int], bytes]


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

    __slots__ = ("_environment", "_nvm", "_profile", "_random", "_transport")

    def __init__(self, nvm: Nvm, *, random: Random = secrets.token_bytes) -> None:
        self._nvm = FaultyNvm(nvm)
        self._random = random
        self._environment: Environment | None = None
        self._transport: Transport | None = None
        self._profile = shared_profile(self._image().profile)

    @classmethod
    def issue(
        cls,
        profile: VseProfile,
        identity: CardIdentity,
        isd_keys: KeyMaterial,
        nvm: Nvm,
        *,
        random: Random = secrets.token_bytes,
        domain_keys: Mapping[bytes, KeyMaterial] = factory.NO_KEYS,
    ) -> "VirtualCard":
        """Write the factory image of a new card into `nvm`; `domain_keys` are those of pre-issued domains."""
        image = factory.build_image(profile, identity, isd_keys, random, domain_keys)
        nvm.save(encode_image(image))
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
        return self._transport is not None

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
        """Reset the card and return its ATR.

        The memory is read at the first command: of many powered cards most have nothing to do.
        """
        self._environment = None
        self._transport = Transport(self._profile, self._chains)
        return bytes.fromhex(self._profile.atr)

    def _chains(self, cla: int) -> bool:
        return chains(self._running(), cla)

    def _running(self) -> Environment:
        """Return the environment of this power-up."""
        if self._environment is None:
            environment = Environment(self._image(), self._profile, self._nvm, self._random)
            environment.channels[0] = LogicalChannel(0, implicit_application(environment.image))
            environment.toolkit = open_toolkit(environment)
            environment.secure_channel = partial(AppletChannel, environment)
            self._environment = environment
        return self._environment

    def power_off(self) -> None:
        """Take the power away: what was not saved is gone."""
        self._environment = self._transport = None

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command APDU.

        Raises:
            TornError: only when a fault is armed.
        """
        if self._transport is None:
            return ResponseApdu(b"", SW_INTERNAL).to_bytes()
        try:
            self._nvm.plan.before_apdu()
            answer = self._answer(self._running(), self._transport, raw)
            self._nvm.plan.after_apdu()
        except LostAnswerError:
            raise
        except TornError:
            self.power_off()
            raise
        return answer.to_bytes()

    def _answer(self, environment: Environment, transport: Transport, raw: bytes) -> ResponseApdu:
        try:
            command = transport.receive(raw)
            if isinstance(command, ResponseApdu):
                return command
            answer = _answered(environment, command)
            environment.commit()
            return transport.deliver(command, answer)
        except StatusError as refusal:
            return ResponseApdu(b"", refusal.sw)
        except TornError:
            raise
        except Exception:  # a card does not crash: it forgets what it was doing and says so
            self.power_on()
            return ResponseApdu(b"", SW_INTERNAL)


def _answered(environment: Environment, command: CommandApdu) -> ResponseApdu:
    try:
        return dispatch(environment, command)
    except StatusError as refusal:
        return ResponseApdu(refusal.data, refusal.sw)
