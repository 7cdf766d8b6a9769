"""A card of configuration 700 is torn at every command of a delegated deployment, and answers are lost.

Afterwards the card holds what was wanted, no token did anything else than it was issued for, and every
receipt is there or its absence is on record.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE
from tests.machine.delegated_bench import CENTRAL, DelegatedBench
from tests.machine.test_faults import torn_at

from opentsm.tsm.domain.delegation import TokenState
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType

STRIDES = [pytest.param(13, id="every thirteenth"), pytest.param(1, id="every", marks=pytest.mark.campaign)]
MOMENTS = ("before", "after", "answer")


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def assert_receipts(bench: DelegatedBench, where: str) -> None:
    """The card counts what it did by token: each is confirmed, or its answer is known to be lost."""
    tokens = await bench.tokens()
    states = [token.state for token in tokens]
    done = bench.card.image().isd.domain_data().confirmations
    confirmed, unanswered = states.count(TokenState.CONFIRMED), states.count(TokenState.UNANSWERED)
    assert TokenState.DISPUTED not in states, where
    assert TokenState.ISSUED not in states, where
    assert confirmed <= done <= confirmed + unanswered, where
    counters = [token.counter for token in tokens if token.counter is not None]
    assert counters == sorted(set(counters)), where
    assert len({token.number for token in tokens}) == len(tokens), where


async def assert_deployed(bench: DelegatedBench, operation: Operation, where: str) -> None:
    assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
    image = bench.card.image()
    new = {i.aid: (i.sd, i.state) for i in image.instances if i.aid not in bench.factory_instances}
    assert new == {bytes(DOMAIN): (bytes(CENTRAL), 0x0F), bytes(PURSE): (bytes(DOMAIN), 0x07)}, where
    files = {f.aid: f.sd for f in image.load_files if f.aid not in bench.factory_load_files}
    assert files == {bytes(PURSE_PACKAGE): bytes(DOMAIN)}, where
    async with bench.storage.transaction() as tx:
        picture = await tx.secure_elements.content(bench.se_id)
    known = {bytes(o.aid): o.state for o in picture.objects}
    assert {aid: known.get(aid) for aid in new} == {aid: state for aid, (_, state) in new.items()}, where


def fault(bench: DelegatedBench, moment: str, number: int) -> None:
    """`answer`: the card stays powered, only the answer is lost."""
    bench.device.keeps_power = moment == "answer"
    setattr(bench.device, "before" if moment == "before" else "after", torn_at(number))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stride", STRIDES)
async def test_delegated_deployment_when_torn_at_a_command_is_completed(
    bench: DelegatedBench, moment: str, stride: int
) -> None:
    await bench.run((await bench.deploy()).id)
    total = bench.device.sent
    for number in range(1 + MOMENTS.index(moment), total + 1, stride):
        await bench.new_card()
        fault(bench, moment, number)
        operation = await bench.run((await bench.deploy()).id)
        where = f"{moment} command {number} of {total}"
        await assert_deployed(bench, operation, where)
        await assert_receipts(bench, where)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stride", STRIDES)
async def test_delegated_removal_when_torn_at_a_command_is_completed(
    bench: DelegatedBench, moment: str, stride: int
) -> None:
    number, total = 1 + MOMENTS.index(moment), 99
    while number <= total:
        await bench.new_card()
        await bench.run((await bench.deploy()).id)
        bench.device.sent = 0
        fault(bench, moment, number)
        gone = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
        ended = await bench.run(gone.id)
        where = f"{moment} command {number}"
        assert ended.state is OperationState.SUCCEEDED, f"{where}: {ended.failure}"
        assert {i.aid for i in bench.card.image().instances} == bench.factory_instances, where
        assert {f.aid for f in bench.card.image().load_files} == bench.factory_load_files, where
        await assert_receipts(bench, where)
        total, number = bench.device.sent, number + stride
