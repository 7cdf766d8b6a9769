"""Four eyes over HTTP: who may ask, who may decide, and what both leave behind."""

from datetime import timedelta
from typing import Any

import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

ACT = "/v1/approvals"


async def person(api: ApiBench, name: str, party: str = "issuer") -> str:
    """Give a person a token of a party, issued by the operator; it is kept under the returned name."""
    await api.party(party)
    issued = await api.post("operator", f"/v1/parties/{api.ids[party]}/tokens", {"person": name})
    assert issued.status_code == 201, issued.text
    api.tokens[f"{party} {name}"] = issued.json()["token"]
    return f"{party} {name}"


async def ask(api: ApiBench, who: str, act: str, subject: str, **more: Any) -> Json:
    """Ask for an act and return the approval."""
    body = {"act": act, "subject": subject, "reason": "stolen in Lisbon", **more}
    asked = await api.post(who, ACT, body)
    assert asked.status_code == 201, asked.text
    assert asked.headers["location"] == f"{ACT}/{asked.json()['id']}"
    return dict(asked.json())


async def decide(api: ApiBench, who: str, approval: Json, decision: str = "approve") -> Any:
    """Let somebody decide."""
    body = {"decision": decision, "reason": "checked by phone"}
    return await api.post(who, f"{ACT}/{approval['id']}/decisions", body)


async def test_act_when_a_second_person_approves_then_it_is_asked_of_the_card(api: ApiBench) -> None:
    ada, ben = await person(api, "Ada"), await person(api, "Ben")
    se = await api.element()
    approval = await ask(api, ada, "LOCK_CARD", se["id"])
    assert (approval["state"], approval["asked_by"], approval["decided_by"]) == ("PENDING", "Ada", None)
    decided = await decide(api, ben, approval)
    assert decided.status_code == 200, decided.text
    shown = decided.json()
    assert (shown["state"], shown["decided_by"]) == ("APPROVED", "Ben")
    operation = await api.get(ada, f"/v1/operations/{shown['outcome']['operation']}")
    assert operation.json()["type"] == "LOCK_CARD"
    trail = await api.get("issuer", f"/v1/audit?subject={approval['id']}")
    entries = {one["action"]: one for one in trail.json()["items"]}
    assert entries["approval.asked"]["actor"] == "Ada"
    assert entries["approval.approved"]["details"]["asked_by"] == "Ada"
    assert entries["approval.approved"]["details"]["decided_by"] == "Ben"


async def test_decision_when_made_by_who_asked_then_refused(api: ApiBench) -> None:
    """By the same token, by another one of the same person, and by a name that is only written otherwise."""
    ada, ben = await person(api, "Ada Lovelace"), await person(api, "Ben")
    se = await api.element()
    approval = await ask(api, ada, "TERMINATE_CARD", se["id"])
    for who in (ada, await person(api, "Ada Lovelace"), await person(api, "  ADA  lovelace")):
        problem(await decide(api, who, approval), 403, "forbidden")
    problem(await decide(api, "issuer", approval), 403, "forbidden")
    assert (await decide(api, ben, approval, "refuse")).json()["state"] == "REFUSED"
    problem(await decide(api, ben, approval), 409, "conflict")
    waiting = await api.get("issuer", f"/v1/operations?se_id={se['id']}")
    assert waiting.json()["items"] == []


async def test_act_when_the_party_has_one_person_then_told_how_to_add_another(api: ApiBench) -> None:
    one = await person(api, "Cara", "lonely issuer")
    made = await api.post("lonely issuer", "/v1/secure-elements", api.new_element())
    body = {"act": "LOCK_CARD", "subject": made.json()["id"], "reason": "why not"}
    told = problem(await api.post(one, ACT, body), 409, "no_second_person")
    assert "person" in str(told)
    problem(await api.post("lonely issuer", ACT, body), 403, "forbidden")


async def test_token_when_a_party_names_another_person_then_refused(api: ApiBench) -> None:
    ada = await person(api, "Ada")
    path = f"/v1/parties/{api.ids['issuer']}/tokens"
    for who in (ada, "issuer"):
        problem(await api.post(who, path, {"person": "Invented"}), 403, "forbidden")
    again = await api.post(ada, path, {})
    api.tokens["ada again"] = again.json()["token"]
    listed = await api.get("issuer", "/v1/tokens?limit=200")
    named = [one["person"] for one in listed.json()["items"]]
    assert "Invented" not in named and named.count("Ada") >= 2
    operators = await api.container.onboarding.authenticate(await api.party("operator"))
    own = f"/v1/parties/{operators.tenant_id}/tokens"
    problem(await api.post("operator", own, {"person": "Invented"}), 403, "forbidden")


async def test_act_when_of_another_party_then_not_found(api: ApiBench) -> None:
    ada = await person(api, "Ada")
    await person(api, "Ben")
    se = await api.element()
    approval = await ask(api, ada, "LOCK_CARD", se["id"])
    dora = await person(api, "Dora", "other issuer")
    await person(api, "Emil", "other issuer")
    problem(await decide(api, dora, approval), 404, "not_found")
    problem(await api.get(dora, f"{ACT}/{approval['id']}"), 404, "not_found")
    body = {"act": "LOCK_CARD", "subject": se["id"], "reason": "mine?"}
    problem(await api.post(dora, ACT, body), 404, "not_found")


async def test_act_when_nobody_decides_in_time_then_expired(api: ApiBench) -> None:
    ada, ben = await person(api, "Ada"), await person(api, "Ben")
    approval = await ask(api, ada, "LOCK_CARD", (await api.element())["id"], life_s=60)
    api.world.shift += timedelta(seconds=61)
    shown = await api.get(ben, f"{ACT}/{approval['id']}")
    assert shown.json()["state"] == "EXPIRED"
    problem(await decide(api, ben, approval), 409, "conflict")


async def test_act_when_taken_back_then_nobody_can_approve_it(api: ApiBench) -> None:
    ada, ben = await person(api, "Ada"), await person(api, "Ben")
    approval = await ask(api, ada, "UNLOCK_CARD", (await api.element())["id"])
    waiting = await api.get("issuer", f"{ACT}?waiting=true&limit=200")
    assert approval["id"] in [one["id"] for one in waiting.json()["items"]]
    taken = await api.post(ben, f"{ACT}/{approval['id']}/cancellations")
    assert taken.json()["state"] == "CANCELLED"
    problem(await decide(api, ben, approval), 409, "conflict")
    waiting = await api.get("issuer", f"{ACT}?waiting=true&limit=200")
    assert approval["id"] not in [one["id"] for one in waiting.json()["items"]]


@pytest.mark.parametrize(
    ("act", "parameters"),
    [
        ("LOCK_CARD", {"master": "x"}),
        ("ROTATE_MANAGER_KEYS", {"unknown": "x"}),
        ("ROTATE_MANAGER_KEYS", {"security_domain": "nonsense"}),
    ],
)
async def test_act_when_its_parameters_are_wrong_then_refused(
    api: ApiBench, act: str, parameters: Json
) -> None:
    ada = await person(api, "Ada")
    await person(api, "Ben")
    body = {"act": act, "subject": (await api.element())["id"], "reason": "r", "parameters": parameters}
    problem(await api.post(ada, ACT, body), 400, "invalid_input")


async def test_card_when_its_loss_is_reported_then_one_person_locks_it(api: ApiBench) -> None:
    se = await api.element()
    path = f"/v1/secure-elements/{se['id']}"
    problem(await api.post("issuer", f"{path}/card-locks"), 409, "conflict")
    reported = await api.post("issuer", f"{path}/events", {"event": "LOST"})
    assert reported.status_code < 300, reported.text
    locked = await api.post("issuer", f"{path}/card-locks")
    assert (locked.status_code, locked.json()["type"]) == (202, "LOCK_CARD")
    problem(await api.post("provider", f"{path}/card-locks"), 403, "forbidden")
