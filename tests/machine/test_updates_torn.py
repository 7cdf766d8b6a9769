"""Updates and re-personalisations with a fault at a command or a commit: they converge, and touch no more.

Every fault meets the way there and the way back again.
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from tests.machine.bench import Bench
from tests.machine.campaigns import (
    ANSWER_LOST,
    DURABLE,
    EVERY,
    MOMENTS,
    Counted,
    break_at,
    die_at,
    fresh_start,
    lose_only_answers,
)
from tests.machine.two_versions import BALANCE, assert_holds, balance, deployed, offer_all, update

from opentsm.tsm.domain.operation import Operation, OperationState
from opentsm.tsm.domain.service import InstanceState

Pair = tuple[str, str]
RECIPE, LOAD_FILE, CODE = ("1.1.0", "1.0.0"), ("2.0.0", "1.0.0"), ("3.0.0", "1.0.0")


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await offer_all(made)
    await deployed(made)
    yield made
    await made.close()


def strides(some: int) -> list[ParameterSet]:
    """Return pairs of versions, each with how far one fault is from the next.

    The suite has some faults of an update without a load file, the campaign every one of every kind.
    """
    return [
        pytest.param(RECIPE, some, id="recipe"),
        pytest.param(RECIPE, 1, id="recipe-all", marks=EVERY),
        pytest.param(LOAD_FILE, 1, id="load-file", marks=EVERY),
        pytest.param(CODE, 1, id="code", marks=EVERY),
    ]


async def assert_updated(bench: Bench, operation: Operation, pair: Pair, version: str, where: str) -> None:
    assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
    assert (await bench.instance()).state is InstanceState.OPERATIONAL, where
    await assert_holds(bench, version, where)
    # other code is another purse
    assert balance(bench) == (0 if pair == CODE else BALANCE), where


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("pair", "stride"), strides(6))
async def test_update_when_torn_or_unanswered_at_any_command_converges(
    bench: Bench, counted: Counted, moment: str, pair: Pair, stride: int
) -> None:
    if moment == ANSWER_LOST:
        await lose_only_answers(bench)
    for number in count(1, stride):
        happened = False
        for version in pair:
            await fresh_start(bench)
            break_at(bench, moment, number)
            operation = await bench.run((await update(bench, version)).id)
            where = f"{moment} command {number} of an update to {version}"
            await assert_updated(bench, operation, pair, version, where)
            happened |= counted(bench.device.sent >= number)
        if not happened:
            break
    assert counted.faults > 3


@DURABLE
@pytest.mark.parametrize(("pair", "stride"), strides(9))
async def test_update_when_the_server_dies_at_a_commit_converges(
    bench: Bench, counted: Counted, durable: bool, pair: Pair, stride: int
) -> None:
    for number in count(1, stride):
        happened = False
        for version in pair:
            await fresh_start(bench)
            operation = await update(bench, version)
            fault = await die_at(bench, number, durable=durable)
            ended = await bench.run(operation.id)
            where = f"died at commit {number} of an update to {version}"
            await assert_updated(bench, ended, pair, version, where)
            happened |= counted(fault.commits >= number)
        if not happened:
            break
    assert counted.faults > 3


REPEATED = [pytest.param(7, id="some"), pytest.param(1, id="all", marks=EVERY)]


async def assert_personalized(bench: Bench, ended: Operation, where: str) -> None:
    """A doubt is redone: the purse that is left was made after the request, and took the recipe once."""
    assert ended.state is OperationState.SUCCEEDED, f"{where}: {ended.failure}"
    await assert_holds(bench, "1.0.0", where)
    # new data, a new purse: the old one's balance is gone with the old one's data
    assert balance(bench) == 0, where


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stride", REPEATED)
async def test_personalization_when_repeated_and_torn_anywhere_is_done_with_the_new_data(
    bench: Bench, counted: Counted, moment: str, stride: int
) -> None:
    if moment == ANSWER_LOST:
        await lose_only_answers(bench)
    happened, numbers = True, count(1, stride)
    while happened:
        number = next(numbers)
        await fresh_start(bench)
        break_at(bench, moment, number)
        operation = await bench.requests.personalize(bench.principal, bench.instance_id, data={})
        ended = await bench.run(operation.id)
        await assert_personalized(bench, ended, f"{moment} command {number}")
        happened = counted(bench.device.sent >= number)
    assert counted.faults > 1


@DURABLE
@pytest.mark.parametrize("stride", REPEATED)
async def test_personalization_when_the_server_dies_at_a_commit_is_done_with_the_new_data(
    bench: Bench, counted: Counted, durable: bool, stride: int
) -> None:
    happened, numbers = True, count(1, stride)
    while happened:
        number = next(numbers)
        await fresh_start(bench)
        operation = await bench.requests.personalize(bench.principal, bench.instance_id, data={})
        fault = await die_at(bench, number, durable=durable)
        ended = await bench.run(operation.id)
        await assert_personalized(bench, ended, f"died at commit {number}")
        happened = counted(fault.commits >= number)
    assert counted.faults > 1
