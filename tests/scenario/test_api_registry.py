"""The registry over HTTP: network operators, subscriptions, look-ups by any name, data of secure elements."""

import asyncpg
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

NUMBER = "+4915112345678"
DATA = {
    "se_type": "ESE",
    "key_index": "7",
    "profile_id": "wearable-2",
    "globalplatform": "2.3.1",
    "java_card": "3.0.5",
    "certification": "CC EAL5+",
    "expires_on": "2031-12-31",
}
BEARERS = [
    {"kind": "SCP81_HTTPS", "address": "ota.mno.example:443", "max_script_bytes": 4096, "max_scripts": 20},
    {"kind": "SCP80_SMS", "address": "smpp.mno.example", "max_script_bytes": 1200, "max_scripts": 5},
]


async def network_operator(api: ApiBench, name: str = "Netz") -> Json:
    body = {"name": f"{name} {api.world.new_id()}", "networks": [{"mcc": "262", "mnc": "01"}]}
    made = await api.post("operator", "/v1/network-operators", {**body, "bearers": BEARERS})
    assert made.status_code == 201, made.text
    return dict(made.json())


async def subscription(api: ApiBench, number: str, who: str = "issuer", **more: object) -> Json:
    body = {"identifier": {"type": "MSISDN", "value": number}, **more}
    made = await api.post(who, "/v1/subscriptions", body)
    assert made.status_code == 201, made.text
    return dict(made.json())


def number_of(api: ApiBench) -> str:
    """Return a number that no other test has."""
    return f"+49{int(api.world.new_id().replace('-', '')[-12:], 16) % 10**11:011d}".replace("+490", "+491")


async def look_up(api: ApiBench, who: str, value: str, type_: str | None = None, data: bool = False) -> Json:
    name = {"value": value} if type_ is None else {"value": value, "type": type_}
    answer = await api.post(who, "/v1/secure-elements/lookups", {"identifier": name, "data": data})
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["items"]
    return dict(found)


async def unknown(api: ApiBench, who: str, value: str, type_: str | None = None) -> str:
    name = {"value": value} if type_ is None else {"value": value, "type": type_}
    answer = await api.post(who, "/v1/secure-elements/lookups", {"identifier": name})
    return str(problem(answer, 404, "not_found")["detail"])


# --- network operators -------------------------------------------------------------------------------------


async def test_network_operator_when_shown_to_a_provider_then_without_addresses(api: ApiBench) -> None:
    made = await network_operator(api)
    assert made["preferred"] == "SCP81_HTTPS"
    assert [one["address"] for one in made["bearers"]] == ["ota.mno.example:443", "smpp.mno.example"]
    shown = (await api.get("provider", f"/v1/network-operators/{made['id']}")).json()
    assert [one["address"] for one in shown["bearers"]] == ["", ""]
    assert shown["bearers"][1]["max_script_bytes"] == 1200


async def test_network_operator_when_changed_then_the_new_order_of_bearers_counts(api: ApiBench) -> None:
    made = await network_operator(api)
    body = {"name": made["name"], "networks": made["networks"], "bearers": BEARERS[::-1]}
    headers = {"Authorization": f"Bearer {await api.party('operator')}"}
    path = f"/v1/network-operators/{made['id']}"
    changed = await api.client.put(path, json=body, headers=headers)
    assert changed.json()["preferred"] == "SCP80_SMS"
    assert (await api.get("issuer", path)).json()["preferred"] == "SCP80_SMS"


@pytest.mark.parametrize("who", ["issuer", "provider"])
async def test_network_operator_when_not_registered_by_the_operator_then_forbidden(
    api: ApiBench, who: str
) -> None:
    problem(await api.post(who, "/v1/network-operators", {"name": "mine"}), 403, "forbidden")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"networks": [{"mcc": "26", "mnc": "01"}]}, "/networks/0/mcc"),
        ({"networks": [{"mcc": "262", "mnc": "1"}]}, "/networks/0/mnc"),
        ({"networks": [{"mcc": "262", "mnc": "01"}] * 2}, "/networks"),
        ({"bearers": [BEARERS[0], BEARERS[0]]}, "/bearers"),
        ({"name": " "}, "/name"),
    ],
)
async def test_network_operator_when_a_value_is_wrong_then_the_problem_names_it(
    api: ApiBench, change: Json, field: str
) -> None:
    answer = await api.post("operator", "/v1/network-operators", {"name": "x", **change})
    assert problem(answer, 400, "invalid_input")["field"] == field


# --- subscriptions and look-ups ----------------------------------------------------------------------------


async def test_look_up_when_any_name_is_given_then_the_same_secure_element_and_its_data(
    api: ApiBench,
) -> None:
    tail = api.world.new_id()
    names = [{"type": kind, "value": f"{kind}{tail}"} for kind in ("CIN", "ICCID", "CPLC", "EID", "GENERIC")]
    mno = (await network_operator(api))["id"]
    data = {**DATA, "network_operator_id": mno}
    made = await api.post("issuer", "/v1/secure-elements", api.new_element(identifiers=names, data=data))
    assert made.status_code == 201, made.text
    se_id, number = made.json()["id"], number_of(api)
    await subscription(api, number, se_id=se_id, network_operator_id=mno)
    imsi, alias = f"26201{number[-10:]}", f"alias-{tail}"
    for kind, value in (("IMSI", imsi), ("ALIAS", alias)):
        body = {"identifier": {"type": kind, "value": value}, "se_id": se_id}
        assert (await api.post("operator", "/v1/subscriptions", body)).status_code == 201
    wanted = [(one["type"], one["value"]) for one in names]
    wanted += [("MSISDN", number), ("IMSI", imsi), ("ALIAS", alias)]
    for kind, value in wanted:
        for type_ in (kind, None):
            found = await look_up(api, "provider", value, type_, data=True)
            assert (found["id"], found["identifier_type"]) == (se_id, kind)
            assert found["data"]["data"] == data
    assert "data" not in await look_up(api, "provider", number)


async def test_look_up_when_the_number_is_written_otherwise_then_found(api: ApiBench) -> None:
    se, number = await api.element(), number_of(api)
    await subscription(api, number, se_id=se["id"])
    for written in (f"00{number[1:]}", f"{number[:3]} {number[3:6]}-{number[6:]}", f" {number} "):
        assert (await look_up(api, "provider", written, "MSISDN"))["id"] == se["id"]


async def test_look_up_when_unknown_foreign_or_across_the_border_then_the_same_answer(api: ApiBench) -> None:
    se, number, hidden = await api.element(), number_of(api), number_of(api)
    cin = se["identifiers"][0]["value"]
    await subscription(api, number, se_id=se["id"])
    await subscription(api, hidden, se_id=se["id"], readers=[])
    answers = {
        await unknown(api, "provider", number_of(api)),  # nobody has it
        await unknown(api, "provider", hidden),  # nobody may read it
        await unknown(api, "other-issuer", number),  # another issuer's
        await unknown(api, "other-issuer", cin),
        await unknown(api, "sandbox provider", number),  # across the border
        await unknown(api, "sandbox provider", cin),
        await unknown(api, "provider", number, "ALIAS"),  # of another type
    }
    assert len(answers) == 1
    for who in ("issuer", "operator"):
        assert (await look_up(api, who, hidden))["id"] == se["id"]


async def test_look_up_when_only_some_may_read_then_the_others_find_nothing(api: ApiBench) -> None:
    await api.party("provider")
    se, number = await api.element(), number_of(api)
    await subscription(api, number, se_id=se["id"], readers=[api.ids["provider"]])
    assert (await look_up(api, "provider", number))["id"] == se["id"]
    await unknown(api, "other-provider", number)


async def test_subscription_when_stored_then_its_number_is_nowhere_in_clear(
    api: ApiBench, scenario_dsn: str
) -> None:
    se, number = await api.element(), number_of(api)
    made = await subscription(api, number, se_id=se["id"])
    await look_up(api, "provider", number)
    assert made["identifier"] == {"type": "MSISDN", "value": number}
    connection = await asyncpg.connect(scenario_dsn)
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    for table in tables:
        rows = await connection.fetch(f'SELECT t::text AS row FROM "{table["relname"]}" t')
        assert not [row for row in rows if number[3:] in row["row"]], table["relname"]
        assert not [row for row in rows if number.encode().hex() in row["row"]], table["relname"]
    await connection.close()


async def test_subscription_when_its_keeper_has_it_already_then_conflict_but_not_for_another(
    api: ApiBench,
) -> None:
    number = number_of(api)
    await subscription(api, number)
    body = {"identifier": {"type": "MSISDN", "value": number}}
    problem(await api.post("issuer", "/v1/subscriptions", body), 409, "conflict")
    await subscription(api, number, who="other-issuer")


@pytest.mark.parametrize(
    ("identifier", "status", "code"),
    [
        ({"type": "MSISDN", "value": "015112345678"}, 400, "invalid_input"),
        ({"type": "MSISDN", "value": "+4912"}, 400, "invalid_input"),
        ({"type": "IMSI", "value": "26201x"}, 400, "invalid_input"),
        ({"type": "CIN", "value": "1"}, 400, "invalid_input"),
    ],
)
async def test_subscription_when_the_identifier_is_wrong_then_refused_without_repeating_it(
    api: ApiBench, identifier: Json, status: int, code: str
) -> None:
    answer = await api.post("issuer", "/v1/subscriptions", {"identifier": identifier})
    assert identifier["value"] not in problem(answer, status, code)["detail"] or identifier["type"] == "CIN"


async def test_subscription_when_a_provider_asks_then_forbidden(api: ApiBench) -> None:
    body = {"identifier": {"type": "MSISDN", "value": NUMBER}}
    problem(await api.post("provider", "/v1/subscriptions", body), 403, "forbidden")
    problem(await api.get("provider", "/v1/subscriptions"), 403, "forbidden")


async def test_subscription_when_another_issuers_then_not_found(api: ApiBench) -> None:
    made = await subscription(api, number_of(api))
    for path in ("", "/history"):
        answer = await api.get("other-issuer", f"/v1/subscriptions/{made['id']}{path}")
        problem(answer, 404, "not_found")
    event = {"event": "SUSPENDED"}
    path = f"/v1/subscriptions/{made['id']}/events"
    problem(await api.post("other-issuer", path, event), 404, "not_found")
    body = {
        "identifier": {"type": "ALIAS", "value": api.world.new_id()},
        "se_id": (await api.element())["id"],
    }
    problem(await api.post("other-issuer", "/v1/subscriptions", body), 404, "not_found")


# --- data of secure elements -------------------------------------------------------------------------------


async def test_se_data_when_replaced_then_shown_and_written_in_history(api: ApiBench) -> None:
    se = await api.element()
    headers = {"Authorization": f"Bearer {await api.party('issuer')}"}
    path = f"/v1/secure-elements/{se['id']}"
    put = await api.client.put(f"{path}/data", json=DATA, headers=headers)
    assert put.status_code == 200, put.text
    shown = (await api.get("provider", f"{path}/data")).json()
    assert shown == {"data": {**DATA, "network_operator_id": None}, "sp_data": None, "key_sets": []}
    own = (await api.get("issuer", f"{path}/data")).json()["key_sets"]
    assert own == [{"sd_aid": "A000000151000000", "kvn": 0x30, "scp": 3}]
    (entry,) = (await api.get("issuer", f"{path}/history")).json()["items"]
    assert entry["event"] == "DATA_CHANGED"
    for who in ("other-issuer", "sandbox provider"):
        problem(await api.get(who, f"{path}/data"), 404, "not_found")


async def test_se_data_when_the_key_index_looks_like_a_key_then_refused(api: ApiBench) -> None:
    body = api.new_element(data={"key_index": "00112233445566778899AABBCCDDEEFF"})
    answer = await api.post("issuer", "/v1/secure-elements", body)
    assert problem(answer, 400, "invalid_input")["field"] == "/data/key_index"


async def test_sp_data_when_kept_then_only_its_provider_sees_them(api: ApiBench, scenario_dsn: str) -> None:
    se, note = await api.element(), f"customer segment {api.world.new_id()}"
    path = f"/v1/secure-elements/{se['id']}"
    for who in ("provider", "other-provider"):
        headers = {"Authorization": f"Bearer {await api.party(who)}"}
        put = await api.client.put(f"{path}/sp-data", json={"value": f"{note} {who}"}, headers=headers)
        assert put.status_code == 204, put.text
    assert (await api.get("provider", f"{path}/data")).json()["sp_data"] == f"{note} provider"
    assert (await api.get("issuer", f"{path}/data")).json()["sp_data"] is None
    cin = se["identifiers"][0]["value"]
    found = await look_up(api, "other-provider", cin, data=True)
    assert found["data"]["sp_data"] == f"{note} other-provider"
    connection = await asyncpg.connect(scenario_dsn)
    stored = await connection.fetch("SELECT sealed FROM sp_data WHERE se_id = $1", se["id"])
    await connection.close()
    assert len(stored) == 2
    assert not [row for row in stored if b"customer" in row["sealed"]]


async def test_sp_data_when_too_long_across_the_border_or_not_a_providers_then_refused(api: ApiBench) -> None:
    se = await api.element()
    path = f"/v1/secure-elements/{se['id']}/sp-data"
    for who, value, status in (
        ("provider", "é" * 1000, 400),
        ("sandbox provider", "x", 404),
        ("issuer", "x", 403),
    ):
        headers = {"Authorization": f"Bearer {await api.party(who)}"}
        answer = await api.client.put(path, json={"value": value}, headers=headers)
        assert answer.status_code == status, (who, answer.text)
