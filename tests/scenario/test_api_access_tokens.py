"""Access tokens for apps: who may have one, what it opens, and how it ends."""

from datetime import timedelta

import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.tsm.domain.device_call import CallUnauthorizedError
from opentsm.tsm.kernel.errors import ExpiredTokenError, ForbiddenError, UnauthenticatedError

PATH = "/v1/access-tokens"
HASH = "0123456789abcdef0123456789abcdef01234567"


async def issued(api: ApiBench, who: str = "provider", **body: object) -> Json:
    made = await api.post(who, PATH, body)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def test_access_token_when_issued_then_proves_the_app_together_with_the_device(api: ApiBench) -> None:
    device_id, _ = await api.device()
    token = await issued(api, services=["one", "two", "one"], app=HASH)
    assert token["expires_in"] == 900
    caller = await api.container.onboarding.app_caller(token["token"], api.tokens["device"])
    assert (caller.provider_id, caller.device_id) == (api.ids["provider"], device_id)
    assert caller.services == ("one", "two")
    assert caller.caller_id == HASH.upper()
    caller.require_service("two")
    with pytest.raises(CallUnauthorizedError):
        caller.require_service("three")


async def test_access_token_when_no_service_and_no_app_is_named_then_all_and_its_own_name(
    api: ApiBench,
) -> None:
    await api.device()
    token = await issued(api)
    caller = await api.container.onboarding.app_caller(token["token"], api.tokens["device"])
    caller.require_service("anything")
    assert caller.caller_id == token["id"].upper()


async def test_access_token_when_one_proof_is_wrong_then_the_other_opens_nothing(api: ApiBench) -> None:
    await api.device()
    access, device = (await issued(api))["token"], api.tokens["device"]
    app_caller = api.container.onboarding.app_caller
    for app_token, device_token in (("unknown", device), (access, "unknown"), ("", "")):
        with pytest.raises(UnauthenticatedError):
            await app_caller(app_token, device_token)
    for app_token, device_token in (
        (access, access),
        (device, device),
        (device, access),
        (api.tokens["provider"], device),
        (access, api.tokens["provider"]),
    ):
        with pytest.raises(ForbiddenError):
            await app_caller(app_token, device_token)


async def test_access_token_when_it_has_expired_then_refused(api: ApiBench) -> None:
    token = (await issued(api, expires_in=60))["token"]
    api.world.shift = timedelta(seconds=59)
    await api.device()
    await api.container.onboarding.app_caller(token, api.tokens["device"])
    api.world.shift = timedelta(seconds=60)
    with pytest.raises(ExpiredTokenError):
        await api.container.onboarding.app_caller(token, api.tokens["device"])


async def test_access_token_when_revoked_or_the_device_is_then_refused_at_once(api: ApiBench) -> None:
    device_id, _ = await api.device()
    first, second = await issued(api), await issued(api)
    headers = {"Authorization": f"Bearer {api.tokens['provider']}"}
    assert (await api.client.delete(f"/v1/tokens/{first['id']}", headers=headers)).status_code == 204
    with pytest.raises(UnauthenticatedError):
        await api.container.onboarding.app_caller(first["token"], api.tokens["device"])
    await api.post("issuer", f"/v1/devices/{device_id}/revocations")
    with pytest.raises(UnauthenticatedError):
        await api.container.onboarding.app_caller(second["token"], api.tokens["device"])


async def test_access_token_when_used_elsewhere_then_every_other_api_refuses_it(api: ApiBench) -> None:
    api.tokens["app"] = (await issued(api))["token"]
    for path in ("/v1/instances", "/v1/tokens", "/v1/audit", "/v1/operations"):
        problem(await api.get("app", path), 403, "forbidden")
    problem(await api.post("app", PATH, {}), 403, "forbidden")
    problem(
        await api.post("app", "/v1/device-sessions", {"se": {"type": "eSE", "id": "1"}}), 403, "forbidden"
    )
    for headers in ({"Authorization": api.tokens["app"]}, {"Authorization": f"Bearer {api.tokens['app']}"}):
        bought = await api.post(None, "/sptsm/1.0.4/auth", headers=headers)
        assert bought.status_code == 401
        listed = await api.get(None, "/sptsm/1.0.4/services", headers=headers)
        assert listed.status_code == 401


async def test_access_token_when_anybody_but_a_provider_asks_then_forbidden(api: ApiBench) -> None:
    await api.device()
    for who in ("operator", "issuer", "device"):
        problem(await api.post(who, PATH, {}), 403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        {"expires_in": 0},
        {"expires_in": 3601},
        {"services": [""]},
        {"services": ["\n"]},
        {"services": ["x"] * 101},
        {"app": "12"},
        {"app": "zz" * 20},
        {"scope": "all"},
    ],
)
async def test_access_token_when_a_value_is_out_of_range_then_refused(api: ApiBench, body: Json) -> None:
    problem(await api.post("provider", PATH, body), 400, "invalid_input")


async def test_access_token_when_issued_then_listed_by_its_name_and_audited(api: ApiBench) -> None:
    token = await issued(api, services=["one"], app=HASH)
    (entry,) = [e for e in (await api.get("provider", "/v1/tokens")).json()["items"] if e["kind"] == "APP"]
    assert (entry["id"], entry["subject"], entry["services"]) == (token["id"], HASH.upper(), ["one"])
    assert token["token"] not in str(entry)
    trail = (await api.get("provider", "/v1/audit", params={"subject": token["id"]})).json()["items"]
    assert [e["action"] for e in trail] == ["access-token.issued"]
    assert token["token"] not in str(trail)


async def test_access_token_when_asked_for_twice_with_a_key_then_the_same_one(api: ApiBench) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.post("provider", PATH, {}, headers=headers)
    again = await api.post("provider", PATH, {}, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json() == again.json()
