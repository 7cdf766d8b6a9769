"""Cards are torn, answers are lost, the server dies: at every command and every commit of an operation.

Afterwards the card holds exactly what was wanted, the TSM's picture agrees with it, and nothing that must
not happen twice happened twice.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE, Bench
from tests.machine.campaigns import EVERY
from tests.machine.crashes import CommitFault, DyingStorage

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.secure_element import KeySetState
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.roles.hub.device_link import Delivery
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.vse.faults import FaultPlan, TornError

AMOUNT = 1500


class Story:
    """One kind of operation, run again and again with a fault somewhere else each time.

    A deployment needs a fresh card every time; a top-up and a key change go on with the card there is, and
    what it must hold grows with them.
    """

    def __init__(self, name: str, dsn: str, directory: Path) -> None:
        self.name = name
        self.kvn, self.balance = 0x34, 0
        self._dsn, self._directory = dsn, directory
        self._bench: Bench | None = None

    async def bench(self) -> Bench:
        """Return a bench on which the operation can be asked for, without any fault."""
        if self._bench is None:
            self._bench = Bench(self._dsn, self._directory)
            await self._bench.open()
            await self._bench.seed()
            if self.name != "deployment":
                await self._bench.run((await self._bench.deploy()).id)
        bench = self._bench
        bench.wrap_storage = lambda storage: storage
        await bench.crash()
        if self.name == "deployment":
            await bench.new_card()
        bench.device.before = bench.device.after = lambda _: None
        bench.device.sent = 0
        return bench

    async def request(self, bench: Bench) -> Operation:
        """Ask for the operation; note what it shall lead to."""
        if self.name == "deployment":
            return await bench.deploy()
        if self.name == "top-up":
            self.balance += AMOUNT
            return await bench.requests.top_up(bench.principal, bench.instance_id, amount=AMOUNT)
        self.kvn = 0x34 + (self.kvn - 0x34 + 1) % 4
        return await bench.requests.change(bench.principal, bench.instance_id, OperationType.ROTATE_KEYS)

    async def close(self) -> None:
        if self._bench is not None:
            await self._bench.close()


@pytest.fixture(params=["deployment", "top-up", "key change"])
async def story(request: pytest.FixtureRequest, dsn: str, tmp_path: Path) -> AsyncIterator[Story]:
    made = Story(request.param, dsn, tmp_path)
    yield made
    await made.close()


def every_command_but_of_a_deployment(stride: int) -> list[ParameterSet]:
    """Return stories with strides: of a deployment, the longest, every command is a campaign of its own."""
    return [
        pytest.param("deployment", stride),
        pytest.param("top-up", 1),
        pytest.param("key change", 1),
        pytest.param("deployment", 1, marks=EVERY),
    ]


def ask(bench: Bench, apdu: bytes) -> ResponseApdu:
    return ResponseApdu.parse(bench.card.transmit(apdu))


async def assert_settled(bench: Bench, story: Story, operation: Operation, where: str) -> None:
    """The card holds exactly the desired content, and the TSM knows it."""
    kvn, balance = story.kvn, story.balance
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
    on_card = {Aid(i.aid): i.state for i in image.instances}
    assert {aid: known[aid] for aid in on_card if aid in known} == on_card, where
    assert set(on_card) <= set(known), where


async def run_clean(story: Story) -> int:
    """Run the operation without a fault; return how many commands that took."""
    bench = await story.bench()
    operation = await bench.run((await story.request(bench)).id)
    await assert_settled(bench, story, operation, "without faults")
    return bench.device.sent


def torn_at(number: int) -> Callable[[int], None]:
    def tear(sent: int) -> None:
        if sent == number:
            raise TornError

    return tear


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_power_when_cut_around_any_command_is_recovered_from(story: Story, moment: str) -> None:
    total = await run_clean(story)
    for number in range(1, total + 1):
        bench = await story.bench()
        setattr(bench.device, moment, torn_at(number))
        operation = await bench.run((await story.request(bench)).id)
        await assert_settled(bench, story, operation, f"cut {moment} command {number} of {total}")


@pytest.mark.parametrize("moment", ["cut_before_write", "cut_after_write"])
async def test_power_when_cut_at_any_write_of_the_card_is_recovered_from(story: Story, moment: str) -> None:
    number, happened = 0, True
    while happened:
        number += 1
        bench = await story.bench()
        fault = FaultPlan(**{moment: number})
        bench.card.arm(fault)
        operation = await bench.run((await story.request(bench)).id)
        happened = fault.writes >= number
        bench.card.arm(FaultPlan())
        await assert_settled(bench, story, operation, f"{moment} {number}")
    # even a top-up writes once: at least one run had its fault
    assert number > 1


@pytest.mark.parametrize("story", ["top-up", "key change"], indirect=True)
async def test_power_when_cut_between_two_orders_is_recovered_from(story: Story) -> None:
    """The answers of the order before are known; what the card had in its memory for the next one is gone."""
    number, happened = 0, True
    while happened:
        number += 1
        bench = await story.bench()
        cycle = PowerCycle(bench, number)
        operation = await bench.run((await story.request(bench)).id)
        happened = cycle.done
        cycle.end()
        await assert_settled(bench, story, operation, f"power lost before order {number}")
    assert number > 2


class PowerCycle:
    """Takes the card's power away before the device runs its n-th order."""

    def __init__(self, bench: Bench, number: int) -> None:
        self._bench, self._number, self._really = bench, number, bench.device.run
        self.done = False
        bench.device.run = self._run  # type: ignore[method-assign]

    def _run(self, delivery: Delivery) -> Report:
        self._number -= 1
        if not self._number:
            self.done = True
            self._bench.card.power_off()
            self._bench.card.power_on()
        return self._really(delivery)

    def end(self) -> None:
        self._bench.device.run = self._really  # type: ignore[method-assign]


@pytest.mark.parametrize("durable", [False, True], ids=["before commit", "after commit"])
async def test_server_when_it_dies_at_any_commit_goes_on_from_what_is_stored(
    story: Story, durable: bool
) -> None:
    number, happened = 0, True
    while happened:
        number += 1
        bench = await story.bench()
        operation = await story.request(bench)
        fault = CommitFault(at=number, durable=durable)
        bench.wrap_storage = partial(DyingStorage, fault=fault)
        await bench.crash()
        ended = await bench.run(operation.id)
        happened = fault.commits >= number
        await assert_settled(bench, story, ended, f"died at commit {number}")
    assert number > 5


async def test_reports_when_every_one_comes_twice_count_once(story: Story) -> None:
    bench = await story.bench()
    really = bench.exchange

    async def twice(report: Report) -> Delivery:
        await really(report)
        await bench.work()
        return await really(report)

    bench.exchange = twice  # type: ignore[method-assign]
    operation = await bench.run((await story.request(bench)).id)
    await assert_settled(bench, story, operation, "every report twice")


@pytest.mark.parametrize(("story", "stride"), every_command_but_of_a_deployment(3), indirect=["story"])
async def test_server_when_it_dies_while_the_card_is_torn_recovers_from_both(
    story: Story, stride: int
) -> None:
    total = await run_clean(story)
    for number in range(1, total + 1, stride):
        bench = await story.bench()
        bench.device.after = torn_at(number)
        operation = await story.request(bench)
        fault = CommitFault(at=number % 7 + 2, durable=bool(number % 2))
        bench.wrap_storage = partial(DyingStorage, fault=fault)
        await bench.crash()
        ended = await bench.run(operation.id)
        await assert_settled(bench, story, ended, f"torn after {number}, died at commit {fault.at}")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("story", "stride"), every_command_but_of_a_deployment(2), indirect=["story"])
async def test_agent_without_extension_when_an_answer_is_lost_leaves_the_same_card(
    story: Story, stride: int, moment: str
) -> None:
    """A plain SERAM agent cannot say where it stopped: it starts to poll again, and the card is read."""
    total = await run_clean(story)
    for number in range(1, total + 1, stride):
        bench = await story.bench()
        bench.extended = False
        await bench.negotiate()
        setattr(bench.device, moment, torn_at(number))
        bench.device.reports_loss = False
        operation = await bench.run((await story.request(bench)).id)
        await assert_settled(bench, story, operation, f"plain agent, lost {moment} command {number}")
