"""How an operation gets its turn: checks again what may have changed since it was asked for, then begins."""

import msgspec

from opentsm.tsm.domain.device_call import DeviceCallError, target_state
from opentsm.tsm.domain.operation import Failure, OperationEvent, OperationState, OperationType
from opentsm.tsm.domain.secure_element import SeState
from opentsm.tsm.engine import content as c
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.case import Case
from opentsm.tsm.roles.hub.ending import Endings, failure_of
from opentsm.tsm.roles.hub.ledger import moved
from opentsm.tsm.roles.hub.mandate import check_flavor, check_state
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices
from opentsm.tsm.roles.hub.topology import next_key_version
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
        if self._endings.expired(case):
            await self._endings.stop(case)
            return
        try:
            check_state(case.instance, operation.type, operation.tenant_id)
            _check_call(case)
            await check_flavor(self._s.peers.catalogue(), case.instance, operation.type)
        except (ConflictError, DeviceCallError) as error:
            # the instance, or its service, changed while this operation waited for its turn
            await self._endings.fail(case, failure_of(error))
            return
        if se.state in (SeState.QUARANTINED, SeState.RETIRED):
            await self._endings.fail(
                case,
                Failure(
                    code="secure_element_" + se.state.value.lower(),
                    detail=f"The secure element is {se.state.value.lower()}; nothing is sent to it.",
                    advice=_ADVICE[se.state],
                ),
            )
            return
        async with self._s.storage.transaction() as tx:
            first = await tx.operations.next_queued(se.id)
            if se.active_operation_id not in (None, operation.id):
                if operation.state is OperationState.REQUESTED:
                    await tx.operations.save(moved(operation, OperationEvent.WAIT))
                    await tx.commit()
                return
            if first is not None and first.id != operation.id:
                await tx.outbox.publish(ADVANCE, first.id, {"operation": first.id})
                if operation.state is OperationState.REQUESTED:
                    await tx.operations.save(moved(operation, OperationEvent.WAIT))
                await tx.commit()
                return
            started = replace(
                moved(operation, OperationEvent.START),
                started_at=self._s.world.now(),
                parameters=self._parameters(case),
                start_state=None if case.instance is None else case.instance.state,
            )
            await tx.operations.save(started)
            await tx.secure_elements.save(replace(se, active_operation_id=operation.id))
            await self._save_what_is_known(tx, case)
            await tx.audit.append(
                operation.tenant_id, actor="tsm", action="operation.started", subject=str(operation.id)
            )
            await tx.outbox.publish(ADVANCE, operation.id, {"operation": operation.id})
            await tx.commit()

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
        if case.operation.type is OperationType.AUDIT:
            content = replace(content, fresh=False)
        if instance is not None and case.operation.type in _RENEWING:
            content = c.adopt(content, instance.description, case.claims)
        if instance is not None and case.operation.type is OperationType.PERSONALIZE:
            content = c.stale(content, instance.description)
        if content is not case.content:
            await tx.secure_elements.save_content(case.se.id, content)


def _check_call(case: Case) -> None:
    """Check that what an operation is to make of its instance is still possible.

    Raises:
        ConflictError: its renewal is gone.
        DeviceCallError: the state does not allow the commands any more.
    """
    request = request_of(case.operation)
    if case.instance is not None and request is not None and is_staged(case.operation):
        target_state(case.instance.state, request)
    if case.operation.type in _RENEWING and case.renewal is None:
        raise ConflictError("What the instance was to become is not known any more.")
