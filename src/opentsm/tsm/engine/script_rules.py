"""Which commands of a provider's own TSM may leave for a secure element. Pure.

A provider may select what is its own there and nothing else, speak on the basic channel only, and open
sessions with its own keys only: every command goes to what was selected before it, so that these rules hold
for all that follows. What is inside secure messaging is not ours to read.
Source: GPCS 2.3.1 §11.9 (SELECT), §11.10 (SET STATUS); ISO/IEC 7816-4 §5.4.1 (class byte).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.errors import ApduError
from opentsm.card.gp.instructions import Ins, InstallKind
from opentsm.tsm.domain.conversation import ScriptFormat, ScriptLimits
from opentsm.tsm.kernel.errors import CallerError

_SECURED = 0x04
_PROPRIETARY = 0x80
# logical channels 1 to 19, further interindustry classes, and what is reserved
_OTHER_CHANNELS = 0x63
_BY_NAME, _FIRST = 0x04, 0x00
_STATUS_BYTES = 2
_LOCK = 0x80
_SHORT_ANSWER = 256  # what a command without Le may still bring, after a 61xx
_IN_CLEAR = frozenset(
    {
        *(Ins.INITIALIZE_UPDATE, Ins.EXTERNAL_AUTHENTICATE, Ins.GET_DATA, Ins.GET_DATA_ISO),
        *(Ins.PERFORM_SECURITY_OPERATION, Ins.INTERNAL_AUTHENTICATE),
    }
)
_ON_KEYS = frozenset({Ins.PUT_KEY, Ins.DELETE})
_READING = _IN_CLEAR | {Ins.GET_STATUS}


class ScriptRefusedError(CallerError):
    """A command of the script may not be sent."""

    code = "script_refused"
    status = 403


class ScriptTooLargeError(CallerError):
    """The script is larger than the conversation allows."""

    code = "script_too_large"
    status = 413


class Kind(Enum):
    """What a provider may speak to."""

    SECURITY_DOMAIN = "SECURITY_DOMAIN"
    APPLICATION = "APPLICATION"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a provider reaches on a secure element.

    `own` maps each AID to its kind and to whether it is known to be there; `others` are the AIDs of all else
    that is known to be there; `domain_of` maps an own AID to the domain whose keys open its sessions, and
    `keys` a domain to the key versions that it is known to have. `foreign_kvns` are versions of key sets of
    the domains above, `locked` the domains
    whose services somebody else suspended.
    """

    own: Mapping[Aid, tuple[Kind, bool]]
    others: frozenset[Aid]
    domain_of: Mapping[Aid, Aid]
    keys: Mapping[Aid, tuple[int, ...]]
    foreign_kvns: frozenset[int] = frozenset()
    locked: frozenset[Aid] = frozenset()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a conversation stands: what is selected (None: not known), and how the domain is to go on."""

    selected: Aid | None = None
    personalizing: bool = False


@dataclass(frozen=True, slots=True)
class ManagingCommand:
    """A command to a domain that does more than read: its place in the script, and what is in the clear."""

    number: int
    domain: Aid
    ins: int
    p1: int


@dataclass(frozen=True, slots=True)
class CheckedScript:
    """A script that may leave: its commands, where it leads, which of them change which domain's keys.

    `managing` are those that a domain carries out on what it manages.
    """

    commands: tuple[CommandApdu, ...]
    position: Position
    key_domain: Aid | None = None
    key_commands: tuple[int, ...] = ()
    managing: tuple[ManagingCommand, ...] = ()


def check_script(
    raw: Sequence[bytes], start: Position, reach: Reach, limits: ScriptLimits, form: ScriptFormat
) -> CheckedScript:
    """Check a whole script before any of it is sent.

    Args:
        raw: the commands, encoded.
        start: where the conversation stands.
        reach: what the caller may speak to.
        limits: of the conversation.
        form: the format that was agreed.

    Raises:
        ScriptTooLargeError: too many commands, or too many bytes, of commands or of possible answers.
        ScriptRefusedError: a command may not be sent; its field names it.
    """
    _check_size(raw, limits)
    commands = tuple(_parsed(number, one) for number, one in enumerate(raw))
    _check_answers(commands, limits, form)
    position, domain, on_keys, managing = start, None, [], []
    for number, command in enumerate(commands):
        _check_class(number, command)
        if command.ins == Ins.SELECT and command.p1 == _BY_NAME:
            position = Position(_selected(number, command, reach))
            continue
        if position.selected is None:
            raise refused(number, "nothing of yours is selected", "Begin the script with a SELECT.")
        kind, _ = reach.own.get(position.selected, (Kind.APPLICATION, False))
        if kind is Kind.SECURITY_DOMAIN:
            if command.ins not in _READING:
                managing.append(ManagingCommand(number, position.selected, command.ins, command.p1))
            _check_for_domain(number, command)
            _check_lock(number, command, position.selected in reach.locked)
        if _opens_session(kind, command):
            _check_key_version(number, command, reach, position.selected)
        if kind is Kind.SECURITY_DOMAIN and _changes_keys(command, position):
            if domain not in (None, position.selected):
                raise refused(number, "keys of two domains in one script", "Send one script a domain.")
            domain = position.selected
            on_keys.append(number)
        if kind is Kind.SECURITY_DOMAIN and command.ins == Ins.INSTALL:
            position = Position(position.selected, command.p1 == InstallKind.PERSONALIZATION)
    return CheckedScript(commands, position, domain, tuple(on_keys), tuple(managing))


def _check_size(raw: Sequence[bytes], limits: ScriptLimits) -> None:
    if not raw:
        raise ScriptTooLargeError("A script has at least one command.", field="/CommandAPDU")
    if len(raw) > limits.apdus:
        raise ScriptTooLargeError(
            f"The script has {len(raw)} commands; {limits.apdus} are allowed.", field="/CommandAPDU"
        )
    size = sum(map(len, raw))
    if size > limits.script_bytes:
        raise ScriptTooLargeError(
            f"The script has {size} bytes; {limits.script_bytes} are allowed.", field="/CommandAPDU"
        )


def _parsed(number: int, raw: bytes) -> CommandApdu:
    try:
        return CommandApdu.parse(raw)
    except ApduError as error:
        raise refused(number, f"it is no command APDU: {error}") from error


def _check_answers(commands: Sequence[CommandApdu], limits: ScriptLimits, form: ScriptFormat) -> None:
    expected = sum((one.ne or _SHORT_ANSWER) + _STATUS_BYTES for one in commands)
    if expected > limits.response_bytes:
        raise ScriptTooLargeError(
            f"The answers may have {expected} bytes; {limits.response_bytes} are allowed.",
            advice="Send fewer commands at once, or ask for less with Le.",
            field="/CommandAPDU",
        )
    if form is ScriptFormat.EXPANDED:
        return
    for number, one in enumerate(commands[:-1]):
        if one.ne is not None:
            raise refused(
                number,
                "it asks for data, which in a COMPACT script only the last command may",
                "Send it last, or begin a conversation with the format EXPANDED.",
            )


def _check_class(number: int, command: CommandApdu) -> None:
    if command.cla & _OTHER_CHANNELS:
        raise refused(number, f"class {command.cla:02X} is not the basic logical channel")
    if command.ins >> 4 in (0x6, 0x9):
        raise refused(number, f"there is no instruction {command.ins:02X} (ISO/IEC 7816-4)")
    if command.ins == Ins.MANAGE_CHANNEL:
        raise refused(number, "MANAGE CHANNEL is not allowed")
    if command.ins == Ins.GET_RESPONSE and not command.cla & _PROPRIETARY:
        raise refused(number, "GET RESPONSE is the device's", "Leave it out: answers come whole.")


def _selected(number: int, command: CommandApdu, reach: Reach) -> Aid:
    if command.cla != 0x00 or command.p2 != _FIRST:
        raise refused(number, "a SELECT by name is 00 A4 04 00")
    found = next((aid for aid in reach.own if bytes(aid) == command.data), None)
    if found is None:
        # the same words for what is another's and for what is nowhere
        raise refused(
            number, "it selects what is not yours on this secure element", "Give the whole AID of your own."
        )
    if not reach.own[found][1]:
        raise refused(number, f"{found} is not known to be on the secure element", "Deploy it first.")
    if any(bytes(other).startswith(bytes(found)) for other in reach.others):
        raise refused(number, f"{found} is the beginning of another AID there")
    return found


def _check_for_domain(number: int, command: CommandApdu) -> None:
    """In the clear a domain is only asked for data and for a session; the rest it would refuse itself."""
    if command.cla & _SECURED or command.ins in _IN_CLEAR:
        return
    raise refused(
        number,
        f"instruction {command.ins:02X} is not sent to a security domain in the clear",
        "Open a session and wrap it.",
    )


def _check_lock(number: int, command: CommandApdu, locked: bool) -> None:
    """A domain may unlock what is below it: but not what somebody else locked (GPCS §11.10).

    P1 and P2 are in clear also inside secure messaging.
    """
    if locked and command.ins == Ins.SET_STATUS and not command.p2 & _LOCK:
        raise refused(number, "the issuer suspended this service, and it would unlock it", "Ask the issuer.")


def _check_key_version(number: int, command: CommandApdu, reach: Reach, selected: Aid) -> None:
    """A failed authentication may cost a retry of the set that it names, and that may be an ancestor's."""
    domain = reach.domain_of.get(selected)
    if domain is None:
        raise refused(number, "its sessions are opened with keys that are not yours")
    if not reach.keys.get(domain):
        raise refused(number, f"{domain} is not known to have keys of its own")
    if command.p1 in reach.foreign_kvns:
        raise refused(number, f"key version {command.p1:02X} is not one of the domain's own")


def _opens_session(kind: Kind, command: CommandApdu) -> bool:
    """Say whether it is INITIALIZE UPDATE; a purse has another command with its instruction."""
    asked = command.ins == Ins.INITIALIZE_UPDATE and bool(command.cla & _PROPRIETARY)
    return asked and (kind is Kind.SECURITY_DOMAIN or command.p2 == 0)


def _changes_keys(command: CommandApdu, position: Position) -> bool:
    stored = command.ins == Ins.STORE_DATA and not position.personalizing
    return stored or command.ins in _ON_KEYS


def refused(number: int, why: str, advice: str | None = None) -> ScriptRefusedError:
    """Return the refusal of one command, by its place in the script from 0."""
    return ScriptRefusedError(
        f"Command {number + 1} of the script is refused: {why}. Nothing was sent.",
        advice=advice,
        field=f"/CommandAPDU/{number}",
    )
