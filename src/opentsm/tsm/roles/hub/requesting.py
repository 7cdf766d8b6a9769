"""What every request to the hub shares: its operation, its audit entry, its message, and who may make it."""

from dataclasses import dataclass
from datetime import datetime

from opentsm.tsm.domain.campaign import Place
from opentsm.tsm.domain.operation import BULK_PRIORITY, NORMAL_PRIORITY, Operation, OperationType
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError, QuarantinedError
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.herald import has_online_system
from opentsm.tsm.roles.hub.mandate import check_flavor, check_state, may_see
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices
from opentsm.tsm.roles.hub.space.booking import reserve


@dataclass(frozen=True, slots=True)
class Origin:
    """The device and the app (by its certificate's hash) from which a provider's request comes."""

    device_id: str
    caller_id: str = ""


class Requesting:
    """Use cases that ask for operations."""

    def __init__(self, services: HubServices, place: Place | None = None) -> None:
        """Say what to work with.

        Args:
            services: ports and card profiles.
            place: the member of a campaign for which operations are asked for.
        """
        self._s = services
        self._place = place

    def _operation(
        self,
        principal: Principal,
        type_: OperationType,
        se_id: SeId,
        instance_id: InstanceId | None,
        *,
        parameters: dict[str, str | int] | None = None,
        priority: int = NORMAL_PRIORITY,
        valid_until: datetime | None = None,
    ) -> Operation:
        now = self._s.world.now()
        if valid_until is not None and valid_until.utcoffset() is None:
            raise InvalidInputError(
                "valid_until has no offset from UTC.",
                advice="Write it as RFC 3339 has it: 2026-12-31T12:00:00Z.",
                field="/valid_until",
            )
        if valid_until is not None and valid_until <= now:
            raise InvalidInputError("valid_until is in the past.", field="/valid_until")
        return Operation(
            id=OperationId(self._s.world.new_id()),
            tenant_id=principal.tenant_id,
            se_id=se_id,
            type=type_,
            instance_id=instance_id,
            priority=priority if self._place is None else BULK_PRIORITY,
            parameters=parameters or {},
            campaign_id=None if self._place is None else self._place.campaign_id,
            campaign_position=0 if self._place is None else self._place.position,
            created_at=now,
            valid_until=valid_until,
        )

    async def _request(self, tx: UnitOfWork, operation: Operation, *, origin: Origin | None = None) -> None:
        await reserve(tx, self._s.profiles, operation, self._s.world.now())
        await tx.operations.add(operation)
        details: dict[str, str | int] = {"type": operation.type.value, "secure_element": operation.se_id}
        if origin is not None and origin.caller_id:
            details["caller"] = origin.caller_id
        if operation.campaign_id is not None:
            details["campaign"] = operation.campaign_id
            position = operation.campaign_position
            await tx.campaigns.open_member(operation.campaign_id, position, operation.id)
        await tx.audit.append(
            operation.tenant_id,
            actor=operation.tenant_id if origin is None else origin.device_id,
            action="operation.requested",
            subject=operation.id,
            details=details,
        )
        await tx.outbox.publish(ADVANCE, operation.id, {"operation": operation.id})

    async def _call_next(self, tx: UnitOfWork, cancelled: Operation) -> None:
        """Start whatever waited behind an operation that never began."""
        following = await tx.operations.next_queued(cancelled.se_id)
        if following is not None:
            await tx.outbox.publish(ADVANCE, following.id, {"operation": following.id})

    async def _usable(self, tx: UnitOfWork, se_id: SeId) -> SecureElement:
        se = await tx.secure_elements.get(se_id)
        if se is None or se.state is SeState.RETIRED:
            raise NotFoundError("There is no such secure element.")
        if se.state is SeState.QUARANTINED:
            raise QuarantinedError(
                advice="Its issuer must clear this up (PUT other key-sets if need be), then reinstate it.",
            )
        if se.loss is not None:
            raise ConflictError(f"The secure element was reported {se.loss.value.lower()}.")
        return se

    async def _instance(
        self, tx: UnitOfWork, principal: Principal, instance_id: InstanceId, type_: OperationType | None
    ) -> ServiceInstance:
        instance = await tx.instances.get(instance_id)
        if instance is not None and instance.provider_id == principal.tenant_id:
            return instance
        if instance is not None and type_ in (None, OperationType.SUSPEND, OperationType.RESUME):
            se = await tx.secure_elements.get(instance.se_id)
            if se is not None and may_see(principal, se):
                return instance
        raise NotFoundError("There is no such service instance.")

    async def _not_orphaned(
        self, principal: Principal, instance_id: InstanceId, type_: OperationType
    ) -> None:
        """Ask the catalogue before the request's own transaction: no peer is called inside one."""
        async with self._s.storage.transaction() as tx:
            instance = await self._instance(tx, principal, instance_id, type_)
        check_state(instance, type_, principal.tenant_id)
        await check_flavor(self._s.peers.catalogue(), instance, type_)

    async def _reported(self, principal: Principal, operation_id: OperationId) -> bool:
        """Say whether the operation's end is told to an online system; asked before the transaction."""
        async with self._s.storage.transaction() as tx:
            operation = await tx.operations.get(operation_id)
            if operation is None or not await self._may_touch(tx, principal, operation):
                raise NotFoundError("There is no such operation.")
            instance = await tx.instances.get(operation.instance_id) if operation.instance_id else None
        return await has_online_system(self._s.peers.catalogue(), operation, instance)

    async def _may_touch(self, tx: UnitOfWork, principal: Principal, operation: Operation) -> bool:
        if operation.tenant_id == principal.tenant_id:
            return True
        se = await tx.secure_elements.get(operation.se_id)
        return se is not None and may_see(principal, se)
