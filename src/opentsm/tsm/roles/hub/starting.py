"""How an operation gets its turn: checks again what may have changed since it was asked for, then begins."""

from datetime import timedelta

import msgspec

from opentsm.tsm.domain.device_call import DeviceCallError, target_state
from opentsm.tsm.domain.operation import (
    Failure,
    Operation,
    OperationEvent,
    OperationState,
    OperationType,
)
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.service import EndReason, InstanceState
from opentsm.tsm.engine import content as c
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.approvals.card_policy import CARD_ACTS
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.ending import Endings, failure_of
from opentsm.tsm.roles.hub.ledger import moved
from opentsm.tsm.roles.hub.mandate import check_flavor, check_state
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices
from opentsm.tsm.roles.hub.topology import next_key_version
from opentsm.tsm.roles.hub.turn_taking import ask_for_way, completes, half_done
from opentsm.tsm.roles.hub.wanted import is_staged, request_of

replace = msgspec.structs.replace

_RENEWING = (OperationType.UPDATE, OperationType.PERSONALIZE)
_ADVICE = {
    SeState.QUARANTINED: "Find out why; correct wrong key sets by PUT /v1/secure-elements/{id}/key-sets."
    " Then reinstate it.",
    SeState.RETIRED: "It is out of use for good; register it anew if it should be used again.",
}


class Starting:
    """Gives operations their turns."""

    def __init__(self, services: HubServices, endings: Endings) -> None:
        self._s = services
        self._endings = endings

    async def start(self, case: Case) -> None:
        """Make the operation the active one of its secure element, queue it, or end it."""
        operation, se = case.operation, case.se
        if self._endings.stop_wanted(case):
            await self._endings.stop(case)
            return
        if se.active_operation_id not in (None, operation.id):
            await self._wait(case)
            return
        if _is_done(case):
            await self._endings.succeed_already(case)
            return
        try:
            _check_state(case)
            _check_call(case)
            await check_flavor(self._s.peers.catalogue(), case.instance, operation.type)
        except (ConflictError, DeviceCallError) as error:
            # the instance, or its service, changed while this operation waited for its turn
            if not await self._wait(case):
                await self._endings.fail(case, failure_of(error))
            return
        if se.state is SeState.RETIRED and operation.type is OperationType.TERMINATE:
            await self._endings.succeed_without_card(case, EndReason.SECURE_ELEMENT_RETIRED)
            return
        if se.state in (SeState.QUARANTINED, SeState.RETIRED):
            await self._endings.fail(case, _of_no_use(se.state))
            return
        await self._begin(case)

    async def _wait(self, case: Case) -> bool:
        """Queue the operation behind the one that is active, or half done; False when there is none.

        Whoever ends an operation looks for the next one while it holds the secure element: that it waits is
        written under the same lock, so neither misses the other.
        """
        operation = case.operation
        async with self._s.storage.transaction() as tx:
            se = await self._held(tx, case)
            if se.active_operation_id is not None:
                before = await tx.operations.get(se.active_operation_id)
                if before is not None:
                    await ask_for_way(tx, before, operation)
            elif (before := await half_done(tx, operation)) is not None:
                await tx.outbox.publish(ADVANCE, before.id, {"operation": before.id})
            else:
                return False
            await _queue(tx, operation)
            await tx.commit()
        return True

    async def _begin(self, case: Case) -> None:
        """Make the operation the active one, or let the one go first whose turn it is."""
        operation = case.operation
        async with self._s.storage.transaction() as tx:
            se = await self._held(tx, case)
            first = await tx.operations.next_queued(se.id)
            if first is not None and first.id != operation.id and not completes(operation, first):
                await tx.outbox.publish(ADVANCE, first.id, {"operation": first.id})
                await _queue(tx, operation)
                await tx.commit()
                return
            await tx.operations.save(self._started(case))
            await tx.secure_elements.save(replace(se, active_operation_id=operation.id))
            await self._save_what_is_known(tx, case)
            again = "started" if operation.started_at is None else "resumed"
            await tx.audit.append(
                operation.tenant_id, actor="tsm", action=f"operation.{again}", subject=str(operation.id)
            )
            await tx.outbox.publish(ADVANCE, operation.id, {"operation": operation.id})
            await tx.commit()

    async def _held(self, tx: UnitOfWork, case: Case) -> SecureElement:
        se = await tx.secure_elements.hold(case.se.id)
        if se is None or se.version != case.se.version:
            raise StaleVersionError
        return se

    def _started(self, case: Case) -> Operation:
        """Return the operation as it begins, or goes on after it gave way."""
        operation = moved(case.operation, OperationEvent.START)
        if operation.type is OperationType.CONVERSATION:
            # it lives from its opening on
            until = self._s.world.now() + timedelta(seconds=int(operation.parameters["time_to_live_s"]))
            operation = replace(operation, valid_until=until)
        if operation.started_at is None:
            operation = replace(operation, started_at=self._s.world.now(), parameters=self._parameters(case))
        if operation.changed_card:
            return operation
        return replace(operation, start_state=None if case.instance is None else case.instance.state)

    def _parameters(self, case: Case) -> dict[str, str | int]:
        """Return the parameters with what only the start of an operation can tell."""
        parameters = dict(case.operation.parameters)
        if case.operation.type is OperationType.ROTATE_KEYS and case.instance is not None:
            version = next_key_version(self._s.profiles[case.se.profile], case.instance.key_version)
            parameters["key_version"] = version
        return parameters

    async def _save_what_is_known(self, tx: UnitOfWork, case: Case) -> None:
        """Write down what follows for the card's picture from the mere beginning of an operation.

        A re-personalisation makes stale what the card holds: no probe tells old data from new.
        """
        content, instance = case.content, case.instance
        if case.operation.changed_card:  # it goes on
            return
        if case.operation.type in (OperationType.AUDIT, OperationType.CONFIGURE, *CARD_ACTS):
            content = replace(content, fresh=False)
        if case.operation.type is OperationType.ROTATE_MANAGER_KEYS:
            domain = str(case.operation.parameters["security_domain"])
            content = replace(content, keys={d: k for d, k in content.keys.items() if d != domain})
        if instance is not None and case.operation.type in _RENEWING:
            content = c.adopt(content, instance.description, case.claims)
        if instance is not None and case.operation.type is OperationType.PERSONALIZE:
            content = c.stale(content, instance.description)
        if content is not case.content:
            await tx.secure_elements.save_content(case.se.id, content)


async def _queue(tx: UnitOfWork, operation: Operation) -> None:
    if operation.state is OperationState.REQUESTED:
        await tx.operations.save(moved(operation, OperationEvent.WAIT))


def _of_no_use(state: SeState) -> Failure:
    return Failure(
        code="secure_element_" + state.value.lower(),
        detail=f"The secure element is {state.value.lower()}; nothing is sent to it.",
        advice=_ADVICE[state],
    )


def _is_done(case: Case) -> bool:
    """Say whether a termination finds that another one, asked for beside it, has removed the instance."""
    gone = case.instance is not None and case.instance.state is InstanceState.TERMINATED
    return gone and case.operation.type is OperationType.TERMINATE


def _check_state(case: Case) -> None:
    """Check that the instance allows the operation; one that changed it already goes on with what it made.

    Raises:
        ConflictError: it does not, or the instance is gone.
    """
    operation, instance = case.operation, case.instance
    if operation.changed_card and instance is not None and instance.state is not InstanceState.TERMINATED:
        return
    check_state(instance, operation.type, operation.tenant_id)


def _check_call(case: Case) -> None:
    """Check that what an operation is to make of its instance is still possible.

    Raises:
        ConflictError: its renewal is gone.
        DeviceCallError: the state does not allow the commands any more.
    """
    request = request_of(case.operation)
    going_on = case.operation.changed_card
    if case.instance is not None and request is not None and is_staged(case.operation) and not going_on:
        target_state(case.instance.state, request)
    if case.operation.type in _RENEWING and case.renewal is None:
        raise ConflictError("What the instance was to become is not known any more.")
