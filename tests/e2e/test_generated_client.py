"""A client that openapi-python-client makes of the published TSM-Backend document, against a real server.

It is made anew for each run, from the document as it stands: no overlay, only written as JSON, since the
document's YAML has numbers where OpenAPI has texts (the status codes). What the document has not, an app's
calls, goes over the device API. Source: BSI TR-03165 §4.1 and §4.2.
"""

import importlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from tests.e2e.demo_process import start
from tests.scenario.sptsm_document import document_path

from opentsm.agent.device_key import DeviceIdentity, DeviceKey
from opentsm.cli.readers import VirtualCardReader
from opentsm.demo.http_api import Caller, open_client
from opentsm.demo.playground import Playground, furnished
from opentsm.sdk.messages import (
    ActivateServiceCommand,
    InstallServiceCommand,
    ServiceCommand,
    ServiceInstanceState,
)
from opentsm.sdk.service import TsmApiService

PACKAGE = "published_tsm_backend"
GENERATOR_S = 120
END_S = 120
ONE, TWO = "F04F54534D010101", "F04F54534D010102"


@dataclass(frozen=True, slots=True)
class Generated:
    """The generated package."""

    def module(self, name: str) -> ModuleType:
        """Return one of its modules."""
        return importlib.import_module(f"{PACKAGE}.{name}")

    def model(self, name: str) -> Any:
        """Return one of its models."""
        return getattr(self.module("models"), name)

    async def call(self, operation: str, client: Any, *words: Any, **more: Any) -> Any:
        """Call an operation, `group.name`; whatever is not its good answer fails."""
        answer = await self.module(f"api.{operation}").asyncio_detailed(*words, client=client, **more)
        assert answer.status_code in (200, 204), answer.content
        return answer.parsed


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """Let the generator make a client, all of it, without a warning."""
    path = document_path()
    if path is None:
        pytest.skip("not run: the published document is not at hand (OPENTSM_SPTSM_DOCUMENT)")
    directory = tmp_path_factory.mktemp("generated")
    document = directory / "document.json"
    document.write_text(json.dumps(yaml.safe_load(path.read_text()), default=str))
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [
            *(tools / "openapi-python-client", "generate", "--meta", "none", "--fail-on-warning"),
            *("--path", document, "--output-path", directory / PACKAGE),
        ],
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=GENERATOR_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(directory))
    yield Generated()
    sys.path.remove(str(directory))


@pytest.fixture
def server(open_data_dir: str) -> Iterator[dict[str, Any]]:
    process = start(open_data_dir, "serve", "--port", "0", "--data-dir", f"{open_data_dir}/data", "--json")
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        token = Path(ready["operator_token_file"]).read_text("ascii").strip()
        yield {**ready, "operator_token": token}
    finally:
        process.terminate()
        process.communicate(timeout=END_S)
        shutil.rmtree(f"{open_data_dir}/data", ignore_errors=True)


async def published(generated: Generated, client: Any, profile: str) -> tuple[str, list[str]]:
    """Upload, configure and publish a service: 1.0.0 with one application, 1.1.0 with one more."""
    call, model = generated.call, generated.model
    content = files("opentsm.demo").joinpath("caps", "bank.cap").read_bytes()
    upload = model("CreateElfAndUploadBinaryBody")(
        elf_filename="bank.cap",
        elf_file=generated.module("types").File(payload=BytesIO(content), file_name="bank.cap"),
    )
    elf = await call("executable_load_files.create_elf_and_upload_binary", client, body=upload)
    modules = await call("executable_load_files.list_ems", client, elf.id)
    profiles = await call("secure_component_profiles.list_secure_component_profiles", client)
    profile_id = next(one.id for one in profiles if one.name == profile)
    service = await call("services.create_service", client, body=model("Service")(name="A ticket"))
    links = []
    for aid in (ONE, TWO):
        wanted = model("ApplicationConfig")(instance_aid=aid)
        config = await call("application_configs.create_app_config", client, body=wanted)
        link = model("ApplicationInstantiationConfig")
        links.append(link(executable_module_id=modules[0].id, application_config_id=config.id))
    for tag, count in (("1.0.0", 1), ("1.1.0", 2)):
        # the document gives this read-only attribute a default, which the client would send: 1003
        draft = model("Flavor")(
            executable_load_file_ids=[elf.id],
            application_instantiation_configs=links[:count],
            published=generated.module("types").UNSET,
        )
        flavor = await call("services.create_flavor", client, service.id, body=draft)
        await call("services.publish_flavor", client, service.id, flavor.id)
        allowed = model("VersionAllowedDeployments").from_dict({str(flavor.id): [str(profile_id)]})
        version = model("Version")(tag=tag, allowed_deployments=allowed)
        await call("services.create_version", client, service.id, body=version)
    versions = await call("services.list_versions", client, service.id)
    return str(service.id), sorted(version.tag for version in versions)


async def device_token(client: httpx.AsyncClient, state: Path) -> str:
    """Return a token of the playground's device, as an agent fetches it."""
    identity = DeviceIdentity(
        json.loads((state / "device.json").read_text())["id"], DeviceKey.load(state / "key.json")
    )
    assertion = identity.key.assertion(identity.device_id, now=time.time(), nonce=secrets.token_bytes(16))
    answer = await client.post("/v1/device-tokens", json={"assertion": assertion})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


async def aids_on_card(playground: Playground) -> set[str]:
    """Return the AIDs of the service's applications that the card says it has."""
    issuer = playground.parties.issuer
    se_id = playground.cards[0].id
    operation = await issuer.post(f"/v1/secure-elements/{se_id}/audits")
    while operation["ended_at"] is None:
        operation = await issuer.follow(operation)
    content = await issuer.get(f"/v1/secure-elements/{se_id}/content")
    return {one["aid"] for one in content["objects"]} & {ONE, TWO}


async def test_generated_client_when_it_walks_from_upload_to_termination_then_the_card_follows(
    generated: Generated, server: dict[str, Any], open_data_dir: str
) -> None:
    state = Path(open_data_dir) / "agent"
    base_url = str(server["base_url"])
    async with (
        furnished(base_url, server["operator_token"], ["scp03-i70"], state, VirtualCardReader) as playground,
        open_client(base_url) as client,
    ):
        door = playground.document()["sptsm_url"]
        make = generated.module("client").AuthenticatedClient
        token = await generated.call(
            "auth.create_access_token", make(base_url=door, token=playground.parties.provider_token)
        )
        service_id, tags = await published(generated, make(base_url=door, token=token), "scp03-i70")
        assert tags == ["1.0.0", "1.1.0"]
        device = await device_token(client, state)
        provider: Caller = playground.parties.provider
        access = await provider.post("/v1/access-tokens", {"services": [service_id]})
        async with TsmApiService(base_url, device_token=lambda: device) as app:
            app.set_access_token(lambda: str(access["token"]))
            instance = await app.create_service_instance(service_id, "1.0.0")
            commands: list[ServiceCommand] = [InstallServiceCommand(), ActivateServiceCommand()]
            deployed = await app.deploy_service(instance.id, commands, True)
            assert deployed.service_instance_state is ServiceInstanceState.OPERATIONAL
            assert await aids_on_card(playground) == {ONE}
            updated = await app.update_service(instance.id, "1.1.0", commands, True)
            assert updated.service_instance_state is ServiceInstanceState.OPERATIONAL
            assert await aids_on_card(playground) == {ONE, TWO}
            await app.terminate_service(instance.id)
            assert await app.get_service_instances(service_id) == []
            assert await aids_on_card(playground) == set()
    shutil.rmtree(state)
