"""Devices that never prove the card: they cannot block, starve or take over a secure element."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.bench import Bench

from opentsm.tsm.domain.device import Device, DeviceSession
from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.domain.secure_element import SE_STATES, SecureElement, SeEvent, SeState
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import DeviceId, OperationId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.roles.hub.device_link import Delivery
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.hub.turns import TURN

POLLING = Report(polling=True)
WRONG = "000000000000000000003003703B1ACA81E821F219081CDC01C26B372D0000039000"


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    yield made
    await made.close()


class Rogue:
    """Another enrolled device of the issuer, with a session for the same secure element and no card."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.id = DeviceId(bench.world.new_id())
        self.session_id = bench.world.random(16).hex()
        self.principal: Principal = replace(bench.device_principal, device_id=self.id)

    async def enter(self) -> "Rogue":
        now = self.bench.world.now()
        session = DeviceSession(
            digest=hashlib.sha256(self.session_id.encode()).digest(),
            device_id=self.id,
            tenant_id=self.bench.issuer,
            se_id=self.bench.se_id,
            expires_at=now + timedelta(days=1),
            extended=True,
            ready=True,
        )
        async with self.bench.storage.transaction() as tx:
            await tx.devices.add(
                Device(id=self.id, tenant_id=self.bench.issuer, name="r", public_key={}, created_at=now)
            )
            await tx.devices.add_session(session)
            await tx.commit()
        return self

    async def exchange(self, report: Report = POLLING) -> Delivery:
        session = await self.bench.link.session(self.principal, self.session_id)
        return await self.bench.link.exchange(session, report, wait_s=0.0)


async def element(bench: Bench) -> SecureElement:
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
    assert se is not None
    return se


async def state(bench: Bench, operation_id: OperationId) -> OperationState:
    async with bench.storage.transaction() as tx:
        operation = await tx.operations.get(operation_id)
    assert operation is not None
    return operation.state


async def test_order_when_one_device_has_it_then_no_other_gets_it_or_answers_it(bench: Bench) -> None:
    rogue = await Rogue(bench).enter()
    operation = await bench.deploy()
    await bench.work()
    delivery = await bench.exchange(POLLING)
    assert delivery.commands
    assert not (await rogue.exchange()).commands
    await rogue.exchange(Report(polling=False, responses=("9000", WRONG), sequence=delivery.sequence))
    await bench.work()
    assert (await element(bench)).state is SeState.REGISTERED
    report = bench.device.run(delivery)
    await bench.exchange(report)
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    assert (await element(bench)).device_id == bench.device_id


async def test_order_when_its_first_device_never_answers_then_the_next_gets_it_after_a_turn(
    bench: Bench,
) -> None:
    rogue = await Rogue(bench).enter()
    operation = await bench.deploy()
    await bench.work()
    assert (await rogue.exchange()).commands
    assert not (await bench.exchange(POLLING)).commands
    bench.world.shift += TURN
    assert (await bench.exchange(POLLING)).commands
    bench.world.shift += TURN - timedelta(seconds=1)
    assert not (await rogue.exchange()).commands
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    with pytest.raises(NotFoundError):
        await rogue.exchange()


async def test_operation_when_a_device_answers_rubbish_then_does_not_use_up_its_tries(bench: Bench) -> None:
    rogue = await Rogue(bench).enter()
    operation = await bench.deploy()
    got = 0
    for _ in range(20):
        await bench.work()
        delivery = await rogue.exchange()
        got += bool(delivery.commands)
        if delivery.commands:
            await rogue.exchange(Report(polling=False, responses=("6A82",), sequence=delivery.sequence))
    assert got == 1, "the bench's own device is there, and comes first from now on"
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    async with bench.storage.transaction() as tx:
        assert await tx.turns.trials(bench.se_id) == []
        assert await tx.turns.turn(bench.se_id) is None


async def test_cryptogram_when_wrong_then_the_audit_names_the_device_and_it_comes_last_afterwards(
    bench: Bench,
) -> None:
    rogue = await Rogue(bench).enter()
    operation = await bench.deploy()
    await bench.work()
    delivery = await rogue.exchange()
    await rogue.exchange(Report(polling=False, responses=("9000", WRONG), sequence=delivery.sequence))
    await bench.work()
    assert await state(bench, operation.id) is OperationState.FAILED
    se = await element(bench)
    assert (se.state, se.device_id) == (SeState.QUARANTINED, None)
    async with bench.storage.transaction() as tx:
        entries = await tx.audit.list(bench.provider, Page(limit=200), subject=operation.id)
        await tx.secure_elements.save(replace(se, state=SE_STATES.next(se.state, SeEvent.REINSTATE)))
        await tx.commit()
    named = [entry.details for entry in entries if entry.action == "secure-element.not-proved"]
    assert named == [{"device": rogue.id}]
    again = await bench.deploy()
    await bench.work()
    assert not (await rogue.exchange()).commands
    assert (await bench.run(again.id)).state is OperationState.SUCCEEDED


async def test_secure_element_when_reserved_then_no_other_device_keeps_its_session(bench: Bench) -> None:
    rogue = await Rogue(bench).enter()
    async with bench.storage.transaction() as tx:
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, reserved_for=bench.device_id))
        await tx.commit()
    operation = await bench.deploy()
    await bench.work()
    with pytest.raises(NotFoundError):
        await rogue.exchange()
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
