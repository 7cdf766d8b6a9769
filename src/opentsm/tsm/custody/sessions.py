"""Secure-channel sessions as a custodian runs them: open, wrap all steps, check all answers. Pure.

Amendment D (SCP03) and Card Specification 2.3.1 appendix E (SCP02).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import CardCryptogramError, CardError, ResponseFormatError
from opentsm.card.gp import commands as gp
from opentsm.card.gp.instructions import Ins
from opentsm.card.profiles import SeProfile
from opentsm.card.scp.channel import (
    InitializeUpdateResponse,
    ResponseLink,
    SecureChannel,
    SessionKeys,
    parse_initialize_update,
)
from opentsm.card.scp.scp02 import Scp02Channel
from opentsm.card.scp.scp03 import Scp03Channel
from opentsm.tsm.custody.work import SentCommand
from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.engine.compile import PlainCommand
from opentsm.tsm.engine.sessions import PlannedSession
from opentsm.tsm.kernel.errors import InvariantError, WrongCardError

AUTHENTICATED = Expected(status_words=("9000",))
CHALLENGE = Expected(status_words=("9000",))
SELECTED = Expected(status_words=("9000", "6283"))


def opening_commands(session: PlannedSession, host_challenge: bytes) -> tuple[Command, ...]:
    """Return SELECT and INITIALIZE UPDATE."""
    select = gp.select(session.selected)
    update = gp.initialize_update(session.kvn, host_challenge)
    return (
        Command(apdu=to_hex(select), expected=SELECTED, meaning=f"select {session.selected}", barrier=False),
        Command(apdu=to_hex(update), expected=CHALLENGE, meaning="open a secure channel", barrier=False),
    )


def to_hex(apdu: CommandApdu) -> str:
    """Return a command as it travels."""
    return apdu.to_bytes().hex().upper()


def read_answer(answer: str) -> ResponseApdu:
    """Return an R-APDU from hex; nothing at all reads as an answer that never came.

    Raises:
        ResponseFormatError: not hex, or shorter than a status word.
    """
    try:
        return ResponseApdu.parse(bytes.fromhex(answer))
    except (ValueError, CardError) as error:
        raise ResponseFormatError("an answer is not an R-APDU") from error


def read_challenge(profile: SeProfile, session: PlannedSession, answer: str) -> InitializeUpdateResponse:
    """Return the card's INITIALIZE UPDATE answer, if it fits what the profile says.

    Raises:
        WrongCardError: the answer has another form, protocol or key version.
    """
    try:
        init = parse_initialize_update(read_answer(answer).data, scp02_i=profile.i)
    except CardError as error:
        raise WrongCardError(f"The card's answer to INITIALIZE UPDATE cannot be read: {error}.") from error
    if init.scp != profile.scp or (init.scp == 3 and init.i != profile.i):
        raise WrongCardError(
            f"The card offers SCP{init.scp:02d} i={init.i or 0:02X}, its profile says"
            f" SCP{profile.scp:02d} i={profile.i:02X}.",
            advice="Register the secure element with the profile of its real product.",
        )
    if session.kvn not in (0, init.kvn):
        raise WrongCardError(f"The card answered with key version {init.kvn:02X}, not {session.kvn:02X}.")
    return init


def parse(initialize_update: bytes, profile: SeProfile) -> InitializeUpdateResponse:
    """Return a stored INITIALIZE UPDATE answer, taken apart."""
    return parse_initialize_update(initialize_update, scp02_i=profile.i)


def open_channel(
    profile: SeProfile, keys: SessionKeys, init: InitializeUpdateResponse, host_challenge: bytes
) -> SecureChannel:
    """Return the channel, after the card's cryptogram was verified.

    Raises:
        WrongCardError: the card does not hold the keys that it should hold; nothing may be sent to it.
    """
    try:
        if profile.scp == 3:
            return Scp03Channel(keys, init, host_challenge)
        return Scp02Channel(keys, init, host_challenge, i=profile.i)
    except CardCryptogramError as error:
        raise WrongCardError(
            "The card's cryptogram does not verify: it does not hold the keys on record.",
            advice="Nothing was sent after INITIALIZE UPDATE. Check key set, version and derivation data;"
            " correct them by PUT /v1/secure-elements/{id}/key-sets, then reinstate it.",
        ) from error


@dataclass(frozen=True, slots=True)
class WrappedScript:
    """A session's body: what is sent, and what is needed to check the answers."""

    commands: tuple[Command, ...]
    sent: tuple[SentCommand, ...]


def wrap(
    profile: SeProfile, channel: SecureChannel, steps: Sequence[Sequence[PlainCommand]], *, last: str = ""
) -> WrappedScript:
    """Protect every command of every step, in order, behind EXTERNAL AUTHENTICATE.

    With `last`, the link of the last command before, the session is open and goes on behind that.
    """
    commands: list[Command] = []
    sent: list[SentCommand] = []
    if last:
        resume(channel, profile, last)
    else:
        authenticate = channel.external_authenticate(profile.level)
        meaning = "authenticate to the card"
        commands.append(Command(apdu=to_hex(authenticate), expected=AUTHENTICATED, meaning=meaning))
        sent.append(SentCommand(step=-1, link="", expected=AUTHENTICATED, meaning=meaning))
    for number, plain_commands in enumerate(steps):
        for plain in plain_commands:
            wrapped = channel.wrap(plain.apdu)
            commands.append(
                Command(
                    apdu=to_hex(wrapped.apdu),
                    expected=plain.expected,
                    meaning=plain.meaning,
                    barrier=plain.barrier,
                )
            )
            sent.append(
                SentCommand(
                    step=number,
                    link=wrapped.link.to_hex(),
                    expected=plain.expected,
                    meaning=plain.meaning,
                    scope=plain.apdu.p1 if plain.apdu.ins == Ins.GET_STATUS else 0,
                    tag=plain.tag,
                    command=to_hex(plain.apdu) if plain.tag else "",
                    receipt=plain.receipt,
                    carried=plain.carried,
                )
            )
    return WrappedScript(tuple(commands), tuple(sent))


def resume(channel: SecureChannel, profile: SeProfile, last: str) -> None:
    """Go on with a session behind a command; only SCP03's state follows from a link."""
    if not isinstance(channel, Scp03Channel):
        raise InvariantError("Only a session of SCP03 is gone on with.")
    channel.resume(profile.level, ResponseLink.from_hex(last))


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """One answer after the channel accepted it: plain data and status word of the command `sent`."""

    sent: SentCommand
    data: bytes = field(repr=False)
    sw: int

    @property
    def accepted(self) -> bool:
        """Say whether the status word is among the expected ones."""
        return fits(self.sw, self.sent.expected.status_words)


def fits(sw: int, patterns: Sequence[str]) -> bool:
    """Say whether a status word fits one of the patterns (`?`: any nibble; none at all: anything)."""
    text = f"{sw:04X}"
    return not patterns or any(
        all(p in ("?", c) for p, c in zip(pattern, text, strict=True)) for pattern in patterns
    )


def unwrap(
    channel: SecureChannel,
    profile: SeProfile,
    sent: Sequence[SentCommand],
    answers: Sequence[str],
    *,
    last: str = "",
) -> tuple[CheckedAnswer, ...]:
    """Return the answers that can be believed: from the first to the last good one.

    An answer that is missing, malformed or carries a wrong R-MAC ends the list; so does the one after an
    unexpected status word, since what follows it was not meant to be sent.
    """
    if last:
        resume(channel, profile, last)
    else:
        channel.external_authenticate(profile.level)
    checked: list[CheckedAnswer] = []
    for command, answer in zip(sent, answers, strict=False):
        try:
            response = read_answer(answer)
            if command.link:
                response = channel.unwrap(response, ResponseLink.from_hex(command.link))
        except CardError:
            break
        checked.append(CheckedAnswer(command, response.data, response.sw))
        if not checked[-1].accepted:
            break
    return tuple(checked)
