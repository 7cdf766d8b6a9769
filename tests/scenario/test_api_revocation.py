"""Devices and tokens that are revoked: refused at once, by whom it may be done, and audited."""

import asyncio

import asyncpg
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.tsm.domain.exchange import Command, Expected
from opentsm.tsm.roles.hub.services import device_topic

POLLING = {"localAgentStatus": {"localAgentStatusEnum": "POLLING"}}
SELECT = Command(apdu="00A40400", expected=Expected(status_words=("9000",)), meaning="s")


async def _actions(api: ApiBench, who: str, subject: str) -> list[str]:
    found = (await api.get(who, "/v1/audit", params={"subject": subject})).json()["items"]
    return [entry["action"] for entry in found]


async def _tokens(api: ApiBench, who: str, **params: str) -> list[Json]:
    answer = await api.get(who, "/v1/tokens", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_device_when_revoked_then_token_session_assertion_and_code_are_refused_at_once(
    api: ApiBench,
) -> None:
    cin = api.world.new_id()
    await api.element(cin)
    device_id, key = await api.device()
    session = await api.session(cin)
    revoked = await api.post("issuer", f"/v1/devices/{device_id}/revocations")
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"]
    params = {"sessionId": session}
    for path in ("/gp/seram/handshake", "/gp/seram/remoteManagement"):
        problem(await api.post("device", path, POLLING, params=params), 401, "unauthenticated")
    body = {"se": {"type": "eSE", "id": cin}}
    problem(await api.post("device", "/v1/device-sessions", body), 401, "unauthenticated")
    assertion = {"assertion": api.assertion(device_id, key)}
    found = problem(await api.post(None, "/v1/device-tokens", assertion), 401, "unauthenticated")
    assert "revoked" in found["detail"]
    assert await _actions(api, "issuer", device_id) == ["device.enrolled", "device.revoked"]


async def test_device_when_revoked_then_its_spent_code_does_not_bring_it_back(api: ApiBench) -> None:
    offer = (await api.post("issuer", "/v1/device-enrolments", {})).json()
    _, key = await api.device(name="other")
    body = {"code": offer["code"], "public_key": key.public_jwk(), "name": "phone"}
    device_id = (await api.post(None, "/v1/devices", body)).json()["id"]
    assert (await api.post("issuer", f"/v1/devices/{device_id}/revocations")).status_code == 200
    problem(await api.post(None, "/v1/devices", body), 403, "enrolment_code_invalid")


async def test_device_when_revoked_while_it_waits_then_it_gets_no_order(api: ApiBench) -> None:
    cin = api.world.new_id()
    se = await api.element(cin)
    device_id, _ = await api.device()
    params = {"sessionId": await api.session(cin)}
    await api.post("device", "/gp/seram/remoteManagement", POLLING, params=params)
    await api.notifier.awaited(device_topic(se["id"]))
    poll = asyncio.create_task(api.post("device", "/gp/seram/remoteManagement", POLLING, params=params))
    await api.notifier.awaited(device_topic(se["id"]))
    assert (await api.post("issuer", f"/v1/devices/{device_id}/revocations")).status_code == 200
    await api.order(se["id"], SELECT)
    async with asyncio.timeout(120):
        problem(await poll, 404, "not_found")


async def test_device_when_its_token_is_being_issued_then_revocation_waits_and_ends_that_token_too(
    api: ApiBench, scenario_dsn: str
) -> None:
    device_id, _ = await api.device()
    issuing = await asyncpg.connect(scenario_dsn)
    transaction = issuing.transaction()
    await transaction.start()
    await issuing.execute("SELECT 1 FROM devices WHERE id = $1 FOR SHARE", device_id)
    revoking = asyncio.create_task(api.post("issuer", f"/v1/devices/{device_id}/revocations"))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    watch = await asyncpg.connect(scenario_dsn)
    async with asyncio.timeout(120):
        while not await watch.fetchval(waiting):
            pass  # the query itself lets the request go on
    late = "INSERT INTO access_tokens SELECT $2, tenant_id, subject, expires_at, document FROM access_tokens"
    await issuing.execute(f"{late} WHERE subject = $1", device_id, b"late")
    await transaction.commit()
    assert (await revoking).status_code == 200
    assert not await watch.fetchval("SELECT count(*) FROM access_tokens WHERE subject = $1", device_id)
    await issuing.close()
    await watch.close()


async def test_device_when_somebody_else_asks_then_there_is_none(api: ApiBench) -> None:
    device_id, _ = await api.device()
    path = f"/v1/devices/{device_id}"
    for who, status, code in (
        ("other-issuer", 404, "not_found"),
        ("provider", 403, "forbidden"),
        ("device", 403, "forbidden"),
    ):
        problem(await api.post(who, f"{path}/revocations"), status, code)
        problem(await api.get(who, path), status, code)
    problem(await api.get("provider", "/v1/devices"), 403, "forbidden")
    assert (await api.get("other-issuer", "/v1/devices")).json()["items"] == []
    assert (await api.post("operator", f"{path}/revocations")).status_code == 200
    problem(await api.post("issuer", "/v1/devices/unknown/revocations"), 404, "not_found")


async def test_devices_when_listed_then_paged_and_without_keys(api: ApiBench) -> None:
    made = sorted([(await api.device(name=f"d{number}"))[0] for number in range(3)])
    again = await api.post("issuer", f"/v1/devices/{made[0]}/revocations", headers={"Idempotency-Key": "k"})
    first = (await api.get("issuer", "/v1/devices", params={"limit": "2"})).json()
    rest = (await api.get("issuer", "/v1/devices", params={"limit": "2", "after": first["next"]})).json()
    assert [entry["id"] for entry in first["items"] + rest["items"]] == made
    assert rest["next"] is None
    assert first["items"][0] == again.json()
    assert set(first["items"][0]) == {"id", "name", "se_id", "created_at", "revoked_at"}


async def test_token_when_revoked_by_its_owner_then_refused_and_the_other_one_stays(api: ApiBench) -> None:
    await api.party("provider")
    issued = await api.post("provider", f"/v1/parties/{api.ids['provider']}/tokens")
    assert issued.status_code == 201
    old, api.tokens["second"] = await _tokens(api, "provider"), issued.json()["token"]
    assert [entry["kind"] for entry in old] == ["LONG_TERM"] * 2
    for entry in old:
        who = "second" if (await api.get("second", "/v1/operations")).status_code == 200 else "provider"
        answer = await api.client.delete(
            f"/v1/tokens/{entry['id']}", headers={"Authorization": f"Bearer {api.tokens[who]}"}
        )
        assert answer.status_code == 204
    for who in ("provider", "second"):
        problem(await api.get(who, "/v1/operations"), 401, "unauthenticated")


async def test_token_when_another_party_asks_then_there_is_none_and_the_operator_may(api: ApiBench) -> None:
    (token,) = [await api.party("provider")]
    (entry,) = await _tokens(api, "provider")
    for who in ("other-provider", "issuer"):
        headers = {"Authorization": f"Bearer {await api.party(who)}"}
        problem(await api.client.delete(f"/v1/tokens/{entry['id']}", headers=headers), 404, "not_found")
        params = {"party_id": api.ids["provider"]}
        problem(await api.get(who, "/v1/tokens", params=params), 404, "not_found")
        problem(await api.post(who, f"/v1/parties/{api.ids['provider']}/tokens"), 404, "not_found")
    assert (await _tokens(api, "operator", party_id=api.ids["provider"])) == [entry]
    headers = {"Authorization": f"Bearer {await api.party('operator')}"}
    for odd in ("00", "zz", "0" * 64, entry["id"] + "00"):
        problem(await api.client.delete(f"/v1/tokens/{odd}", headers=headers), 404, "not_found")
    assert (await api.client.delete(f"/v1/tokens/{entry['id']}", headers=headers)).status_code == 204
    problem(await api.get("provider", "/v1/operations"), 401, "unauthenticated")
    problem(await api.client.delete(f"/v1/tokens/{entry['id']}", headers=headers), 404, "not_found")
    renewed = await api.post("operator", f"/v1/parties/{api.ids['provider']}/tokens")
    assert renewed.json()["token"] != token
    api.tokens["provider"] = renewed.json()["token"]
    assert await _actions(api, "provider", entry["id"]) == ["token.revoked"]
    problem(await api.get("provider", "/v1/tokens", params={"after": "zz"}), 400, "invalid_input")
