"""What an app on a device may ask of the hub: the calls of BSI TR-03165 (TSM-API), one method each.

The provider's side of a call says whose service, the device's side says which secure elements are reachable.
A call ends at once; what it started is an operation like any other, which TR-03165 calls a process.
"""

import dataclasses
from contextlib import suppress

from opentsm.tsm.domain.card_content import ServiceDescription, Stage
from opentsm.tsm.domain.device_call import (
    AlreadyExistsError,
    Call,
    InvalidArgumentError,
    NoEligibleScError,
    Request,
    target_state,
)
from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.domain.prepared import PreparedData
from opentsm.tsm.domain.secure_element import SecureElement
from opentsm.tsm.domain.service import ServiceInstance
from opentsm.tsm.domain.user_form import UserForm
from opentsm.tsm.domain.version_pattern import VersionPattern, version_number
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvalidInputError,
    StaleVersionError,
)
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.tsm.roles.hub.device_checks import GONE, Availability, DeviceChecks
from opentsm.tsm.roles.hub.device_processes import DeviceProcesses
from opentsm.tsm.roles.hub.device_reach import DeviceCaller, as_call_errors
from opentsm.tsm.roles.hub.mandate import check_flavor, check_state
from opentsm.tsm.roles.hub.new_instances import add_instance, new_instance
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage
from opentsm.tsm.roles.hub.prepared import find_prepared, open_prepared
from opentsm.tsm.roles.hub.renewals import Renewals
from opentsm.tsm.roles.hub.self_service import require_form_only
from opentsm.tsm.roles.hub.services import HubServices

__all__ = ["Availability", "DeviceCaller", "DeviceCalls"]

_TRIES = 3


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class _Wanted:
    """What an app wants an instance of, and where its personalisation data come from."""

    service_id: str
    pattern: VersionPattern
    data: dict[str, str] | None
    reference: str | None


class DeviceCalls(DeviceChecks, DeviceProcesses):
    """The door for apps on devices."""

    def __init__(self, services: HubServices) -> None:
        super().__init__(services)
        self._renewals = Renewals(services)

    def once(self, claim: Claim) -> "DeviceCalls":
        """Return the same use cases for one request that has an idempotency key."""
        return DeviceCalls(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    # --- instances -------------------------------------------------------------------------------------

    async def create_instance(
        self,
        caller: DeviceCaller,
        *,
        service_id: str,
        version_pattern_or_tag: str,
        data: dict[str, str] | None = None,
        reference: str | None = None,
    ) -> ServiceInstance:
        """Choose a secure element for a service and create its instance there, not yet deployed.

        Without `data` it takes the personalisation data that the provider prepared for this secure element
        or under the reference, so that an app needs none of its own.

        The choice is always the same for the same secure elements: bound ones before those that are only
        reserved, these before others, by id. Until it is terminated, the same instance is returned again.

        Args:
            caller: the app and its device.
            service_id: the provider's service.
            version_pattern_or_tag: the version; of a pattern the newest that a secure element can get.
            data: personalisation data by field name; sealed at once. None: prepared ones, or those of a
                later call.
            reference: the reference of prepared data; None for those of the secure element.

        Raises:
            InvalidArgumentError: the version or a datum is malformed, or prepared data do not fit; a
                self-service app names a reference.
            NotAllowedError: it is not clear which prepared data are meant.
            ResourceNotFoundError: there is no such service or version, or no data wait under the reference.
            NoEligibleScError: no secure element of the device can take it.
            AlreadyExistsError: the device holds another version of this service.

        Source: TR-03165 §3.3.1, §4.2.5.1.
        """
        caller.require_service(service_id)
        if data is not None and reference is not None:
            raise InvalidArgumentError("Give data or the reference of prepared data.", field="/reference")
        if reference is not None and caller.self_service:
            raise InvalidArgumentError(
                "An access token that a device fetched itself opens no prepared data by their reference.",
                advice="Leave the reference out, or let the provider's backend fetch the access token.",
                field="/reference",
            )
        wanted = _Wanted(service_id, VersionPattern.parse(version_pattern_or_tag), data, reference)
        async with as_call_errors():
            for _ in range(_TRIES - 1):
                try:
                    return await self._create(caller, wanted)
                except StaleVersionError:
                    continue  # of two who ask at once the second finds what the first made
            return await self._create(caller, wanted)

    async def _create(self, caller: DeviceCaller, wanted: "_Wanted") -> ServiceInstance:
        service_id, pattern, data = wanted.service_id, wanted.pattern, wanted.data
        known = await self.instances(caller, service_id)
        if known:
            return _same(known[0], pattern)
        se, description = await self._eligible(caller, service_id, pattern)
        prepared = None if data is not None else await self._prepared(caller, se, wanted)
        if prepared is not None:
            description = await self._meant(description, prepared, pattern, se)
            data = await open_prepared(self._s.peers.catalogue(), prepared)
        else:
            await require_form_only(self._s.peers.catalogue(), caller, description, data)
        made = await new_instance(self._s, se, description, data, prepared, stages=())
        instance = made.instance
        async with self._s.storage.transaction() as tx:
            fresh = await tx.secure_elements.get(se.id)
            if fresh is None or fresh.version != se.version:
                raise StaleVersionError
            # made between the look for instances and that for the card: look again
            await add_instance(tx, fresh, made, StaleVersionError())
            await tx.audit.append(
                caller.provider_id,
                actor=caller.device_id,
                action="instance.created",
                subject=instance.id,
                details={"secure_element": se.id, "service": service_id, "caller": caller.caller_id},
            )
            await tx.commit()
        return instance

    async def _prepared(
        self, caller: DeviceCaller, se: SecureElement, wanted: "_Wanted"
    ) -> PreparedData | None:
        return await find_prepared(self._s, caller.provider_id, se, wanted.service_id, wanted.reference)

    async def _meant(
        self,
        newest: ServiceDescription,
        prepared: PreparedData,
        pattern: VersionPattern,
        se: SecureElement,
    ) -> ServiceDescription:
        """Return the version that data were prepared for, where the app leaves the choice."""
        tag = prepared.version_tag
        if tag is None or tag == newest.version_tag or pattern.tag is not None or not pattern.matches(tag):
            return newest
        return await self._s.peers.catalogue().describe(
            prepared.provider_id, prepared.service_id, tag, se.profile
        )

    async def _eligible(
        self, caller: DeviceCaller, service_id: str, pattern: VersionPattern
    ) -> tuple[SecureElement, ServiceDescription]:
        catalogue = self._s.peers.catalogue()
        reachable = await self._reachable(caller)
        for se in (one for one in reachable if one.state not in GONE):
            tag = await self._newest(caller, service_id, se, pattern)
            if tag is not None:
                return se, await catalogue.describe(caller.provider_id, service_id, tag, se.profile)
        if reachable and pattern.tag is not None:
            await self._require_version(caller, service_id, pattern.tag, reachable[0])
        raise NoEligibleScError(
            "No secure element of this device can take a version of the service that is asked for."
            if reachable
            else "No secure element is known to belong to this device.",
            advice="Allow the card's profile in the version's allowedDeployments, and publish its flavor."
            if reachable
            else "Let the device's agent open a session with its secure element first.",
        )

    async def user_form(self, caller: DeviceCaller, service_id: str, version_pattern: str) -> UserForm:
        """Say what the end user gives for a version of a service on this device.

        It is the form of the instance where there is one of a version that fits, else of what
        `create_instance` or an update would bring.

        Raises:
            DeviceCallError: 4, 8 or 17.
        """
        caller.require_service(service_id)
        pattern = VersionPattern.parse(version_pattern)
        async with as_call_errors():
            known = await self.instances(caller, service_id)
            description = await self._described(caller, service_id, pattern, known)
            return await self._s.peers.catalogue().user_form(caller.provider_id, description)

    async def _described(
        self, caller: DeviceCaller, service_id: str, pattern: VersionPattern, known: list[ServiceInstance]
    ) -> ServiceDescription:
        if not known:
            return (await self._eligible(caller, service_id, pattern))[1]
        if pattern.matches(known[0].description.version_tag):
            return known[0].description
        se = await self.secure_element(caller, known[0].se_id)
        tag = await self._newest(caller, service_id, se, pattern)
        if tag is None:
            raise NoEligibleScError("The secure element cannot take a version that is asked for.")
        return await self._s.peers.catalogue().describe(caller.provider_id, service_id, tag, se.profile)

    async def _require_version(
        self, caller: DeviceCaller, service_id: str, tag: str, se: SecureElement
    ) -> None:
        """Raise NotFoundError when the version does not exist at all."""
        with suppress(InvalidInputError, ConflictError):
            await self._s.peers.catalogue().describe(caller.provider_id, service_id, tag, se.profile)

    # --- changes ---------------------------------------------------------------------------------------

    async def deploy(
        self,
        caller: DeviceCaller,
        instance_id: InstanceId,
        *,
        commands: tuple[Stage, ...],
        finalize: bool,
        suspension_control: bool,
        data: dict[str, str] | None = None,
    ) -> Operation:
        """Ask for stages of a deployment, in the order in which their states shall be reached.

        Args:
            caller: the app and its device.
            instance_id: which.
            commands: at most one of each.
            finalize: the instance is deployed when the last command has succeeded.
            suspension_control: attribute of `Activate`: the finalised instance is suspended.
            data: personalisation data; they replace what was given before.

        Raises:
            DeviceCallError: 4, 12, 13 or 17.

        Source: TR-03165 §4.2.5.3.
        """
        request = Request(Call.DEPLOY, commands, finalize, suspension_control)
        instance = await self._checked(caller, instance_id, request, OperationType.DEPLOY)
        async with as_call_errors():
            await require_form_only(self._s.peers.catalogue(), caller, instance.description, data)
            return await self._renewals.deploy_stages(instance, request, data, caller.origin)

    async def update(
        self,
        caller: DeviceCaller,
        instance_id: InstanceId,
        *,
        version: str,
        commands: tuple[Stage, ...],
        finalize: bool,
        suspension_control: bool,
        data: dict[str, str] | None = None,
    ) -> Operation:
        """Ask for another version of an instance's service; what is equal in both stays on the card.

        Args:
            caller: the app and its device.
            instance_id: which.
            version: the tag of the new version.
            commands: as for `deploy`, from the beginning.
            finalize: as for `deploy`.
            suspension_control: as for `deploy`.
            data: personalisation data for what is personalised anew.

        Raises:
            DeviceCallError: 4, 8 (this version is there already), 12, 13 or 17.

        Source: TR-03165 §4.2.5.4.
        """
        if VersionPattern.parse(version).tag is None:
            raise InvalidArgumentError("version must be one version, not a pattern.", field="/version")
        request = Request(Call.UPDATE, commands, finalize, suspension_control)
        instance = await self._checked(caller, instance_id, request, OperationType.UPDATE)
        if version_number(instance.description.version_tag) == version_number(version):
            raise NoEligibleScError("The service is already updated to the requested version.")
        async with as_call_errors():
            if caller.self_service:
                await self._require_form_only(caller, instance, version, data)
            return await self._renewals.update(
                caller.principal,
                instance.id,
                version=version,
                data=data,
                request=request,
                origin=caller.origin,
            )

    async def suspend_or_resume(
        self, caller: DeviceCaller, instance_id: InstanceId, *, suspend: bool
    ) -> Operation:
        """Ask for a suspension or a resumption; each may be repeated.

        Raises:
            DeviceCallError: 13 or 17.

        Source: TR-03165 §4.2.5.5.
        """
        type_ = OperationType.SUSPEND if suspend else OperationType.RESUME
        return await self._change(
            caller, instance_id, Request(Call.SUSPEND if suspend else Call.RESUME), type_
        )

    async def terminate(self, caller: DeviceCaller, instance_id: InstanceId) -> Operation:
        """Ask for the end of an instance; its id dies, also when nothing was installed.

        Raises:
            DeviceCallError: 17.

        Source: TR-03165 §4.2.5.6.
        """
        return await self._change(caller, instance_id, Request(Call.TERMINATE), OperationType.TERMINATE)

    async def _require_form_only(
        self, caller: DeviceCaller, instance: ServiceInstance, version: str, data: dict[str, str] | None
    ) -> None:
        """Check what an update would bring, before anything of it is begun."""
        catalogue, service_id = self._s.peers.catalogue(), instance.description.service_id
        se = await self.secure_element(caller, instance.se_id)
        described = await catalogue.describe(caller.provider_id, service_id, version, se.profile)
        await require_form_only(catalogue, caller, described, data)

    # --- small things ----------------------------------------------------------------------------------

    async def _change(
        self, caller: DeviceCaller, instance_id: InstanceId, request: Request, type_: OperationType
    ) -> Operation:
        instance = await self._checked(caller, instance_id, request, type_)
        async with as_call_errors():
            return await self._renewals.ask(instance, request, type_, caller.origin)

    async def _checked(
        self, caller: DeviceCaller, instance_id: InstanceId, request: Request, type_: OperationType
    ) -> ServiceInstance:
        """Return the instance if it may be asked this; orphaned comes before the state (§3.2.3)."""
        instance = await self.instance(caller, instance_id)
        async with as_call_errors():
            await check_flavor(self._s.peers.catalogue(), instance, type_)
            target_state(instance.state, request)
            check_state(instance, type_, caller.provider_id)
        return instance


def _same(instance: ServiceInstance, pattern: VersionPattern) -> ServiceInstance:
    tag = instance.description.version_tag
    if pattern.matches(tag):
        return instance
    raise AlreadyExistsError(
        f"The service is already instantiated on this device, in version {tag}.",
        advice="Update that instance, or terminate it first.",
    )
