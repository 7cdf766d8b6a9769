"""The queue of one secure element: one active operation, and a report of loss that overtakes it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import Bench
from tests.machine.two_versions import offer_all

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.audit import AuditEntry
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId, OperationId, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.tsm.roles.hub.services import ADVANCE
from opentsm.workers.outbox import OutboxWorker

replace = msgspec.structs.replace
SUSPEND, TERMINATE = OperationType.SUSPEND, OperationType.TERMINATE
SUCCEEDED, QUEUED = OperationState.SUCCEEDED, OperationState.QUEUED


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path)
    await made.open()
    await made.seed()
    await offer_all(made)
    yield made
    await made.close()


async def deployed(bench: Bench) -> InstanceId:
    operation = await bench.deploy(bench.catalogue.versions["1.0.0"])
    assert (await bench.run(operation.id)).state is SUCCEEDED
    return bench.instance_id


async def lock(bench: Bench, instance_id: InstanceId, type_: OperationType = SUSPEND) -> Operation:
    return await bench.requests.change(bench.principal, instance_id, type_, loss=True)


async def second_service(bench: Bench) -> Operation:
    badge = bench.catalogue.versions["2.0.0"]
    other = replace(
        badge,
        service_id="another service",
        sd_aid=Aid.from_hex("F04F54534DF0AA"),
        load_files=badge.load_files[1:],
        applications=badge.applications[1:],
    )
    return await bench.deploy(other)


async def states(bench: Bench, *operations: Operation) -> list[OperationState]:
    return [(await bench.operation(one.id)).state for one in operations]


async def ended_at(bench: Bench, operation: Operation) -> float:
    moment = (await bench.operation(operation.id)).ended_at
    assert moment is not None
    return moment.timestamp()


async def state_of(bench: Bench, instance_id: InstanceId) -> InstanceState:
    async with bench.storage.transaction() as tx:
        found = await tx.instances.get(instance_id)
    assert found is not None
    return found.state


async def test_loss_when_the_active_order_was_never_handed_out_then_it_is_withdrawn_for_the_lock(
    bench: Bench,
) -> None:
    instance_id = await deployed(bench)
    update = await bench.requests.update(bench.principal, instance_id, version="2.0.0", data={})
    await bench.work()
    assert await states(bench, update) == [OperationState.AWAITING_DEVICE]
    loss = await lock(bench, instance_id)
    await bench.work()
    assert await states(bench, update, loss) == [QUEUED, OperationState.AWAITING_DEVICE]
    assert await state_of(bench, instance_id) is InstanceState.OPERATIONAL
    assert (await bench.run(loss.id)).state is SUCCEEDED
    assert await state_of(bench, instance_id) is InstanceState.SUSPENDED
    resumed = await bench.run(update.id)
    assert resumed.state is SUCCEEDED, resumed.failure
    assert await ended_at(bench, loss) < await ended_at(bench, update)
    instance = await bench.instance()
    assert (instance.state, instance.description.version_tag) == (InstanceState.SUSPENDED, "2.0.0")


async def test_loss_when_the_device_has_the_order_then_the_lock_waits_for_its_answer(bench: Bench) -> None:
    instance_id = await deployed(bench)
    update = await bench.requests.update(bench.principal, instance_id, version="2.0.0", data={})
    await bench.work()
    delivery = await bench.exchange(Report(polling=True))
    loss = await lock(bench, instance_id)
    await bench.work()
    assert await states(bench, update, loss) == [OperationState.AWAITING_DEVICE, QUEUED]
    await bench.exchange(bench.device.run(delivery))
    await bench.work()
    assert await states(bench, update, loss) == [QUEUED, OperationState.AWAITING_DEVICE]
    assert (await bench.run(loss.id)).state is SUCCEEDED
    assert (await bench.run(update.id)).state is SUCCEEDED


@pytest.mark.parametrize("orders", range(1, 7))
async def test_loss_when_another_service_is_being_deployed_then_it_stops_at_the_next_safe_point(
    bench: Bench, orders: int
) -> None:
    first = await deployed(bench)
    long = await second_service(bench)
    for _ in range(orders):
        await bench.run_once(long.id)
    interrupted = (await bench.operation(long.id)).state not in ENDED
    loss = await lock(bench, first)
    ended = await bench.run(loss.id)
    assert ended.state is SUCCEEDED
    assert await state_of(bench, first) is InstanceState.SUSPENDED
    rest = await bench.run(long.id)
    assert rest.state is SUCCEEDED, rest.failure
    assert (await ended_at(bench, loss) < await ended_at(bench, long)) is interrupted
    assert await state_of(bench, bench.instance_id) is InstanceState.OPERATIONAL


async def half_updated(bench: Bench, instance_id: InstanceId) -> Operation:
    """Return an update that has changed the card and is not at its end."""
    update = await bench.requests.update(bench.principal, instance_id, version="3.0.0", data={})
    while not (await bench.run_once(update.id)).changed_card:
        pass
    assert (await bench.operation(update.id)).state not in ENDED
    return update


async def test_loss_when_its_own_instance_is_half_changed_then_the_change_ends_and_the_lock_is_next(
    bench: Bench,
) -> None:
    instance_id = await deployed(bench)
    update = await half_updated(bench, instance_id)
    waiting = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    loss = await lock(bench, instance_id)
    await bench.work()
    assert await states(bench, loss) == [QUEUED]
    assert (await bench.run(update.id)).state is SUCCEEDED
    assert (await bench.run(loss.id)).state is SUCCEEDED
    assert (await bench.run(waiting.id)).state is SUCCEEDED
    assert await ended_at(bench, update) < await ended_at(bench, loss) < await ended_at(bench, waiting)
    assert await state_of(bench, instance_id) is InstanceState.SUSPENDED


async def test_loss_when_all_services_of_the_card_are_locked_then_each_is_whatever_was_half_done(
    bench: Bench,
) -> None:
    first = await deployed(bench)
    assert (await bench.run((await second_service(bench)).id)).state is SUCCEEDED
    second = bench.instance_id
    bench.instance_id = first
    update = await half_updated(bench, first)
    own, other = await lock(bench, first), await lock(bench, second)
    assert (await bench.run(other.id)).state is SUCCEEDED
    assert (await bench.run(update.id)).state is SUCCEEDED
    ended = await bench.run(own.id)
    assert ended.state is SUCCEEDED, ended.failure
    assert [await state_of(bench, one) for one in (first, second)] == [InstanceState.SUSPENDED] * 2
    assert await ended_at(bench, update) < await ended_at(bench, own)


async def test_loss_when_the_instance_is_terminated_then_what_gave_way_fails_and_sends_nothing(
    bench: Bench,
) -> None:
    instance_id = await deployed(bench)
    update = await bench.requests.update(bench.principal, instance_id, version="2.0.0", data={})
    await bench.work()
    assert (await bench.run((await lock(bench, instance_id, TERMINATE)).id)).state is SUCCEEDED
    sent = bench.device.sent
    ended = await bench.run(update.id)
    assert ended.failure is not None
    assert (ended.state, ended.failure.code, bench.device.sent) == (OperationState.FAILED, "conflict", sent)


async def test_loss_when_a_lock_is_active_then_a_second_one_does_not_interrupt_it(bench: Bench) -> None:
    first = await deployed(bench)
    active = await lock(bench, first)
    await bench.work()
    second = await lock(bench, first)
    await bench.work()
    assert await states(bench, active, second) == [OperationState.AWAITING_DEVICE, QUEUED]
    assert (await bench.run(active.id)).state is SUCCEEDED
    assert (await bench.run(second.id)).state is SUCCEEDED


async def test_loss_when_nothing_is_being_done_to_an_unfinished_instance_then_refused(bench: Bench) -> None:
    await bench.deploy()
    with pytest.raises(ConflictError, match="NOT_DEPLOYED"):
        await lock(bench, bench.instance_id)


async def test_cancel_when_what_gave_way_had_changed_the_card_then_it_is_a_failure_with_a_reason(
    bench: Bench,
) -> None:
    first = await deployed(bench)
    long = await second_service(bench)
    while not (await bench.run_once(long.id)).changed_card:
        pass
    loss = await lock(bench, first)
    await bench.work()
    assert await states(bench, long) == [QUEUED]
    await bench.requests.cancel(bench.principal, long.id)
    assert (await bench.run(loss.id)).state is SUCCEEDED
    ended = await bench.run(long.id)
    assert ended.failure is not None
    assert (ended.state, ended.failure.code) == (OperationState.FAILED, "cancelled")
    assert await state_of(bench, bench.instance_id) is InstanceState.IN_ERROR


async def test_cancel_when_the_first_of_the_queue_never_began_then_the_next_has_its_turn(
    bench: Bench,
) -> None:
    await deployed(bench)
    first, second = [
        await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id) for _ in range(2)
    ]
    await bench.conductor.advance(second.id)  # its message came first
    assert await states(bench, second) == [QUEUED]
    async with bench.storage.transaction() as tx:  # and the message that woke the first got lost
        for message in await tx.outbox.claim(bench.world.now(), lease_s=60, limit=100):
            await tx.outbox.done(message.id)
        await tx.commit()
    await bench.requests.cancel(bench.issuer_principal, first.id)
    await bench.work()
    assert await states(bench, first, second) == [
        OperationState.CANCELLED,
        OperationState.AWAITING_DEVICE,
    ]


async def test_wait_when_the_active_one_ends_meanwhile_then_it_is_looked_at_again(bench: Bench) -> None:
    """Between the look at the secure element and the note that it waits, the active operation ended."""
    await deployed(bench)
    active = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    await bench.work()
    waiting = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    held = asyncio.Event()
    before = bench.conductor._starting._wait

    async def late(case: object) -> bool:
        await held.wait()
        return await before(case)  # type: ignore[arg-type]

    bench.conductor._starting._wait = late  # type: ignore[method-assign]
    looking = asyncio.create_task(bench.conductor.advance(waiting.id))
    await asyncio.sleep(0)
    while await states(bench, active) != [SUCCEEDED]:
        await bench.exchange(bench.device.run(await bench.exchange(Report(polling=True))))
        await bench.conductor.advance(active.id)
    held.set()
    with pytest.raises(StaleVersionError):
        await looking
    bench.conductor._starting._wait = before  # type: ignore[method-assign]
    assert (await bench.run(waiting.id)).state is SUCCEEDED


async def test_queue_when_two_workers_and_many_requests_then_one_is_active_and_none_is_left_behind(
    bench: Bench, dsn: str, tmp_path: Path
) -> None:
    instance_id = await deployed(bench)
    other = Bench(dsn, tmp_path)
    for name in ("issuer", "provider", "hub", "se_id", "principal", "catalogue", "profiles"):
        setattr(other, name, getattr(bench, name))
    await other.open()
    stop = asyncio.Event()
    workers = [
        OutboxWorker(one.storage, {ADVANCE: _advance(one)}, one.world, one.notifier) for one in (bench, other)
    ]
    running = [asyncio.create_task(worker.run(stop)) for worker in workers]
    audits = [
        one.requests.audit_secure_element(bench.issuer_principal, bench.se_id) for one in (bench, other) * 4
    ]
    locks = [one.requests.change(bench.principal, instance_id, SUSPEND, loss=True) for one in (bench, other)]
    asked = [one.id for one in await asyncio.gather(*audits, *locks)]
    report = Report(polling=True)
    async with asyncio.timeout(60):
        while {(await bench.operation(one)).state for one in asked} - {SUCCEEDED}:
            delivery = await bench.exchange(report)
            report = bench.device.run(delivery) if delivery.commands else Report(polling=True)
    stop.set()
    for one in (bench, other):
        one.notifier.notify("outbox")
    await asyncio.gather(*running)
    await other.close()
    assert await most_active_at_once(bench, asked) == 1


def _advance(bench: Bench):  # type: ignore[no-untyped-def]
    return lambda body: bench.conductor.advance(OperationId(body["operation"]))


async def most_active_at_once(bench: Bench, asked: list[OperationId]) -> int:
    """Read from the audit how many operations were active at the same time."""
    entries: list[AuditEntry] = []
    async with bench.storage.transaction() as tx:
        for tenant in (bench.issuer, bench.provider):
            for operation_id in asked:
                entries += await tx.audit.list(TenantId(tenant), Page(limit=200), subject=operation_id)
    began, left = ("operation.started", "operation.resumed"), ("operation.gave-way", "operation.succeeded")
    steps = {**dict.fromkeys(began, 1), **dict.fromkeys(left, -1)}
    active = most = 0
    for entry in sorted(entries, key=lambda one: one.at):
        active += steps.get(entry.action, 0)
        most = max(most, active)
    assert active == 0
    return most
