"""What goes wrong at a chosen place of an operation, again and again with the place further on.

The suite goes on in strides; a campaign (`pytest -m campaign tests/machine`) leaves nothing out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from tests.machine.bench import Bench
from tests.machine.crashes import CommitFault, DyingStorage

from opentsm.vse.faults import TornError

EVERY = (pytest.mark.campaign, pytest.mark.timeout(1800))
CUT_BEFORE, CUT_AFTER, ANSWER_LOST = "before", "after", "answer lost"
MOMENTS = (CUT_BEFORE, CUT_AFTER, ANSWER_LOST)
DURABLE = pytest.mark.parametrize("durable", [False, True], ids=["before commit", "after commit"])


@dataclass
class Counted:
    """Counts the faults that happened; an operation that is over before its fault has none."""

    faults: int = 0

    def __call__(self, happened: bool) -> bool:
        self.faults += happened
        return happened


async def fresh_start(bench: Bench) -> None:
    """Let nothing go wrong any more, with the commands counted anew."""
    bench.wrap_storage = lambda storage: storage
    await bench.crash()
    bench.device.before = bench.device.after = lambda _: None
    bench.device.sent = 0


async def lose_only_answers(bench: Bench) -> None:
    """Make the device one that speaks plain SERAM: it says nothing of the loss and polls again."""
    bench.device.keeps_power, bench.device.reports_loss = True, False
    bench.extended = False
    await bench.negotiate()


def break_at(bench: Bench, moment: str, number: int) -> None:
    """Cut the card off before or after its n-th command from now, or lose that one's answer."""
    setattr(bench.device, "before" if moment == CUT_BEFORE else "after", _torn_at(number))


def _torn_at(number: int) -> Callable[[int], None]:
    def tear(sent: int) -> None:
        if sent == number:
            raise TornError

    return tear


async def die_at(bench: Bench, number: int, *, durable: bool) -> CommitFault:
    """Let the server die at its n-th commit from now."""
    fault = CommitFault(at=number, durable=durable)
    bench.wrap_storage = partial(DyingStorage, fault=fault)
    await bench.crash()
    return fault
