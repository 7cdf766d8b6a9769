"""Use cases that bring other content or other data to an instance: stages, updates, re-personalisation.

What an operation is to make of its instance is written beside the instance (`Renewal`) when it is asked for,
in the same transaction, and becomes the instance's own only when the card was changed for it.
"""

from datetime import datetime

import msgspec

from opentsm.tsm.domain.card_content import ServiceDescription, Stage
from opentsm.tsm.domain.device_call import Request, target_state
from opentsm.tsm.domain.operation import ENDED, Operation, OperationType
from opentsm.tsm.domain.service import Renewal, ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.engine.content import personalized
from opentsm.tsm.engine.identity import anew
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError, StaleVersionError
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.mandate import check_state, require
from opentsm.tsm.roles.hub.requesting import Origin, Requesting
from opentsm.tsm.roles.hub.wanted import request_parameters

replace = msgspec.structs.replace

Data = dict[str, str]


class Renewals(Requesting):
    """Stages of a deployment, updates, re-personalisation."""

    async def update(
        self,
        principal: Principal,
        instance_id: InstanceId,
        *,
        version: str,
        data: Data | None = None,
        valid_until: datetime | None = None,
        request: Request | None = None,
        origin: Origin | None = None,
    ) -> Operation:
        """Ask for another version of an instance's service; what is equal in both stays on the card.

        Args:
            principal: the instance's provider.
            instance_id: which; it is operational or suspended, and stays what it is.
            version: the tag of the new version.
            data: personalisation data by field name, for all applications; None when none is needed.
            valid_until: when to give up.
            request: the stages that a device's call names; None: all of them, and the end.
            origin: the device and the app from which the call comes.

        Raises:
            NotFoundError: there is no such instance or version for this caller.
            InvalidInputError: the version has no flavor for the card, or data are missing or malformed.
            ConflictError: it has this version, its state does not allow it, or another update waits.
            OrphanedError: what it was made of was deleted.

        Source: BSI TR-03165 §4.2.5.4.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        await self._not_orphaned(principal, instance_id, OperationType.UPDATE)
        async with self._s.storage.transaction() as tx:
            instance = await self._instance(tx, principal, instance_id, OperationType.UPDATE)
            se = await self._usable(tx, instance.se_id)
        present = instance.description
        description = await self._s.peers.catalogue().describe(
            principal.tenant_id, present.service_id, version, se.profile
        )
        if description.version_tag == present.version_tag:
            raise ConflictError(f"The instance has version {version} already.")
        sealed = await self._sealed_for_update(instance, description, data, request)
        parameters: dict[str, str | int] = {"version": description.version_tag}
        if request is not None:
            parameters |= request_parameters(request)
        operation = self._operation(
            principal,
            OperationType.UPDATE,
            instance.se_id,
            instance_id,
            parameters=parameters,
            valid_until=valid_until,
        )
        renewal = Renewal(operation_id=operation.id, description=description, sealed_data=sealed)
        return await self._renew(instance, operation, renewal, request, origin)

    async def personalize(
        self,
        principal: Principal,
        instance_id: InstanceId,
        *,
        data: Data,
        valid_until: datetime | None = None,
    ) -> Operation:
        """Ask for a new run of an instance's recipes with other data.

        Args:
            principal: the instance's provider.
            instance_id: which; it is operational.
            data: personalisation data by field name.
            valid_until: when to give up.

        Raises:
            NotFoundError: there is no such instance for this caller.
            InvalidInputError: the service has no recipe, or a datum is unknown, missing or malformed.
            ConflictError: its state does not allow it, or another renewal waits.
            OrphanedError: what it was made of was deleted.
        """
        require(principal, TenantKind.SERVICE_PROVIDER)
        await self._not_orphaned(principal, instance_id, OperationType.PERSONALIZE)
        async with self._s.storage.transaction() as tx:
            instance = await self._instance(tx, principal, instance_id, OperationType.PERSONALIZE)
            await self._usable(tx, instance.se_id)
        if not any(app.personalization for app in instance.description.applications):
            raise InvalidInputError("No application of this service is personalised.")
        sealed = await self.sealed(instance, instance.description, data)
        operation = self._operation(
            principal, OperationType.PERSONALIZE, instance.se_id, instance_id, valid_until=valid_until
        )
        renewal = Renewal(operation_id=operation.id, description=instance.description, sealed_data=sealed)
        return await self._renew(instance, operation, renewal, None, None)

    async def deploy_stages(
        self,
        instance: ServiceInstance,
        request: Request,
        data: Data | None,
        origin: Origin | None,
        *,
        valid_until: datetime | None = None,
    ) -> Operation:
        """Ask for stages of an instance's deployment; see `DeviceCalls.deploy`. Without origin it is its
        provider's own request."""
        sealed = await self._sealed_for_stages(instance, request, data)
        operation = self._of_device(instance, OperationType.DEPLOY, request, valid_until=valid_until)
        async with self._s.storage.transaction() as tx:
            await tx.secure_elements.hold(instance.se_id)  # before the instance, as whoever ends an operation
            present = await self._unmoved(tx, instance)
            await self._usable(tx, present.se_id)
            target_state(present.state, request)
            if sealed:
                await tx.instances.save(replace(present, sealed_data=sealed))
            await self._request(tx, operation, origin=origin)
            await tx.commit()
        return operation

    async def ask(
        self,
        instance: ServiceInstance,
        request: Request,
        type_: OperationType,
        origin: Origin,
    ) -> Operation:
        """Ask for a suspension, a resumption or a termination; see `DeviceCalls`."""
        operation = self._of_device(instance, type_, None)
        async with self._s.storage.transaction() as tx:
            present = await self._unmoved(tx, instance)
            target_state(present.state, request)
            check_state(present, type_, present.provider_id)
            await self._request(tx, operation, origin=origin)
            await tx.commit()
        return operation

    async def sealed(self, instance: ServiceInstance, description: ServiceDescription, data: Data) -> bytes:
        """Check data against the recipes of a description and seal them for an instance.

        Raises:
            InvalidInputError: a datum is unknown, missing or malformed.
        """
        return await self._s.peers.catalogue().seal_personalization_data(
            instance.provider_id, description, instance.id, data
        )

    # --- small things ----------------------------------------------------------------------------------

    async def _renew(
        self,
        instance: ServiceInstance,
        operation: Operation,
        renewal: Renewal,
        request: Request | None,
        origin: Origin | None,
    ) -> Operation:
        async with self._s.storage.transaction() as tx:
            await tx.secure_elements.hold(instance.se_id)
            present = await self._unmoved(tx, instance)
            check_state(present, operation.type, operation.tenant_id)
            if request is not None:
                target_state(present.state, request)
            await self._check_no_other(tx, present)
            await tx.instances.save(replace(present, renewal=renewal))
            await self._request(tx, operation, origin=origin)
            await tx.commit()
        return operation

    async def _check_no_other(self, tx: UnitOfWork, instance: ServiceInstance) -> None:
        if instance.renewal is None:
            return
        waiting = await tx.operations.get(instance.renewal.operation_id)
        if waiting is not None and waiting.state not in ENDED:
            raise ConflictError(
                f"Operation {waiting.id} ({waiting.type.value}) waits or works on this instance.",
                advice="Wait for its end, or cancel it.",
            )

    async def _drop_renewal(self, tx: UnitOfWork, operation: Operation) -> None:
        """Forget what a cancelled operation was to make of its instance, data included."""
        instance = await tx.instances.get(operation.instance_id) if operation.instance_id else None
        if instance is None or instance.renewal is None or instance.renewal.operation_id != operation.id:
            return
        await tx.instances.save(replace(instance, renewal=None))

    async def _unmoved(self, tx: UnitOfWork, instance: ServiceInstance) -> ServiceInstance:
        """Return the instance if nobody changed it since it was read; data are sealed for what it was."""
        present = await tx.instances.get(instance.id)
        if present is None:
            raise NotFoundError("There is no such service instance.")
        if present.version != instance.version:
            raise StaleVersionError
        return present

    async def _sealed_for_update(
        self,
        instance: ServiceInstance,
        description: ServiceDescription,
        data: Data | None,
        request: Request | None,
    ) -> bytes:
        if data is not None:
            return await self.sealed(instance, description, data)
        if request is not None and Stage.PERSONALIZE not in request.commands:
            return b""  # a later call personalises, and brings them
        fresh = tuple(app for app in anew(instance.description, description) if app.recipe_id is not None)
        if not fresh:
            return b""
        return await self.sealed(instance, replace(description, applications=fresh), {})

    async def _sealed_for_stages(
        self, instance: ServiceInstance, request: Request, data: Data | None
    ) -> bytes:
        """Return the data that the call brings, or that the recipes make themselves; empty: none needed."""
        if data is not None:
            return await self.sealed(instance, instance.description, data)
        if Stage.PERSONALIZE not in request.commands or instance.sealed_data:
            return b""
        async with self._s.storage.transaction() as tx:
            content = await tx.secure_elements.content(instance.se_id)
        if personalized(instance.description, content):
            return b""
        return await self.sealed(instance, instance.description, {})

    def _of_device(
        self,
        instance: ServiceInstance,
        type_: OperationType,
        request: Request | None,
        *,
        valid_until: datetime | None = None,
    ) -> Operation:
        principal = Principal(tenant_id=instance.provider_id, kind=TenantKind.SERVICE_PROVIDER)
        parameters = None if request is None else request_parameters(request)
        return self._operation(
            principal, type_, instance.se_id, instance.id, parameters=parameters, valid_until=valid_until
        )
