"""An app without any server of its provider: form, installation, and the provider's words at the end.

    SERVER=… DEVICE_STATE=… python visitor_app.py SERVICE DOOR

The device's agent runs beside it, in another process. The service is marked as self-service.
"""

import asyncio
import os
import sys
from pathlib import Path

from opentsm.agent.device_key import read_identity
from opentsm.agent.http_exchange import http_client
from opentsm.agent.server_link import ServerLink
from opentsm.sdk import (
    ActivateServiceCommand,
    InstallServiceCommand,
    PersonalizeServiceCommand,
    ServiceCommand,
    TsmApiError,
    TsmApiService,
)

SERVER = os.environ["SERVER"]


async def install(tsm: TsmApiService, service_id: str, door: str) -> None:
    """Ask what the service's form asks, install it, and show how it ended."""
    form = await tsm.get_service_form(service_id, "x.x.x")
    (field,) = form.fields
    print(f"{field.title['en']}: {door}")
    instance = await tsm.create_service_instance(service_id, form.version)
    commands: list[ServiceCommand] = [
        InstallServiceCommand(),
        PersonalizeServiceCommand(personalization_data={field.name: door}),
        ActivateServiceCommand(),
    ]
    try:
        await tsm.deploy_service(instance.id, commands, finalize_deployment=True)
        print(form.messages["success"]["en"])
    except TsmApiError as error:
        print(form.messages["failure"]["en"], error)
    await tsm.terminate_service(instance.id)


async def main(service_id: str, door: str) -> None:
    """Connect and run."""
    device = read_identity(Path(os.environ["DEVICE_STATE"]))
    async with http_client(SERVER) as client:
        link = ServerLink(client, device)
        async with TsmApiService(SERVER, device_token=link.device_token) as tsm:
            tsm.use_self_service(service_id)
            await install(tsm, service_id, door)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
