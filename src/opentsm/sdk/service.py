"""`TsmApiService`: TR-03165's ITsmApiService for an app in Python.

Methods have the guideline's names in Python's spelling. A Future there is a coroutine here; an
`executionStatus` other than 0 is an error of the class of its number. Source: BSI TR-03165 §4.2.5.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import httpx

from opentsm.sdk.backend import Backend, GetToken, Patience, http_client
from opentsm.sdk.errors import InvalidArgumentError
from opentsm.sdk.following import PROCESSES, Follower
from opentsm.sdk.listener import ProcessListener
from opentsm.sdk.messages import (
    Process,
    ProcessResult,
    ServiceCommand,
    ServiceDeploymentAvailable,
    ServiceForm,
    ServiceInstance,
    ServiceInstances,
    ServiceUpdateAvailable,
)
from opentsm.sdk.self_service import HeldToken, SelfServiceToken

DEVICE_API: Final = "/v1/device-api"
_INSTANCES: Final = f"{DEVICE_API}/service-instances"


class TsmApiService:
    """Calls of an app on this device.

    Args:
        base_url: of the TSM: https, or http on this machine.
        device_token: gives the device's own token, which its agent fetches; called for every request.
        patience: with requests and streams that get no answer.
        ca_file: certificates to trust instead of the system's.
        events: False to poll for progress.
        transport: replaces the network, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        device_token: GetToken,
        patience: Patience | None = None,
        ca_file: str | None = None,
        events: bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = http_client(base_url, ca_file=ca_file, transport=transport)
        self._backend = Backend(self._client, device_token, patience)
        self._follower = Follower(self._backend, patience, events=events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def set_access_token(self, get_token: GetToken) -> None:
        """Say where access tokens come from.

        Args:
            get_token: called for every request to the TSM, plain or awaitable. It keeps the token that the
                provider's backend gave it, and renews it in time.

        Source: §4.2.5.9.
        """
        self._backend.access_token = get_token

    def use_self_service(
        self,
        service_id: str | None = None,
        *,
        service_instance_id: str | None = None,
        held: HeldToken | None = None,
    ) -> SelfServiceToken:
        """Let the device fetch its access tokens itself, for one self-service service: no backend is needed.

        Args:
            service_id: the service, which its provider marked; or
            service_instance_id: one of its instances on this device.
            held: what an earlier start of the app kept of the answer's `held`.

        Raises:
            InvalidArgumentError: not exactly one of the two is given.
        """
        if (service_id is None) is (service_instance_id is None):
            raise InvalidArgumentError("Invalid argument: name a service or one of its instances.")
        named = {"service_id": service_id, "service_instance_id": service_instance_id}
        names = {name: value for name, value in named.items() if value is not None}
        tokens = SelfServiceToken(self._backend, names, held)
        self.set_access_token(tokens)
        return tokens

    async def create_service_instance(
        self, service_id: str, version: str, *, reference: str | None = None
    ) -> ServiceInstance:
        """Create an instance of a service on the secure component that the eligibility check chooses.

        It takes the personalisation data that the provider prepared for the secure component.

        Args:
            service_id: the service.
            version: a version, or a pattern such as 1.x.x.
            reference: the reference under which the provider prepared the data.

        Raises:
            AlreadyExistsError: there is one on this device.
            NoEligibleScError: no secure component can have it.
            NotFoundError: there is no such service or version.
        """
        body = {"serviceId": service_id, "version": version}
        if reference is not None:
            body["reference"] = reference
        return await self._backend.post(_INSTANCES, body, ServiceInstance)

    async def get_service_instances(self, service_id: str) -> list[ServiceInstance]:
        """Return the service's instances on all secure components of this device."""
        found = await self._backend.get(_INSTANCES, ServiceInstances, serviceId=service_id)
        return found.service_instances

    async def deploy_service(
        self,
        service_instance_id: str,
        service_commands: Sequence[ServiceCommand],
        finalize_deployment: bool,
        listener: ProcessListener | None = None,
    ) -> ProcessResult:
        """Carry out commands (at most one of each kind) in their order, and finish the deployment if asked.

        Raises:
            NotAllowedError: the instance's state does not allow these commands.
            TsmApiError: as it ended; `result` has the commands' own results.
        """
        body = {"serviceCommands": list(service_commands), "finalizeDeployment": finalize_deployment}
        return await self._run(service_instance_id, "deployments", body, listener)

    async def update_service(
        self,
        service_instance_id: str,
        new_version: str,
        service_commands: Sequence[ServiceCommand],
        finalize_deployment: bool,
        listener: ProcessListener | None = None,
    ) -> ProcessResult:
        """Bring an instance that is OPERATIONAL or SUSPENDED to another version.

        Raises:
            NotAllowedError: the instance is in another state.
            TsmApiError: as it ended.
        """
        body = {
            "newVersion": new_version,
            "serviceCommands": list(service_commands),
            "finalizeDeployment": finalize_deployment,
        }
        return await self._run(service_instance_id, "updates", body, listener)

    async def suspend_or_resume_service(
        self, service_instance_id: str, suspension_control: bool, listener: ProcessListener | None = None
    ) -> ProcessResult:
        """Suspend (True) or resume (False) an instance; asking twice changes nothing more."""
        body = {"suspensionControl": suspension_control}
        return await self._run(service_instance_id, "suspension", body, listener)

    async def terminate_service(
        self, service_instance_id: str, listener: ProcessListener | None = None
    ) -> ProcessResult:
        """Remove an instance in whatever state it is; its id is gone afterwards."""
        return await self._run(service_instance_id, "terminations", {}, listener)

    async def check_service_deployment_available(
        self, service_id: str, version: str
    ) -> ServiceDeploymentAvailable:
        """Say which version could be deployed here; `1.2.3`, `1.2.x`, `1.x.x` or `x.x.x`.

        The Java interface spells it checkServiceDeploymenAvailable.
        """
        path = f"{DEVICE_API}/services/{_part(service_id)}/deployment-available"
        return await self._backend.get(path, ServiceDeploymentAvailable, version=version)

    async def check_service_update_available(
        self, service_instance_id: str, new_version: str
    ) -> ServiceUpdateAvailable:
        """Say to which higher version an instance could be updated; patterns as for deployments."""
        path = f"{_INSTANCES}/{_part(service_instance_id)}/update-available"
        return await self._backend.get(path, ServiceUpdateAvailable, newVersion=new_version)

    async def get_service_form(self, service_id: str, version: str) -> ServiceForm:
        """Return what the end user is asked for, named as in `personalization_data`; our own call."""
        path = f"{DEVICE_API}/services/{_part(service_id)}/form"
        return await self._backend.get(path, ServiceForm, version=version)

    async def process(self, process_id: str) -> Process:
        """Return a process as it is now: after a restart an app finds its own again."""
        return await self._backend.get(f"{PROCESSES}/{_part(process_id)}", Process)

    async def follow_process(self, process_id: str, listener: ProcessListener | None = None) -> ProcessResult:
        """Follow a process that was begun before."""
        return await self._follower.follow(await self.process(process_id), listener)

    async def cancel_process(self, process_id: str) -> Process:
        """Ask a process to end at its next safe point."""
        return await self._backend.post(f"{PROCESSES}/{_part(process_id)}/cancellations", {}, Process)

    async def _run(
        self,
        service_instance_id: str,
        call: str,
        body: Mapping[str, object],
        listener: ProcessListener | None,
    ) -> ProcessResult:
        path = f"{_INSTANCES}/{_part(service_instance_id)}/{call}"
        return await self._follower.follow(await self._backend.post(path, body, Process), listener)


def _part(text: str) -> str:
    return quote(text, safe="")
