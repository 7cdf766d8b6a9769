"""What an app can ask before it deploys or updates: which version of a service a card could get."""

from dataclasses import dataclass

from opentsm.tsm.domain.secure_element import SecureElement, SeState
from opentsm.tsm.domain.version_pattern import VersionPattern, version_number
from opentsm.tsm.kernel.errors import (
    NotFoundError,
)
from opentsm.tsm.kernel.ids import InstanceId
from opentsm.tsm.ports.peer import TechnicalInformation
from opentsm.tsm.roles.hub.device_reach import DeviceCaller, DeviceReach, as_call_errors

GONE = (SeState.RETIRED, SeState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Availability:
    """The answer of a check: the version that can be had, and what it would be; None: nothing to be had."""

    version: str | None = None
    information: TechnicalInformation | None = None

    @property
    def available(self) -> bool:
        """Say whether there is something to be had."""
        return self.version is not None


class DeviceChecks(DeviceReach):
    """Light checks: nothing is kept of them."""

    async def check_deployment(
        self, caller: DeviceCaller, service_id: str, version_pattern: str
    ) -> Availability:
        """Say which version of a service a secure element of the device could get, if any.

        Instances that are there already are not considered.

        Raises:
            DeviceCallError: 4 or 17.

        Source: TR-03165 §4.2.5.7.
        """
        caller.require_service(service_id)
        pattern = VersionPattern.parse(version_pattern)
        best: tuple[str, SecureElement] | None = None
        async with as_call_errors():
            for se in await self._reachable(caller):
                if se.state in GONE:
                    continue
                tag = await self._newest(caller, service_id, se, pattern)
                if tag is not None and (best is None or version_number(tag) > version_number(best[0])):
                    best = tag, se
            return Availability() if best is None else await self._availability(caller, service_id, *best)

    async def check_update(
        self, caller: DeviceCaller, instance_id: InstanceId, version_pattern: str
    ) -> Availability:
        """Say to which higher version an instance could be updated, if any; its state is not considered.

        Raises:
            DeviceCallError: 4 or 17.

        Source: TR-03165 §4.2.5.8.
        """
        pattern = VersionPattern.parse(version_pattern)
        instance = await self.instance(caller, instance_id)
        present, service_id = instance.description.version_tag, instance.description.service_id
        async with as_call_errors():
            se = next(one for one in await self._reachable(caller) if one.id == instance.se_id)
            try:
                tag = await self._newest(caller, service_id, se, pattern)
            except NotFoundError:
                return Availability()  # the service itself was deleted
            if tag is None or version_number(tag) <= version_number(present):
                return Availability()
            return await self._availability(caller, service_id, tag, se)

    async def _newest(
        self, caller: DeviceCaller, service_id: str, se: SecureElement, pattern: VersionPattern
    ) -> str | None:
        """Return the newest version that fits; for a self-service app of those that need only their form."""
        tags = await self._s.peers.catalogue().deployable_versions(caller.provider_id, service_id, se.profile)
        for tag in filter(pattern.matches, tags):
            if not caller.self_service or await self._form_suffices(caller, service_id, tag, se):
                return tag
        return None

    async def _form_suffices(
        self, caller: DeviceCaller, service_id: str, tag: str, se: SecureElement
    ) -> bool:
        catalogue = self._s.peers.catalogue()
        description = await catalogue.describe(caller.provider_id, service_id, tag, se.profile)
        return (await catalogue.user_form(caller.provider_id, description)).complete

    async def _availability(
        self, caller: DeviceCaller, service_id: str, tag: str, se: SecureElement
    ) -> Availability:
        catalogue = self._s.peers.catalogue()
        description = await catalogue.describe(caller.provider_id, service_id, tag, se.profile)
        return Availability(tag, await catalogue.technical_information(description, se.profile))
