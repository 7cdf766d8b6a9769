"""A personalisation that counts is torn at every block: no instance in use has ever taken a block twice.

Every STORE DATA that the purse accepts is counted, as by an applet whose data grouping moves a counter. The
count of the instance that is left must be that of one run of the recipe.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.machine.bench import Bench

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.tsm.domain.operation import OperationState
from opentsm.vse.applets.transit_purse import TransitPurse
from opentsm.vse.faults import TornError

STORE_DATA = 0xE2


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of the blocks that the youngest purse on the card has taken, oldest first.

    The commands are cut off between each other, so that what a purse took is also what it saved.
    """
    numbers: list[int] = []
    install, personalize = TransitPurse.install, TransitPurse.personalize

    def counting_install(self: TransitPurse, instance_aid: Aid, parameters: bytes) -> None:
        install(self, instance_aid, parameters)
        numbers.clear()

    def counting(self: TransitPurse, command: CommandApdu, decrypt: Callable[[bytes], bytes]) -> bytes:
        answer = personalize(self, command, decrypt)
        numbers.append(command.p2)
        return answer

    monkeypatch.setattr(TransitPurse, "install", counting_install)
    monkeypatch.setattr(TransitPurse, "personalize", counting)
    return numbers


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


@pytest.mark.parametrize("extended", [True, False], ids=["exactly once", "plain agent"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_personalization_when_torn_at_any_block_is_never_applied_twice(
    bench: Bench, taken: list[int], moment: str, extended: bool
) -> None:
    await bench.run((await bench.deploy()).id)
    once = list(taken)
    assert once == list(range(len(once)))
    numbers = [number for number, (ins, _) in enumerate(bench.device.trace, 1) if ins == STORE_DATA]
    # every block of the recipe, and what puts the domain's first keys there
    assert len(numbers) >= len(once) > 1
    for torn in numbers:
        await bench.new_card()
        bench.extended = extended
        await bench.negotiate()
        bench.device.reports_loss = extended

        def fault(sent: int, torn: int = torn) -> None:
            if sent == torn:
                raise TornError

        setattr(bench.device, moment, fault)
        operation = await bench.run((await bench.deploy()).id)
        assert operation.state is OperationState.SUCCEEDED, f"{moment} {torn}: {operation.failure}"
        assert taken == once, f"{moment} command {torn}"
