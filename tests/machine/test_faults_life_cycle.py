"""Cards are torn and answers are lost at every command of a suspension, a resumption and a termination.

Afterwards the card holds exactly what was wanted, a termination gave the memory back, and no DELETE and no
SET STATUS was repeated blindly: the registry was read first, so that the card never had to refuse one.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.card.gp.responses import parse_extended_resources
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.secure_element import KeySetState
from opentsm.tsm.domain.service import InstanceState
from opentsm.vse.faults import TornError

DELETE, SET_STATUS, GET_STATUS = 0xE4, 0xF0, 0xF2
# GPCS 2.3.1, table 11-4: the highest bit of an application's state says that it is locked.
LOCKED = 0x80
MOMENTS = ["cut before", "cut after", "answer lost"]
LOCKS = ((OperationType.SUSPEND, InstanceState.SUSPENDED), (OperationType.RESUME, InstanceState.OPERATIONAL))


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


async def run_with_fault(
    bench: Bench, type_: OperationType, moment: str = "", number: int = 0, torn: int = 0
) -> list[int]:
    """Run an operation with a fault at its n-th command, which is a `torn`; return the answered commands.

    Whatever the fault, the operation succeeds, every DELETE and SET STATUS that reaches the card is one that
    still had something to do (a second one would be answered 6A88 or 6985), and after one that may have been
    executed no other is sent before a GET STATUS.
    """
    device = bench.device
    device.sent = 0
    device.trace.clear()
    device.before = device.after = lambda _: None
    answered_before: list[int] = []

    def fault(sent: int) -> None:
        if sent == number:
            answered_before.append(len(device.trace))
            raise TornError

    setattr(device, "before" if moment == "cut before" else "after", fault)
    operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
    operation = await bench.run(operation.id)
    where = f"{type_.value}, {moment} command {number}"
    assert operation.state is OperationState.SUCCEEDED, f"{where}: {operation.failure}"
    assert {sw for ins, sw in device.trace if ins in (DELETE, SET_STATUS)} == {0x9000}, where
    assert len(answered_before) == bool(number), where
    if torn in (DELETE, SET_STATUS):
        later = [ins for ins, _ in device.trace[answered_before[0] :]]
        assert not {DELETE, SET_STATUS} & set(later[: later.index(GET_STATUS)]), where
    return [ins for ins, _ in device.trace]


async def lose_only_answers(bench: Bench, moment: str) -> None:
    """Make the device one that speaks plain SERAM: it says nothing of the loss and polls again.

    The card stays powered and in its session.
    """
    if moment == "answer lost":
        bench.device.keeps_power, bench.device.reports_loss = True, False
        bench.extended = False
        await bench.negotiate()


async def assert_card_and_picture_agree(bench: Bench, where: str) -> None:
    """The TSM knows every object of the card in its state, and believes in no other of the service's."""
    bench.card.power_off()
    bench.card.power_on()
    image = bench.card.image()
    instances = {Aid(i.aid): i.state for i in image.instances}
    ours = (instances.keys() | {Aid(f.aid) for f in image.load_files}) & {PURSE, DOMAIN, PURSE_PACKAGE}
    async with bench.storage.transaction() as tx:
        picture = await tx.secure_elements.content(bench.se_id)
        case = await tx.secure_elements.get(bench.se_id)
    assert case is not None
    assert case.active_operation_id is None, where
    known = {o.aid: o.state for o in picture.objects}
    assert {aid: known[aid] for aid in instances if aid in known} == instances, where
    assert known.keys() & {PURSE, DOMAIN, PURSE_PACKAGE} == ours, where


def ask(bench: Bench, command: CommandApdu) -> ResponseApdu:
    return ResponseApdu.parse(bench.card.transmit(command.to_bytes()))


def free_memory(bench: Bench) -> int:
    """Ask the card itself (TS 102 226, section 8.2.1.7)."""
    bench.card.power_off()
    bench.card.power_on()
    assert ask(bench, gp.select(bench.profiles[bench.profile_name].isd_aid)).sw == 0x9000
    return parse_extended_resources(ask(bench, gp.get_data(0xFF21)).data).free_nonvolatile


@pytest.mark.parametrize("moment", MOMENTS)
async def test_lock_when_torn_or_unanswered_at_any_command_is_as_wanted(bench: Bench, moment: str) -> None:
    await bench.run((await bench.deploy()).id)
    await lose_only_answers(bench, moment)
    commands = {type_: await run_with_fault(bench, type_) for type_, _ in LOCKS}
    assert all(ins.count(SET_STATUS) == 1 for ins in commands.values())
    for number in range(1, max(map(len, commands.values())) + 1):
        for type_, state in LOCKS:
            if number <= len(commands[type_]):
                await run_with_fault(bench, type_, moment, number, commands[type_][number - 1])
            else:
                await run_with_fault(bench, type_)
            where = f"{type_.value}, {moment} command {number}"
            await assert_card_and_picture_agree(bench, where)
            locked = type_ is OperationType.SUSPEND
            purse = next(i for i in bench.card.image().instances if i.aid == bytes(PURSE))
            assert bool(purse.state & LOCKED) is locked, where
            assert (ask(bench, gp.select(PURSE)).sw == 0x9000) is not locked, where
            assert (await bench.instance()).state is state, where


@pytest.mark.parametrize("moment", MOMENTS)
async def test_termination_when_torn_or_unanswered_at_any_command_leaves_the_card_empty(
    bench: Bench, moment: str
) -> None:
    empty = free_memory(bench)
    await lose_only_answers(bench, moment)
    await bench.run((await bench.deploy()).id)
    commands = await run_with_fault(bench, OperationType.TERMINATE)
    # the instance, its load file, the security domain
    assert commands.count(DELETE) == 3
    for number, ins in enumerate(commands, 1):
        bench.device.before = bench.device.after = lambda _: None
        assert (await bench.run((await bench.deploy()).id)).state is OperationState.SUCCEEDED
        assert free_memory(bench) < empty
        await run_with_fault(bench, OperationType.TERMINATE, moment, number, ins)
        where = f"{moment} command {number}"
        await assert_card_and_picture_agree(bench, where)
        assert {i.aid for i in bench.card.image().instances} == bench.factory_instances, where
        assert {f.aid for f in bench.card.image().load_files} == bench.factory_load_files, where
        assert free_memory(bench) == empty, where
        assert (await bench.instance()).state is InstanceState.TERMINATED, where
        async with bench.storage.transaction() as tx:
            keys = await tx.key_sets.list(bench.provider, bench.se_id, DOMAIN)
        assert not [k for k in keys if k.state is KeySetState.CURRENT], where
