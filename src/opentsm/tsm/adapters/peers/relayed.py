"""Which commands of a party in another TSM go on to a secure element: those of the session it was asked for.

What is inside secure messaging is the party's affair, and only the selected domain takes it. In the clear it
could select what is another's, or spend the tries of another's keys: a failed authentication may cost one.
Source: GPCS 2.3.1 §11.9 (SELECT), Amendment D §7.1.1 (INITIALIZE UPDATE); ISO/IEC 7816-4 §5.4.1 (class byte).
"""

from collections.abc import Sequence

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError
from opentsm.card.gp.instructions import Ins
from opentsm.tsm.domain.exchange import Command
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind

_OTHER_CHANNELS = 0x63
_SECURED = 0x04
_PROPRIETARY = 0x80
_BY_NAME = 0x04


def objection_to_opening(commands: Sequence[Command], session: PlannedSession) -> str | None:
    """Return why the opening of a session may not go on, None when it may."""
    if session.kind in (SessionKind.CARRIED, SessionKind.CONTINUED):
        # the carrier checks what it carries; what goes on opens nothing
        return objection_to_body(commands)
    first, *others = commands or (None,)
    select = None if first is None else _parsed(first)
    if select is None or not _selects(select) or select.cla or select.p2:
        return "its session does not begin with SELECT"
    if select.data != bytes(session.selected):
        return f"its session is not with {session.selected}"
    if session.kind is SessionKind.SECURE_CHANNEL:
        opens, *others = others or (None,)
        update = None if opens is None else _parsed(opens)
        if update is None or not _opens(update) or update.p1 != session.kvn:
            return f"its session does not open with key version {session.kvn:02X}"
    return objection_to_body(others)


def objection_to_body(commands: Sequence[Command]) -> str | None:
    """Return why the commands inside a session may not go on, None when they may."""
    for number, one in enumerate(commands, 1):
        command = _parsed(one)
        if command is None:
            return f"command {number} is none"
        if command.cla & _OTHER_CHANNELS or command.ins == Ins.MANAGE_CHANNEL:
            return f"command {number} is not for the basic logical channel"
        if _selects(command) or _opens(command):
            return f"command {number} leaves the session"
    return None


def _parsed(command: Command) -> CommandApdu | None:
    try:
        return CommandApdu.parse(bytes.fromhex(command.apdu))
    except (ApduError, ValueError):
        return None


def _selects(command: CommandApdu) -> bool:
    return command.ins == Ins.SELECT and command.p1 == _BY_NAME and not command.cla & _SECURED


def _opens(command: CommandApdu) -> bool:
    """Say whether it is INITIALIZE UPDATE; a purse has another command with its instruction."""
    if command.cla & _SECURED or not command.cla & _PROPRIETARY:
        return False
    return command.ins == Ins.INITIALIZE_UPDATE and command.p2 == 0
