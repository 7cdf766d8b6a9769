"""An app that puts its provider's service onto this device, uses it for a while and removes it again.

    SERVER=… DEVICE_STATE=… PROVIDER_TOKEN=… python badge_app.py SERVICE

The agent of this device runs beside it, in another process, and carries the card's commands.
"""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from opentsm.agent.device_key import read_identity
from opentsm.agent.http_exchange import http_client
from opentsm.agent.server_link import ServerLink
from opentsm.sdk import (
    ActivateServiceCommand,
    InstallServiceCommand,
    NotAllowedError,
    PersonalizeServiceCommand,
    ProcessListener,
    ProcessProgress,
    ProcessStart,
    TsmApiService,
)

SERVER = os.environ["SERVER"]


class Shown(ProcessListener):
    """Shows what the TSM is doing."""

    def on_process_start(self, process_start_info: ProcessStart) -> None:
        print("process", process_start_info.process_id)

    def on_process_progress(self, process_progress_info: ProcessProgress) -> None:
        print(f"{process_progress_info.progress:4} %", process_progress_info.operation.name)


class ProvidersBackend:
    """Stands for the provider's own server, which alone holds the provider's token; it keeps the token."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._token = ""

    async def access_token(self) -> str:
        """Return the app's access token; called before every request to the TSM."""
        if not self._token:
            headers = {"Authorization": f"Bearer {os.environ['PROVIDER_TOKEN']}"}
            answer = await self._client.post("/v1/access-tokens", json={}, headers=headers)
            self._token = answer.raise_for_status().json()["token"]
        return self._token


async def use(tsm: TsmApiService, service_id: str) -> None:
    """Deploy, suspend, resume and remove the service."""
    available = await tsm.check_service_deployment_available(service_id, "x.x.x")
    if not available.deployment_available:
        print("this device cannot have the service")
        return
    instance = await tsm.create_service_instance(service_id, available.version)
    result = await tsm.deploy_service(
        instance.id,
        [
            InstallServiceCommand(),
            PersonalizeServiceCommand(personalization_data={"rights": "front door"}),
            ActivateServiceCommand(),
        ],
        finalize_deployment=True,
        listener=Shown(),
    )
    print("deployed:", result.service_instance_state.name, "in reader", result.reader)
    try:
        await tsm.deploy_service(instance.id, [InstallServiceCommand()], finalize_deployment=False)
    except NotAllowedError as error:
        print("as expected:", error.error_type.value, error.message)
    await tsm.suspend_or_resume_service(instance.id, True)
    (suspended,) = await tsm.get_service_instances(service_id)
    print("suspended:", suspended.state.name)
    await tsm.suspend_or_resume_service(instance.id, False)
    await tsm.terminate_service(instance.id, listener=Shown())
    print("left:", await tsm.get_service_instances(service_id))


async def main(service_id: str) -> None:
    """Connect and run."""
    device = read_identity(Path(os.environ["DEVICE_STATE"]))
    async with http_client(SERVER) as client:
        link = ServerLink(client, device)
        async with TsmApiService(SERVER, device_token=link.device_token) as tsm:
            tsm.set_access_token(ProvidersBackend(client).access_token)
            await use(tsm, service_id)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
