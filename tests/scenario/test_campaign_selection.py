"""Campaigns over HTTP: which secure elements a selection finds, and rules that would never do anything."""

import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

BODY: Json = {"name": "an audit", "type": "AUDIT", "by_hand": True}


@pytest.mark.parametrize(
    ("selection", "found"),
    [({}, 2), ({"state": "REGISTERED"}, 2), ({"profile": "scp03-i70"}, 2), ({"state": "VERIFIED"}, 0)],
    ids=["all", "registered", "profile", "verified"],
)
async def test_audit_when_elements_have_proved_nothing_yet_then_they_are_members(
    api: ApiBench, selection: Json, found: int
) -> None:
    for _ in range(2):
        await api.element()
    made = await api.post("issuer", "/v1/campaigns", {**BODY, "selection": selection})
    assert made.status_code == 201, made.text
    await api.work()
    shown = (await api.get("issuer", f"/v1/campaigns/{made.json()['id']}")).json()
    assert (shown["state"], shown["total"]) == ("DRAFT", found)


async def test_audit_when_the_operator_makes_it_then_new_elements_are_members(api: ApiBench) -> None:
    element = await api.element()
    made = await api.post("operator", "/v1/campaigns", {**BODY, "selection": {"state": "REGISTERED"}})
    await api.work()
    path = f"/v1/campaigns/{made.json()['id']}/members?limit=200"
    members = (await api.get("operator", path)).json()["items"]
    assert element["id"] in [one["subject_id"] for one in members]


async def test_stop_rule_when_it_could_never_stop_then_refused(api: ApiBench) -> None:
    body = {**BODY, "selection": {}, "stop": {"window": 10, "minimum": 11}}
    problem(await api.post("issuer", "/v1/campaigns", body), 400, "invalid_input")
