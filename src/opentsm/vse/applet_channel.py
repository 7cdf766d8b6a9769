"""Applets that use the secure channel of their security domain.

Keys and counters are the security domain's; what enters a predicted challenge is the applet's AID.
Source: GPCS 2.3.1 §7.3, §10.3 (indirect handling), §E.4.2.3; Amendment D §6.2.2.1; GPCS §5.3.2 (who serves).
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import CardError
from opentsm.vse.authentication import external_authenticate, initialize_update
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.lifecycle import PERSONALIZED
from opentsm.vse.scp import Level
from opentsm.vse.secure_messaging import Messaging
from opentsm.vse.state import Instance
from opentsm.vse.status import SW_CONDITIONS, SW_INS_NOT_SUPPORTED, SW_SECURITY, SW_WRONG_DATA, StatusError

_INITIALIZE_UPDATE: Final = 0x50
_EXTERNAL_AUTHENTICATE: Final = 0x82


class AppletChannel:
    """What one applet sees of its security domain.

    Args:
        environment: the card.
        channel: the logical channel of the command in work.
        instance: the applet.
    """

    __slots__ = ("_channel", "_environment", "_instance")

    def __init__(self, environment: Environment, channel: LogicalChannel, instance: Instance) -> None:
        self._environment = environment
        self._channel = channel
        self._instance = instance

    @property
    def level(self) -> int:
        """Current security level."""
        session = self._channel.session
        return int(session.level) if session else int(Level.NONE)

    def _domain(self) -> Instance:
        """Return the security domain; one that is locked or not PERSONALIZED serves nobody (§5.3.2)."""
        image = self._environment.image
        domain = image.instance(self._instance.sd)
        if domain is None or domain.domain is None:
            raise StatusError(SW_CONDITIONS)
        if domain is not image.isd and domain.state != PERSONALIZED:
            raise StatusError(SW_CONDITIONS)
        return domain

    def process_security(self, command: CommandApdu) -> bytes:
        """Carry out INITIALIZE UPDATE or EXTERNAL AUTHENTICATE."""
        environment, channel, domain = self._environment, self._channel, self._domain()
        if command.ins == _INITIALIZE_UPDATE:
            return initialize_update(environment, channel, domain, command, self._instance.aid)
        if command.ins != _EXTERNAL_AUTHENTICATE:
            raise StatusError(SW_INS_NOT_SUPPORTED)
        if channel.aborted:
            raise StatusError(SW_SECURITY)
        return external_authenticate(environment, channel, domain, command)

    def unwrap(self, command: CommandApdu) -> CommandApdu:
        """Check a command and take its protection off."""
        if self._channel.aborted:
            raise StatusError(SW_SECURITY)
        return Messaging(self._environment, self._channel, self._domain(), self._instance.aid).unwrap(command)

    def wrap(self, data: bytes, sw: int) -> bytes:
        """Protect response data."""
        session = self._channel.session
        return session.wrap(data, sw) if session else data

    def decrypt(self, data: bytes) -> bytes:
        """Decipher sensitive data."""
        session = self._channel.session
        if session is None:
            raise StatusError(SW_CONDITIONS)
        try:
            return session.decrypt_key(data)
        except CardError:
            raise StatusError(SW_WRONG_DATA) from None

    def reset(self) -> None:
        """End the session."""
        self._channel.end_secure_channel()
