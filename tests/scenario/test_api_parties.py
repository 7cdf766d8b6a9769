"""Parties, tokens, problems: over HTTP, on a real database."""

import re

import asyncpg
import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, problem

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.custody.holder import AGREEMENT, agreed_handle, transport_handle
from opentsm.tsm.custody.work import Handover
from opentsm.tsm.domain.secure_element import WrappedKeys
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import NotFoundError
from opentsm.tsm.kernel.ids import SeId, TenantId

PARTIES = ("issuer", "provider", "other-issuer", "other-provider")


def keys_in(keystore: SoftwareKeystore) -> list[str]:
    """Return the handles of the transport keys that a keystore holds, as its `repr` names them."""
    return re.findall(r"'(transport/[^']+)'", repr(keystore))


async def test_operator_when_registering_a_party_then_its_token_works_and_only_its_digest_is_stored(
    api: ApiBench, scenario_dsn: str
) -> None:
    made = await api.post("operator", "/v1/parties", {"kind": "SE_ISSUER", "name": api.world.new_id()})
    assert made.status_code == 201
    token = made.json()["token"]
    assert made.json()["kind"] == "SE_ISSUER"
    answer = await api.client.get("/v1/secure-elements", headers={"Authorization": f"Bearer {token}"})
    assert answer.json() == {"items": [], "next": None}
    connection = await asyncpg.connect(scenario_dsn)
    stored = await connection.fetch("SELECT document FROM access_tokens UNION SELECT document FROM tenants")
    await connection.close()
    assert not any(token in row["document"] or token[5:] in row["document"] for row in stored)


async def test_party_when_the_name_is_taken_then_conflict(api: ApiBench) -> None:
    body = {"kind": "SERVICE_PROVIDER", "name": api.world.new_id()}
    assert (await api.post("operator", "/v1/parties", body)).status_code == 201
    found = problem(await api.post("operator", "/v1/parties", body), 409, "conflict")
    assert body["name"] in found["detail"]


@pytest.mark.parametrize("who", ["issuer", "provider"])
async def test_parties_when_another_than_the_operator_asks_then_forbidden(api: ApiBench, who: str) -> None:
    body = {"kind": "SE_ISSUER", "name": "x"}
    problem(await api.post(who, "/v1/parties", body), 403, "forbidden")
    problem(await api.get(who, "/v1/parties"), 403, "forbidden")


async def test_keys_when_first_handed_over_then_issuer_and_provider_and_nobody_else_share_a_transport_key(
    api: ApiBench,
) -> None:
    for name in PARTIES:
        await api.party(name)

    async def transport_keys() -> dict[str, list[str]]:
        return {name: keys_in(api.keystore(name)) for name in PARTIES}

    se = await api.element()
    assert not any((await transport_keys()).values())
    peers = api.container.requests._s.peers
    issuer_id, provider_id = TenantId(api.ids["issuer"]), TenantId(api.ids["provider"])
    owner, provider = peers.segment_owner(issuer_id), peers.segment_owner(provider_id)
    async with api.storage.transaction() as tx:
        (own,) = await tx.key_sets.list(issuer_id, SeId(se["id"]))
        keys = replace(own, kvn=0x38, temporary=True)
        await tx.key_sets.put(keys)
        await tx.commit()
    for _ in range(2):  # the second finds the key of the first
        point = await provider.transport_point(issuer_id)
        blob = await owner.hand_over(keys.se_id, keys.sd_aid, keys.kvn, provider_id, point)
        handed = from_json(Handover, blob)
        theirs = await api.keystore("provider").agreement_key(AGREEMENT)
        handle = agreed_handle(issuer_id, handed.point, provider_id, theirs)
        # what the provider's custodian does when the keys come with a session
        await api.keystore("provider").agree_transport_key(handle, AGREEMENT, handed.point)
        wrapped = WrappedKeys(transport=handle, blob=handed.blob)
        assert await api.keystore("provider").key_check_values(wrapped, scp=3) == keys.kcvs
        shared = [str(handle)]
        assert await transport_keys() == {name: [] for name in PARTIES} | {
            "issuer": shared,
            "provider": shared,
        }


async def test_keys_when_a_ceremony_made_the_transport_key_then_it_is_used(api: ApiBench) -> None:
    for name in ("issuer", "provider"):
        await api.party(name)
    se = await api.element()
    issuer_id, provider_id = TenantId(api.ids["issuer"]), TenantId(api.ids["provider"])
    handle = transport_handle(issuer_id, provider_id)
    for name in ("issuer", "provider"):
        await api.keystore(name).import_key(handle, Secret(bytes(range(32))))
    peers = api.container.requests._s.peers
    point = await peers.segment_owner(provider_id).transport_point(issuer_id)
    assert point == b""
    async with api.storage.transaction() as tx:
        (own,) = await tx.key_sets.list(issuer_id, SeId(se["id"]))
        keys = replace(own, kvn=0x38, temporary=True)
        await tx.key_sets.put(keys)
        await tx.commit()
    blob = await peers.segment_owner(issuer_id).hand_over(
        keys.se_id, keys.sd_aid, keys.kvn, provider_id, point
    )
    wrapped = WrappedKeys(transport=handle, blob=from_json(Handover, blob).blob)
    assert await api.keystore("provider").key_check_values(wrapped, scp=3) == keys.kcvs


async def test_keys_when_they_are_the_issuers_own_then_not_handed_over_to_anybody(api: ApiBench) -> None:
    for name in ("issuer", "provider"):
        await api.party(name)
    se = await api.element()
    issuer_id, provider_id = TenantId(api.ids["issuer"]), TenantId(api.ids["provider"])
    peers = api.container.requests._s.peers
    async with api.storage.transaction() as tx:
        (own,) = await tx.key_sets.list(issuer_id, SeId(se["id"]))
    point = await peers.segment_owner(provider_id).transport_point(issuer_id)
    with pytest.raises(NotFoundError, match="to hand over"):
        await peers.segment_owner(issuer_id).hand_over(own.se_id, own.sd_aid, own.kvn, provider_id, point)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "Authorization"),
        ("Basic abc", "Bearer <token>"),
        ("Bearer ", "Bearer <token>"),
        ("Bearer otsm_unknown", "not known"),
        ("Bearer " + "x" * 500, "Bearer <token>"),
    ],
)
async def test_request_without_a_good_token_then_401_before_anything_else(
    api: ApiBench, header: str | None, says: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = await api.client.post("/v1/parties", content=b"no json", headers=headers)
    assert says in problem(answer, 401, "unauthenticated")["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_body_when_a_field_is_unknown_missing_or_wrong_then_the_problem_names_it(api: ApiBench) -> None:
    async def field(body: object) -> str:
        found = problem(await api.post("operator", "/v1/parties", body), 400, "invalid_input")
        return str(found["field"])

    assert await field({"kind": "SE_ISSUER", "name": "n", "more": 1}) == "/more"
    assert await field({"kind": "SE_ISSUER"}) == "/name"
    assert await field({"kind": "BANK", "name": "n"}) == "/kind"
    assert await field({"kind": "SE_ISSUER", "name": ""}) == "/name"
    assert await field({"kind": "SE_ISSUER", "name": " \t "}) == "/name"


async def test_body_when_it_is_not_json_then_the_problem_says_so(api: ApiBench) -> None:
    headers = {"Authorization": f"Bearer {await api.party('operator')}", "Content-Type": "application/json"}
    answer = await api.client.post("/v1/parties", content=b'{"kind": ', headers=headers)
    assert "JSON" in problem(answer, 400, "malformed_json")["detail"]


@pytest.mark.parametrize("body", [b'"\xff"', b'{"kind": "\xc3"}', b"\xff", b'"\xed\xa0\x80"', b'{"\xff": 1}'])
async def test_body_when_it_is_not_utf_8_then_the_problem_says_so(api: ApiBench, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {await api.party('operator')}", "Content-Type": "application/json"}
    answer = await api.client.post("/v1/parties", content=body, headers=headers)
    assert "JSON" in problem(answer, 400, "malformed_json")["detail"]


async def test_query_when_out_of_range_then_the_problem_names_it(api: ApiBench) -> None:
    found = problem(await api.get("operator", "/v1/parties", params={"limit": 201}), 400, "invalid_input")
    assert found["field"] == "limit"


async def test_route_when_unknown_then_a_problem_too(api: ApiBench) -> None:
    problem(await api.get(None, "/v1/nothing"), 404, "not_found")
    problem(await api.get(None, "/v1/device-tokens"), 405, "method_not_allowed")


async def test_list_when_longer_than_a_page_then_the_cursor_leads_through_it_once(api: ApiBench) -> None:
    made = [(await api.element())["id"] for _ in range(5)]
    found: list[str] = []
    after = None
    for _ in range(9):
        params = {"limit": "2"} | ({"after": after} if after else {})
        page = (await api.get("issuer", "/v1/secure-elements", params=params)).json()
        found += [se["id"] for se in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert found == sorted(made)


async def test_audit_then_a_party_sees_its_own_entries_only(api: ApiBench) -> None:
    se = await api.element()
    page = (await api.get("issuer", "/v1/audit", params={"subject": se["id"]})).json()
    assert [(e["action"], e["actor"]) for e in page["items"]] == [
        ("secure-element.registered", api.ids["issuer"])
    ]
    others = (await api.get("other-issuer", "/v1/audit", params={"subject": se["id"]})).json()
    assert others["items"] == []


async def test_request_id_when_given_then_kept_when_strange_then_replaced(api: ApiBench) -> None:
    kept = await api.client.get("/healthz", headers={"X-Request-Id": "my-request-1"})
    assert kept.headers["x-request-id"] == "my-request-1"
    strange = await api.client.get("/healthz", headers={"X-Request-Id": "a b\x7f"})
    assert strange.headers["x-request-id"] != "a b\x7f"
