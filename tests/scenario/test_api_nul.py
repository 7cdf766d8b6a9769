"""U+0000 in a path, a query or a body: a refusal of the caller at every operation of every API."""

import json
from typing import Any

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.api.texts import refuse_nul
from opentsm.tsm.kernel.errors import InvalidInputError

SPTSM = "/sptsm/1.0.4"
HANDSHAKE = "/gp/seram/handshake"
NUL = "a\x00b"
OFFER = {"secureElements": [{"seType": "eSE", "seId": "1"}]}


async def callers(api: ApiBench) -> dict[str, Json]:
    """Return the headers of one caller of each kind."""
    for party in ("operator", "issuer", "provider"):
        await api.party(party)
    cin = api.world.new_id()
    await api.element(cin)
    await api.device()
    await api.session(cin)
    issued = await api.post("provider", "/v1/access-tokens", {"app": "ab" * 32})
    bearer = {name: {"Authorization": f"Bearer {token}"} for name, token in api.tokens.items()}
    device = {"Device-Authorization": bearer["device"]["Authorization"]}
    app = {"Authorization": f"Bearer {issued.json()['token']}", **device}
    short = await api.client.post(f"{SPTSM}/auth", headers=bearer["provider"])
    return {**bearer, "app": app, "shelf": {"Authorization": f"Bearer {short.json()}"}}


def operations(document: Json) -> list[tuple[str, str, list[Json]]]:
    """Return method, path and parameters of each operation."""
    return [
        (method.upper(), path, operation.get("parameters", []))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]


async def answers(api: ApiBench, method: str, path: str, who: dict[str, Json]) -> list[httpx.Response]:
    body: Json | None = {} if method in ("POST", "PUT", "PATCH") else None
    found = [await api.client.request(method, path, headers=one, json=body) for one in who.values()]
    assert all(400 <= answer.status_code < 500 for answer in found), (method, path, [a.text for a in found])
    return found


def is_refusal(answer: httpx.Response, name: str) -> bool:
    found = answer.json()
    return (answer.status_code, found.get("code"), found.get("field")) == (400, "invalid_input", name)


def is_not_existing(answer: httpx.Response, _: str) -> bool:
    """TR-03165, 4.1.5.2: what a path names and is not there is 1009; a body that is none comes first."""
    bodies = (1002, 1004, 1008) if answer.request.content else ()
    return answer.status_code == 400 and answer.json().get("errorCategory") in (1009, *bodies)


def is_failed(answer: httpx.Response, name: str) -> bool:
    """Messages answer with their envelope (docs/reference/messaging.md)."""
    status = answer.json()["FunctionExecutionStatus"]
    told = status.get("StatusCodeData", {})
    return (answer.status_code, status["Status"]) == (400, "Failed") and name in str(told)


def is_unproved(answer: httpx.Response, _: str) -> bool:
    """Another TSM proves itself before anything of its call is looked at."""
    return answer.status_code == 401


async def test_path_and_query_when_they_hold_it_then_refused_by_name_everywhere(api: ApiBench) -> None:
    who = await callers(api)
    document = (await api.client.get("/openapi.json")).json()
    asked = 0
    for method, described, parameters in operations(document):
        path = described
        refused = is_not_existing if path.startswith(SPTSM) else is_refusal
        if path.startswith("/v1/messaging/"):
            refused = is_failed
        if path.startswith("/v1/peers/"):
            refused = is_unproved
        numbers = [one["name"] for one in parameters if one["schema"].get("type") == "integer"]
        for name in numbers:  # a path with anything else there is no path of the server
            path = path.replace(f"{{{name}}}", "0")
        for parameter in parameters:
            name = parameter["name"]
            if parameter["in"] == "path" and name in numbers:
                continue
            if parameter["in"] == "path":
                url = path.replace(f"{{{name}}}", "a%00b")
            elif parameter["in"] == "query":
                url = f"{path}?{name}=a%00b"
            else:
                continue
            asked += 1
            given = url.replace("{", "").replace("}", "")
            assert any(refused(one, name) for one in await answers(api, method, given, who)), (method, url)
    assert asked > 100


BODIES = [
    ("operator", "/v1/parties", {"kind": "SE_ISSUER", "name": NUL}, "/name"),
    ("issuer", "/v1/device-enrolments", {"se_id": NUL}, "/se_id"),
    (None, "/v1/devices", {"code": NUL, "public_key": {}, "name": "n"}, "/code"),
    (None, "/v1/devices", {"code": "c", "public_key": {"kty": NUL}, "name": "n"}, "/public_key/kty"),
    (None, "/v1/devices", {"code": "c", "public_key": {NUL: "EC"}, "name": "n"}, "/public_key"),
    (None, "/v1/device-tokens", {"assertion": NUL}, "/assertion"),
    ("device", "/v1/device-sessions", {"se": {"type": "eSE", "id": NUL}}, "/se/id"),
    ("provider", "/v1/instances", {"service_id": NUL, "se_id": "s"}, "/service_id"),
    ("provider", "/v1/instances", {"service_id": "s", "se_id": "s", "data": {"x": NUL}}, "/data/x"),
    ("app", "/v1/device-api/service-instances", {"serviceId": NUL, "version": "1.0.0"}, "/serviceId"),
    (
        "device",
        "/gp/seram/handshake?sessionId=0",
        {**OFFER, "supportedVersions": [NUL]},
        "/supportedVersions/0",
    ),
]


@pytest.mark.parametrize(
    ("caller", "path", "body", "field"), BODIES, ids=[f"{p}{f}" for _, p, _, f in BODIES]
)
async def test_body_when_it_holds_it_then_refused_with_the_place(
    api: ApiBench, caller: str | None, path: str, body: Json, field: str
) -> None:
    headers = (await callers(api))[caller] if caller else {}
    answer = await api.client.post(path, json=body, headers=headers)
    assert problem(answer, 400, "invalid_input")["field"] == field


async def test_lines_when_one_holds_it_then_this_one_is_refused(api: ApiBench) -> None:
    bad, good = api.new_element(), api.new_element()
    bad["identifiers"][0]["value"] = NUL
    lines = "\n".join(json.dumps(line) for line in (bad, good))
    answer = await api.post("issuer", "/v1/secure-elements/import", content=lines)
    assert [(one["line"], one["field"]) for one in answer.json()["refused"]] == [(1, "/identifiers/0/value")]


@pytest.mark.parametrize(
    ("path", "body", "category", "words"),
    [
        ("/services", {"name": NUL}, 1008, "for name"),
        ("/services", {"name": "n", "spParameters": {"p": NUL}}, 1008, "for spParameters"),
        ("/services", {"name": "n", "spParameters": {NUL: "p"}}, 1008, "for spParameters"),
        ("/services", {"name": "n", NUL: "p"}, 1007, ""),
        ("/services", {"name": "n", "accessAuthorizedDeviceApps": [NUL]}, 1008, "for accessAuth"),
        ("/application-configs", {"instanceAid": NUL}, 1008, "for instanceAid"),
    ],
)
async def test_document_when_it_holds_it_then_the_standards_category(
    api: ApiBench, path: str, body: Json, category: int, words: str
) -> None:
    headers = (await callers(api))["shelf"]
    answer = await api.client.post(f"{SPTSM}{path}", json=body, headers=headers)
    found = answer.json()
    assert (answer.status_code, found["errorCategory"]) == (400, category), found
    assert words in found["errorMessage"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (r'{"a": "\u0000"}', "/a"),
        (r'{"a": "\\\u0000"}', "/a"),
        (r'{"a": ["x", {"b/c": "x\u0000"}]}', "/a/1/b~1c"),
        (r'{"a": {"\u0000": 1}}', "/a"),
        (r'{"\u0000": 1}', None),
        (r'"\u0000"', None),
    ],
)
def test_json_when_a_text_has_it_then_refused_with_its_pointer(text: str, field: str | None) -> None:
    with pytest.raises(InvalidInputError) as refused:
        refuse_nul(text)
    assert refused.value.field == field


@pytest.mark.parametrize("value", [r"\u0000", "\\\\u0000", "\x01", "\\", "u0000", "\ud800"])
def test_json_when_it_only_looks_like_it_then_taken(value: Any) -> None:
    refuse_nul(json.dumps({value: [value, {"": value}]}))


@pytest.mark.parametrize("number", ["9" * 5000, "-1e99999", "0.1"])
def test_json_when_a_number_stands_before_it_then_its_length_does_not_matter(number: str) -> None:
    with pytest.raises(InvalidInputError):
        refuse_nul(f'[{number}, "\\u0000"]')
