"""An order of the Remote Agent, read once and checked whole before anything is sent to the card.

GlobalPlatform SERAM 2.0.0, `remoteManagementOrder`; expectations are those of 2.0.0+opentsm.1.
"""

import re
from dataclasses import dataclass
from typing import Final

from opentsm.agent.errors import OrderError
from opentsm.agent.messages import SecureElement, WireCommand, WireExpectation, WireOrder

MAX_COMMANDS: Final = 4096
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_SW_PATTERN: Final = re.compile(r"[0-9A-Fa-f?]{4}")


@dataclass(frozen=True, slots=True)
class SwPattern:
    """A status word in which some nibbles are open.

    Args:
        value: the status word, open nibbles zero.
        mask: F for each nibble that counts.
    """

    value: int
    mask: int

    @classmethod
    def parse(cls, text: str) -> "SwPattern":
        """Read four hexadecimal digits, `?` for any nibble."""
        if not _SW_PATTERN.fullmatch(text):
            raise OrderError(f"status word pattern {text[:8]!r} is not four of 0-9, A-F and ?")
        mask = "".join("0" if nibble == "?" else "F" for nibble in text)
        return cls(int(text.replace("?", "0"), 16), int(mask, 16))

    def matches(self, sw: int) -> bool:
        """Tell whether a status word fits."""
        return sw & self.mask == self.value


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one answer must look like.

    Args:
        status_words: accepted patterns; None accepts every status word.
        data: the expected data field; None accepts any data.
        mask: same length as `data`; only bits that are set here are compared.
    """

    status_words: tuple[SwPattern, ...] | None = None
    data: bytes | None = None
    mask: bytes | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and (self.data is None or len(self.mask) != len(self.data)):
            raise OrderError("a mask must be as long as its data")

    def accepts(self, answer: bytes) -> bool:
        """Compare an R-APDU: status word by pattern, data in full length under the mask."""
        sw = int.from_bytes(answer[-2:], "big")
        if self.status_words is not None and not any(word.matches(sw) for word in self.status_words):
            return False
        return self.data is None or _equal_under_mask(answer[:-2], self.data, self.mask)


ANY_ANSWER: Final = Expectation()


def _equal_under_mask(got: bytes, wanted: bytes, mask: bytes | None) -> bool:
    if mask is None:
        return got == wanted
    return len(got) == len(wanted) and all(not (a ^ b) & m for a, b, m in zip(got, wanted, mask, strict=True))


@dataclass(frozen=True, slots=True)
class Step:
    """One C-APDU and what its answer must look like."""

    command: bytes
    expectation: Expectation = ANY_ANSWER


@dataclass(frozen=True, slots=True)
class StartSession:
    """`ramStartCommand`: the Remote Agent begins."""


@dataclass(frozen=True, slots=True)
class Transmit:
    """`seRamCommand`: C-APDUs for the secure element."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Notify:
    """`notificationCommand`: a text for the device application."""

    text: str


@dataclass(frozen=True, slots=True)
class StopSession:
    """`ramStopCommand`: no further report is wanted."""


Instruction = StartSession | Transmit | Notify | StopSession


@dataclass(frozen=True, slots=True)
class Order:
    """One order, ready to run.

    Args:
        instructions: in the sequence in which they are to be carried out.
        delay_ms: pause before the next report; None when the server left it open.
        element: the secure element that is meant; None means the session's.
        sequence: the number of the order (extension).
        acknowledged: the server has taken every report up to this number (extension).
        valid_for_ms: no C-APDU starts later than this after receipt (extension).
    """

    instructions: tuple[Instruction, ...] = ()
    delay_ms: int | None = None
    element: SecureElement | None = None
    sequence: int | None = None
    acknowledged: int | None = None
    valid_for_ms: int | None = None

    @property
    def transmits(self) -> bool:
        """Whether the order sends anything to the card."""
        return any(isinstance(instruction, Transmit) for instruction in self.instructions)

    @property
    def idle(self) -> bool:
        """Whether the order holds no command at all."""
        return not self.instructions


def read_order(wire: WireOrder, *, extended: bool) -> Order:
    """Check an order whole and turn it into bytes.

    Args:
        wire: the message as it came.
        extended: whether the fields of 2.0.0+opentsm.1 count; a plain session ignores them.

    Returns:
        The order; nothing in it can fail to parse later.

    Raises:
        OrderError: a number is negative or missing, a list is too long, hex or a pattern is damaged,
            or a command has an unknown type.

    Source: SERAM 2.0.0 remoteManagementOrder.
    """
    for number in (wire.delay, wire.order_sequence, wire.ack_sequence, wire.order_validity):
        if number is not None and number < 0:
            raise OrderError("an order's numbers are never negative")
    instructions = tuple(_read_command(command, extended) for command in wire.ram_commands or ())
    if sum(len(i.steps) for i in instructions if isinstance(i, Transmit)) > MAX_COMMANDS:
        raise OrderError(f"an order holds at most {MAX_COMMANDS} C-APDUs")
    if not extended:
        return Order(instructions, wire.delay, wire.chosen_secure_element)
    order = Order(
        instructions,
        wire.delay,
        wire.chosen_secure_element,
        wire.order_sequence,
        wire.ack_sequence,
        wire.order_validity,
    )
    if order.transmits and not order.sequence:
        raise OrderError("an order with C-APDUs needs an orderSequence of 1 or more")
    return order


def _read_command(wire: WireCommand, extended: bool) -> Instruction:
    match wire.ram_command_type:
        # The document's mapping and its examples name these two differently: take both.
        case "ramStartCommand" | "startCommand":
            return StartSession()
        case "ramStopCommand" | "stopCommand":
            return StopSession()
        case "notificationCommand":
            if wire.device_app_notification is None:
                raise OrderError("a notificationCommand needs deviceAppNotification")
            return Notify(wire.device_app_notification)
        case "seRamCommand":
            return _read_transmit(wire, extended)
        case other:
            raise OrderError(f"unknown ramCommandType {other[:40]!r}")


def _read_transmit(wire: WireCommand, extended: bool) -> Transmit:
    if wire.list_of_capdu is None:
        raise OrderError("a seRamCommand needs listOfCAPDU")
    commands = [_read_command_apdu(text) for text in wire.list_of_capdu]
    if wire.list_of_expectations is None or not extended:
        return Transmit(tuple(Step(command) for command in commands))
    if len(wire.list_of_expectations) != len(commands):
        raise OrderError("listOfExpectations must be as long as listOfCAPDU")
    expectations = map(_read_expectation, wire.list_of_expectations)
    return Transmit(tuple(map(Step, commands, expectations)))


def _read_command_apdu(text: str) -> bytes:
    command = _from_hex(text)
    if len(command) < 4:
        raise OrderError("a C-APDU has at least four bytes")
    return command


def _read_expectation(wire: WireExpectation | None) -> Expectation:
    if wire is None:
        return ANY_ANSWER
    return Expectation(
        None if wire.sw is None else tuple(SwPattern.parse(text) for text in wire.sw),
        None if wire.data is None else _from_hex(wire.data),
        None if wire.mask is None else _from_hex(wire.mask),
    )


def _from_hex(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise OrderError("a value is not whole bytes in hexadecimal")
    return bytes.fromhex(text)
