"""Devices over HTTP: enrolment, assertions, tokens, sessions, and what a device may not do."""

from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.agent.device_key import DeviceKey
from opentsm.tsm.kernel.ids import DeviceId, SeId


async def _bind(api: ApiBench, se_id: str, device_id: str) -> None:
    """Bind as the conductor does after the card's cryptogram was verified."""
    async with api.storage.transaction() as tx:
        se = await tx.secure_elements.get(SeId(se_id))
        assert se is not None
        await tx.secure_elements.save(replace(se, device_id=DeviceId(device_id)))
        await tx.commit()


def _enrolment(code: str, key: DeviceKey) -> Json:
    return {"code": code, "public_key": key.public_jwk(), "name": "phone"}


async def test_code_when_used_then_good_for_one_device_which_may_repeat_its_request(api: ApiBench) -> None:
    offer = (await api.post("issuer", "/v1/device-enrolments", {})).json()
    key, other = DeviceKey.generate(), DeviceKey.generate()
    first = await api.post(None, "/v1/devices", _enrolment(offer["code"], key))
    again = await api.post(None, "/v1/devices", _enrolment(offer["code"], key))
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    answer = await api.post(None, "/v1/devices", _enrolment(offer["code"], other))
    problem(answer, 403, "enrolment_code_invalid")


async def test_code_when_expired_or_invented_then_refused(api: ApiBench) -> None:
    offer = (await api.post("issuer", "/v1/device-enrolments", {})).json()
    key = DeviceKey.generate()
    problem(await api.post(None, "/v1/devices", _enrolment("A" * 32, key)), 403, "enrolment_code_invalid")
    api.world.shift += timedelta(hours=2)
    answer = await api.post(None, "/v1/devices", _enrolment(offer["code"], key))
    problem(answer, 403, "enrolment_code_invalid")


async def test_code_when_offered_then_only_by_an_issuer_and_for_its_own_elements(api: ApiBench) -> None:
    se = await api.element()
    problem(await api.post("provider", "/v1/device-enrolments", {}), 403, "forbidden")
    body = {"se_id": se["id"]}
    problem(await api.post("other-issuer", "/v1/device-enrolments", body), 404, "not_found")


async def test_enrolment_when_the_key_is_no_public_p256_key_then_refused_and_the_code_stays(
    api: ApiBench,
) -> None:
    offer = (await api.post("issuer", "/v1/device-enrolments", {})).json()
    good = DeviceKey.generate()
    jwk = good.public_jwk()
    private = ECKey.generate_key("P-256").as_dict(private=True)
    p384 = ECKey.generate_key("P-384").as_dict(private=False)
    for bad in (private, p384, jwk | {"x": jwk["y"]}, jwk | {"x": "!"}, {"kty": "oct", "k": "AA"}, {}):
        body = {"code": offer["code"], "public_key": bad, "name": "phone"}
        found = problem(await api.post(None, "/v1/devices", body), 400, "invalid_input")
        assert found["field"] == "/public_key"
    assert (await api.post(None, "/v1/devices", _enrolment(offer["code"], good))).status_code == 201


async def test_assertion_when_good_then_a_token_for_300_s(api: ApiBench) -> None:
    await api.device()
    cin = api.world.new_id()
    await api.element(cin)
    body = {"se": {"type": "eSE", "id": cin}}
    assert (await api.post("device", "/v1/device-sessions", body)).status_code == 201
    api.world.shift += timedelta(seconds=301)
    found = problem(await api.post("device", "/v1/device-sessions", body), 401, "unauthenticated")
    assert "expired" in found["detail"]


async def test_assertion_when_used_twice_then_refused(api: ApiBench) -> None:
    device_id, key = await api.device()
    body = {"assertion": api.assertion(device_id, key)}
    assert (await api.post(None, "/v1/device-tokens", body)).status_code == 200
    found = problem(await api.post(None, "/v1/device-tokens", body), 401, "unauthenticated")
    assert "before" in found["detail"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sub": "somebody"}, "sub"),
        ({"aud": "elsewhere"}, "aud"),
        ({"exp": 61}, "60 s"),
        ({"exp": None}, "exp"),
        ({"exp": -10}, "60 s"),
        ({"iat": -200, "exp": -150}, "expired"),
        ({"iat": 200, "exp": 250}, "not yet valid"),
        ({"jti": "1"}, "jti"),
        ({"jti": None}, "jti"),
    ],
)
async def test_assertion_when_a_claim_is_wrong_then_refused(api: ApiBench, change: Json, says: str) -> None:
    offer = (await api.post("issuer", "/v1/device-enrolments", {})).json()
    key = ECKey.generate_key("P-256")
    body = {"code": offer["code"], "public_key": key.as_dict(private=False), "name": "phone"}
    device_id = (await api.post(None, "/v1/devices", body)).json()["id"]
    now = int(api.world.now().timestamp())
    claims = {"sub": device_id, "aud": "opentsm", "iat": 0, "exp": 60, "jti": "ab" * 16} | change
    claims |= {name: now + claims[name] for name in ("iat", "exp") if claims[name] is not None}
    claims = {name: value for name, value in claims.items() if value is not None}
    assertion = jwt.encode({"alg": "ES256", "kid": device_id}, claims, key)
    found = problem(
        await api.post(None, "/v1/device-tokens", {"assertion": assertion}), 401, "unauthenticated"
    )
    assert says in found["detail"]


async def test_assertion_when_not_signed_by_the_device_then_refused(api: ApiBench) -> None:
    device_id, key = await api.device()
    other = DeviceKey.generate()
    good = api.assertion(device_id, key)
    claims = {"sub": device_id, "aud": "opentsm", "iat": 1, "exp": 2, "jti": "a" * 32}
    hmac = jwt.encode({"alg": "HS256", "kid": device_id}, claims, OctKey.import_key("x" * 32))
    none = "eyJhbGciOiJub25lIn0." + good.split(".")[1] + "."
    for bad in (
        api.assertion(device_id, other),
        api.assertion("nobody", key),
        good[:-4] + "AAAA",
        hmac,
        none,
        "a.b.c",
        "",
        "x" * 9999,
    ):
        problem(await api.post(None, "/v1/device-tokens", {"assertion": bad}), 401, "unauthenticated")


async def test_session_when_the_element_is_not_of_the_device_s_issuer_then_not_found(api: ApiBench) -> None:
    await api.device()
    cin = api.world.new_id()
    await api.element(cin, issuer="other-issuer")
    body = {"se": {"type": "eSE", "id": cin}}
    problem(await api.post("device", "/v1/device-sessions", body), 404, "not_found")


async def test_session_when_the_device_is_enrolled_for_another_element_then_forbidden(api: ApiBench) -> None:
    mine, other = api.world.new_id(), api.world.new_id()
    se = await api.element(mine)
    await api.element(other)
    await api.device(se["id"])
    await api.session(mine)
    body = {"se": {"type": "eSE", "id": other}}
    problem(await api.post("device", "/v1/device-sessions", body), 403, "forbidden")


async def test_session_when_the_element_is_bound_elsewhere_then_conflict_until_it_is_enrolled_anew(
    api: ApiBench,
) -> None:
    cin = api.world.new_id()
    se = await api.element(cin)
    old, _ = await api.device(name="old")
    await api.device(name="stranger")
    await _bind(api, se["id"], old)
    body = {"se": {"type": "eSE", "id": cin}}
    assert (await api.post("old", "/v1/device-sessions", body)).status_code == 201
    problem(await api.post("stranger", "/v1/device-sessions", body), 409, "conflict")
    new, _ = await api.device(se["id"], name="new")
    assert (await api.post("new", "/v1/device-sessions", body)).status_code == 201
    page = (await api.get("issuer", "/v1/audit", params={"subject": se["id"]})).json()
    released = [e for e in page["items"] if e["action"] == "secure-element.device-released"]
    assert [(e["details"]["from"], e["details"]["to"]) for e in released] == [(old, new)]


async def test_session_when_the_element_is_reserved_for_a_device_then_for_no_other_even_before_its_proof(
    api: ApiBench,
) -> None:
    cin = api.world.new_id()
    se = await api.element(cin)
    await api.device(name="stranger")
    body = {"se": {"type": "eSE", "id": cin}}
    assert (await api.post("stranger", "/v1/device-sessions", body)).status_code == 201
    await api.device(se["id"], name="own")
    found = problem(await api.post("stranger", "/v1/device-sessions", body), 409, "conflict")
    assert "reserved" in found["detail"]
    assert (await api.post("own", "/v1/device-sessions", body)).status_code == 201
    shown = (await api.get("issuer", f"/v1/secure-elements/{se['id']}")).json()
    assert shown["device_id"] is None, "bound after a cryptogram only"


async def test_device_token_then_good_for_nothing_but_sessions_and_exchanges(api: ApiBench) -> None:
    se = await api.element()
    await api.device()
    instance = await api.instance(se["id"])
    operation = await api.operation(se["id"])
    for path in ("secure-elements", f"secure-elements/{se['id']}", f"operations/{operation.id}", "audit"):
        problem(await api.get("device", f"/v1/{path}"), 403, "forbidden")
    for path in (f"operations/{operation.id}/cancellations", f"instances/{instance.id}/suspensions"):
        problem(await api.post("device", f"/v1/{path}", {}), 403, "forbidden")
    problem(await api.post("device", "/v1/device-enrolments", {}), 403, "forbidden")


async def test_party_token_then_opens_no_session(api: ApiBench) -> None:
    body = {"se": {"type": "eSE", "id": "x"}}
    problem(await api.post("issuer", "/v1/device-sessions", body), 403, "forbidden")
