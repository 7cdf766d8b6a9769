"""The device API: both tokens, the calls, their refusals with the guideline's numbers, and processes."""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json

from opentsm.demo.http_api import Caller
from opentsm.demo.services import BADGE, Shelf
from opentsm.tsm.adapters.storage.postgres import PostgresUnitOfWork

API = "/v1/device-api"
INSTANCES = f"{API}/service-instances"
ALL: list[Json] = [
    {"type": "install"},
    {"type": "personalize", "personalizationData": {"rights": "PASS"}},
    {"type": "activate", "suspensionControl": False},
]


@dataclass
class App:
    """An app on a device that holds one secure element."""

    api: ApiBench
    service_id: str
    access: str
    device_id: str

    def headers(self, **other: str) -> dict[str, str]:
        """Return both tokens; another one takes a token's place by the name of its header."""
        named = {
            "Authorization": f"Bearer {self.access}",
            "Device-Authorization": f"Bearer {self.api.tokens['device']}",
        }
        return {name: value for name, value in {**named, **other}.items() if value}

    async def get(self, path: str, **params: str) -> httpx.Response:
        return await self.api.client.get(path, params=params, headers=self.headers())

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.api.client.post(path, json=body, headers={**self.headers(), **headers})

    async def instance(self) -> Json:
        made = await self.post(INSTANCES, {"serviceId": self.service_id, "version": "1.0.0"})
        assert made.status_code == 201, made.text
        return dict(made.json())


@pytest.fixture
async def app(api: ApiBench) -> App:
    provider = Caller(api.client, await api.party("provider"))
    shelf = Shelf(await provider.provider_door())
    load_file, recipe = await shelf.upload_load_file(BADGE), await shelf.upload_recipe(BADGE)
    service = await shelf.publish(BADGE, load_file, recipe, ["scp03-i70"])
    cin = api.world.new_id()
    await api.element(cin)
    device_id, _ = await api.device()
    await api.session(cin)
    issued = await api.post("provider", "/v1/access-tokens", {"app": "ab" * 32})
    return App(api, service.id, issued.json()["token"], device_id)


def refused(answer: httpx.Response, status: int, number: int, name: str) -> Json:
    """Check that an answer is a problem with the guideline's number and name, and return it."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    document: Json = answer.json()
    error = document["tsm_error"]
    assert (answer.status_code, error["type"], error["name"]) == (status, number, name), document
    assert error["message"]
    return document


async def test_instance_when_created_then_not_deployed_and_the_same_until_it_is_terminated(app: App) -> None:
    made = await app.instance()
    assert (made["state"], made["lastOperation"], made["reader"]) == (1, 0, "eSE1")
    information = made["technicalInformation"]
    assert (information["serviceId"], information["serviceVersionTag"]) == (app.service_id, "1.0.0")
    assert information["profileId"]
    assert (await app.instance())["id"] == made["id"]
    listed = (await app.get(INSTANCES, serviceId=app.service_id)).json()
    assert listed == {"serviceInstances": [made]}
    trail = await app.api.get("provider", "/v1/audit", params={"subject": made["id"]})
    (entry,) = trail.json()["items"]
    assert (entry["action"], entry["actor"]) == ("instance.created", app.device_id)
    assert entry["details"]["caller"] == "AB" * 32


async def test_deployment_when_asked_for_then_a_process_with_its_caller(app: App) -> None:
    made = await app.instance()
    body = {"serviceCommands": ALL, "finalizeDeployment": True}
    begun = await app.post(f"{INSTANCES}/{made['id']}/deployments", body)
    assert begun.status_code == 202, begun.text
    process = begun.json()
    assert begun.headers["Location"] == f"{API}/processes/{process['processId']}"
    assert (process["callerId"], process["progress"], process["operation"]) == ("AB" * 32, 0, 10)
    assert process["result"] is None
    assert process["startDate"].endswith("Z")
    assert (await app.get(begun.headers["Location"])).json() == process
    assert "PASS" not in begun.text


async def test_process_when_cancelled_then_interrupted_and_told_as_events(app: App) -> None:
    made = await app.instance()
    body = {"serviceCommands": ALL, "finalizeDeployment": True}
    path = (await app.post(f"{INSTANCES}/{made['id']}/deployments", body)).headers["Location"]
    cancelled = await app.post(f"{path}/cancellations", {})
    assert cancelled.status_code == 202, cancelled.text
    result = cancelled.json()["result"]
    assert result["processInfo"]["executionStatus"] == 6
    assert result["processInfo"]["executionMessage"] == "Execution interrupted: manually cancelled"
    assert [one["commandExecutionStatus"] for one in result["serviceCommandResults"]] == [2, 2, 2]
    assert result["serviceInstanceState"] == 1
    refused(await app.post(f"{path}/cancellations", {}), 409, 13, "NOT_ALLOWED")
    stream = await app.get(f"{path}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    named = [line for line in stream.text.splitlines() if line.startswith("event: ")]
    assert named == ["event: onProcessStart", "event: onProcessProgress", "event: onProcessResult"]
    assert (await app.get(path, wait="5")).json()["progress"] == 100


async def test_tokens_when_one_is_missing_or_wrong_then_the_other_opens_nothing(app: App) -> None:
    client, params = app.api.client, {"serviceId": app.service_id}
    for other in (
        {"Authorization": ""},
        {"Device-Authorization": ""},
        {"Authorization": "Bearer unknown"},
        {"Device-Authorization": "Bearer unknown"},
        {"Device-Authorization": f"Basic {app.api.tokens['device']}"},
    ):
        answer = await client.get(INSTANCES, params=params, headers=app.headers(**other))
        refused(answer, 401, 5, "NOT_AUTHENTICATED")
        assert answer.json()["tsm_error"]["message"].startswith("Not authenticated: ")
    for other in (
        {"Authorization": f"Bearer {app.api.tokens['provider']}"},
        {"Authorization": f"Bearer {app.api.tokens['device']}"},
        {"Device-Authorization": f"Bearer {app.access}"},
    ):
        answer = await client.get(INSTANCES, params=params, headers=app.headers(**other))
        refused(answer, 403, 15, "UNAUTHORIZED")


async def test_token_of_another_provider_when_used_then_it_finds_nothing(app: App) -> None:
    made = await app.instance()
    body = {"serviceCommands": ALL, "finalizeDeployment": True}
    path = (await app.post(f"{INSTANCES}/{made['id']}/deployments", body)).headers["Location"]
    issued = await app.api.post("other-provider", "/v1/access-tokens", {})
    other = App(app.api, app.service_id, issued.json()["token"], app.device_id)
    assert (await other.get(INSTANCES, serviceId=app.service_id)).json() == {"serviceInstances": []}
    new = {"serviceId": app.service_id, "version": "1.0.0"}
    refused(await other.post(INSTANCES, new), 404, 17, "NOT_FOUND")
    refused(await other.post(f"{INSTANCES}/{made['id']}/terminations", {}), 404, 17, "NOT_FOUND")
    for found in (path, f"{path}/events"):
        refused(await other.get(found), 404, 17, "NOT_FOUND")
    refused(await other.post(f"{path}/cancellations", {}), 404, 17, "NOT_FOUND")


async def test_token_for_other_services_when_used_then_unauthorized(app: App) -> None:
    made = await app.instance()
    body = {"serviceCommands": ALL, "finalizeDeployment": True}
    path = (await app.post(f"{INSTANCES}/{made['id']}/deployments", body)).headers["Location"]
    issued = await app.api.post("provider", "/v1/access-tokens", {"services": ["another"]})
    app.access = issued.json()["token"]
    new = {"serviceId": app.service_id, "version": "1.0.0"}
    refused(await app.post(INSTANCES, new), 403, 15, "UNAUTHORIZED")
    refused(await app.get(INSTANCES, serviceId=app.service_id), 403, 15, "UNAUTHORIZED")
    refused(await app.post(f"{INSTANCES}/{made['id']}/terminations", {}), 403, 15, "UNAUTHORIZED")
    refused(await app.get(path), 403, 15, "UNAUTHORIZED")
    available = f"{API}/services/{app.service_id}/deployment-available"
    refused(await app.get(available, version="x.x.x"), 403, 15, "UNAUTHORIZED")


async def test_another_device_when_it_asks_then_the_instance_is_not_there(app: App) -> None:
    made = await app.instance()
    await app.api.device(name="other")
    app.api.tokens["device"] = app.api.tokens["other"]
    refused(await app.post(f"{INSTANCES}/{made['id']}/terminations", {}), 404, 17, "NOT_FOUND")
    new = {"serviceId": app.service_id, "version": "1.0.0"}
    refused(await app.post(INSTANCES, new), 409, 8, "NO_ELIGIBLE_SC")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"serviceCommands": [], "finalizeDeployment": False}, "/serviceCommands"),
        ({"serviceCommands": [{"type": "install"}] * 2, "finalizeDeployment": False}, "/serviceCommands"),
        ({"serviceCommands": [{"type": "install"}] * 4, "finalizeDeployment": False}, "/serviceCommands"),
        ({"serviceCommands": [{"type": "erase"}], "finalizeDeployment": False}, "/serviceCommands/0/type"),
        ({"serviceCommands": [{"type": "install"}]}, "/finalizeDeployment"),
        ({"serviceCommands": [{"type": "install", "x": 1}], "finalizeDeployment": True}, None),
        ({"serviceCommands": [{"type": "install", "installationData": {"a": "b"}}]}, None),
        ("deploy", None),
    ],
)
async def test_deployment_when_the_request_has_no_such_form_then_invalid_argument(
    app: App, body: Any, field: str | None
) -> None:
    made = await app.instance()
    found = refused(await app.post(f"{INSTANCES}/{made['id']}/deployments", body), 400, 4, "INVALID_ARGUMENT")
    assert field in (None, found.get("field")), found
    assert "hidden" not in found["detail"]


async def test_calls_when_the_state_does_not_allow_them_then_not_allowed(app: App) -> None:
    made = await app.instance()
    path = f"{INSTANCES}/{made['id']}"
    activate = {"serviceCommands": [{"type": "activate"}], "finalizeDeployment": False}
    refused(await app.post(f"{path}/deployments", activate), 409, 13, "NOT_ALLOWED")
    refused(await app.post(f"{path}/suspension", {"suspensionControl": True}), 409, 13, "NOT_ALLOWED")
    update = {"newVersion": "1.0.1", "serviceCommands": ALL, "finalizeDeployment": True}
    refused(await app.post(f"{path}/updates", update), 409, 13, "NOT_ALLOWED")
    pattern = await app.post(f"{path}/updates", {**update, "newVersion": "1.x.x"})
    assert refused(pattern, 400, 4, "INVALID_ARGUMENT")["field"] == "/newVersion"


async def test_checks_when_asked_then_what_this_device_could_have(app: App) -> None:
    path = f"{API}/services/{app.service_id}/deployment-available"
    for pattern in ("1.0.0", "1.0.X", "x.x.x"):
        found = (await app.get(path, version=pattern)).json()
        assert (found["deploymentAvailable"], found["version"]) == (True, "1.0.0")
        assert found["newTechnicalInformation"]["serviceId"] == app.service_id
    none = (await app.get(path, version="2.x.x")).json()
    assert none == {"deploymentAvailable": False, "version": "", "newTechnicalInformation": None}
    assert refused(await app.get(path, version="x.1.x"), 400, 4, "INVALID_ARGUMENT")["field"] == "version"
    refused(await app.get(path), 400, 4, "INVALID_ARGUMENT")
    unknown = await app.get(f"{API}/services/none/deployment-available", version="x.x.x")
    refused(unknown, 404, 17, "NOT_FOUND")
    made = await app.instance()
    update = f"{INSTANCES}/{made['id']}/update-available"
    found = (await app.get(update, newVersion="x.x.x")).json()
    assert found == {"updateAvailable": False, "newVersion": "", "newTechnicalInformation": None}
    assert refused(await app.get(update, newVersion="1"), 400, 4, "INVALID_ARGUMENT")["field"] == "newVersion"


DOOR: Json = {
    "name": "door",
    "type": "ascii",
    "max": 8,
    "from": "user",
    "title": {"en": "Entrance", "de": "Eingang"},
    "choices": [{"value": "MAIN", "title": {"en": "Main entrance"}}],
}
RECIPE: Json = {
    "format": "opentsm-personalization/1",
    "version": "door-1",
    "fields": [DOOR],
    "groupings": [{"dgi": "6003", "value": [{"field": "door"}]}],
    "messages": {"success": {"en": "Your badge is ready."}},
}


async def with_form(app: App) -> str:
    """Publish a service whose end user chooses an entrance; return its id."""
    door = await Caller(app.api.client, await app.api.party("provider")).provider_door()
    shelf, names = Shelf(door), ("scriptFilename", "scriptFile")
    load_file = await shelf.upload_load_file(BADGE)
    path = "/sptsm/1.0.4/personalization-scripts"
    recipe = await door.upload(path, names, "door.json", json.dumps(RECIPE).encode())
    return (await shelf.publish(BADGE, load_file, recipe, ["scp03-i70"])).id


async def test_form_when_the_app_asks_then_what_its_user_gives(app: App) -> None:
    app.service_id = await with_form(app)
    path = f"{API}/services/{app.service_id}/form"
    form = (await app.get(path, version="x.x.x")).json()
    (field,) = form["fields"]
    assert (form["version"], form["complete"]) == ("1.0.0", True)
    assert (field["name"], field["type"], field["max"]) == ("door", "ascii", 8)
    assert field["title"] == DOOR["title"]
    assert field["choices"] == DOOR["choices"]
    assert form["messages"] == RECIPE["messages"]
    refused(await app.get(path, version="x.1.x"), 400, 4, "INVALID_ARGUMENT")
    refused(await app.get(path, version="2.x.x"), 409, 8, "NO_ELIGIBLE_SC")
    refused(await app.get(f"{API}/services/none/form", version="x.x.x"), 404, 17, "NOT_FOUND")
    made = await app.instance()
    for data in ({"door": "BACK"}, {"window": "1"}):
        commands = [{"type": "install"}, {"type": "personalize", "personalizationData": data}]
        body = {"serviceCommands": commands, "finalizeDeployment": True}
        answer = await app.post(f"{INSTANCES}/{made['id']}/deployments", body)
        assert refused(answer, 400, 4, "INVALID_ARGUMENT")["field"] == "/serviceCommands"
        assert "BACK" not in answer.text
    issued = await app.api.post("provider", "/v1/access-tokens", {"services": ["another"]})
    app.access = issued.json()["token"]
    refused(await app.get(path, version="x.x.x"), 403, 15, "UNAUTHORIZED")


async def test_requests_when_they_have_a_key_then_carried_out_once(app: App) -> None:
    made = await app.instance()
    body = {"serviceCommands": ALL, "finalizeDeployment": True}
    path, key = f"{INSTANCES}/{made['id']}/deployments", {"Idempotency-Key": "k1"}
    first, again = await app.post(path, body, **key), await app.post(path, body, **key)
    assert first.json()["processId"] == again.json()["processId"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await app.post(path, {**body, "finalizeDeployment": False}, **key)
    refused(other, 409, 13, "NOT_ALLOWED")


class CrashError(BaseException):
    """The process is gone before it answers."""


@pytest.mark.parametrize("call", ["create", "deploy"])
async def test_call_when_its_answer_was_lost_then_made_anew_from_what_it_did(
    app: App, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path, body = INSTANCES, dict[str, Any](serviceId=app.service_id, version="1.0.0")
    if call == "deploy":
        path = f"{INSTANCES}/{(await app.instance())['id']}/deployments"
        body = {"serviceCommands": ALL, "finalizeDeployment": True}
    real = PostgresUnitOfWork.commit

    async def commit(self: PostgresUnitOfWork) -> None:
        monkeypatch.setattr(PostgresUnitOfWork, "commit", real)
        await real(self)
        raise CrashError

    monkeypatch.setattr(PostgresUnitOfWork, "commit", commit)
    key = {"Idempotency-Key": app.api.world.new_id()}
    with pytest.raises(CrashError):
        await app.post(path, body, **key)
    again = await app.post(path, body, **key)
    assert again.headers["Idempotency-Replayed"] == "true"
    if call == "create":
        assert again.status_code == 201
        listed = (await app.get(INSTANCES, serviceId=app.service_id)).json()["serviceInstances"]
        assert listed == [again.json()]
        return
    assert again.status_code == 202
    assert again.headers["Location"].endswith(again.json()["processId"])
    operations = (await app.api.get("provider", "/v1/operations")).json()["items"]
    assert [one["id"] for one in operations] == [again.json()["processId"]]


async def test_route_when_there_is_none_then_a_problem(app: App) -> None:
    refused(await app.get(f"{API}/nothing"), 404, 17, "NOT_FOUND")
    refused(await app.get(f"{INSTANCES}/x/deployments"), 405, 4, "INVALID_ARGUMENT")
    odd = await app.get(INSTANCES, serviceId=app.service_id, limit="5")
    assert refused(odd, 400, 4, "INVALID_ARGUMENT")["field"] == "limit"
