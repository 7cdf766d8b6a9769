"""A script: commands for a card, what each answer must look like, and what each is for.

An expectation is what an agent compares without knowing keys or card content. The agent handles 61xx and 6Cxx
before it compares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.errors import ScriptError

_PATTERN = re.compile(r"[0-9A-F?]{4}")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an answer must look like for the script to go on.

    Attributes:
        status_words: patterns of four upper-case hex digits, `?` for any digit; empty accepts any.
        data: the bytes expected; None accepts any data.
        mask: bits of `data` that count, all of them when None.
    """

    status_words: tuple[str, ...] = ("9000",)
    data: bytes | None = None
    mask: bytes | None = None

    def __post_init__(self) -> None:
        for pattern in self.status_words:
            if not _PATTERN.fullmatch(pattern):
                raise ScriptError(f"a status word pattern is four of 0-9, A-F and ?, not {pattern!r}")
        if self.mask is not None and (self.data is None or len(self.mask) != len(self.data)):
            raise ScriptError("a mask goes with expected data of the same length")

    def difference(self, response: ResponseApdu) -> str | None:
        """Say how an answer differs from what is expected; None when it does not."""
        if self.status_words and not any(_fits(pattern, response.sw) for pattern in self.status_words):
            return f"status word {response.sw:04X}, expected {' or '.join(self.status_words)}"
        if self.data is None or self._same_data(response.data):
            return None
        if len(response.data) != len(self.data):
            return f"{len(response.data)} data bytes, expected {len(self.data)}"
        return "other data than expected"

    def _same_data(self, actual: bytes) -> bool:
        if self.data is None or len(actual) != len(self.data):
            return False
        mask = self.mask if self.mask is not None else b"\xff" * len(self.data)
        return all((a ^ e) & m == 0 for a, e, m in zip(actual, self.data, mask, strict=True))


def _fits(pattern: str, sw: int) -> bool:
    return all(wanted in ("?", digit) for wanted, digit in zip(pattern, f"{sw:04X}", strict=True))


SUCCESS = Expectation()
SUCCESS_OR_MORE = Expectation(("9000", "6310"))
ANYTHING = Expectation(())


@dataclass(frozen=True, slots=True)
class Step:
    """One command, what its answer must look like, and what it is for in words."""

    command: CommandApdu
    expectation: Expectation = SUCCESS
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """Steps in order; at the first difference nothing more is sent."""

    steps: tuple[Step, ...] = ()

    def then(self, *steps: Step) -> Script:
        """Return the script with more steps."""
        return Script(self.steps + steps)

    def __add__(self, other: Script) -> Script:
        return Script(self.steps + other.steps)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def size_bytes(self) -> int:
        """The bytes that all commands have together."""
        return sum(len(step.command.to_bytes()) for step in self.steps)


def first_difference(script: Script, responses: tuple[ResponseApdu, ...]) -> tuple[int, str] | None:
    """Find the first answer that differs from what its step expects.

    Args:
        responses: the answers so far, possibly fewer than the steps.
    Returns:
        Index of the step and what differs; None when all answers given fit.
    Raises:
        ScriptError: more answers than steps.
    """
    if len(responses) > len(script):
        raise ScriptError(f"{len(responses)} answers to {len(script)} commands")
    for index, (step, response) in enumerate(zip(script.steps, responses, strict=False)):
        difference = step.expectation.difference(response)
        if difference is not None:
            return index, difference
    return None
