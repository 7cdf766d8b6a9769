"""What callers may ask of the hub: deploy, suspend, resume, terminate, top up, rotate keys, audit, cancel.

Each use case is one transaction: the operation, its audit entry and the message that starts it.
"""

import dataclasses
from contextlib import suppress
from datetime import datetime

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.campaign import Place
from opentsm.tsm.domain.operation import (
    ENDED,
    LOSS_PRIORITY,
    NORMAL_PRIORITY,
    OPERATION_STATES,
    Operation,
    OperationEvent,
    OperationState,
    OperationType,
)
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StaleVersionError,
)
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId
from opentsm.tsm.ports.repositories import InstanceFilter, OperationFilter, Page
from opentsm.tsm.roles.hub.campaigns.outcomes import settle
from opentsm.tsm.roles.hub.configuring import Configuring
from opentsm.tsm.roles.hub.herald import tell_cancelled
from opentsm.tsm.roles.hub.mandate import check_border, check_state, may_see, require
from opentsm.tsm.roles.hub.new_instances import NewInstance, add_instance, new_instance
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.prepared import find_prepared, open_prepared
from opentsm.tsm.roles.hub.remains import adopt_orphans, request_clean_up
from opentsm.tsm.roles.hub.renewals import Renewals
from opentsm.tsm.roles.hub.search import find_instances, find_operations
from opentsm.tsm.roles.hub.services import ADVANCE
from opentsm.tsm.roles.hub.space.booking import release
from opentsm.tsm.roles.hub.turn_taking import half_done
from opentsm.tsm.roles.hub.unchanged import ConditionalStorage, Unchanged

replace = msgspec.structs.replace

_TRIES = 3
MAX_AMOUNT = 0x7FFFFFFF


class Requests(Configuring, Renewals):
    """The hub's door for service providers, issuers and operators."""

    def once(self, claim: Claim) -> "Requests":
        """Return the same use cases for one request that has an idempotency key."""
        return Requests(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    def on_condition(self, condition: Unchanged) -> "Requests":
        """Return the same use cases for one request about an object that must not have changed."""
        return Requests(dataclasses.replace(self._s, storage=ConditionalStorage(self._s.storage, condition)))

    def of_member(self, place: Place) -> "Requests":
        """Return the same use cases for a member of a campaign."""
        return Requests(self._s, place)

    async def deploy(
        self,
        principal: Principal,
        *,
        se_id: SeId,
        service_id: str,
        version: str | None = None,
        data: dict[str, str] | None = None,
        reference: str | None = None,
        prepared_id: str | None = None,
        valid_until: datetime | None = None,
    ) -> tuple[ServiceInstance, Operation]:
        """Create an instance of a service on a secure element and ask for its deployment.

        Args:
            principal: the service provider.
            se_id: where.
            service_id: the provider's service.
            version: version tag; None for the newest that is allowed for the card's profile.
            data: personalisation data by field name; sealed at once. Without them prepared data are taken.
            reference: the reference of prepared data; None for those of this secure element.
            prepared_id: the prepared data that it must be.
            valid_until: when to give up.

        Raises:
            NotFoundError: the secure element or the service does not exist for this caller.
            SandboxBorderError: one is a sandbox's, the other is not.
            InvalidInputError: personalisation data is missing or malformed.
            ConflictError: the service is already on this secure element, or it is not clear which data wait.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        async with self._s.storage.transaction() as tx:
            se = await self._usable(tx, se_id)
        check_border(principal, se)
        catalogue, owner = self._s.peers.catalogue(), principal.tenant_id
        if data and reference is not None:
            raise InvalidInputError("Give data or the reference of prepared data.", field="/reference")
        prepared = None if data else await find_prepared(self._s, owner, se, service_id, reference)
        if prepared_id is not None and (prepared is None or prepared.id != prepared_id):
            raise ConflictError("Other prepared data wait for this secure element.")
        if prepared is not None:
            data, version = await open_prepared(catalogue, prepared), version or prepared.version_tag
        description = await catalogue.describe(owner, service_id, version, se.profile)
        made = await new_instance(self._s, se, description, data or {}, prepared)
        instance = made.instance
        operation = self._operation(
            principal, OperationType.DEPLOY, se_id, instance.id, valid_until=valid_until
        )
        made = made.deployed_by(operation.id)
        for attempt in range(_TRIES):
            try:
                await self._add_instance(made, operation)
                break
            except StaleVersionError:
                if attempt == _TRIES - 1:
                    raise
        return instance, operation

    async def _add_instance(self, made: NewInstance, operation: Operation) -> None:
        taken = ConflictError(
            "This service already has an instance on this secure element.",
            advice="Use that instance, or terminate it first.",
        )
        async with self._s.storage.transaction() as tx:
            se = await self._usable(tx, made.instance.se_id)
            await add_instance(tx, se, made, taken)
            await self._request(tx, operation)
            await tx.commit()

    async def change(
        self,
        principal: Principal,
        instance_id: InstanceId,
        type_: OperationType,
        *,
        loss: bool = False,
        valid_until: datetime | None = None,
    ) -> Operation:
        """Ask for DEPLOY (again), SUSPEND, RESUME, TERMINATE or ROTATE_KEYS of an instance.

        Args:
            principal: the instance's provider, or the secure element's issuer for SUSPEND and RESUME.
            instance_id: which.
            type_: what.
            loss: a report of loss: it overtakes everything that waits for this secure element.
            valid_until: when to give up.

        Raises:
            NotFoundError: there is no such instance for this caller.
            ConflictError: its state does not allow it.
            OrphanedError: what it was made of was deleted, and it is more than suspend, resume, terminate.
        """
        lock = loss and type_ in (OperationType.SUSPEND, OperationType.TERMINATE)
        if not lock:
            await self._not_orphaned(principal, instance_id, type_)
        async with self._s.storage.transaction() as tx:
            instance = await self._instance(tx, principal, instance_id, type_)
            priority = LOSS_PRIORITY if loss else NORMAL_PRIORITY
            operation = self._operation(
                principal,
                type_,
                instance.se_id,
                instance_id,
                priority=priority,
                valid_until=valid_until,
            )
            # what is being changed now is locked next
            if not lock or await half_done(tx, operation) is None:
                check_state(instance, type_, principal.tenant_id)
            if type_ is OperationType.ROTATE_KEYS:
                await self._usable(tx, instance.se_id)
            await self._request(tx, operation)
            await tx.commit()
        return operation

    async def top_up(
        self,
        principal: Principal,
        instance_id: InstanceId,
        *,
        amount: int,
        application: Aid | None = None,
        transaction: str | None = None,
        valid_until: datetime | None = None,
    ) -> Operation:
        """Ask for a credit of a purse, exactly once.

        Args:
            principal: the instance's provider.
            instance_id: which.
            amount: in minor units, 1 … 2³¹-1.
            application: the purse; None when the service has one application.
            transaction: the provider's own transaction id, 8 bytes in hex; made here when None.
            valid_until: when to give up.

        Raises:
            InvalidInputError: a value is out of range, or the service has no such application.
            OrphanedError: what the instance was made of was deleted.
        """
        if not 1 <= amount <= MAX_AMOUNT:
            raise InvalidInputError(f"amount must be 1 to {MAX_AMOUNT}.", field="/amount")
        chosen = transaction or self._s.world.random(8).hex()
        if len(chosen) != 16 or not all(c in "0123456789abcdefABCDEF" for c in chosen):
            raise InvalidInputError("transaction must be 8 bytes in hex.", field="/transaction")
        await self._not_orphaned(principal, instance_id, OperationType.TOP_UP)
        async with self._s.storage.transaction() as tx:
            instance = await self._instance(tx, principal, instance_id, OperationType.TOP_UP)
            check_state(instance, OperationType.TOP_UP, principal.tenant_id)
            purse = _application(instance, application)
            operation = self._operation(
                principal,
                OperationType.TOP_UP,
                instance.se_id,
                instance_id,
                parameters={"application": str(purse), "amount": amount, "transaction": chosen.upper()},
                valid_until=valid_until,
            )
            await self._request(tx, operation)
            await tx.commit()
        return operation

    async def audit_secure_element(
        self, principal: Principal, se_id: SeId, *, valid_until: datetime | None = None
    ) -> Operation:
        """Ask for a fresh reading of the card's registry."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
            if se is None or not may_see(principal, se):
                raise NotFoundError("There is no such secure element.")
            operation = self._operation(principal, OperationType.AUDIT, se_id, None, valid_until=valid_until)
            await self._request(tx, operation)
            await tx.commit()
        return operation

    async def clean_up(self, principal: Principal, se_id: SeId) -> Operation:
        """Ask for the removal of what instances left on a card that are gone with their provider."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            se = await tx.secure_elements.get(se_id)
            if se is None or not may_see(principal, se):
                raise NotFoundError("There is no such secure element.")
            # whoever works on this card meanwhile finds the version moved, and looks again
            await adopt_orphans(tx, await tx.secure_elements.save(se))
            operation = await request_clean_up(tx, self._s.world, se, actor=principal.tenant_id)
            await tx.commit()
        return operation

    async def cancel(self, principal: Principal, operation_id: OperationId) -> Operation:
        """Cancel an operation: at once when nothing was sent, else at the next safe point.

        Raises:
            NotFoundError: there is no such operation for this caller.
            ConflictError: it has ended.
        """
        for _ in range(_TRIES - 1):
            # an operation in work moves all the time: look again, rather than have the caller do so
            with suppress(StaleVersionError):
                return await self._cancel(principal, operation_id)
        return await self._cancel(principal, operation_id)

    async def _cancel(self, principal: Principal, operation_id: OperationId) -> Operation:
        reported = await self._reported(principal, operation_id)
        async with self._s.storage.transaction() as tx:
            operation = await tx.operations.get(operation_id)
            if operation is None or not await self._may_touch(tx, principal, operation):
                raise NotFoundError("There is no such operation.")
            if operation.state in ENDED:
                raise ConflictError(f"The operation has ended: {operation.state.value}.")
            await tx.secure_elements.hold(operation.se_id)
            waits = operation.state in (OperationState.REQUESTED, OperationState.QUEUED)
            if waits and operation.started_at is None:
                moved = OPERATION_STATES.next(operation.state, OperationEvent.CANCEL)
                changed = replace(operation, state=moved, ended_at=self._s.world.now())
                await self._drop_renewal(tx, operation)
            else:
                changed = replace(operation, cancel_requested=True)
            changed = await tx.operations.save(changed)
            if changed.state in ENDED:
                await self._call_next(tx, operation)
                await settle(tx, changed)
                await release(tx, changed)
                await tell_cancelled(tx, self._s.world, changed, reported=reported)
            await tx.audit.append(
                principal.tenant_id,
                actor=principal.tenant_id,
                action="operation.cancel-requested",
                subject=operation_id,
            )
            await tx.outbox.publish(ADVANCE, operation_id, {"operation": operation_id})
            await tx.commit()
        return changed

    # --- reading ---------------------------------------------------------------------------------------

    async def operation(self, principal: Principal, operation_id: OperationId) -> Operation:
        """Return an operation that the caller may see."""
        async with self._s.storage.transaction() as tx:
            operation = await tx.operations.get(operation_id)
            if operation is None or not await self._may_touch(tx, principal, operation):
                raise NotFoundError("There is no such operation.")
        return operation

    async def instance(self, principal: Principal, instance_id: InstanceId) -> ServiceInstance:
        """Return an instance that the caller may see."""
        async with self._s.storage.transaction() as tx:
            return await self._instance(tx, principal, instance_id, None)

    async def instances(
        self,
        principal: Principal,
        page: Page,
        wanted: InstanceFilter,
        *,
        se_identifier: str | None = None,
    ) -> list[ServiceInstance]:
        """Return a page of a provider's instances; see `find_instances`."""
        return await find_instances(self._s.storage, principal, page, wanted, se_identifier)

    async def operations(self, principal: Principal, page: Page, wanted: OperationFilter) -> list[Operation]:
        """Return a page of the operations that the caller may see; see `find_operations`."""
        return await find_operations(self._s.storage, principal, page, wanted)


def _application(instance: ServiceInstance, application: Aid | None) -> Aid:
    known = [app.instance_aid for app in instance.description.applications]
    if application is None and len(known) == 1:
        return known[0]
    if application is None or application not in known:
        raise InvalidInputError(
            "application must name one of the service's applications: " + ", ".join(map(str, known)),
            field="/application",
        )
    return application
