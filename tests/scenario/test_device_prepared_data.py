"""Prepared data over the device API: an app without data of its own gets what its provider prepared."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json

from opentsm.demo.http_api import Caller
from opentsm.demo.services import BADGE, Shelf
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.ids import InstanceId

INSTANCES = "/v1/device-api/service-instances"
DATA = {"rights": "front door"}


@dataclass(slots=True)
class Counter:
    """An app of a provider that prepares data, on a device with one secure element."""

    api: ApiBench
    service_id: str
    se_id: str
    cin: str
    access: str

    async def prepare(self, **changes: Any) -> Json:
        """Hand data over, and return the report."""
        line = json.dumps({"service_id": self.service_id, "data": DATA, **changes})
        headers = {"Authorization": f"Bearer {self.api.tokens['provider']}"}
        answer = await self.api.client.post("/v1/prepared-data/import", content=line, headers=headers)
        return dict(answer.json())

    async def create(self, version: str = "1.0.0", **more: str) -> httpx.Response:
        return await self.post(INSTANCES, {"serviceId": self.service_id, "version": version, **more})

    async def post(self, path: str, body: Json) -> httpx.Response:
        tokens = {"Authorization": self.access, "Device-Authorization": self.api.tokens["device"]}
        headers = {name: f"Bearer {token}" for name, token in tokens.items()}
        return await self.api.client.post(path, json=body, headers=headers)

    async def rights_of(self, instance_id: str) -> object:
        """Return the field that was prepared, as the personalisation of an instance will find it."""
        async with self.api.storage.transaction() as tx:
            instance = await tx.instances.get(InstanceId(instance_id))
        assert instance is not None
        if not instance.sealed_data:
            return None
        context = f"instance:{instance_id}"
        opened = await self.api.keystore("provider").open(instance.sealed_data, context=context)
        return from_json(dict[str, str], opened)["rights"]

    async def waiting(self) -> list[Json]:
        return list((await self.api.get("provider", "/v1/prepared-data")).json()["items"])


@pytest.fixture
async def counter(api: ApiBench) -> Counter:
    provider = Caller(api.client, await api.party("provider"))
    shelf = Shelf(await provider.provider_door())
    load_file, recipe = await shelf.upload_load_file(BADGE), await shelf.upload_recipe(BADGE)
    service = await shelf.publish(BADGE, load_file, recipe, ["scp03-i70"])
    cin = api.world.new_id()
    se = await api.element(cin)
    await api.device()
    await api.session(cin)
    access = (await api.post("provider", "/v1/access-tokens", {})).json()["token"]
    return Counter(api, service.id, se["id"], cin, access)


@pytest.mark.parametrize("how", ["se_id", "identifier", "reference"])
async def test_instance_when_data_were_prepared_then_it_takes_them_once(counter: Counter, how: str) -> None:
    name = {
        "se_id": counter.se_id,
        "identifier": {"type": "CIN", "value": counter.cin},
        "reference": "customer 7",
    }[how]
    assert (await counter.prepare(**{how: name}))["kept"] == 1
    more = {"reference": "customer 7"} if how == "reference" else {}
    made = await counter.create(**more)
    assert made.status_code == 201, made.text
    assert DATA["rights"] not in made.text
    assert await counter.rights_of(made.json()["id"]) == DATA["rights"]
    (kept,) = await counter.waiting()
    assert (kept["instance_id"], kept["operation_id"]) == (made.json()["id"], None)
    assert (await counter.create(**more)).json()["id"] == made.json()["id"]
    assert (await counter.prepare(**{how: name}))["unchanged"] == 1


async def test_deployment_when_data_were_prepared_then_the_app_needs_none(counter: Counter) -> None:
    await counter.prepare(se_id=counter.se_id)
    made = (await counter.create()).json()
    commands = [{"type": "install"}, {"type": "personalize"}, {"type": "activate"}]
    body: Json = {"serviceCommands": commands, "finalizeDeployment": True}
    begun = await counter.post(f"{INSTANCES}/{made['id']}/deployments", body)
    assert begun.status_code == 202, begun.text
    assert await counter.rights_of(made["id"]) == DATA["rights"]


async def test_instance_when_nothing_was_prepared_then_it_has_no_data(counter: Counter) -> None:
    made = await counter.create("x.x.x")
    assert made.status_code == 201
    assert await counter.rights_of(made.json()["id"]) is None


async def test_instance_when_the_reference_is_unknown_then_refused_and_nothing_is_made(
    counter: Counter,
) -> None:
    await counter.prepare(se_id=counter.se_id)
    answer = await counter.create(reference="nobody")
    assert (answer.status_code, answer.json()["tsm_error"]["type"]) == (404, 17)
    assert [one["instance_id"] for one in await counter.waiting()] == [None]


async def test_instance_when_data_wait_under_two_names_then_not_allowed(counter: Counter) -> None:
    await counter.prepare(se_id=counter.se_id)
    await counter.prepare(identifier={"type": "CIN", "value": counter.cin})
    answer = await counter.create()
    assert (answer.status_code, answer.json()["tsm_error"]["type"]) == (409, 13)
    assert [one["instance_id"] for one in await counter.waiting()] == [None, None]
