"""The hub's ledger: stores what became of a case, its audit entries and its messages, in one transaction."""

from collections.abc import Sequence

import msgspec
import structlog

from opentsm.tsm.domain.exchange import Command, DeviceOrder, OrderState
from opentsm.tsm.domain.operation import OPERATION_STATES, Failure, Operation, OperationEvent
from opentsm.tsm.kernel.documents import to_json
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.campaigns.outcomes import settle
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.credits import keep_credits
from opentsm.tsm.roles.hub.herald import case_events, has_online_system, report, tell
from opentsm.tsm.roles.hub.progress import progress_of
from opentsm.tsm.roles.hub.services import (
    ADVANCE,
    HubServices,
    commands_context,
    device_topic,
    operation_topic,
)
from opentsm.tsm.roles.hub.space.booking import conclude
from opentsm.tsm.roles.hub.turn_taking import untouched

replace = msgspec.structs.replace

_TOLD = ("secure-element.quarantined", "secure-element.bound-to-device")
_log = structlog.get_logger(__name__)


def moved(operation: Operation, event: OperationEvent) -> Operation:
    """Return the operation after an event.

    Raises:
        IllegalTransitionError: its state does not accept the event.
    """
    return replace(operation, state=OPERATION_STATES.next(operation.state, event))


class Ledger:
    """Writes cases down."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def send(self, case: Case, commands: Sequence[Command], body: int) -> None:
        """Store an order for the device, then wake it (write-ahead: it is durable before it is seen).

        Args:
            case: the operation; moved on by SEND.
            commands: the order.
            body: how many of them belong to the session in work; the rest opens the next one.
        """
        sequence = case.se.next_order
        sealed = await self._s.keystore.seal(
            to_json(tuple(commands)), context=commands_context(case.se.id, sequence)
        )
        case.operation = moved(case.operation, OperationEvent.SEND)
        case.note("operation.order-stored", {"order": sequence, "commands": len(commands)})
        async with self._s.storage.transaction() as tx:
            case.se = await tx.secure_elements.save(replace(case.se, next_order=sequence + 1))
            await self._store(tx, case)
            await tx.orders.add(
                DeviceOrder(
                    se_id=case.se.id,
                    sequence=sequence,
                    operation_id=case.operation.id,
                    state=OrderState.IN_FLIGHT,
                    sealed_commands=sealed,
                    body=body,
                )
            )
            await tx.commit()
        _tell(case)
        self._wake(case)

    async def keep(self, case: Case) -> None:
        """Store a case that goes on without an order; the one in work is settled."""
        async with self._s.storage.transaction() as tx:
            case.se = await tx.secure_elements.save(case.se)
            await self._store(tx, case)
            await tx.commit()
        self._wake(case)

    async def end(self, case: Case, event: OperationEvent, failure: Failure | None) -> None:
        """Bring an operation to its end, release the secure element, and start what waits for it."""
        case.operation = replace(
            moved(case.operation, event),
            failure=failure,
            end_state=None if case.instance is None else case.instance.state,
            ended_at=self._s.world.now(),
            plan_document=b"",
        )
        details: dict[str, str | int] = {"type": case.operation.type.value}
        if failure is not None:
            details["code"] = failure.code
        case.note(f"operation.{case.operation.state.value.lower()}", details)
        active = case.se.active_operation_id
        reported = await has_online_system(self._s.peers.catalogue(), case.operation, case.instance)
        async with self._s.storage.transaction() as tx:
            case.se = await tx.secure_elements.save(
                replace(case.se, active_operation_id=None if active == case.operation.id else active)
            )
            await self._store(tx, case)
            await settle(tx, case.operation)
            await conclude(tx, case)
            if reported:
                await report(tx, self._s.world, case.operation, case.instance)
            following = await tx.operations.next_queued(case.se.id)
            if following is not None and following.id != case.operation.id:
                await tx.outbox.publish(ADVANCE, following.id, {"operation": following.id})
            await tx.commit()
        _tell(case)
        _log.info(
            "operation.ended",
            operation_id=case.operation.id,
            se_id=case.se.id,
            type=case.operation.type.value,
            state=case.operation.state.value,
            failure=None if failure is None else failure.code,
        )
        self._wake(case)

    async def give_way(self, case: Case) -> None:
        """Put an operation back into the queue at a safe point, because a report of loss overtakes it."""
        assert case.overtaker is not None
        case.note("operation.gave-way", {"to": case.overtaker.id})
        case.instance = untouched(case)
        case.operation = replace(
            moved(case.operation, OperationEvent.GIVE_WAY), gives_way=None, plan_document=b"", session=0
        )
        async with self._s.storage.transaction() as tx:
            case.se = await tx.secure_elements.save(replace(case.se, active_operation_id=None))
            await self._store(tx, case)
            following = await tx.operations.next_queued(case.se.id)
            if following is not None:
                await tx.outbox.publish(ADVANCE, following.id, {"operation": following.id})
            await tx.commit()
        _tell(case)
        self._wake(case)

    async def _store(self, tx: UnitOfWork, case: Case) -> None:
        if case.order is not None:
            await tx.orders.save(
                replace(case.order, state=OrderState.CONSUMED, sealed_commands=b"", sealed_answer=b"")
            )
            case.order = None
        case.operation = replace(case.operation, progress=progress_of(case.operation))
        await tx.operations.save(case.operation)
        if case.instance is not None:
            await tx.instances.save(case.instance)
        content = await keep_credits(tx, case.content, case.credit, case.operation)
        await tx.secure_elements.save_content(case.se.id, content)
        await tx.secure_elements.save_claims(case.se.id, case.claims)
        await self._store_turns(tx, case)
        await tell(tx, self._s.world, case_events(case))
        for note in case.changes():
            await tx.audit.append(
                note.tenant_id,
                actor="tsm",
                action=note.action,
                subject=note.subject,
                details=note.details,
            )
        for write in case.also:
            await write(tx)

    async def _store_turns(self, tx: UnitOfWork, case: Case) -> None:
        if case.in_vain is not None:
            barred = case.in_vain.wrong_cryptogram
            await tx.turns.fail(case.se.id, case.in_vain.device_id, self._s.world.now(), barred=barred)
        if case.se.device_id is not None and case.se.device_id != case.loaded[0].device_id:
            await tx.turns.clear(case.se.id)

    def _wake(self, case: Case) -> None:
        self._s.notifier.notify(operation_topic(case.operation.id))
        self._s.notifier.notify(device_topic(case.se.id))


def _tell(case: Case) -> None:
    """Log what operators watch for, once it is durable."""
    for note in case.changes():
        if note.action in _TOLD:
            _log.warning(
                note.action, operation_id=case.operation.id, se_id=case.se.id, device=case.se.device_id
            )
