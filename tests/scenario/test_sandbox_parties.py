"""Sandbox parties and real ones do not meet: every door refuses, and look-ups show nothing across."""

import json
from dataclasses import dataclass

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.demo.http_api import Caller
from opentsm.demo.services import BADGE, Shelf

INSTANCES = "/v1/device-api/service-instances"
DATA = {"rights": "front door"}
SIDES = [("provider", "sandbox issuer"), ("sandbox provider", "issuer")]


@dataclass(slots=True)
class Meeting:
    """A provider with a published service, and an issuer with a card in a device."""

    api: ApiBench
    provider: str
    issuer: str
    service_id: str
    se_id: str
    cin: str

    @classmethod
    async def of(cls, api: ApiBench, provider: str, issuer: str) -> "Meeting":
        caller = Caller(api.client, await api.party(provider))
        shelf = Shelf(await caller.provider_door())
        load_file, recipe = await shelf.upload_load_file(BADGE), await shelf.upload_recipe(BADGE)
        service = await shelf.publish(BADGE, load_file, recipe, ["scp03-i70"])
        cin = api.world.new_id()
        se = await api.element(cin, issuer=issuer)
        await api.device(issuer=issuer)
        await api.session(cin)
        return cls(api, provider, issuer, service.id, se["id"], cin)

    async def deploy(self) -> httpx.Response:
        body = {"service_id": self.service_id, "se_id": self.se_id, "data": DATA}
        return await self.api.post(self.provider, "/v1/instances", body)

    async def prepare(self, **name: object) -> Json:
        line = json.dumps({"service_id": self.service_id, "data": DATA, **name})
        headers = {"Authorization": f"Bearer {self.api.tokens[self.provider]}"}
        answer = await self.api.client.post("/v1/prepared-data/import", content=line, headers=headers)
        return dict(answer.json())

    async def call(self) -> httpx.Response:
        access = (await self.api.post(self.provider, "/v1/access-tokens", {})).json()["token"]
        tokens = {"Authorization": access, "Device-Authorization": self.api.tokens["device"]}
        body = {"serviceId": self.service_id, "version": "1.0.0"}
        headers = {name: f"Bearer {token}" for name, token in tokens.items()}
        return await self.api.client.post(INSTANCES, json=body, headers=headers)

    async def found(self, cin: str) -> list[Json]:
        answer = await self.api.get(self.provider, "/v1/secure-elements", params={"identifier": cin})
        return list(answer.json()["items"])


async def test_party_when_registered_as_a_sandbox_then_shown_as_one(api: ApiBench) -> None:
    for sandbox in (True, False):
        body = {"kind": "SE_ISSUER", "name": api.world.new_id(), "sandbox": sandbox}
        made = await api.post("operator", "/v1/parties", body)
        assert (made.status_code, made.json()["sandbox"]) == (201, sandbox)
        before = f"{made.json()['id'][:-1]} "
        listed = (await api.get("operator", "/v1/parties", params={"after": before, "limit": 200})).json()
        shown = {one["id"]: one["sandbox"] for one in listed["items"]}
        assert shown[made.json()["id"]] is sandbox
    plain = await api.post("operator", "/v1/parties", {"kind": "SE_ISSUER", "name": api.world.new_id()})
    assert plain.json()["sandbox"] is False
    problem(await api.post("operator", "/v1/parties", {**body, "sandbox": "yes"}), 400, "invalid_input")


@pytest.mark.parametrize(("provider", "issuer"), SIDES)
async def test_doors_when_the_other_side_is_asked_for_then_each_refuses_and_nothing_is_made(
    api: ApiBench, provider: str, issuer: str
) -> None:
    meeting = await Meeting.of(api, provider, issuer)
    problem(await meeting.deploy(), 403, "sandbox_border")
    called = await meeting.call()
    assert (called.status_code, called.json()["code"]) == (403, "sandbox_border")
    assert called.json()["tsm_error"]["type"] == 15
    (refused,) = (await meeting.prepare(se_id=meeting.se_id))["refused"]
    assert refused["code"] == "sandbox_border"
    (undeployed,) = (await meeting.prepare(se_id=meeting.se_id, deploy=True))["refused"]
    assert undeployed["code"] == "sandbox_border"
    assert (await api.get(provider, "/v1/instances")).json()["items"] == []
    assert (await api.get(provider, "/v1/prepared-data")).json()["items"] == []
    assert (await api.get(provider, "/v1/operations")).json()["items"] == []


@pytest.mark.parametrize(("provider", "issuer"), SIDES)
async def test_lookup_when_the_name_is_known_across_the_border_then_it_shows_nothing(
    api: ApiBench, provider: str, issuer: str
) -> None:
    meeting = await Meeting.of(api, provider, issuer)
    assert await meeting.found(meeting.cin) == []
    identifier = {"type": "CIN", "value": meeting.cin}
    # the name is taken by nobody on this side: data may wait for it, and cannot be deployed
    assert (await meeting.prepare(identifier=identifier))["kept"] == 1
    (refused,) = (await meeting.prepare(identifier=identifier, deploy=True))["refused"]
    assert (refused["code"], refused["field"]) == ("invalid_input", "/deploy")
    own = "issuer" if issuer.startswith("sandbox") else "sandbox issuer"
    twin = await api.element(meeting.cin, issuer=own)
    assert [one["id"] for one in await meeting.found(meeting.cin)] == [twin["id"]]
    listed = await api.get(provider, "/v1/instances", params={"se_identifier": meeting.cin})
    assert (listed.status_code, listed.json()["items"]) == (200, [])


@pytest.mark.parametrize(
    ("provider", "issuer"), [("provider", "issuer"), ("sandbox provider", "sandbox issuer")]
)
async def test_doors_when_both_are_of_one_side_then_they_open(
    api: ApiBench, provider: str, issuer: str
) -> None:
    meeting = await Meeting.of(api, provider, issuer)
    assert [one["id"] for one in await meeting.found(meeting.cin)] == [meeting.se_id]
    assert (await meeting.prepare(se_id=meeting.se_id))["kept"] == 1
    made = await meeting.call()
    assert made.status_code == 201, made.text
    problem(await meeting.deploy(), 409, "conflict")  # it is on this card already
