"""Instances, operations and idempotency over HTTP."""

import asyncio
import json

import asyncpg
import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import APPLET, ApiBench, Json, problem

from opentsm.tsm.domain.operation import Failure, Operation, OperationState
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.ids import OperationId
from opentsm.tsm.roles.hub.services import operation_topic


async def _move(api: ApiBench, operation: Operation, state: OperationState) -> Operation:
    async with api.storage.transaction() as tx:
        saved = await tx.operations.save(replace(operation, state=state))
        await tx.commit()
    api.container.notifier.notify(operation_topic(operation.id))
    return saved


@pytest.mark.parametrize(
    ("change", "type_"),
    [
        ("suspensions", "SUSPEND"),
        ("resumptions", "RESUME"),
        ("terminations", "TERMINATE"),
        ("key-rotations", "ROTATE_KEYS"),
    ],
)
async def test_change_then_accepted_with_the_operation_s_address(
    api: ApiBench, change: str, type_: str
) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    answer = await api.post("provider", f"/v1/instances/{instance.id}/{change}", {})
    assert answer.status_code == 202, answer.text
    operation = answer.json()
    assert (operation["type"], operation["state"]) == (type_, "REQUESTED")
    assert (operation["instance_id"], operation["failure"]) == (instance.id, None)
    assert answer.headers["location"] == f"/v1/operations/{operation['id']}"
    assert (await api.get("provider", answer.headers["location"])).json() == operation


async def test_change_when_without_a_body_then_accepted(api: ApiBench) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    headers = {"Authorization": f"Bearer {await api.party('provider')}"}
    answer = await api.client.post(f"/v1/instances/{instance.id}/suspensions", headers=headers)
    assert answer.status_code == 202, answer.text


async def test_loss_when_reported_then_overtakes(api: ApiBench) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    await api.post("provider", f"/v1/instances/{instance.id}/resumptions", {})
    lost = await api.post("provider", f"/v1/instances/{instance.id}/suspensions", {"reason": "LOSS"})
    async with api.storage.transaction() as tx:
        first = await tx.operations.next_queued(instance.se_id)
    assert first is not None
    assert first.id == lost.json()["id"]


async def test_change_when_it_is_unknown_or_not_possible_then_a_problem(api: ApiBench) -> None:
    se = await api.element()
    instance = await api.instance(se["id"], InstanceState.INSTALLED)
    path = f"/v1/instances/{instance.id}"
    problem(await api.post("provider", f"{path}/explosions", {}), 404, "not_found")
    problem(await api.post("provider", f"{path}/suspensions", {}), 409, "conflict")
    bad = problem(await api.post("provider", f"{path}/suspensions", {"reason": "FUN"}), 400, "invalid_input")
    assert bad["field"] == "/reason"
    late = {"valid_until": "2001-01-01T00:00:00Z"}
    found = problem(await api.post("provider", f"{path}/terminations", late), 400, "invalid_input")
    assert found["field"] == "/valid_until"


async def test_instance_then_shown_to_its_provider_and_the_issuer_only(api: ApiBench) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    shown = (await api.get("provider", f"/v1/instances/{instance.id}")).json()
    assert (shown["state"], shown["state_code"], shown["version"]) == ("OPERATIONAL", 21, "1.0.0")
    assert shown["applications"][0]["instance_aid"] == str(APPLET)
    assert (await api.get("issuer", f"/v1/instances/{instance.id}")).json() == shown
    for who in ("other-provider", "other-issuer"):
        problem(await api.get(who, f"/v1/instances/{instance.id}"), 404, "not_found")
    assert (await api.get("provider", "/v1/instances")).json()["items"] == [shown]
    assert (await api.get("other-provider", "/v1/instances")).json()["items"] == []
    problem(await api.post("other-provider", f"/v1/instances/{instance.id}/terminations"), 404, "not_found")
    problem(await api.post("issuer", f"/v1/instances/{instance.id}/terminations"), 404, "not_found")


async def test_deployment_when_the_service_is_unknown_then_not_found(api: ApiBench) -> None:
    se = await api.element()
    body = {"service_id": "no-such-service", "se_id": se["id"], "data": {"pan": "1"}}
    problem(await api.post("provider", "/v1/instances", body), 404, "not_found")


async def test_top_up_when_its_key_is_repeated_then_the_transaction_is_the_same(api: ApiBench) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    path = f"/v1/instances/{instance.id}/top-ups"
    headers = {"Idempotency-Key": "order-1"}
    first = (await api.post("provider", path, {"amount": 500}, headers=headers)).json()
    again = await api.post("provider", path, {"amount": 500}, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first
    await _forget_keys(api)
    repeated = (await api.post("provider", path, {"amount": 500}, headers=headers)).json()
    async with api.storage.transaction() as tx:
        one = await tx.operations.get(first["id"])
        two = await tx.operations.get(repeated["id"])
    assert one is not None
    assert two is not None
    assert one.id != two.id
    assert one.parameters["transaction"] == two.parameters["transaction"]


async def _forget_keys(api: ApiBench) -> None:
    """As if the server had died before it could write down its answer."""
    connection = await asyncpg.connect(api.storage._dsn)
    await connection.execute("DELETE FROM idempotency_keys WHERE tenant_id = $1", api.ids["provider"])
    await connection.close()


@pytest.mark.parametrize(
    "body", [{"amount": 0}, {"amount": 1, "transaction": "12"}, {"amount": 1, "application": "F0"}, {}]
)
async def test_top_up_when_a_value_is_wrong_then_refused(api: ApiBench, body: Json) -> None:
    se = await api.element()
    instance = await api.instance(se["id"])
    answer = await api.post("provider", f"/v1/instances/{instance.id}/top-ups", body)
    problem(answer, 400, "invalid_input")


async def test_operations_then_each_party_sees_its_own(api: ApiBench) -> None:
    se = await api.element()
    operation = await api.operation(se["id"])
    for who in ("provider", "issuer", "operator"):
        assert (await api.get(who, f"/v1/operations/{operation.id}")).json()["id"] == operation.id
    for who in ("other-provider", "other-issuer"):
        problem(await api.get(who, f"/v1/operations/{operation.id}"), 404, "not_found")
        problem(await api.get(who, f"/v1/operations/{operation.id}/events"), 404, "not_found")
        problem(await api.post(who, f"/v1/operations/{operation.id}/cancellations"), 404, "not_found")
        assert (await api.get(who, "/v1/operations")).json()["items"] == []
    for who in ("provider", "issuer"):
        listed = (await api.get(who, "/v1/operations", params={"se_id": se["id"]})).json()
        assert [found["id"] for found in listed["items"]] == [operation.id]


async def test_operation_when_unchanged_then_not_modified(api: ApiBench) -> None:
    operation = await api.operation((await api.element())["id"])
    path = f"/v1/operations/{operation.id}"
    first = await api.get("provider", path)
    again = await api.get("provider", path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_wait_when_the_operation_changes_then_answered_at_once(api: ApiBench) -> None:
    operation = await api.operation((await api.element())["id"])
    waiting = asyncio.create_task(api.get("provider", f"/v1/operations/{operation.id}", params={"wait": 20}))
    async with asyncio.timeout(120):
        await api.notifier.awaited(operation_topic(operation.id))
        await _move(api, operation, OperationState.QUEUED)
        answer = await waiting
    assert answer.json()["state"] == "QUEUED"


async def test_wait_when_the_client_knows_an_older_version_then_answered_at_once(api: ApiBench) -> None:
    operation = await api.operation((await api.element())["id"])
    path = f"/v1/operations/{operation.id}"
    seen = (await api.get("provider", path)).headers["etag"]
    await _move(api, operation, OperationState.QUEUED)
    async with asyncio.timeout(120):
        answer = await api.get("provider", path, params={"wait": 25}, headers={"If-None-Match": seen})
    assert (answer.status_code, answer.json()["state"]) == (200, "QUEUED")


async def test_wait_when_nothing_happens_then_the_same_comes_after_the_time(api: ApiBench) -> None:
    operation = await api.operation((await api.element())["id"])
    answer = await api.get("provider", f"/v1/operations/{operation.id}", params={"wait": 0.05})
    assert answer.json()["state"] == "REQUESTED"
    problem(
        await api.get("provider", f"/v1/operations/{operation.id}", params={"wait": 26}), 400, "invalid_input"
    )


async def test_events_then_every_change_comes_until_the_end(api: ApiBench) -> None:
    operation = await api.operation((await api.element())["id"])
    following = asyncio.create_task(api.get("provider", f"/v1/operations/{operation.id}/events"))
    async with asyncio.timeout(120):
        await api.notifier.awaited(operation_topic(operation.id))
        moved = await _move(api, operation, OperationState.QUEUED)
        await api.notifier.awaited(operation_topic(operation.id))
        await _move(api, moved, OperationState.CANCELLED)
        answer = await following
    assert answer.headers["content-type"].startswith("text/event-stream")
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    states = [json.loads(text)["state"] for text in data]
    assert states[0] == "REQUESTED"
    assert states[-1] == "CANCELLED"


async def test_cancellation_when_nothing_was_sent_then_cancelled_and_a_second_one_conflicts(
    api: ApiBench,
) -> None:
    operation = await api.operation((await api.element())["id"])
    path = f"/v1/operations/{operation.id}/cancellations"
    answer = await api.post("provider", path)
    assert (answer.status_code, answer.json()["state"]) == (202, "CANCELLED")
    problem(await api.post("provider", path), 409, "conflict")


async def test_failure_then_told_with_the_card_s_own_words(api: ApiBench) -> None:
    operation = await api.operation((await api.element())["id"])
    failure = Failure(code="card_refused", detail="no memory", advice="free some", status_word="6A84")
    async with api.storage.transaction() as tx:
        ended = replace(operation, state=OperationState.FAILED, failure=failure, ended_at=api.world.now())
        await tx.operations.save(ended)
        await tx.commit()
    shown = (await api.get("provider", f"/v1/operations/{operation.id}")).json()
    assert shown["failure"] == {
        "code": "card_refused",
        "detail": "no memory",
        "advice": "free some",
        "status_word": "6A84",
        "step": None,
    }
    assert shown["duration_ms"] >= 0


# --- idempotency ---------------------------------------------------------------------------------------


async def test_key_when_repeated_with_the_same_body_then_the_same_answer_and_one_effect(
    api: ApiBench,
) -> None:
    body, headers = api.new_element(), {"Idempotency-Key": api.world.new_id()}
    first = await api.post("issuer", "/v1/secure-elements", body, headers=headers)
    again = await api.post("issuer", "/v1/secure-elements", body, headers=headers)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert len((await api.get("issuer", "/v1/secure-elements")).json()["items"]) == 1


async def test_key_when_twins_arrive_together_then_one_effect(api: ApiBench) -> None:
    await api.party("issuer")
    body, headers = api.new_element(), {"Idempotency-Key": api.world.new_id()}
    answers = await asyncio.gather(
        *(api.post("issuer", "/v1/secure-elements", body, headers=dict(headers)) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_key_when_reused_for_another_request_then_conflict(api: ApiBench) -> None:
    headers = {"Idempotency-Key": api.world.new_id()}
    await api.post("issuer", "/v1/secure-elements", api.new_element(), headers=headers)
    for path, body in (("/v1/secure-elements", api.new_element()), ("/v1/device-enrolments", {})):
        answer = await api.post("issuer", path, body, headers=dict(headers))
        problem(answer, 409, "idempotency_key_reused")


async def test_key_when_another_party_uses_it_then_nothing_of_the_first_shows(api: ApiBench) -> None:
    headers, body = {"Idempotency-Key": "1"}, api.new_element()
    mine = await api.post("issuer", "/v1/secure-elements", body, headers=dict(headers))
    theirs = await api.post("other-issuer", "/v1/secure-elements", body, headers=dict(headers))
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


async def test_key_when_the_first_request_was_refused_then_it_may_be_corrected(api: ApiBench) -> None:
    headers = {"Idempotency-Key": api.world.new_id()}
    bad = api.new_element() | {"profile": "unheard-of"}
    problem(await api.post("issuer", "/v1/secure-elements", bad, headers=dict(headers)), 400, "invalid_input")
    good = await api.post("issuer", "/v1/secure-elements", api.new_element(), headers=headers)
    assert good.status_code == 201


async def test_key_when_the_answer_holds_a_secret_then_replayed_but_never_stored_in_clear(
    api: ApiBench, scenario_dsn: str
) -> None:
    headers = {"Idempotency-Key": api.world.new_id()}
    body = {"kind": "SE_ISSUER", "name": api.world.new_id()}
    first = await api.post("operator", "/v1/parties", body, headers=dict(headers))
    again = await api.post("operator", "/v1/parties", body, headers=dict(headers))
    assert first.json() == again.json()
    connection = await asyncpg.connect(scenario_dsn)
    stored = await connection.fetch("SELECT response FROM idempotency_keys")
    await connection.close()
    assert not any(first.json()["token"].encode() in row["response"] for row in stored)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_key_when_not_of_the_required_form_then_refused(api: ApiBench, key: str) -> None:
    answer = await api.post("issuer", "/v1/device-enrolments", {}, headers={"Idempotency-Key": key})
    assert problem(answer, 400, "invalid_input")["field"] == "Idempotency-Key"


async def test_operation_when_it_does_not_exist_then_not_found(api: ApiBench) -> None:
    for name in (OperationId(api.world.new_id()), "x", "%00", "..%2f"):
        answer = await api.get("provider", f"/v1/operations/{name}")
        assert answer.status_code in (400, 404), answer.text
