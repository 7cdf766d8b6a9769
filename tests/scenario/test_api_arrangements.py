"""Arrangements over HTTP: what is possible, what is refused, and what changes once cards refer to one."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, Json
from tests.scenario.figures import (
    CENTRAL,
    HUB,
    ISD,
    THIRD_PARTY,
    domain,
    figure_500,
    figure_600,
    figure_700,
    figure_800,
)

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.secure_element import KeySetState
from opentsm.tsm.kernel.ids import SeId, TenantId

PATH = "/v1/arrangements"


async def figures(api: ApiBench) -> dict[int, Json]:
    """Return the four figures, for the bench's parties."""
    for name in ("issuer", "provider", "mno", "third party"):
        await api.party(name)
    ids = api.ids
    return {
        500: figure_500(ids["issuer"]),
        600: figure_600(ids["issuer"], ids["mno"]),
        700: figure_700(ids["issuer"], ids["third party"], ids["provider"], with_services=True),
        800: figure_800(ids["issuer"], ids["mno"], ids["third party"], ids["provider"], with_services=True),
    }


async def made(api: ApiBench, number: int = 700) -> Json:
    answer = await api.post("issuer", PATH, (await figures(api))[number])
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def put(api: ApiBench, who: str, id_: str, body: Json) -> Any:
    headers = {"Authorization": f"Bearer {await api.party(who)}"}
    return await api.client.put(f"{PATH}/{id_}", json=body, headers=headers)


@pytest.mark.parametrize("number", [500, 600, 700, 800])
async def test_arrangement_when_made_then_shown_with_the_privileges_of_its_roles(
    api: ApiBench, number: int
) -> None:
    arranged = await made(api, number)
    assert (await api.get("issuer", f"{PATH}/{arranged['id']}")).json() == arranged
    assert (await api.get("operator", f"{PATH}/{arranged['id']}")).json() == arranged
    assert arranged in (await api.get("issuer", PATH)).json()["items"]
    top = arranged["domains"][0]
    assert "Card Terminate" in top["privileges"] and top["parent"] == ""
    assert "Delegated Management" not in arranged["place"]["privileges"]
    if number >= 700:
        place = arranged["places"][api.ids["provider"]]
        assert "Delegated Management" in place["privileges"]
        by_role = {one["role"]: one["privileges"] for one in arranged["domains"]}
        assert "Authorized Management" in by_role["Third-party SD"]
        assert "Token Verification" in by_role["ISD"] and "Card Lock" not in by_role["Central SD"]


def without(role: str) -> Callable[[Json], None]:
    def change(body: Json) -> None:
        body["domains"] = [one for one in body["domains"] if one["role"] != role]

    return change


def member(number: int, name: str, value: object) -> Callable[[Json], None]:
    def change(body: Json) -> None:
        body["domains"][number][name] = value

    return change


def place(**value: str) -> Callable[[Json], None]:
    def change(body: Json) -> None:
        body["place"] = {**body["place"], **value}

    return change


def another(name: str, role: str, aid: str = "F04F5453440000AA", holder: str = HUB) -> Callable[[Json], None]:
    def change(body: Json) -> None:
        body["domains"].append(domain(name, aid, holder, role=role))

    return change


REFUSALS = {
    "no central domain": (without("Central SD"), "/domains"),
    "two central domains": (another("second", "Central SD"), "/domains"),
    "same name twice": (another("ISD", "CA SD"), "/domains"),
    "same AID twice": (another("second", "CA SD", CENTRAL), "/domains"),
    "unknown role": (another("x", "nothing"), "/domains/3/role"),
    "a service's role": (another("x", "SP SD"), "/domains/3/role"),
    "unknown holder": (member(1, "holder_id", "nobody"), "/domains/1/holder_id"),
    "ISD of the central TSM": (member(0, "holder_id", HUB), "/domains/0/holder_id"),
    "third party is the central TSM": (member(2, "holder_id", HUB), "/domains/2/holder_id"),
    "version of providers": (member(1, "kvn", 0x34), "/domains/1/kvn"),
    "version out of range": (member(1, "kvn", 0x40), "/domains/1/kvn"),
    "no parent": (member(1, "parent", ""), "/domains/1/parent"),
    "unknown parent": (member(1, "parent", "nobody"), "/domains/1/parent"),
    "parent that makes none": (member(2, "parent", "Central SD"), "/domains/2/parent"),
    "ISD with a parent": (member(0, "parent", "Central SD"), "/domains/0/parent"),
    "place under the issuer's": (place(under="ISD"), "/place/under"),
    "place under nobody's": (place(under="x"), "/place/under"),
    "place with a managing role": (place(role="Central SD"), "/place/role"),
    "DM without the privilege": (place(mode="DM"), "/place/mode"),
    "CM with the privilege": (place(role="SP SD with DM"), "/place/mode"),
    "AM for everybody": (place(mode="AM", under="third party"), "/place/mode"),
    "unknown configuration": (lambda body: body.update(configuration=900), "/configuration"),
    "empty name": (lambda body: body.update(name="\n"), "/name"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_arrangement_when_impossible_then_refused_and_the_field_is_named(
    api: ApiBench, name: str
) -> None:
    change, field = REFUSALS[name]
    await figures(api)
    body = figure_700(api.ids["issuer"], api.ids["third party"])
    change(body)
    answer = await api.post("issuer", PATH, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field
    assert (await api.get("issuer", PATH)).json()["items"] == []


async def test_arrangement_when_am_under_another_partys_domain_then_refused(api: ApiBench) -> None:
    await figures(api)
    body = figure_700(api.ids["issuer"], api.ids["third party"])
    body["places"][api.ids["provider"]] = {"mode": "AM", "under": "third party", "role": "SP SD"}
    assert (await api.post("issuer", PATH, body)).status_code == 400
    body["places"] = {api.ids["third party"]: {"mode": "CM", "under": "third party", "role": "SP SD"}}
    assert (await api.post("issuer", PATH, body)).status_code == 400


async def test_arrangement_when_a_party_is_a_sandbox_then_it_does_not_exist_for_others(api: ApiBench) -> None:
    await api.party("issuer")
    await api.party("sandbox mno")
    body = figure_600(api.ids["issuer"], api.ids["sandbox mno"])
    answer = await api.post("issuer", PATH, body)
    assert answer.status_code == 400 and answer.json()["field"] == "/domains/2/holder_id"
    body = figure_600(
        api.ids["issuer"],
        api.ids["issuer"],
        places={api.ids["sandbox mno"]: {"mode": "CM", "under": "Central SD", "role": "SP SD"}},
    )
    assert (await api.post("issuer", PATH, body)).status_code == 400


async def test_arrangement_when_another_party_asks_then_there_is_none(api: ApiBench) -> None:
    arranged = await made(api)
    body = (await figures(api))[700]
    for who in ("provider", "third party"):
        assert (await api.get(who, f"{PATH}/{arranged['id']}")).status_code == 403
        assert (await api.post(who, PATH, body)).status_code == 403
    assert (await api.get("other issuer", f"{PATH}/{arranged['id']}")).status_code == 404
    assert (await put(api, "other issuer", arranged["id"], body)).status_code in (400, 404)
    assert (await put(api, "operator", arranged["id"], body)).status_code == 403
    element = api.new_element(arrangement_id=arranged["id"], profile="se-700")
    foreign = await api.post("other issuer", "/v1/secure-elements", element)
    assert foreign.status_code == 400 and foreign.json()["field"] == "/arrangement_id"


async def test_arrangement_when_no_card_refers_to_it_then_everything_may_change(api: ApiBench) -> None:
    arranged = await made(api)
    body = {**(await figures(api))[600], "name": "other"}
    changed = await put(api, "issuer", arranged["id"], body)
    assert changed.status_code == 200, changed.text
    assert changed.json()["configuration"] == 600 and changed.json()["version"] == arranged["version"] + 1


async def test_arrangement_when_a_card_refers_to_it_then_only_name_and_new_places_change(
    api: ApiBench,
) -> None:
    await figures(api)
    body = figure_700(api.ids["issuer"], api.ids["third party"], place=None)
    arranged = (await api.post("issuer", PATH, body)).json()
    element = api.new_element(arrangement_id=arranged["id"], profile="se-700")
    registered = await api.post("issuer", "/v1/secure-elements", element)
    assert registered.status_code == 201, registered.text
    assert registered.json()["arrangement_id"] == arranged["id"]
    delegated = {"mode": "DM", "under": "Central SD", "role": "SP SD with DM"}
    added = {**body, "name": "renamed", "places": {**body["places"], api.ids["provider"]: delegated}}
    assert (await put(api, "issuer", arranged["id"], added)).status_code == 200
    central = {"mode": "CM", "under": "Central SD", "role": "SP SD"}
    for contradiction in (
        {**added, "places": body["places"]},
        {**added, "places": {**body["places"], api.ids["provider"]: central}},
        {**added, "place": central},
        {**added, "handover": "relay-trusted"},
        {**added, "domains": [*body["domains"][:2], {**body["domains"][2], "kvn": 0x32}]},
        {**added, "domains": [*body["domains"], domain("CA SD", "A00000015153504341534400", HUB)]},
    ):
        refused = await put(api, "issuer", arranged["id"], contradiction)
        assert refused.status_code == 409, refused.text
    shown = (await api.get("issuer", f"{PATH}/{arranged['id']}")).json()
    assert (shown["name"], shown["version"]) == ("renamed", arranged["version"] + 1)
    assert shown["places"][api.ids["provider"]]["mode"] == "DM"


async def test_element_when_its_arrangement_is_for_other_cards_then_refused(api: ApiBench) -> None:
    arranged = await made(api, 600)
    element = api.new_element(arrangement_id=arranged["id"], profile="se-600", isd_aid="A000000003000000")
    refused = await api.post("issuer", "/v1/secure-elements", element)
    assert refused.status_code == 400 and refused.json()["field"] == "/arrangement_id"
    unknown = api.new_element(arrangement_id="nothing", profile="se-600")
    assert (await api.post("issuer", "/v1/secure-elements", unknown)).status_code == 400
    assert arranged["domains"][0]["aid"] == ISD


async def test_arrangement_when_made_and_changed_then_audited_by_its_issuer(api: ApiBench) -> None:
    arranged = await made(api)
    await put(api, "issuer", arranged["id"], (await figures(api))[700])
    entries = (await api.get("issuer", f"/v1/audit?subject={arranged['id']}")).json()["items"]
    assert [entry["action"] for entry in entries] == ["arrangement.created", "arrangement.changed"]


async def test_arrangement_when_asked_for_twice_under_a_key_then_made_once(api: ApiBench) -> None:
    body = (await figures(api))[500]
    key = {"Idempotency-Key": api.world.new_id()}
    first = await api.post("issuer", PATH, body, headers=key)
    second = await api.post("issuer", PATH, body, headers=key)
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json() and first.headers["location"] == second.headers["location"]
    assert len((await api.get("issuer", PATH)).json()["items"]) == 1


# --- key sets of domains that a card came with ------------------------------------------------------------


async def keyed(api: ApiBench) -> str:
    """Register a secure element with an arrangement; give the parties keys to derive from."""
    await figures(api)
    body = figure_700(api.ids["issuer"], api.ids["third party"])
    arranged = (await api.post("issuer", PATH, body)).json()
    element = api.new_element(arrangement_id=arranged["id"], profile="se-700")
    se = (await api.post("issuer", "/v1/secure-elements", element)).json()
    key = {"key": "0A" * 16}
    for who, path in (("operator", "master-keys/central"), ("third party", "domain-master-keys/own")):
        headers = {"Authorization": f"Bearer {await api.party(who)}"}
        made = await api.client.put(f"/v1/{path}", json=key, headers=headers)
        assert made.status_code in (200, 201, 204), made.text
    return str(se["id"])


async def register(api: ApiBench, who: str, se_id: str, aid: str, master: str, *, kvn: int = 0x31) -> Any:
    source = {"type": "diversified", "master": master, "method": "KDF3", "kdd": "00" * 10}
    return await api.client.put(
        f"/v1/secure-elements/{se_id}/domains/{aid}/key-set",
        json={"kvn": kvn, "source": source},
        headers={"Authorization": f"Bearer {await api.party(who)}"},
    )


async def held(api: ApiBench, owner: str, se_id: str, aid: str) -> list[int]:
    async with api.storage.transaction() as tx:
        sets = await tx.key_sets.list(TenantId(owner), SeId(se_id), Aid.from_hex(aid))
    return [one.kvn for one in sets]


async def test_key_set_when_its_holder_registers_it_then_kept_for_the_holder_alone(api: ApiBench) -> None:
    se_id = await keyed(api)
    assert (await register(api, "operator", se_id, CENTRAL, "central")).status_code == 204
    assert (await register(api, "third party", se_id, THIRD_PARTY, "own")).status_code == 204
    assert await held(api, HUB, se_id, CENTRAL) == [0x31]
    assert await held(api, api.ids["third party"], se_id, THIRD_PARTY) == [0x31]
    assert await held(api, api.ids["issuer"], se_id, CENTRAL) == []


async def test_key_set_when_the_domain_is_anothers_then_there_is_none(api: ApiBench) -> None:
    se_id = await keyed(api)
    for who, aid in (
        ("third party", CENTRAL),
        ("provider", THIRD_PARTY),
        ("issuer", CENTRAL),
        ("other issuer", CENTRAL),
        ("operator", THIRD_PARTY),
        ("issuer", ISD),  # comes with the secure element
        ("operator", "F04F54534400FFFF"),
    ):
        assert (await register(api, who, se_id, aid, "central")).status_code == 404, (who, aid)
    assert (await register(api, "operator", "nothing", CENTRAL, "central")).status_code == 404
    assert (await register(api, "operator", se_id, "00", "central")).status_code == 400


async def test_key_set_when_impossible_then_refused(api: ApiBench) -> None:
    se_id = await keyed(api)
    wrong = await register(api, "operator", se_id, CENTRAL, "central", kvn=0x32)
    assert wrong.status_code == 400 and wrong.json()["field"] == "/kvn"
    unknown = await register(api, "operator", se_id, CENTRAL, "isd-master")
    assert unknown.status_code == 400 and unknown.json()["field"] == "/source/master"
    # another party's key cannot be named
    assert (await register(api, "third party", se_id, THIRD_PARTY, "central")).status_code == 400
    assert await held(api, HUB, se_id, CENTRAL) == []


async def test_key_set_when_the_card_has_proved_one_then_it_stays(api: ApiBench) -> None:
    se_id = await keyed(api)
    assert (await register(api, "operator", se_id, CENTRAL, "central")).status_code == 204
    async with api.storage.transaction() as tx:
        (found,) = await tx.key_sets.list(TenantId(HUB), SeId(se_id), Aid.from_hex(CENTRAL))
        await tx.key_sets.put(replace(found, state=KeySetState.CURRENT))
        await tx.commit()
    assert (await register(api, "operator", se_id, CENTRAL, "central")).status_code == 409


# --- building ---------------------------------------------------------------------------------------------


async def test_configuration_when_asked_for_then_an_operation_of_the_issuer(api: ApiBench) -> None:
    arranged = await made(api, 600)
    se = (await api.post("issuer", "/v1/secure-elements", api.new_element(profile="se-600"))).json()
    path = f"/v1/secure-elements/{se['id']}/configurations"
    assert (await api.post("issuer", path, {})).json()["field"] == "/arrangement_id"
    assert (await api.post("issuer", path, {"arrangement_id": "nothing"})).status_code == 400
    for who, status in (("provider", 403), ("operator", 403), ("other issuer", 404)):
        assert (await api.post(who, path, {"arrangement_id": arranged["id"]})).status_code == status
    asked = await api.post("issuer", path, {"arrangement_id": arranged["id"]})
    assert asked.status_code == 202 and asked.json()["type"] == "CONFIGURE", asked.text
    shown = (await api.get("issuer", f"/v1/secure-elements/{se['id']}")).json()
    assert shown["arrangement_id"] == arranged["id"]
    other = await made(api, 600)
    assert (await api.post("issuer", path, {"arrangement_id": other["id"]})).status_code == 409
    assert (await api.post("issuer", path, {})).status_code == 202


async def test_configuration_when_services_are_there_that_nobody_placed_then_refused(api: ApiBench) -> None:
    arranged = await made(api, 600)
    se = (await api.post("issuer", "/v1/secure-elements", api.new_element(profile="se-600"))).json()
    await api.instance(se["id"])
    path = f"/v1/secure-elements/{se['id']}/configurations"
    assert (await api.post("issuer", path, {"arrangement_id": arranged["id"]})).status_code == 409
