"""The same calls for apps without an event loop: each returns when it is done.

One thread of its own runs the loop; any number of threads may call. Listeners are called in that thread.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from opentsm.sdk.backend import GetToken, Patience
from opentsm.sdk.listener import ProcessListener
from opentsm.sdk.messages import (
    ProcessResult,
    ServiceCommand,
    ServiceDeploymentAvailable,
    ServiceForm,
    ServiceInstance,
    ServiceUpdateAvailable,
)
from opentsm.sdk.self_service import HeldToken, SelfServiceToken
from opentsm.sdk.service import TsmApiService

T = TypeVar("T")


class BlockingTsmApiService:
    """`TsmApiService` without `await`; arguments and errors are the same."""

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
        """Start the thread; the arguments are those of `TsmApiService`."""
        self._service = TsmApiService(
            base_url,
            device_token=device_token,
            patience=patience,
            ca_file=ca_file,
            events=events,
            transport=transport,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tsm-api", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_closed():
            return
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """Close, and let what a stream left behind end: a loop that stops before says so on stderr."""
        await self._service.close()
        await self._loop.shutdown_asyncgens()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=1.0)

    def set_access_token(self, get_token: GetToken) -> None:
        """Say where access tokens come from."""
        self._service.set_access_token(get_token)

    def use_self_service(
        self,
        service_id: str | None = None,
        *,
        service_instance_id: str | None = None,
        held: HeldToken | None = None,
    ) -> SelfServiceToken:
        """Let the device fetch its access tokens itself."""
        return self._service.use_self_service(service_id, service_instance_id=service_instance_id, held=held)

    def create_service_instance(
        self, service_id: str, version: str, *, reference: str | None = None
    ) -> ServiceInstance:
        """Create an instance."""
        return self._wait(self._service.create_service_instance(service_id, version, reference=reference))

    def get_service_instances(self, service_id: str) -> list[ServiceInstance]:
        """Return the service's instances on this device."""
        return self._wait(self._service.get_service_instances(service_id))

    def deploy_service(
        self,
        service_instance_id: str,
        service_commands: Sequence[ServiceCommand],
        finalize_deployment: bool,
        listener: ProcessListener | None = None,
    ) -> ProcessResult:
        """Carry out commands."""
        return self._wait(
            self._service.deploy_service(service_instance_id, service_commands, finalize_deployment, listener)
        )

    def update_service(
        self,
        service_instance_id: str,
        new_version: str,
        service_commands: Sequence[ServiceCommand],
        finalize_deployment: bool,
        listener: ProcessListener | None = None,
    ) -> ProcessResult:
        """Bring an instance to another version."""
        return self._wait(
            self._service.update_service(
                service_instance_id, new_version, service_commands, finalize_deployment, listener
            )
        )

    def suspend_or_resume_service(
        self, service_instance_id: str, suspension_control: bool, listener: ProcessListener | None = None
    ) -> ProcessResult:
        """Suspend (True) or resume (False) an instance."""
        return self._wait(
            self._service.suspend_or_resume_service(service_instance_id, suspension_control, listener)
        )

    def terminate_service(
        self, service_instance_id: str, listener: ProcessListener | None = None
    ) -> ProcessResult:
        """Remove an instance."""
        return self._wait(self._service.terminate_service(service_instance_id, listener))

    def check_service_deployment_available(self, service_id: str, version: str) -> ServiceDeploymentAvailable:
        """Say which version could be deployed here."""
        return self._wait(self._service.check_service_deployment_available(service_id, version))

    def check_service_update_available(
        self, service_instance_id: str, new_version: str
    ) -> ServiceUpdateAvailable:
        """Say to which version an instance could be updated."""
        return self._wait(self._service.check_service_update_available(service_instance_id, new_version))

    def get_service_form(self, service_id: str, version: str) -> ServiceForm:
        """Return what the end user is asked for."""
        return self._wait(self._service.get_service_form(service_id, version))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
