"""A security domain at work: which command, in which card state, under which protection.

Source: GPCS 2.3.1 §11 (commands), Table 11-1 (states), Table 11-2 (minimum security), §10.2 (sessions).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import parse_tlv
from opentsm.vse.authentication import external_authenticate, initialize_update
from opentsm.vse.card_data import APPLICATION_LIST, read_object
from opentsm.vse.command_chain import gather, is_interrupted, is_part
from opentsm.vse.deletion import delete
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.install import install
from opentsm.vse.key_references import CERTIFICATE_STORE, READ_BY_REFERENCE, read_by_reference
from opentsm.vse.lifecycle import CardState, is_locked
from opentsm.vse.loading import load
from opentsm.vse.put_key import put_key
from opentsm.vse.registry_status import get_status, set_status
from opentsm.vse.scp import Level, has_secure_messaging
from opentsm.vse.scp11_commands import (
    GENERATE_KEY,
    INTERNAL_AUTHENTICATE,
    PERFORM_SECURITY_OPERATION,
    authenticate,
    generate_key,
    is_mutual_authenticate,
    perform_security_operation,
    speaks_scp11,
)
from opentsm.vse.secure_messaging import Messaging, session_level
from opentsm.vse.state import Instance
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_FILE_NOT_FOUND,
    SW_INS_NOT_SUPPORTED,
    SW_OK,
    SW_SECURITY,
    SW_WRONG_P1P2,
    StatusError,
)
from opentsm.vse.store_data import store_data

Answer = bytes | ResponseApdu
Handler = Callable[[Environment, LogicalChannel, Instance, CommandApdu], Answer]

_INITIALIZE_UPDATE: Final = 0x50
_EXTERNAL_AUTHENTICATE: Final = 0x82
BEGIN_R_MAC_SESSION: Final = 0x7A
_BEGIN_P2: Final = 0x01
_SELECT: Final = 0xA4
_GET_DATA: Final = 0xCA
_GET_DATA_ISO: Final = 0xCB

_CHANGING: Final = frozenset({CardState.OP_READY, CardState.INITIALIZED, CardState.SECURED})
_LOCKABLE: Final = _CHANGING | {CardState.CARD_LOCKED}


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a security domain: who carries it out, and when it is allowed."""

    handler: Handler
    states: frozenset[CardState]
    authenticated: bool = True


def _get_data(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> Answer:
    """§11.3.3.1: the GlobalPlatform class returns the data object, the ISO class its value."""
    tag = command.p1 << 8 | command.p2
    if tag in READ_BY_REFERENCE:
        data = read_by_reference(environment, domain, tag, command.data)
    else:
        data = read_object(environment, channel, domain, tag)
    tagged = tag == CERTIFICATE_STORE and environment.profile.certificate_store_tagged
    if command.cla & 0x80 or tag == APPLICATION_LIST or tagged:
        return data
    return parse_tlv(data).value


def _begin_r_mac(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> Answer:
    """§E.5.3, Amendment D §7.1.3; what the data field says is the off-card entity's own affair."""
    if command.p2 != _BEGIN_P2:
        raise StatusError(SW_WRONG_P1P2)
    if channel.session is None:
        raise StatusError(SW_SECURITY)
    channel.session.begin_r_mac(command.p1)
    return b""


def _end_r_mac(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> Answer:
    """§E.5.4, Amendment D §7.1.4."""
    if command.p1:
        raise StatusError(SW_WRONG_P1P2)
    if channel.session is None:
        raise StatusError(SW_SECURITY)
    return channel.session.end_r_mac(command.p2)


# Table 11-1 and Table 11-2; Tables E-5, E-6 for R-MAC sessions, which in implicit mode need no other session.
COMMANDS: Final[dict[int, Command]] = {
    _GET_DATA: Command(_get_data, _LOCKABLE | {CardState.TERMINATED}, authenticated=False),
    _GET_DATA_ISO: Command(_get_data, _LOCKABLE | {CardState.TERMINATED}, authenticated=False),
    BEGIN_R_MAC_SESSION: Command(_begin_r_mac, _LOCKABLE, authenticated=False),
    0x78: Command(_end_r_mac, _LOCKABLE, authenticated=False),
    0xF2: Command(get_status, _LOCKABLE),
    0xF0: Command(set_status, _LOCKABLE),
    0xD8: Command(put_key, _CHANGING),
    0xE2: Command(store_data, _CHANGING),
    0xE4: Command(delete, _CHANGING),
    0xE6: Command(install, _CHANGING),
    0xE8: Command(load, _CHANGING),
    GENERATE_KEY: Command(generate_key, _CHANGING),
}

# Commands that begin a session: whatever was open ends.
_OPENING: Final[dict[int, Handler]] = {
    _INITIALIZE_UPDATE: initialize_update,
    PERFORM_SECURITY_OPERATION: perform_security_operation,
    INTERNAL_AUTHENTICATE: authenticate,
}
# INSTALL, LOAD, DELETE: what a token can stand for.
_WITH_TOKEN: Final = frozenset({0xE4, 0xE6, 0xE8})
_SCP11: Final = frozenset({PERFORM_SECURITY_OPERATION, INTERNAL_AUTHENTICATE})


def process(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> ResponseApdu:
    """Answer one command that reached a security domain.

    Raises:
        StatusError: the command is refused before or outside a session.
    """
    state = environment.image.isd.state
    if domain is not environment.image.isd and is_locked(domain.state):
        raise StatusError(SW_CONDITIONS)
    if command.ins == _SELECT:
        raise StatusError(SW_FILE_NOT_FOUND)
    if _authenticates(domain, command):
        if state == CardState.TERMINATED:
            raise StatusError(SW_CONDITIONS)
        return _authenticate(environment, channel, domain, command)
    if channel.aborted:
        raise StatusError(SW_SECURITY)
    return _process_protected(environment, channel, domain, command)


def _process_protected(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> ResponseApdu:
    messaging = Messaging(environment, channel, domain, domain.aid)
    interrupting = is_interrupted(channel, command)
    if interrupting and is_part(command):
        raise StatusError(SW_CONDITIONS)
    if command.ins == BEGIN_R_MAC_SESSION:
        messaging.open_for_responses()
    gathered = gather(environment, channel, command)
    if gathered is None:
        # §11.1.5.1: no R-MAC either.
        return ResponseApdu(b"", SW_OK)
    plain = messaging.unwrap(*gathered)
    answer = _refused(SW_CONDITIONS) if interrupting else execute(environment, channel, domain, plain)
    session = channel.session
    return ResponseApdu(session.wrap(answer.data, answer.sw), answer.sw) if session else answer


def _refused(sw: int) -> ResponseApdu:
    return ResponseApdu(b"", sw)


def _authenticates(domain: Instance, command: CommandApdu) -> bool:
    """Tell whether the command opens a session, in the protocols of this security domain."""
    if command.ins in _SCP11:
        return speaks_scp11(domain) and not has_secure_messaging(command.cla)
    return command.ins in {_INITIALIZE_UPDATE, _EXTERNAL_AUTHENTICATE}


def _authenticate(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> ResponseApdu:
    if is_interrupted(channel, command):
        raise StatusError(SW_CONDITIONS)
    opening = authenticate if is_mutual_authenticate(domain, command) else _OPENING.get(command.ins)
    if opening is not None:
        answer = opening(environment, channel, domain, command)
    elif channel.aborted:
        raise StatusError(SW_SECURITY)
    else:
        answer = external_authenticate(environment, channel, domain, command)
    return answer if isinstance(answer, ResponseApdu) else ResponseApdu(answer, SW_OK)


def execute(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> ResponseApdu:
    """Run the handler of a command in clear; within a session a refusal is an answer like any other.

    Remote APDUs enter here: the session is then that of their packet.
    """
    try:
        found = COMMANDS.get(command.ins)
        if found is None:
            raise StatusError(SW_INS_NOT_SUPPORTED)
        _require_allowed(environment, channel, found, command.ins)
        answer = found.handler(environment, channel, domain, command)
    except StatusError as refusal:
        return ResponseApdu(refusal.data, refusal.sw)
    return answer if isinstance(answer, ResponseApdu) else ResponseApdu(answer, SW_OK)


def _require_allowed(environment: Environment, channel: LogicalChannel, command: Command, ins: int) -> None:
    if environment.image.isd.state not in command.states:
        raise StatusError(SW_CONDITIONS)
    if not command.authenticated:
        return
    level = session_level(environment, channel)
    if level is None:
        raise StatusError(SW_SECURITY)
    # Table 11-2; content management with a token is open to others than the provider (§9.1.3.2, §10.4.2).
    known = level & Level.AUTHENTICATED or (level & Level.ANY_AUTHENTICATED and ins in _WITH_TOKEN)
    # In SCP11b nobody knows who speaks: only what this kind of card allows to everybody.
    if not known and f"{ins:02X}" not in environment.profile.scp11b_commands:
        raise StatusError(SW_SECURITY)
