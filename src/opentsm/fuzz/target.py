"""What a fuzzing target is: a function of bytes that must return, whatever the bytes are.

A parser may refuse with its named error, which the target takes; anything else that it raises is a finding,
and so is a promise that it breaks (`BrokenPromiseError`) and an input that takes too long (`HangError`).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from opentsm.fuzz.mutation import Mutator, mutate_bytes

Run = Callable[[bytes], None]


class BrokenPromiseError(AssertionError):
    """What the code promises about every input does not hold for this one."""


class HangError(BaseException):
    """The input took too long; no `except Exception` of the code under test may take this for its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to fuzz.

    Args:
        name: on the command line.
        help: what it feeds, in one line.
        prepare: makes the function to call; called once, it may be slow.
        seeds: valid inputs to start from.
        mutate: changes an input.
    """

    name: str
    help: str
    prepare: Callable[[], Run]
    seeds: Callable[[], tuple[bytes, ...]]
    mutate: Mutator = mutate_bytes


def refusing(read: Callable[[bytes], object], *named: type[Exception]) -> Run:
    """Return a function that calls `read` and takes the errors by which it may refuse."""

    def run(data: bytes) -> None:
        with suppress(*named):
            read(data)

    return run


def all_of(*runs: Run) -> Run:
    """Return a function that gives its input to each of `runs`."""

    def run(data: bytes) -> None:
        for each in runs:
            each(data)

    return run
