"""Faults on demand: power cuts around writes and commands, lost answers.

A power cut loses the session state; the non-volatile memory is the old or the new image, never a mixture.
"""

from dataclasses import dataclass, field

from opentsm.vse.nvm import Nvm


class TornError(Exception):
    """The power was cut: there is no answer, and the card must be powered on again."""


class LostAnswerError(TornError):
    """The command was carried out and the card stays powered, but its answer did not arrive."""


@dataclass(slots=True)
class FaultPlan:
    """When to fail, counted from 1 since the plan was armed.

    Args:
        cut_before_write: the n-th write to the non-volatile memory does not happen.
        cut_after_write: the power goes right after the n-th write.
        cut_before_apdu: the n-th command does not reach the card any more.
        cut_after_apdu: the n-th command is carried out, then the power goes before the answer.
        lose_answer: the n-th command is carried out, its answer is lost, the card stays powered.
    """

    cut_before_write: int | None = None
    cut_after_write: int | None = None
    cut_before_apdu: int | None = None
    cut_after_apdu: int | None = None
    lose_answer: int | None = None
    writes: int = field(default=0, init=False)
    apdus: int = field(default=0, init=False)

    def before_apdu(self) -> None:
        """Count a command.

        Raises:
            TornError: the plan says so.
        """
        self.apdus += 1
        if self.apdus == self.cut_before_apdu:
            raise TornError

    def after_apdu(self) -> None:
        """Note that a command is done.

        Raises:
            TornError: the plan says so.
        """
        if self.apdus == self.cut_after_apdu:
            raise TornError
        if self.apdus == self.lose_answer:
            raise LostAnswerError

    def before_write(self) -> None:
        """Count a write.

        Raises:
            TornError: the plan says so.
        """
        self.writes += 1
        if self.writes == self.cut_before_write:
            raise TornError

    def after_write(self) -> None:
        """Note that a write is done.

        Raises:
            TornError: the plan says so.
        """
        if self.writes == self.cut_after_write:
            raise TornError


class FaultyNvm:
    """A memory whose writes can be cut off."""

    __slots__ = ("_nvm", "plan")

    def __init__(self, nvm: Nvm) -> None:
        self._nvm = nvm
        self.plan = FaultPlan()

    def load(self) -> bytes | None:
        """Return the saved image."""
        return self._nvm.load()

    def save(self, image: bytes) -> None:
        """Replace the image unless the power goes first.

        Raises:
            TornError: the plan says so.
        """
        self.plan.before_write()
        self._nvm.save(image)
        self.plan.after_write()
