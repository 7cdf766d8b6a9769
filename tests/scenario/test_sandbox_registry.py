"""The registry and the sandbox border: what is wiped with a party, and what does not meet."""

import asyncpg
from tests.scenario.api_bench import ApiBench, Json, problem
from tests.scenario.test_sandbox_wipe import COLUMNS

ISSUER, PROVIDER = "sandbox issuer", "sandbox provider"


async def furnished(api: ApiBench) -> tuple[Json, Json]:
    """Give sandbox parties something of everything that the registry keeps."""
    se = await api.element(issuer=ISSUER)
    body = {"identifier": {"type": "ALIAS", "value": api.world.new_id()}, "se_id": se["id"]}
    subscription = (await api.post(ISSUER, "/v1/subscriptions", body)).json()
    for who, path, data in (
        (ISSUER, "data", {"key_index": "7"}),
        (PROVIDER, "sp-data", {"value": "note"}),
    ):
        headers = {"Authorization": f"Bearer {await api.party(who)}"}
        url = f"/v1/secure-elements/{se['id']}/{path}"
        assert (await api.client.put(url, json=data, headers=headers)).is_success
    job = (await api.post(ISSUER, "/v1/imports", {"format": "jsonl"})).json()
    headers = {"Authorization": f"Bearer {await api.party(ISSUER)}"}
    await api.client.put(f"/v1/imports/{job['id']}/parts/0", content=b"{}\n", headers=headers)
    await api.work()
    return se, subscription


async def count(dsn: str, api: ApiBench, *subjects: str) -> dict[str, int]:
    """Return how many rows name one of the parties, or hang on one of the subjects."""
    connection = await asyncpg.connect(dsn)
    found = {}
    for table, column in await connection.fetch(COLUMNS):
        query = f"SELECT count(*) FROM {table} WHERE {column} = ANY ($1)"
        found[str(table)] = await connection.fetchval(query, [api.ids[ISSUER], api.ids[PROVIDER]])
    for table, column in (("registry_history", "subject"), ("import_parts", "job_id")):
        query = f"SELECT count(*) FROM {table} WHERE {column} = ANY ($1)"
        found[table] = await connection.fetchval(query, list(subjects))
    await connection.close()
    return {name: rows for name, rows in found.items() if rows}


async def test_wipe_when_parties_are_wiped_then_nothing_of_the_registry_stays(
    api: ApiBench, scenario_dsn: str
) -> None:
    se, subscription = await furnished(api)
    jobs = (await api.get(ISSUER, "/v1/imports")).json()["items"]
    subjects = (se["id"], subscription["id"], jobs[0]["id"])
    kept = await count(scenario_dsn, api, *subjects)
    assert {
        *("subscriptions", "se_data", "sp_data", "registry_history", "import_jobs", "import_parts"),
        "se_identifiers",
    } <= set(kept)
    for who in (ISSUER, PROVIDER):
        assert (await api.post("operator", f"/v1/parties/{api.ids[who]}/wipe")).status_code == 200
    assert set(await count(scenario_dsn, api, *subjects)) <= {"access_tokens"}


async def test_hubs_subscription_when_its_element_was_retired_or_wiped_then_found_no_more_and_lives_on(
    api: ApiBench,
) -> None:
    se = await api.element(issuer=ISSUER)
    body = {"identifier": {"type": "ALIAS", "value": api.world.new_id()}, "se_id": se["id"]}
    made = (await api.post("operator", "/v1/subscriptions", body)).json()
    path = f"/v1/subscriptions/{made['id']}"
    await api.post(ISSUER, f"/v1/secure-elements/{se['id']}/retirements")
    for wiped in (False, True):
        if wiped:
            assert (await api.post("operator", f"/v1/parties/{api.ids[ISSUER]}/wipe")).status_code == 200
        new = {"type": "ALIAS", "value": api.world.new_id()}
        event = {"event": "NUMBER_CHANGED", "identifier": new}
        assert (await api.post("operator", f"{path}/events", event)).status_code == 200
        for who in ("operator", PROVIDER):
            answer = await api.post(who, "/v1/secure-elements/lookups", {"identifier": new})
            problem(answer, 404, "not_found")
    assert (await api.get("operator", path)).json()["se_id"] is None


async def test_renewal_when_the_new_element_is_across_the_border_then_refused(api: ApiBench) -> None:
    inside, outside = await api.element(issuer=ISSUER), await api.element()
    body = {"identifier": {"type": "ALIAS", "value": api.world.new_id()}, "se_id": inside["id"]}
    made = (await api.post("operator", "/v1/subscriptions", body)).json()
    event = {"event": "SE_RENEWED", "se_id": outside["id"]}
    answer = await api.post("operator", f"/v1/subscriptions/{made['id']}/events", event)
    problem(answer, 403, "sandbox_border")
    lookup = {"identifier": body["identifier"]}
    problem(await api.post("provider", "/v1/secure-elements/lookups", lookup), 404, "not_found")
    found = await api.post(PROVIDER, "/v1/secure-elements/lookups", lookup)
    assert [one["id"] for one in found.json()["items"]] == [inside["id"]]
