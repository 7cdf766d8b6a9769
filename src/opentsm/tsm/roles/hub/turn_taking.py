"""When an active operation gives its turn to a report of loss, and in which state it leaves its instance.

It gives way where the card is at rest: before an order was handed out, or after its answer was taken in. An
order that a device has may be carried out at any time, so nothing overtakes that.
"""

import msgspec

from opentsm.tsm.domain.operation import (
    LOSS_PRIORITY,
    Operation,
    OperationState,
    OperationType,
)
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.services import ADVANCE

_WAITING = (OperationState.REQUESTED, OperationState.QUEUED)
_BEGIN = (OperationType.DEPLOY, OperationType.UPDATE)


def way_wanted(case: Case) -> bool:
    """Say whether the operation should give way now.

    An instance that is half changed cannot be locked: its change is completed first, and the lock is next.
    """
    other, operation = case.overtaker, case.operation
    if other is None or other.state not in _WAITING:
        return False
    return other.instance_id != operation.instance_id or not operation.changed_card


def untouched(case: Case) -> ServiceInstance | None:
    """Return the instance as it was before the operation began, when its card was not changed."""
    instance, operation = case.instance, case.operation
    if instance is None or operation.changed_card or operation.type not in _BEGIN:
        return instance
    return msgspec.structs.replace(instance, state=operation.start_state or instance.state)


async def half_done(tx: UnitOfWork, waiting: Operation) -> Operation | None:
    """Return the operation that has begun to change the instance for which another waits."""
    if waiting.instance_id is None:
        return None
    for one in await tx.belongings.open_on(waiting.se_id):
        begun = one.started_at is not None and (one.changed_card or one.state not in _WAITING)
        if begun and one.instance_id == waiting.instance_id and one.id != waiting.id:
            return one
    return None


def completes(operation: Operation, first: Operation) -> bool:
    """Say whether a half-done operation goes before a report of loss for the same instance."""
    begun = operation.started_at is not None and operation.changed_card
    return begun and operation.instance_id == first.instance_id


async def ask_for_way(tx: UnitOfWork, active: Operation, waiting: Operation) -> None:
    """Let the active operation of a secure element know that a report of loss waits for its turn."""
    if waiting.priority > LOSS_PRIORITY or active.priority <= LOSS_PRIORITY or active.gives_way == waiting.id:
        return
    await tx.operations.save(msgspec.structs.replace(active, gives_way=waiting.id))
    await tx.outbox.publish(ADVANCE, active.id, {"operation": active.id})
