"""Commands and responses inside a secure channel session, for a security domain and for its applications.

Source: GPCS 2.3.1 §10.2, §10.3, §E.1.6; Amendment D §5.6.
"""

from dataclasses import dataclass

from opentsm.card.codec.apdu import CommandApdu
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.keysets import channel_set, key_owner
from opentsm.vse.scp import Chained, ChannelKeys, Level, MessagingError, has_secure_messaging, scp02
from opentsm.vse.scp.scp02 import Scp02Options, Scp02Session
from opentsm.vse.state import DomainData, Instance
from opentsm.vse.status import SW_BLOCKED, SW_CONDITIONS, SW_SECURITY, StatusError

# Of a session that is more than R-MACs (§E.1.6); in SCP11b nobody is authenticated.
_OPEN = Level.AUTHENTICATED | Level.ANY_AUTHENTICATED | Level.C_MAC


def session_level(environment: Environment, channel: LogicalChannel) -> Level | None:
    """Return the session's level when it is enough for this card, else None."""
    session, minimum = channel.session, environment.profile.minimum_level
    if session is None or not session.level & _OPEN or session.level & minimum != minimum:
        return None
    return session.level


@dataclass(frozen=True, slots=True)
class Messaging:
    """Secure messaging of one command.

    Args:
        environment: the card.
        channel: with the session.
        domain: whose keys a session in implicit mode is opened with.
        aid: of the selected application.
    """

    environment: Environment
    channel: LogicalChannel
    domain: Instance
    aid: bytes

    def unwrap(self, command: CommandApdu, chained: Chained | None = None) -> CommandApdu:
        """Check a command against the level of the session, whatever its class says (§10.2.2).

        Args:
            command: as it came.
            chained: how it came in parts.

        Raises:
            StatusError: 6982; a session with a wrong command is aborted.
        """
        session = self.channel.session
        if session is not None and session.level & Level.C_MAC:
            try:
                return session.unwrap(command, chained)
            except MessagingError:
                _abort(self.channel)
                raise
        if has_secure_messaging(command.cla):
            return self._unasked(command)
        return session.unwrap(command, chained) if session else command

    def _unasked(self, command: CommandApdu) -> CommandApdu:
        """Protection that nobody asked for: in implicit mode it opens a session, else it is refused."""
        if is_implicit(self.environment, self.domain):
            return self._open_implicitly(command)
        if self.environment.profile.protected_unasked == "abort":
            self.channel.end_secure_channel()
            self.channel.aborted = True
        raise StatusError(SW_SECURITY)

    def _open_implicitly(self, command: CommandApdu) -> CommandApdu:
        """§E.1.2: the counter moves when the first C-MAC is right, before the command is processed."""
        environment, channel = self.environment, self.channel
        data, keys, options = _implicit_set(environment, self.domain)
        counter, failures = data.sequence.get(keys.kvn, 0), data.failures.get(keys.kvn, 0)
        if failures >= environment.profile.retry_limit:
            raise StatusError(SW_BLOCKED)
        if counter >= scp02.COUNTER_MAX:
            raise StatusError(SW_CONDITIONS)
        before = channel.session
        responses = before.responses if isinstance(before, Scp02Session) else None
        _abort(channel)
        environment.touch()
        data.failures[keys.kvn] = failures + 1
        session, plain = scp02.open_implicitly(keys, options, counter, self.aid, command, responses=responses)
        del data.failures[keys.kvn]
        data.sequence[keys.kvn] = counter + 1
        channel.session = session
        return plain

    def open_for_responses(self) -> None:
        """Make what BEGIN R-MAC SESSION needs in implicit mode, where it may come first (§E.5.3.1)."""
        channel = self.channel
        if channel.session is not None or channel.aborted or not is_implicit(self.environment, self.domain):
            return
        data, keys, options = _implicit_set(self.environment, self.domain)
        counter = data.sequence.get(keys.kvn, 0)
        channel.session = scp02.responses_only(keys, options, counter, self.aid)


def _abort(channel: LogicalChannel) -> None:
    session = channel.session
    channel.end_secure_channel()
    if session is None:
        return
    if isinstance(session, Scp02Session) and session.is_implicit:
        # §E.1.6, implicit mode: only an R-MAC session goes on; unprotected commands are not refused for it.
        session.level &= Level.R_MAC
        channel.session = session if session.responses else None
        return
    channel.aborted = True


def is_implicit(environment: Environment, domain: Instance) -> bool:
    """Tell whether the security domain's first key set opens sessions by the first C-MAC (SCP02)."""
    data = _key_data(environment, domain)
    first = next((found for kvn in data.versions() if (found := channel_set(data, kvn))), None)
    option = dict(data.scps).get(2)
    return first is not None and first[0] == 2 and option is not None and not scp02.is_explicit(option)


def _key_data(environment: Environment, domain: Instance) -> DomainData:
    return key_owner(environment.image, domain, inherit=environment.profile.inherit_keys).domain_data()


def scp02_options(environment: Environment, option: int) -> Scp02Options:
    """Return this card's SCP02 with the implementation option `option`."""
    profile = environment.profile
    return Scp02Options(option, profile.scp02_encrypts_empty, profile.scp02_mac_on_errors)


def _implicit_set(environment: Environment, domain: Instance) -> tuple[DomainData, ChannelKeys, Scp02Options]:
    data = _key_data(environment, domain)
    keys = next(found[1] for kvn in data.versions() if (found := channel_set(data, kvn)))
    return data, keys, scp02_options(environment, dict(data.scps)[2])
