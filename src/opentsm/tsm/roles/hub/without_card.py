"""How instances end whose card is gone for good: wiped with its issuer, or retired by it.

Nothing is sent to the card. The records stay, in their last state and with the reason; their providers are
told by webhooks and, as of any process that ended, through the services' online systems (BSI TR-03165
§4.3.4.1).
"""

from collections.abc import Collection

import msgspec

from opentsm.tsm.domain.operation import (
    OPERATION_STATES,
    Failure,
    Operation,
    OperationEvent,
    OperationState,
    OperationType,
)
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import (
    INSTANCE_STATES,
    EndReason,
    InstanceEvent,
    ServiceInstance,
    ServiceOperation,
)
from opentsm.tsm.kernel.ids import OperationId, SeId, TenantId
from opentsm.tsm.ports.peer import ServiceCatalogue
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.campaigns.outcomes import settle
from opentsm.tsm.roles.hub.herald import Event, instance_event, operation_event, report, tell
from opentsm.tsm.roles.hub.space.booking import release

replace = msgspec.structs.replace

Service = tuple[TenantId, str]

_FAILURES = {
    EndReason.SECURE_ELEMENT_RETIRED: Failure(
        code="secure_element_retired",
        detail="The secure element was terminated, and is of no use any more.",
        advice="Use another secure element.",
    ),
    EndReason.SECURE_ELEMENT_WIPED: Failure(
        code="secure_element_wiped",
        detail="The secure element's issuer is a sandbox, and was wiped.",
        advice="Use another secure element.",
    ),
}


async def with_online_system(
    storage: Storage, catalogue: ServiceCatalogue, cards: Collection[SeId]
) -> frozenset[Service]:
    """Return the services on cards that have an online system; asked before the transaction."""
    async with storage.transaction() as tx:
        services = {_service(one) for se_id in cards for one in await tx.instances.on_secure_element(se_id)}
    found = [one for one in sorted(services) if await catalogue.online_system(*one) is not None]
    return frozenset(found)


class WithoutCard:
    """Ends, in one transaction, what is on one card."""

    def __init__(
        self, tx: UnitOfWork, world: World, se: SecureElement, reason: EndReason, told: Collection[Service]
    ) -> None:
        """Say what to end.

        Args:
            tx: the transaction in which the card goes.
            world: clock and ids.
            se: the card.
            reason: why it goes.
            told: the services of which an online system hears.
        """
        self._tx, self._world, self._se = tx, world, se
        self._reason, self._told = reason, told
        self._events: list[Event] = []

    async def end(self) -> None:
        """Terminate the instances, and fail the operations that have not ended."""
        before = await self._tx.instances.on_secure_element(self._se.id)
        instances = {one.id: await self._terminated(one) for one in before}
        for operation in await self._tx.belongings.open_on(self._se.id):
            saved = await self._tx.operations.save(self._failed(operation))
            await settle(self._tx, saved)
            await release(self._tx, saved)
            await self._ended(saved, instances.get(saved.instance_id) if saved.instance_id else None)
        for one in before:
            await self._add_termination(one, instances[one.id])
        await tell(self._tx, self._world, self._events)

    async def _terminated(self, instance: ServiceInstance) -> ServiceInstance:
        saved = await self._tx.instances.save(terminated(instance, self._reason))
        self._events.append(instance_event(saved, self._se, None))
        await self._audit(saved.provider_id, "instance.terminated", saved.id)
        return saved

    async def _add_termination(self, before: ServiceInstance, after: ServiceInstance) -> None:
        """Record the end as the process that it is for the provider: a termination that has succeeded."""
        now = self._world.now()
        operation = Operation(
            id=OperationId(self._world.new_id()),
            tenant_id=after.provider_id,
            se_id=self._se.id,
            type=OperationType.TERMINATE,
            instance_id=after.id,
            state=OperationState.SUCCEEDED,
            start_state=before.state,
            end_state=after.state,
            result={"reason": self._reason.value},
            created_at=now,
            ended_at=now,
        )
        await self._tx.operations.add(operation)
        await self._ended(operation, after)

    async def _ended(self, operation: Operation, instance: ServiceInstance | None) -> None:
        self._events.append(operation_event(operation, instance, self._se))
        await self._audit(operation.tenant_id, f"operation.{operation.state.value.lower()}", operation.id)
        if instance is not None and _service(instance) in self._told:
            await report(self._tx, self._world, operation, instance)

    def _failed(self, operation: Operation) -> Operation:
        state = operation.state
        if state is OperationState.AWAITING_DEVICE:  # its order may have been carried out
            state = OPERATION_STATES.next(state, OperationEvent.DOUBT)
        state = OPERATION_STATES.next(state, OperationEvent.FAIL)
        failure = _FAILURES[self._reason]
        return replace(operation, state=state, failure=failure, ended_at=self._world.now())

    async def _audit(self, tenant_id: TenantId, action: str, subject: str) -> None:
        await self._tx.audit.append(
            tenant_id, actor="tsm", action=action, subject=subject, details={"reason": self._reason.value}
        )


def terminated(instance: ServiceInstance, reason: EndReason) -> ServiceInstance:
    """Return an instance that ended without its card."""
    return replace(
        instance,
        state=INSTANCE_STATES.next(instance.state, InstanceEvent.TERMINATE),
        end_reason=reason,
        last_operation=ServiceOperation.TERMINATION,
        sealed_data=b"",
        renewal=None,
    )


def _service(instance: ServiceInstance) -> Service:
    return instance.provider_id, instance.description.service_id
