"""Self-service: a device fetches the access token for a marked service itself; what that opens, what not."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem
from tests.scenario.test_device_api import API, INSTANCES, RECIPE, App, refused, with_form

from opentsm.demo.http_api import SPTSM_PATH, Caller
from opentsm.demo.services import BADGE, Shelf

TOKENS = "/v1/self-service-tokens"
NAMES = ("scriptFilename", "scriptFile")
SECRET_FIELD: Json = {"name": "rights", "type": "ascii", "max": 4}


def recipe_with(*fields: Json) -> bytes:
    """Return the recipe of the form with other fields beside what the end user gives."""
    groupings = [{"dgi": "6004", "value": [{"field": str(field["name"])}]} for field in fields]
    changed = {
        **RECIPE,
        "fields": [*RECIPE["fields"], *fields],
        "groupings": [*RECIPE["groupings"], *groupings],
    }
    return json.dumps(changed).encode()


async def publish(api: ApiBench, recipe: bytes | None = None, profile: str = "scp03-i70") -> str:
    """Publish a service of the bench's provider; return its id."""
    door = await Caller(api.client, await api.party("provider")).provider_door()
    shelf = Shelf(door)
    load_file = await shelf.upload_load_file(BADGE)
    data = recipe or recipe_with()
    script = await door.upload(f"{SPTSM_PATH}/personalization-scripts", NAMES, "door.json", data)
    return (await shelf.publish(BADGE, load_file, script, [profile])).id


async def mark(api: ApiBench, service_id: str, who: str = "provider", **terms: object) -> httpx.Response:
    """Ask for the mark of a service."""
    headers = {"Authorization": f"Bearer {await api.party(who)}"}
    return await api.client.put(f"/v1/services/{service_id}/self-service", json=terms, headers=headers)


async def withdraw(api: ApiBench, service_id: str) -> httpx.Response:
    """Take the mark back."""
    headers = {"Authorization": f"Bearer {api.tokens['provider']}"}
    return await api.client.delete(f"/v1/services/{service_id}/self-service", headers=headers)


async def fetch(api: ApiBench, service_id: str, who: str = "device", **other: str) -> httpx.Response:
    """Let a device ask for a token."""
    return await api.post(who, TOKENS, other or {"service_id": service_id})


@pytest.fixture
async def phone(api: ApiBench) -> App:
    """Give an enrolled device with one secure element, and a service with a form that is not marked yet."""
    service_id = await publish(api)
    cin = api.world.new_id()
    await api.element(cin)
    device_id, _ = await api.device()
    await api.session(cin)
    return App(api, service_id, "", device_id)


@pytest.fixture
async def served(phone: App) -> App:
    """Give the same with the service marked, and a token that the device fetched."""
    assert (await mark(phone.api, phone.service_id)).status_code == 200
    answer = await fetch(phone.api, phone.service_id)
    assert answer.status_code == 201, answer.text
    phone.access = answer.json()["token"]
    return phone


async def test_token_when_the_service_is_marked_then_opens_it_from_form_to_deployment(phone: App) -> None:
    api = phone.api
    marked = await mark(api, phone.service_id, expires_in=120, tokens_per_device=2)
    terms = {"service_id": phone.service_id, "expires_in": 120, "tokens_per_device": 2}
    assert (marked.status_code, marked.json()) == (200, terms)
    shown = await api.get("provider", f"/v1/services/{phone.service_id}/self-service")
    assert shown.json() == terms
    answer = await fetch(api, phone.service_id)
    issued = answer.json()
    assert (answer.status_code, issued["expires_in"]) == (201, 120)
    phone.access = issued["token"]
    form = (await phone.get(f"{API}/services/{phone.service_id}/form", version="x.x.x")).json()
    assert [field["name"] for field in form["fields"]] == ["door"]
    made = await phone.instance()
    commands = [
        {"type": "install"},
        {"type": "personalize", "personalizationData": {"door": "MAIN"}},
        {"type": "activate"},
    ]
    body = {"serviceCommands": commands, "finalizeDeployment": True}
    begun = await phone.post(f"{INSTANCES}/{made['id']}/deployments", body)
    assert begun.status_code == 202, begun.text
    assert begun.json()["callerId"] == issued["id"].upper()
    trail = await api.get("provider", "/v1/audit", params={"subject": issued["id"]})
    (entry,) = trail.json()["items"]
    assert (entry["action"], entry["actor"]) == ("access-token.self-issued", phone.device_id)
    assert entry["details"] == {"services": phone.service_id, "expires_in_s": 120}


async def test_token_when_an_instance_names_the_service_then_the_same_service(served: App) -> None:
    made = await served.instance()
    answer = await fetch(served.api, "", service_instance_id=made["id"])
    assert answer.status_code == 201, answer.text
    served.access = answer.json()["token"]
    listed = await served.get(INSTANCES, serviceId=served.service_id)
    assert [one["id"] for one in listed.json()["serviceInstances"]] == [made["id"]]
    problem(await fetch(served.api, "", service_instance_id="none"), 404, "not_found")
    await served.api.device(name="other")
    problem(await fetch(served.api, "", "other", service_instance_id=made["id"]), 404, "not_found")


async def test_token_when_another_device_or_service_is_meant_then_it_opens_nothing(served: App) -> None:
    other_service = await publish(served.api)
    new = {"serviceId": other_service, "version": "1.0.0"}
    refused(await served.post(INSTANCES, new), 403, 15, "UNAUTHORIZED")
    await served.api.device(name="other")
    headers = {"Device-Authorization": f"Bearer {served.api.tokens['other']}"}
    answer = await served.post(INSTANCES, {**new, "serviceId": served.service_id}, **headers)
    refused(answer, 403, 15, "UNAUTHORIZED")
    served.api.tokens["app"] = served.access
    problem(await served.api.get("app", "/v1/instances"), 403, "forbidden")
    problem(await fetch(served.api, served.service_id, "app"), 403, "forbidden")


async def test_token_when_not_marked_unknown_or_withdrawn_then_the_same_refusal(phone: App) -> None:
    api = phone.api
    unmarked = problem(await fetch(api, phone.service_id), 404, "not_found")
    unknown = problem(await fetch(api, "none"), 404, "not_found")
    assert unmarked["detail"] == unknown["detail"]
    await mark(api, phone.service_id)
    assert (await withdraw(api, phone.service_id)).status_code == 204
    problem(await withdraw(api, phone.service_id), 404, "not_found")
    assert problem(await fetch(api, phone.service_id), 404, "not_found")["detail"] == unknown["detail"]


async def test_token_when_the_mark_is_taken_back_or_the_service_goes_then_refused_at_once(
    served: App,
) -> None:
    assert (await withdraw(served.api, served.service_id)).status_code == 204
    gone = await served.get(INSTANCES, serviceId=served.service_id)
    refused(gone, 401, 5, "NOT_AUTHENTICATED")
    await mark(served.api, served.service_id)
    assert (await served.get(INSTANCES, serviceId=served.service_id)).status_code == 200
    bought = await served.api.post("provider", f"{SPTSM_PATH}/auth")
    headers = {"Authorization": f"Bearer {bought.json()}"}
    path = f"{SPTSM_PATH}/services/{served.service_id}"
    assert (await served.api.client.delete(path, headers=headers)).status_code == 204
    refused(await served.get(INSTANCES, serviceId=served.service_id), 401, 5, "NOT_AUTHENTICATED")


async def test_token_when_it_has_expired_then_refused(served: App) -> None:
    served.api.world.shift = timedelta(seconds=901)
    await served.api.device(name="later")
    answer = await served.get(INSTANCES, serviceId=served.service_id)
    refused(answer, 401, 5, "NOT_AUTHENTICATED")


async def test_token_when_anybody_but_a_device_asks_then_forbidden(phone: App) -> None:
    await mark(phone.api, phone.service_id)
    for who in ("operator", "issuer", "provider"):
        problem(await fetch(phone.api, phone.service_id, who), 403, "forbidden")
    problem(await phone.api.post("device", TOKENS, {}), 400, "invalid_input")
    both = {"service_id": "a", "service_instance_id": "b"}
    problem(await phone.api.post("device", TOKENS, both), 400, "invalid_input")


async def test_token_when_nothing_is_published_for_the_card_then_a_conflict_says_so(phone: App) -> None:
    other = await publish(phone.api, profile="scp02-i55")
    await mark(phone.api, other)
    found = problem(await fetch(phone.api, other), 409, "conflict")
    assert "published" in found["detail"]
    await phone.api.device(name="empty")
    await mark(phone.api, phone.service_id)
    found = problem(await fetch(phone.api, phone.service_id, "empty"), 409, "conflict")
    assert "No secure element" in found["detail"]


async def test_tokens_when_a_device_asks_at_once_then_no_more_than_allowed(phone: App) -> None:
    api = phone.api
    await mark(api, phone.service_id, expires_in=60, tokens_per_device=2)
    answers = await asyncio.gather(*(fetch(api, phone.service_id) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 429, 429, 429, 429]
    late = next(answer for answer in answers if answer.status_code == 429)
    problem(late, 429, "too_many_tokens")
    refused(late, 429, 18, "OVERLOAD_PROTECTION")
    assert 1 <= int(late.headers["Retry-After"]) <= 61
    api.world.shift = timedelta(seconds=61)
    assert (await fetch(api, phone.service_id)).status_code == 201


async def test_mark_when_a_recipe_needs_data_of_the_provider_then_refused_with_their_names(
    api: ApiBench,
) -> None:
    service_id = await publish(api, recipe_with(SECRET_FIELD))
    found = problem(await mark(api, service_id), 409, "conflict")
    assert "rights" in found["detail"]
    assert "door" not in found["detail"]
    problem(await api.get("provider", f"/v1/services/{service_id}/self-service"), 404, "not_found")


async def test_mark_when_the_caller_or_a_term_is_not_right_then_refused(phone: App) -> None:
    api, service_id = phone.api, phone.service_id
    for who in ("operator", "issuer"):
        problem(await mark(api, service_id, who), 403, "forbidden")
    await api.party("other-provider")
    problem(await mark(api, service_id, "other-provider"), 404, "not_found")
    problem(await mark(api, "none"), 404, "not_found")
    for terms in (
        {"expires_in": 59},
        {"expires_in": 3601},
        {"tokens_per_device": 0},
        {"tokens_per_device": 101},
        {"more": 1},
    ):
        problem(await mark(api, service_id, "provider", **terms), 400, "invalid_input")


async def test_app_when_its_device_fetched_the_token_then_gives_the_form_and_no_more(served: App) -> None:
    by_reference = {"serviceId": served.service_id, "version": "x.x.x", "reference": "customer-1"}
    found = refused(await served.post(INSTANCES, by_reference), 400, 4, "INVALID_ARGUMENT")
    assert found["field"] == "/reference"
    door = await Caller(served.api.client, await served.api.party("provider")).provider_door()
    shelf = Shelf(door)
    path = f"{SPTSM_PATH}/services/{served.service_id}"
    script = await door.upload(
        f"{SPTSM_PATH}/personalization-scripts", NAMES, "rights.json", recipe_with(SECRET_FIELD)
    )
    (file,) = await door.get(f"{SPTSM_PATH}/executable-load-files")
    flavor = await door.post(f"{path}/flavors", await shelf._flavor(BADGE, file, script))
    allowed = {flavor["id"]: await shelf._profile_ids(["scp03-i70"])}
    await door.post(f"{path}/versions", {"tag": "2.0.0", "allowedDeployments": allowed})
    await door.post(f"{path}/flavors/{flavor['id']}/publish")
    # the newer version is not there for it, and the app of a backend has it
    available = f"{API}/services/{served.service_id}/deployment-available"
    assert (await served.get(available, version="x.x.x")).json()["version"] == "1.0.0"
    newer = {"serviceId": served.service_id, "version": "2.0.0"}
    refused(await served.post(INSTANCES, newer), 409, 8, "NO_ELIGIBLE_SC")
    own, issued = served.access, await served.api.post("provider", "/v1/access-tokens", {})
    served.access = issued.json()["token"]
    assert (await served.get(available, version="x.x.x")).json()["version"] == "2.0.0"
    made = await served.post(INSTANCES, newer)
    assert made.status_code == 201, made.text
    served.access = own
    commands = [{"type": "install"}, {"type": "personalize", "personalizationData": {"rights": "ALL"}}]
    body = {"serviceCommands": commands, "finalizeDeployment": True}
    answer = await served.post(f"{INSTANCES}/{made.json()['id']}/deployments", body)
    refused(answer, 409, 13, "NOT_ALLOWED")


async def test_form_when_asked_through_another_service_then_unauthorized(served: App) -> None:
    other = await with_form(served)
    answer = await served.get(f"{API}/services/{other}/form", version="x.x.x")
    refused(answer, 403, 15, "UNAUTHORIZED")
