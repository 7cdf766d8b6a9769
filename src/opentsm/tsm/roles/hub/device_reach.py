"""What an app on a device can reach: its provider's instances on the device's secure elements."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opentsm.tsm.domain.device_call import (
    CallUnauthorizedError,
    DeviceCallError,
    InvalidArgumentError,
    NotAllowedError,
    NotAuthenticatedError,
    OrphanedInstanceError,
    ResourceNotFoundError,
    ScInaccessibleError,
)
from opentsm.tsm.domain.operation import Operation
from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    OrphanedError,
    QuarantinedError,
    StaleVersionError,
)
from opentsm.tsm.kernel.ids import DeviceId, InstanceId, OperationId, SeId, TenantId
from opentsm.tsm.ports.peer import TechnicalInformation
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.roles.hub.requesting import Origin
from opentsm.tsm.roles.hub.services import HubServices


@dataclass(frozen=True, slots=True)
class DeviceCaller:
    """An app on a device.

    Args:
        provider_id: whose services it may ask for.
        device_id: whose secure elements it reaches.
        caller_id: the hash of the app's certificate, as its provider states it.
        services: the only services that it may ask for; none: all of the provider's.
        sandbox: whether the provider is a sandbox; it reaches secure elements of sandboxes only.
        self_service: the device fetched its access token itself: it gives what forms ask for, no more.
    """

    provider_id: TenantId
    device_id: DeviceId
    caller_id: str = ""
    services: tuple[str, ...] = ()
    sandbox: bool = False
    self_service: bool = False

    def require_service(self, service_id: str) -> None:
        """Refuse a service that the app's access token does not name; whether it exists stays unsaid.

        Raises:
            CallUnauthorizedError: the token is for other services.
        """
        if self.services and service_id not in self.services:
            raise CallUnauthorizedError("The access token does not open this service.")

    @property
    def principal(self) -> Principal:
        """Return the provider for whom the app calls."""
        return Principal(tenant_id=self.provider_id, kind=TenantKind.SERVICE_PROVIDER, sandbox=self.sandbox)

    @property
    def origin(self) -> Origin:
        """Return where the call comes from, for the audit."""
        return Origin(self.device_id, self.caller_id)


class DeviceReach:
    """Secure elements, instances and processes of an app's device."""

    def __init__(self, services: HubServices) -> None:
        self._s = services

    async def instances(self, caller: DeviceCaller, service_id: str) -> list[ServiceInstance]:
        """Return the instances of a service on the device's secure elements.

        Raises:
            CallUnauthorizedError: the app's access token is for other services.

        Source: TR-03165 §4.2.5.2.
        """
        caller.require_service(service_id)
        reachable = await self._reachable(caller)
        async with self._s.storage.transaction() as tx:
            return [
                instance
                for se in reachable
                for instance in await tx.instances.on_secure_element(se.id)
                if instance.provider_id == caller.provider_id
                and instance.description.service_id == service_id
            ]

    async def instance(self, caller: DeviceCaller, instance_id: InstanceId) -> ServiceInstance:
        """Return an instance on one of the device's secure elements.

        Raises:
            ResourceNotFoundError: there is none for this app on this device, or it was terminated.
        """
        reachable = {se.id for se in await self._reachable(caller)}
        async with self._s.storage.transaction() as tx:
            found = await tx.instances.get(instance_id)
        if (
            found is None
            or found.provider_id != caller.provider_id
            or found.se_id not in reachable
            or found.state is InstanceState.TERMINATED
        ):
            raise ResourceNotFoundError("There is no such service instance on this device.")
        caller.require_service(found.description.service_id)
        return found

    async def secure_element(self, caller: DeviceCaller, se_id: SeId) -> SecureElement:
        """Return one of the device's secure elements.

        Raises:
            ResourceNotFoundError: it is not the device's.
        """
        for se in await self._reachable(caller):
            if se.id == se_id:
                return se
        raise ResourceNotFoundError("There is no such secure element on this device.")

    async def technical_information(
        self, caller: DeviceCaller, instance: ServiceInstance
    ) -> TechnicalInformation:
        """Return what an app is told about an instance; the names are empty when its service is gone.

        Source: TR-03165 §4.2.3.13.
        """
        se = await self.secure_element(caller, instance.se_id)
        return await self._s.peers.catalogue().technical_information(instance.description, se.profile)

    async def process(self, caller: DeviceCaller, operation_id: OperationId) -> Operation:
        """Return a process that concerns an instance of this app's provider on this device.

        Raises:
            ResourceNotFoundError: there is none.
        """
        reachable = {se.id for se in await self._reachable(caller)}
        async with self._s.storage.transaction() as tx:
            found = await tx.operations.get(operation_id)
            instance = None
            if found is not None and found.instance_id is not None:
                instance = await tx.instances.get(found.instance_id)
        if (
            found is None
            or instance is None
            or instance.provider_id != caller.provider_id
            or found.se_id not in reachable
        ):
            raise ResourceNotFoundError("There is no such process on this device.")
        caller.require_service(instance.description.service_id)
        return found

    async def _reachable(self, caller: DeviceCaller) -> list[SecureElement]:
        """Return the device's secure elements, those that proved themselves through it first."""
        async with self._s.storage.transaction() as tx:
            await self._known(tx, caller)
            found = await tx.secure_elements.of_device(caller.device_id, self._s.world.now())
        mine = [
            se
            for se in found
            if se.admits(caller.device_id)
            and se.state is not SeState.RETIRED
            and se.sandbox is caller.sandbox
        ]
        return sorted(mine, key=lambda se: (_rank(se, caller.device_id), se.id))

    async def _known(self, tx: UnitOfWork, caller: DeviceCaller) -> None:
        device = await tx.devices.get(caller.device_id)
        if device is None or device.revoked_at is not None:
            raise NotAuthenticatedError("The device is not enrolled, or was revoked.")


def _rank(se: SecureElement, device_id: DeviceId) -> int:
    if se.device_id == device_id:
        return 0
    return 1 if se.reserved_for == device_id else 2


@asynccontextmanager
async def as_call_errors() -> AsyncIterator[None]:
    """Turn what the hub and the catalogue refuse into the error types of TR-03165."""
    try:
        yield
    except DeviceCallError:
        raise
    except OrphanedError as error:
        raise OrphanedInstanceError(error.detail, advice=error.advice) from error
    except InvalidInputError as error:
        raise InvalidArgumentError(error.detail, advice=error.advice, field=error.field) from error
    except NotFoundError as error:
        raise ResourceNotFoundError(error.detail, advice=error.advice) from error
    except QuarantinedError as error:
        raise ScInaccessibleError(error.detail, advice=error.advice) from error
    except StaleVersionError:
        raise
    except ConflictError as error:
        raise NotAllowedError(error.detail, advice=error.advice) from error
