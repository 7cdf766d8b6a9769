"""Cards are torn, answers are lost, the server dies: at every command and every commit of an operation.

Afterwards the card holds exactly what was wanted, the TSM's picture agrees with it, and nothing that must
not happen twice happened twice.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from opentsm.card import purse
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import KeySetState
from opentsm.tsm.domain.service import InstanceState
from opentsm.vse.faults import FaultPlan, TornError
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench
from tests.machine.crashes import CommitFault, DyingStorage

AMOUNT = 1500


async def deploy(bench: Bench) -> Operation:
    return await bench.run((await bench.deploy()).id)


async def top_up(bench: Bench) -> Operation:
    operation = await bench.requests.top_up(bench.principal, bench.instance_id, amount=AMOUNT)
    return await bench.run(operation.id)


async def rotate(bench: Bench) -> Operation:
    operation = await bench.requests.change(bench.principal, bench.instance_id, OperationType.ROTATE_KEYS)
    return await bench.run(operation.id)


async def nothing(bench: Bench) -> None:
    """No preparation."""


Act = Callable[[Bench], Awaitable[Operation]]
Prepare = Callable[[Bench], Awaitable[object]]
STORIES: dict[str, tuple[Prepare, Act, int, int]] = {
    # name: (preparation, act, key version afterwards, balance afterwards)
    "deployment": (nothing, deploy, 0x34, 0),
    "top-up": (deploy, top_up, 0x34, AMOUNT),
    "key change": (deploy, rotate, 0x35, 0),
}
stories = pytest.mark.parametrize("story", STORIES)


async def made(dsn: str, directory: Path) -> Bench:
    bench = Bench(dsn, directory)
    await bench.open()
    await bench.seed()
    return bench


async def prepared(dsn: str, directory: Path, story: str) -> Bench:
    bench = await made(dsn, directory)
    await STORIES[story][0](bench)
    bench.device.sent = 0
    return bench


def ask(bench: Bench, apdu: bytes) -> ResponseApdu:
    return ResponseApdu.parse(bench.card.transmit(apdu))


async def assert_settled(bench: Bench, story: str, operation: Operation, where: str) -> None:
    """The card holds exactly the desired content, and the TSM knows it."""
    _, _, kvn, balance = STORIES[story]
    assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
    assert (await bench.instance()).state is InstanceState.OPERATIONAL, where
    bench.card.power_off()
    bench.card.power_on()
    image = bench.card.image()
    ours = {i.aid for i in image.instances} - bench.factory_instances
    assert ours == {bytes(DOMAIN), bytes(PURSE)}, where
    assert {f.aid for f in image.load_files} - bench.factory_load_files == {bytes(PURSE_PACKAGE)}, where
    domain = next(i for i in image.instances if i.aid == bytes(DOMAIN)).domain
    assert domain is not None
    assert {key.kvn for key in domain.keys} == {kvn}, where
    assert ask(bench, gp.select(PURSE).to_bytes()).sw == 0x9000, where
    assert ask(bench, purse.get_balance().to_bytes()).data == balance.to_bytes(4, "big"), where
    async with bench.storage.transaction() as tx:
        picture = await tx.secure_elements.content(bench.se_id)
        case = await tx.secure_elements.get(bench.se_id)
        current = [
            k.kvn
            for k in await tx.key_sets.list(bench.provider, bench.se_id, DOMAIN)
            if k.state is KeySetState.CURRENT
        ]
    assert case is not None
    assert case.active_operation_id is None, where
    assert current == [kvn], where
    assert picture.keys[str(DOMAIN)] == (kvn,), where
    known = {o.aid: o.state for o in picture.objects}
    on_card = {i.aid: i.state for i in image.instances}
    assert {aid: known[aid] for aid in on_card if aid in known} == on_card, where
    assert set(on_card) <= set(known), where


async def count_commands(dsn: str, directory: Path, story: str) -> int:
    bench = await prepared(dsn, directory, story)
    operation = await STORIES[story][1](bench)
    await assert_settled(bench, story, operation, "without faults")
    await bench.close()
    return bench.device.sent


def torn_at(number: int) -> Callable[[int], None]:
    def tear(sent: int) -> None:
        if sent == number:
            raise TornError

    return tear


@stories
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_power_when_cut_around_any_command_is_recovered_from(
    dsn: str, tmp_path: Path, story: str, moment: str
) -> None:
    total = await count_commands(dsn, tmp_path / "count", story)
    for number in range(1, total + 1):
        bench = await prepared(dsn, tmp_path / str(number), story)
        setattr(bench.device, moment, torn_at(number))
        operation = await STORIES[story][1](bench)
        await assert_settled(bench, story, operation, f"cut {moment} command {number} of {total}")
        await bench.close()


@stories
@pytest.mark.parametrize("moment", ["cut_before_write", "cut_after_write"])
async def test_power_when_cut_at_any_write_of_the_card_is_recovered_from(
    dsn: str, tmp_path: Path, story: str, moment: str
) -> None:
    number = 0
    while True:
        number += 1
        bench = await prepared(dsn, tmp_path / str(number), story)
        fault = FaultPlan(**{moment: number})
        bench.card.arm(fault)
        operation = await STORIES[story][1](bench)
        happened = fault.writes >= number
        bench.card.arm(FaultPlan())
        await assert_settled(bench, story, operation, f"{moment} {number}")
        await bench.close()
        if not happened:
            break
    assert number > 3


@stories
@pytest.mark.parametrize("durable", [False, True], ids=["before commit", "after commit"])
async def test_server_when_it_dies_at_any_commit_goes_on_from_what_is_stored(
    dsn: str, tmp_path: Path, story: str, durable: bool
) -> None:
    number = 0
    while True:
        number += 1
        bench = await prepared(dsn, tmp_path / str(number), story)
        fault = CommitFault(at=number, durable=durable)
        bench.wrap_storage = lambda storage, fault=fault: DyingStorage(storage, fault)
        operation = await requested(bench, story)
        await bench.crash()
        ended = await bench.run(operation.id)
        await assert_settled(bench, story, ended, f"died at commit {number}")
        await bench.close()
        if fault.commits < number:
            break
    assert number > 5


async def requested(bench: Bench, story: str) -> Operation:
    """Ask for the operation, without running it."""
    if story == "deployment":
        return await bench.deploy()
    if story == "top-up":
        return await bench.requests.top_up(bench.principal, bench.instance_id, amount=AMOUNT)
    return await bench.requests.change(bench.principal, bench.instance_id, OperationType.ROTATE_KEYS)


@stories
async def test_reports_when_every_one_comes_twice_count_once(dsn: str, tmp_path: Path, story: str) -> None:
    bench = await prepared(dsn, tmp_path, story)
    really = bench.exchange

    async def twice(report):  # type: ignore[no-untyped-def]
        await really(report)
        await bench.work()
        return await really(report)

    bench.exchange = twice  # type: ignore[method-assign]
    operation = await STORIES[story][1](bench)
    await assert_settled(bench, story, operation, "every report twice")
    await bench.close()


@stories
async def test_server_when_it_dies_while_the_card_is_torn_recovers_from_both(
    dsn: str, tmp_path: Path, story: str
) -> None:
    total = await count_commands(dsn, tmp_path / "count", story)
    for number in range(1, total + 1, 3):
        bench = await prepared(dsn, tmp_path / str(number), story)
        bench.device.after = torn_at(number)
        fault = CommitFault(at=number % 7 + 2, durable=bool(number % 2))
        bench.wrap_storage = lambda storage, fault=fault: DyingStorage(storage, fault)
        operation = await requested(bench, story)
        await bench.crash()
        ended = await bench.run(operation.id)
        await assert_settled(bench, story, ended, f"torn after {number}, died at commit {fault.at}")
        await bench.close()
