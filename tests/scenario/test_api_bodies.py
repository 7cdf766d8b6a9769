"""Bodies, queries and headers that no good client sends are refused, and never an error of ours."""

from itertools import product

import httpx
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.tsm.domain.service import InstanceState

BAD_NUMBERS = ["5", True, 5.5, None, [5], {"value": 5}]
JSON = {"Content-Type": "application/json"}


async def _raw(
    api: ApiBench, path: str, body: bytes, *, method: str = "POST", who: str = "operator", **headers: str
) -> httpx.Response:
    token = await api.party(who)
    wanted = {"Authorization": f"Bearer {token}", **JSON, **headers}
    return await api.client.request(method, path, content=body, headers=wanted)


async def test_amount_when_it_is_no_number_then_refused_and_named(api: ApiBench) -> None:
    instance = await api.instance((await api.element())["id"])
    for amount in BAD_NUMBERS:
        answer = await api.post("provider", f"/v1/instances/{instance.id}/top-ups", {"amount": amount})
        assert problem(answer, 400, "invalid_input")["field"] == "/amount"
    listed = await api.get("provider", "/v1/operations", params={"instance_id": instance.id})
    assert listed.json()["items"] == []


async def test_amount_when_it_is_a_number_then_taken(api: ApiBench) -> None:
    instance = await api.instance((await api.element())["id"])
    answer = await api.post("provider", f"/v1/instances/{instance.id}/top-ups", {"amount": 5})
    assert answer.status_code == 202, answer.text


async def test_registration_when_a_member_has_another_type_then_refused_and_named(api: ApiBench) -> None:
    changes: list[tuple[Json, str]] = [
        ({"key_sets": [{"kvn": "48", "source": {}}]}, "/key_sets/0/kvn"),
        ({"identifiers": [{"type": "CIN", "value": 12}]}, "/identifiers/0/value"),
        ({"profile": 3}, "/profile"),
    ]
    for change, field in changes:
        answer = await api.post("issuer", "/v1/secure-elements", api.new_element(**change))
        assert problem(answer, 400, "invalid_input")["field"] == field


async def test_import_when_a_line_holds_a_text_for_a_number_then_that_line_is_refused(api: ApiBench) -> None:
    line = b'{"key_sets": [{"kvn": "48"}]}'
    report = (await _raw(api, "/v1/secure-elements/import", line, who="issuer")).json()
    assert [(entry["code"], entry["field"]) for entry in report["refused"]] == [
        ("invalid_input", "/key_sets/0/kvn")
    ]


async def test_data_when_a_value_is_no_text_then_the_map_is_named(api: ApiBench) -> None:
    body = {"service_id": "s", "se_id": "e", "data": {"limit": 5}}
    answer = await api.post("provider", "/v1/instances", body)
    assert problem(answer, 400, "invalid_input")["field"] == "/data"


async def test_report_when_a_number_is_a_text_then_refused_and_named(api: ApiBench) -> None:
    cin = api.world.new_id()
    await api.element(cin)
    await api.device()
    params = {"sessionId": await api.session(cin)}
    status = {"localAgentStatusEnum": "POLLING"}
    for body, field in (
        ({"localAgentStatus": status, "orderSequence": "1"}, "/orderSequence"),
        ({"localAgentStatus": status, "orderSequence": 2**63}, "/orderSequence"),
        ({"localAgentStatus": status, "stopped": {"index": True, "reason": "MISMATCH"}}, "/stopped/index"),
        ({"localAgentStatus": {**status, "executedSeRamCommands": "0"}}, None),
        ({"localAgentStatus": {**status, "errorMsg": 7}}, "/localAgentStatus/errorMsg"),
    ):
        answer = await api.post("device", "/gp/seram/remoteManagement", body, params=params)
        assert problem(answer, 400, "invalid_input").get("field") == (
            field or "/localAgentStatus/executedSeRamCommands"
        )


async def test_field_when_it_is_of_a_query_or_header_then_its_plain_name(api: ApiBench) -> None:
    found = problem(await api.get("operator", "/v1/parties", params={"limit": "x"}), 400, "invalid_input")
    assert found["field"] == "limit"
    taken = await api.get("operator", "/v1/parties", params={"limit": "1"})
    assert taken.status_code == 200
    await api.device()
    late = await api.post("device", "/gp/seram/handshake", {"secureElements": []})
    assert problem(late, 400, "invalid_input")["field"] == "sessionId"
    key = await api.post("issuer", "/v1/device-enrolments", {}, headers={"Idempotency-Key": ""})
    assert problem(key, 400, "invalid_input")["field"] == "Idempotency-Key"
    audit = await api.get("issuer", "/v1/audit", params={"after": "nonsense"})
    assert problem(audit, 400, "invalid_input")["field"] == "after"


async def test_field_when_a_use_case_refuses_then_a_pointer_too(api: ApiBench) -> None:
    se = await api.element()
    instance = await api.instance(se["id"], InstanceState.OPERATIONAL)
    path = f"/v1/instances/{instance.id}/top-ups"
    for body, field in (
        ({"amount": 1, "application": "A000000003"}, "/application"),
        ({"amount": 1, "valid_until": "2020-01-01T00:00:00Z"}, "/valid_until"),
    ):
        assert problem(await api.post("provider", path, body), 400, "invalid_input")["field"] == field
    again = await api.post("issuer", "/v1/secure-elements", api.new_element(se["identifiers"][0]["value"]))
    assert problem(again, 409, "conflict")["field"] == "/identifiers"


# --- what is not even JSON ------------------------------------------------------------------------------

BROKEN = {
    "nothing": b"",
    "cut": b'{"kind": ',
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "deep in a member": b'{"kind": "SE_ISSUER", "more": ' + b"[" * 100_000,
    "byte order mark": b"\xef\xbb\xbf{}",
    "latin-1": b'{"name": "\xe9"}',
    "utf-16": '{"kind": "SE_ISSUER", "name": "n"}'.encode("utf-16"),
    "lone surrogate": b'{"kind": "SE_ISSUER", "name": "\\ud800"}',
    "encoded surrogate": b'{"kind": "SE_ISSUER", "name": "\xed\xa0\x80"}',
    "NUL": b'{"kind": "SE_ISSUER", "name": "a\\u0000b"}',
    "raw NUL": b'{"kind": "SE_ISSUER", "name": "a\x00b"}',
    "huge number": b'{"kind": 1e99999, "name": "n"}',
    "endless number": b'{"kind": ' + b"9" * 100_000 + b"}",
    "not a number": b"NaN",
    "list": b"[]",
    "null": b"null",
    "two documents": b"{} {}",
    "comment": b"/* */ {}",
    "long name": b'{"kind": "SE_ISSUER", "name": "' + b"n" * 100_000 + b'"}',
}
POSTS = (
    "/v1/parties",
    "/v1/secure-elements",
    "/v1/device-enrolments",
    "/v1/devices",
    "/v1/device-tokens",
    "/v1/instances",
    "/v1/instances/x/top-ups",
    "/v1/instances/x/suspensions",
)


async def test_body_when_broken_then_a_refusal_that_is_the_caller_s(api: ApiBench) -> None:
    for path, (name, body) in product(POSTS, BROKEN.items()):
        answer = await _raw(api, path, body)
        assert 400 <= answer.status_code < 500, (path, name, answer.text)
        problem(answer, answer.status_code, answer.json()["code"])


async def test_party_when_its_body_is_broken_then_nothing_is_registered(api: ApiBench) -> None:
    for body in BROKEN.values():
        assert (await _raw(api, "/v1/parties", body)).status_code == 400, body[:40]


OTHER_KINDS = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=" + "b" * 300,
    "application/json; charset=utf-16",
    "application/json; charset=latin-1",
    "application/msgpack",
    "/",
    ";",
    "application/json, text/html",
)


async def test_body_when_said_to_be_something_else_then_unsupported(api: ApiBench) -> None:
    for kind in OTHER_KINDS:
        body = b'{"kind": "SE_ISSUER", "name": "n"}'
        answer = await _raw(api, "/v1/parties", body, **{"Content-Type": kind})
        problem(answer, 415, "unsupported_media_type")


async def test_body_when_json_or_unnamed_then_taken(api: ApiBench) -> None:
    for kind in ("application/json", "Application/JSON; charset=UTF-8", None):
        headers = {"Authorization": f"Bearer {await api.party('operator')}"}
        headers |= {} if kind is None else {"Content-Type": kind}
        body = f'{{"kind": "SE_ISSUER", "name": "{api.world.new_id()}"}}'.encode()
        assert (await api.client.post("/v1/parties", content=body, headers=headers)).status_code == 201


ODD_PATHS = (
    "/v1/operations/%00",
    "/v1/operations/%ff%fe",
    "/v1/operations/%ED%A0%80",
    "/v1/operations/%",
    "/v1/operations/%zz",
    "/v1/operations/" + "x" * 20_000,
    "/v1/instances/..%2f..%2fetc",
    "/v1/secure-elements/%F0%9F%98%80/content",
    "/v1/secure-elements?identifier=%00",
    "/v1/secure-elements?identifier=%ff",
    "/v1/secure-elements?limit=99999999999999999999999",
    "/v1/secure-elements?limit=1&limit=2",
    "/v1/secure-elements?limit=%00",
    "/v1/secure-elements?limit=1e3",
    "/v1/secure-elements?after=%00",
    "/v1/secure-elements?after=%ff",
    "/v1/secure-elements?after[]=1",
    "/v1/audit?subject=%00",
    "/v1/audit?after=1.99999999999999999999999",
    "/v1/audit?after=99999999999.1",
    "/v1/audit?after=-1.-1",
    "/v1/audit?after=١.٢",
    "/v1/operations?se_id=%00",
    "/v1/operations?instance_id=%ff",
    "/v1/operations/x?wait=nan",
    "/v1/operations/x?wait=inf",
    "/v1/operations/x?wait=1e400",
    "/v1/operations/x/events",
    "/v1//parties",
    "/v1/parties/",
    "/.openapi",
    "/docs/%00",
    "/sptsm/1.0.4/services/%00",
    "/sptsm/1.0.4/services/%ff",
)


METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "QUERY")


async def test_address_when_odd_then_never_an_error_of_ours(api: ApiBench) -> None:
    headers = {"Authorization": f"Bearer {await api.party('issuer')}", **JSON}
    for method, path in product(METHODS, ODD_PATHS):
        answer = await api.client.request(method, path, headers=headers)
        assert answer.status_code < 500, (method, path, answer.text)


async def test_idempotency_key_when_odd_then_refused(api: ApiBench) -> None:
    token = await api.party("issuer")
    for key in (b"k" * 1_000_000, b"a\x00b", b"\xff", b"caf\xc3\xa9", b"", b" ", b"a b", b"a\tb"):
        headers = [(b"Authorization", f"Bearer {token}".encode()), (b"Idempotency-Key", key)]
        answer = await api.client.post("/v1/device-enrolments", json={}, headers=headers)
        assert problem(answer, 400, "invalid_input")["field"] == "Idempotency-Key"


ODD_TOKENS = (
    b"Bearer \xff\xfe",
    b"Bearer a\x00b",
    b"bearer",
    b"Bearer  ",
    b"\x00",
    b"Bearer " + b"t" * 100_000,
)
DOORS = (
    ("GET", "/v1/parties"),
    ("GET", "/sptsm/1.0.4/services"),
    ("POST", "/sptsm/1.0.4/auth"),
    ("POST", "/gp/seram/handshake?sessionId=x"),
)


async def test_token_when_odd_then_unauthenticated(api: ApiBench) -> None:
    for token, (method, path) in product(ODD_TOKENS, DOORS):
        answer = await api.client.request(method, path, headers=[(b"Authorization", token)])
        assert answer.status_code == 401, (token, path, answer.text)


async def test_headers_when_odd_then_never_an_error_of_ours(api: ApiBench) -> None:
    se = await api.element()
    operation = await api.operation(se["id"], party="issuer")
    token = f"Bearer {await api.party('issuer')}".encode()
    for name, value in (
        ("If-None-Match", b"\xff\x00"),
        ("If-None-Match", b"*"),
        ("Accept", b"image/png;q=x"),
        ("Accept-Encoding", b"\xff"),
        ("Content-Length", b"-1"),
        ("Content-Length", b"x"),
        ("Content-Type", b"\xff"),
        ("Cookie", b"\xff=\x00; ="),
        ("X-Request-Id", b"\xff"),
        ("Host", b"\xff"),
        ("Range", b"bytes=0-"),
    ):
        headers = [(b"Authorization", token), (name.encode(), value)]
        shown = await api.client.get(f"/v1/operations/{operation.id}", headers=headers)
        assert shown.status_code < 500, (name, value, shown.text)
        posted = await api.client.post("/v1/device-enrolments", content=b"{}", headers=headers)
        assert posted.status_code < 500, (name, value, posted.text)
