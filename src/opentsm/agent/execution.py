"""Runs one order against a card.

The transport's own status words (61xx: more data, 6Cxx: wrong Le) are dealt with before an answer is
compared; at the first difference nothing more is sent.
Source: ISO/IEC 7816-4 (GET RESPONSE), SERAM 2.0.0 seRamCommand, docs/reference/agent-protocol.md.
"""

from dataclasses import dataclass, field
from typing import Final

from opentsm.agent.clock import Clock
from opentsm.agent.errors import ReaderError
from opentsm.agent.messages import AgentStatus, RamResponse, Report, Status, Stopped
from opentsm.agent.observer import Observer
from opentsm.agent.orders import Notify, Order, Step, StopSession, Transmit
from opentsm.agent.readers import Reader

_MAX_ANSWER_BYTES: Final = 65536 + 2


class Card:
    """A card behind a reader: powered on by the first command, off when an answer is missing.

    Args:
        reader: the way to it.
        observer: is told every APDU.
    """

    def __init__(self, reader: Reader, observer: Observer) -> None:
        self._reader = reader
        self._observer = observer
        self._on = False

    async def exchange(self, command: bytes) -> bytes:
        """Send a C-APDU and fetch the whole answer.

        Args:
            command: the C-APDU, at least 4 bytes.

        Returns:
            All data and the last status word, which is neither 61xx nor 6Cxx.

        Raises:
            ReaderError: no answer, or one that is no R-APDU. The card is then off.

        Source: ISO/IEC 7816-3 §12.2.1, GlobalPlatform OMAPI `Channel.transmit`.
        """
        try:
            return await self._whole_answer(command)
        except ReaderError:
            await self.off()
            raise

    async def off(self) -> None:
        """Power the card off; what fails here changes nothing."""
        self._on = False
        try:
            await self._reader.disconnect()
        except ReaderError as error:
            self._observer.notice(f"the reader could not switch the card off: {error}")

    async def _whole_answer(self, command: bytes) -> bytes:
        answer = await self._once(command)
        if answer[-2] == 0x6C:
            answer = await self._once(with_le(command, answer[-1]))
        data = answer[:-2]
        while answer[-2] == 0x61:
            answer = await self._once(get_response(command[0], answer[-1]))
            if len(answer) == 2 and answer[0] == 0x61:
                raise ReaderError("the card announces data that it does not give")
            data += answer[:-2]
            if len(data) > _MAX_ANSWER_BYTES:
                raise ReaderError("the card's answer does not end")
        return data + answer[-2:]

    async def _once(self, command: bytes) -> bytes:
        if not self._on:
            await self._reader.connect()
            self._on = True
        answer = await self._reader.transmit(command)
        if len(answer) < 2:
            raise ReaderError("the card's answer is shorter than a status word")
        self._observer.apdu(command, answer)
        return answer


def get_response(cla: int, length: int) -> bytes:
    """Build GET RESPONSE on the channel of the command before.

    Args:
        cla: CLA of that command.
        length: SW2 of the 61xx answer; 0 means 256.

    Source: ISO/IEC 7816-4 §5.4.1: 40 marks a further interindustry class with channels 4 to 19.
    """
    channel = 0x40 | cla & 0x0F if cla & 0x40 else cla & 0x03
    return bytes([channel, 0xC0, 0x00, 0x00, length])


def with_le(command: bytes, le: int) -> bytes:
    """Repeat a command with the Le that the card asked for.

    Args:
        command: a C-APDU of any case, short or extended.
        le: SW2 of the 6Cxx answer.

    Returns:
        The same command with this Le, added when there was none.

    Source: ISO/IEC 7816-4 §5.1, ISO/IEC 7816-3 §12.1.
    """
    body = command[4:]
    if len(body) >= 3 and body[0] == 0:
        return _with_extended_le(command, le)
    if len(body) <= 1:
        return command[:4] + bytes([le])
    return command[: 5 + body[0]] + bytes([le])


def _with_extended_le(command: bytes, le: int) -> bytes:
    value = (le or 256).to_bytes(2, "big")
    if len(command) == 7:
        return command[:5] + value
    return command[: 7 + int.from_bytes(command[5:7], "big")] + value


@dataclass(slots=True)
class Outcome:
    """What one order did to the card.

    Args:
        answers: one list for each seRamCommand that was reached; the differing answer is its last.
        executed: seRamCommands whose every answer came and fitted.
        sent: C-APDUs of the order that were sent, so also the index of the one to blame.
        stopped: set when the order did not run to its end.
        error: a sentence for a person, when the card or the way to it failed.
        session_over: a ramStopCommand was reached.
    """

    answers: list[list[bytes]] = field(default_factory=list)
    executed: int = 0
    sent: int = 0
    stopped: Stopped | None = None
    error: str | None = None
    session_over: bool = False


async def run_order(
    order: Order, card: Card, *, clock: Clock, received: float, observer: Observer
) -> Outcome:
    """Carry out an order's instructions one by one, up to the first that fails.

    Args:
        order: what to do; without expectations every answer is taken.
        card: where to send it.
        clock: measures the order's validity.
        received: reading of `clock.monotonic()` when the order came.
        observer: is told notifications.

    Returns:
        Every answer so far, and why it stopped if it did.
    """
    outcome = Outcome()
    deadline = None if order.valid_for_ms is None else received + order.valid_for_ms / 1000
    for instruction in order.instructions:
        match instruction:
            case Transmit(steps):
                await _transmit(steps, card, outcome, clock, deadline)
            case Notify(text):
                observer.notification(text)
            case StopSession():
                outcome.session_over = True
                return outcome
        if outcome.stopped:
            return outcome
    return outcome


async def _transmit(
    steps: tuple[Step, ...], card: Card, outcome: Outcome, clock: Clock, deadline: float | None
) -> None:
    answers: list[bytes] = []
    outcome.answers.append(answers)
    for step in steps:
        if deadline is not None and clock.monotonic() > deadline:
            outcome.stopped = Stopped(outcome.sent, "EXPIRED")
            return
        try:
            answer = await card.exchange(step.command)
        except ReaderError as error:
            outcome.stopped, outcome.error = Stopped(outcome.sent, "CARD_LOST"), str(error)
            return
        answers.append(answer)
        if not step.expectation.accepts(answer):
            outcome.stopped = Stopped(outcome.sent, "MISMATCH")
            return
        outcome.sent += 1
    outcome.executed += 1


def report_of(outcome: Outcome, sequence: int | None) -> Report:
    """Put an outcome into words of the extension.

    Args:
        outcome: what happened.
        sequence: the order's number.
    """
    return Report(
        AgentStatus(_status(outcome), outcome.executed, outcome.error),
        [RamResponse([answer.hex().upper() for answer in answers]) for answers in outcome.answers],
        sequence,
        outcome.stopped,
    )


def plain_report_of(outcome: Outcome) -> Report:
    """Put an outcome into words of 2.0.0: a missing answer is an empty string, the rest is discarded."""
    missing = [""] if outcome.stopped else []
    lists = [[answer.hex().upper() for answer in answers] for answers in outcome.answers]
    if lists:
        lists[-1] += missing
    return Report(
        AgentStatus(_status(outcome), outcome.executed, outcome.error),
        [RamResponse(answers) for answers in lists] or None,
    )


def interrupted_report(sequence: int) -> Report:
    """Say that the agent died while it ran an order: nothing is known about the card."""
    return Report(
        AgentStatus("UNKNOWN_FAILURE", 0, "the agent was interrupted while it ran this order"),
        [],
        sequence,
        Stopped(0, "INTERRUPTED"),
    )


def _status(outcome: Outcome) -> Status:
    return "UNAVAILABLE_SE" if outcome.error else "PROCESSED"
