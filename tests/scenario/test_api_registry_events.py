"""What happens to subscriptions and secure elements: renewal, loss, changes; who is told, what is written."""

import json
from datetime import timedelta

import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.tsm.domain.operation import LOSS_PRIORITY, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.ids import OperationId, SeId


async def subscription(api: ApiBench, who: str = "issuer", **more: object) -> Json:
    body = {"identifier": {"type": "ALIAS", "value": api.world.new_id()}, **more}
    made = await api.post(who, "/v1/subscriptions", body)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def report(api: ApiBench, path: str, event: str, who: str = "issuer", **more: object) -> Json:
    answer = await api.post(who, f"/v1/{path}/events", {"event": event, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def listen(api: ApiBench, *parties: str) -> None:
    for who in parties:
        body = {"url": f"https://8.8.8.8/{who}", "events": ["environment.*"]}
        assert (await api.post(who, "/v1/webhooks", body)).status_code == 201


async def told(api: ApiBench, who: str) -> list[Json]:
    items = (await api.get(who, "/v1/deliveries")).json()["items"]
    shown = [(await api.get(who, f"/v1/deliveries/{one['id']}")).json() for one in items]
    return [json.loads(one["body"]) if isinstance(one["body"], str) else one["body"] for one in shown]


async def history(api: ApiBench, path: str) -> list[Json]:
    return list((await api.get("issuer", f"/v1/{path}/history")).json()["items"])


async def test_loss_when_reported_then_every_service_is_suspended_first_and_both_sides_are_told(
    api: ApiBench,
) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    await listen(api, "issuer", "provider", "other-provider")
    subscriber = await subscription(api, se_id=se["id"])
    answer = await report(api, f"subscriptions/{subscriber['id']}", "STOLEN")
    assert [one["instance_id"] for one in answer["services"]] == [instance.id]
    async with api.storage.transaction() as tx:
        (operation_id,) = answer["operations"]
        operation = await tx.operations.get(OperationId(operation_id))
    assert operation is not None
    assert (operation.type, operation.priority) == (OperationType.SUSPEND, LOSS_PRIORITY)
    assert operation.tenant_id == api.ids["issuer"]
    (to_provider,) = await told(api, "provider")
    assert to_provider["type"] == "environment.stolen"
    assert to_provider["data"]["instance_id"] == instance.id
    assert to_provider["data"]["subscription_id"] == subscriber["id"]
    (to_issuer,) = await told(api, "issuer")
    assert (to_issuer["data"]["instance_id"], to_issuer["data"]["secure_element_id"]) == (None, se["id"])
    assert await told(api, "other-provider") == []
    for path in (f"subscriptions/{subscriber['id']}", f"secure-elements/{se['id']}"):
        assert (await history(api, path))[-1]["event"] == "STOLEN"
    entries = (await api.get("issuer", f"/v1/audit?subject={se['id']}")).json()["items"]
    assert entries[-1]["action"] == "secure-element.stolen"


async def test_loss_when_reported_then_nothing_new_comes_until_it_is_recovered(api: ApiBench) -> None:
    se = await api.element()
    path = f"secure-elements/{se['id']}"
    assert (await report(api, path, "LOST"))["operations"] == []
    body = {"service_id": "any", "se_id": se["id"], "data": {}}
    refused = problem(await api.post("provider", "/v1/instances", body), 409, "conflict")
    assert refused["detail"] == "The secure element was reported lost."
    again = {"event": "LOST"}
    problem(await api.post("issuer", f"/v1/{path}/events", again), 409, "conflict")
    assert (await report(api, path, "STOLEN", who="operator"))["event"] == "STOLEN"
    await report(api, path, "RECOVERED")
    problem(await api.post("issuer", f"/v1/{path}/events", {"event": "RECOVERED"}), 409, "conflict")
    problem(await api.post("provider", "/v1/instances", body), 404, "not_found")  # of the service
    assert [one["event"] for one in await history(api, path)] == ["LOST", "STOLEN", "RECOVERED"]


async def test_loss_when_a_service_is_not_operational_then_it_is_told_and_not_suspended(
    api: ApiBench,
) -> None:
    se = await api.element()
    await api.instance(se["id"], InstanceState.INSTALLED)
    answer = await report(api, f"secure-elements/{se['id']}", "LOST")
    assert (len(answer["services"]), answer["operations"]) == (1, [])


async def test_renewal_when_reported_then_the_subscription_leads_on_and_services_to_move_are_listed(
    api: ApiBench,
) -> None:
    old, new = await api.element(), await api.element()
    instance = await api.instance(old["id"])
    await listen(api, "provider")
    subscriber = await subscription(api, se_id=old["id"])
    path, name = f"subscriptions/{subscriber['id']}", subscriber["identifier"]["value"]
    api.world.shift += timedelta(seconds=1)
    answer = await report(api, path, "SE_RENEWED", se_id=new["id"])
    assert answer["se_id"] == old["id"]
    assert [one["instance_id"] for one in answer["services"]] == [instance.id]
    found = await api.post("provider", "/v1/secure-elements/lookups", {"identifier": {"value": name}})
    assert [one["id"] for one in found.json()["items"]] == [new["id"]]
    first, second = await history(api, path)
    assert (first["event"], first["se_id"], first["until"]) == ("REGISTERED", old["id"], second["at"])
    assert (second["se_id"], second["previous_se_id"]) == (new["id"], old["id"])
    assert second["until"] is None
    ((event),) = await told(api, "provider")
    assert (event["type"], event["data"]["renewed_by"]) == ("environment.se-renewed", new["id"])
    for se in (old, new):
        assert (await history(api, f"secure-elements/{se['id']}"))[-1]["event"] == "SE_RENEWED"
    same = {"event": "SE_RENEWED", "se_id": new["id"]}
    problem(await api.post("issuer", f"/v1/{path}/events", same), 409, "conflict")


async def test_renewal_when_the_new_element_is_anothers_then_not_found(api: ApiBench) -> None:
    subscriber = await subscription(api, se_id=(await api.element())["id"])
    foreign = await api.element(issuer="other-issuer")
    body = {"event": "SE_RENEWED", "se_id": foreign["id"]}
    answer = await api.post("issuer", f"/v1/subscriptions/{subscriber['id']}/events", body)
    problem(answer, 404, "not_found")


async def test_number_when_changed_then_the_old_one_finds_nothing_and_is_free(api: ApiBench) -> None:
    se = await api.element()
    subscriber = await subscription(api, se_id=se["id"])
    old, new = subscriber["identifier"], {"type": "ALIAS", "value": api.world.new_id()}
    await report(api, f"subscriptions/{subscriber['id']}", "NUMBER_CHANGED", identifier=new)
    lookup = "/v1/secure-elements/lookups"
    problem(await api.post("provider", lookup, {"identifier": old}), 404, "not_found")
    assert (await api.post("provider", lookup, {"identifier": new})).json()["items"][0]["id"] == se["id"]
    shown = (await api.post("issuer", "/v1/subscriptions/lookups", new)).json()
    assert (shown["id"], shown["identifier"]) == (subscriber["id"], new)
    other = await api.element()
    answer = await api.post("issuer", "/v1/subscriptions", {"identifier": old, "se_id": other["id"]})
    assert answer.status_code == 201
    body = {"event": "NUMBER_CHANGED", "identifier": old}
    taken = await api.post("issuer", f"/v1/subscriptions/{subscriber['id']}/events", body)
    problem(taken, 409, "conflict")


async def test_subscription_when_ended_then_its_name_is_free_and_nothing_happens_to_it_any_more(
    api: ApiBench,
) -> None:
    se = await api.element()
    subscriber = await subscription(api, se_id=se["id"])
    path = f"subscriptions/{subscriber['id']}"
    await report(api, path, "SUSPENDED")
    problem(await api.post("issuer", f"/v1/{path}/events", {"event": "SUSPENDED"}), 409, "illegal_transition")
    await report(api, path, "RESTORED")
    await report(api, path, "ENDED")
    problem(await api.post("issuer", f"/v1/{path}/events", {"event": "RESTORED"}), 409, "conflict")
    body = {"identifier": subscriber["identifier"]}
    problem(await api.post("provider", "/v1/secure-elements/lookups", body), 404, "not_found")
    assert (await api.post("issuer", "/v1/subscriptions", body)).status_code == 201


async def test_operator_when_changed_then_history_tells_from_when(api: ApiBench) -> None:
    subscriber = await subscription(api)
    made = await api.post("operator", "/v1/network-operators", {"name": f"Netz {api.world.new_id()}"})
    path = f"subscriptions/{subscriber['id']}"
    await report(api, path, "OPERATOR_CHANGED", network_operator_id=made.json()["id"])
    assert [one["network_operator_id"] for one in await history(api, path)] == [None, made.json()["id"]]
    unknown = {"event": "OPERATOR_CHANGED", "network_operator_id": "nobody"}
    problem(await api.post("issuer", f"/v1/{path}/events", unknown), 404, "not_found")


async def test_device_when_changed_then_the_element_is_free_for_the_named_one_only(api: ApiBench) -> None:
    se = await api.element()
    await api.device(se["id"], name="old-device")
    new, _ = await api.device(name="new-device")
    await report(api, f"secure-elements/{se['id']}", "DEVICE_CHANGED", device_id=new)
    async with api.storage.transaction() as tx:
        found = await tx.secure_elements.get(SeId(se["id"]))
    assert found is not None
    assert (found.device_id, found.reserved_for) == (None, new)
    await api.session(se["identifiers"][0]["value"], device="new-device")
    body = {"se": {"type": "eSE", "id": se["identifiers"][0]["value"]}}
    assert (await api.post("old-device", "/v1/device-sessions", body)).status_code in (403, 404, 409)
    foreign, _ = await api.device(name="foreign", issuer="other-issuer")
    wrong = {"event": "DEVICE_CHANGED", "device_id": foreign}
    problem(await api.post("issuer", f"/v1/secure-elements/{se['id']}/events", wrong), 404, "not_found")


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"event": "SE_RENEWED"}, "/se_id"),
        ({"event": "NUMBER_CHANGED"}, "/identifier"),
        ({"event": "OPERATOR_CHANGED"}, "/network_operator_id"),
        ({"event": "REGISTERED"}, "/event"),
    ],
)
async def test_event_when_something_is_missing_then_the_problem_names_it(
    api: ApiBench, event: Json, field: str
) -> None:
    subscriber = await subscription(api)
    answer = await api.post("issuer", f"/v1/subscriptions/{subscriber['id']}/events", event)
    assert problem(answer, 400, "invalid_input")["field"] == field


async def test_event_when_it_is_none_of_an_element_or_there_is_no_element_then_refused(api: ApiBench) -> None:
    se, subscriber = await api.element(), await subscription(api)
    path = f"/v1/secure-elements/{se['id']}/events"
    assert (
        problem(await api.post("issuer", path, {"event": "ENDED"}), 400, "invalid_input")["field"] == "/event"
    )
    path = f"/v1/subscriptions/{subscriber['id']}/events"
    problem(await api.post("issuer", path, {"event": "LOST"}), 409, "conflict")
    for who in ("provider", "other-issuer"):
        expected = (403, "forbidden") if who == "provider" else (404, "not_found")
        answer = await api.post(who, f"/v1/secure-elements/{se['id']}/events", {"event": "LOST"})
        problem(answer, *expected)
