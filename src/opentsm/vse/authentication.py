"""INITIALIZE UPDATE and EXTERNAL AUTHENTICATE: opening a secure channel with a security domain.

Source: GPCS 2.3.1 §E.5.1, §E.5.2 (SCP02); Amendment D §7.1.1, §7.1.2 (SCP03).
"""

from dataclasses import dataclass

from opentsm.card.codec.apdu import CommandApdu
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.keysets import key_owner, select_channel_set
from opentsm.vse.scp import ChannelKeys, StartedSession, has_secure_messaging, scp02, scp03
from opentsm.vse.scp.scp02 import Scp02Start
from opentsm.vse.scp.scp03 import Scp03Start
from opentsm.vse.secure_messaging import scp02_options
from opentsm.vse.state import DomainData, Instance
from opentsm.vse.status import (
    SW_AUTHENTICATION_FAILED,
    SW_BLOCKED,
    SW_CONDITIONS,
    SW_NOT_FOUND,
    SW_SECURITY,
    SW_WRONG_LENGTH,
    SW_WRONG_P1P2,
    StatusError,
)


def initialize_update(
    environment: Environment,
    channel: LogicalChannel,
    domain: Instance,
    command: CommandApdu,
    aid: bytes | None = None,
) -> bytes:
    """Start a session; one that is open ends, whatever comes of this.

    Args:
        environment: the card.
        channel: on which the session will be.
        domain: whose keys are asked for.
        command: INITIALIZE UPDATE.
        aid: of the application that opens the session with the keys of its security domain; None for the
            security domain itself.

    Raises:
        StatusError: 6A88 no such key set, 6983 key set blocked, 6985 counter at its end or implicit mode,
            6700 wrong challenge.
    """
    channel.end_secure_channel()
    channel.load = channel.combined = None
    owner = key_owner(environment.image, domain, inherit=environment.profile.inherit_keys)
    data = owner.domain_data()
    protocol, keys = select_channel_set(data, command.p1)
    option = _option(data, protocol)
    if data.failures.get(keys.kvn, 0) >= environment.profile.retry_limit:
        raise StatusError(SW_BLOCKED)
    start = _start_scp03 if protocol == 3 else _start_scp02
    user = domain.aid if aid is None else aid
    started, answer = start(_Opening(environment, data, keys, option, user, command.data))
    channel.started = started
    return environment.image.identity.kdd + bytes([keys.kvn, protocol]) + answer


def _option(data: DomainData, protocol: int) -> int:
    for offered, option in data.scps:
        if offered == protocol:
            return option
    raise StatusError(SW_NOT_FOUND)


@dataclass(frozen=True, slots=True)
class _Opening:
    """What INITIALIZE UPDATE has found out before the protocol takes over."""

    environment: Environment
    data: DomainData
    keys: ChannelKeys
    option: int
    aid: bytes
    host_challenge: bytes


def _start_scp03(opening: _Opening) -> tuple[StartedSession, bytes]:
    keys, option = opening.keys, opening.option
    length = scp03.challenge_length(option)
    if len(opening.host_challenge) != length:
        raise StatusError(SW_WRONG_LENGTH)
    counter = b""
    if scp03.is_pseudo_random(option):
        value = _next_counter(opening)
        counter = value.to_bytes(3, "big")
        challenge = scp03.pseudo_random_challenge(keys, option, value, opening.aid)
    else:
        challenge = opening.environment.random(length)
    quirk = opening.environment.profile.counter_moves_without_data
    started = Scp03Start(keys, option, opening.host_challenge, challenge, quirk)
    return started, bytes([option]) + challenge + started.card_cryptogram() + counter


def _next_counter(opening: _Opening) -> int:
    """Amendment D §6.2.2.1: every INITIALIZE UPDATE counts, before the value is used."""
    value = opening.data.sequence.get(opening.keys.kvn, 0) + 1
    if value > scp03.COUNTER_MAX:
        raise StatusError(SW_CONDITIONS)
    opening.data.sequence[opening.keys.kvn] = value
    opening.environment.touch()
    return value


def _start_scp02(opening: _Opening) -> tuple[StartedSession, bytes]:
    if len(opening.host_challenge) != 8:
        raise StatusError(SW_WRONG_LENGTH)
    counter = opening.data.sequence.get(opening.keys.kvn, 0)
    if counter > scp02.COUNTER_MAX or not scp02.is_explicit(opening.option):
        raise StatusError(SW_CONDITIONS)
    random = opening.environment.random(6)
    options = scp02_options(opening.environment, opening.option)
    started = Scp02Start(opening.keys, options, counter, opening.aid, opening.host_challenge, random)
    return started, counter.to_bytes(2, "big") + started.card_challenge + started.card_cryptogram()


def external_authenticate(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Finish what INITIALIZE UPDATE started; a failure needs a new INITIALIZE UPDATE.

    Raises:
        StatusError: 6985 nothing was started, 6700 wrong length, 6A86 no such level, 6982 wrong MAC,
            6300 wrong host cryptogram.
    """
    started, channel.started = channel.started, None
    profile = environment.profile
    if started is None:
        raise StatusError(int(profile.authentication_unstarted, 16))
    length = started.cryptogram_length
    if not has_secure_messaging(command.cla):
        raise StatusError(SW_SECURITY)
    if len(command.data) != 2 * length:
        raise StatusError(SW_WRONG_LENGTH)
    if command.p1 not in started.levels:
        raise StatusError(SW_WRONG_P1P2)
    owner = key_owner(environment.image, domain, inherit=environment.profile.inherit_keys)
    data, kvn = owner.domain_data(), started.keys.kvn
    if not started.verify_mac(command):
        _count_failure(environment, data, kvn)
        raise StatusError(int(profile.authentication_wrong_mac, 16))
    if isinstance(started, Scp02Start):
        # §E.1.2: the first valid C-MAC counts, even when the cryptogram is then wrong.
        data.sequence[kvn] = started.counter + 1
        environment.touch()
    if not started.verify_cryptogram(command.data[:length]):
        _count_failure(environment, data, kvn)
        raise StatusError(SW_AUTHENTICATION_FAILED)
    if data.failures.pop(kvn, None) is not None:
        environment.touch()
    channel.session = started.session(command.p1)
    return b""


def _count_failure(environment: Environment, data: DomainData, kvn: int) -> None:
    data.failures[kvn] = data.failures.get(kvn, 0) + 1
    environment.touch()
