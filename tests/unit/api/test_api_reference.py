"""The API's description: complete, up to date, and a page that loads nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator
from litestar import Litestar

from opentsm.api.app import create_app
from opentsm.api.blank import BlankContainer
from opentsm.api.docs_page import render
from opentsm.api.openapi import describe, document

REFERENCE = Path(__file__).parents[3] / "docs/reference/openapi.json"


@pytest.fixture(scope="module")
def app() -> Litestar:
    return create_app(BlankContainer())


def test_reference_then_is_what_the_server_says(app: Litestar) -> None:
    command = "python -m opentsm.api.openapi docs/reference/openapi.json"
    assert document(app) == REFERENCE.read_bytes(), f"out of date: {command}"


def test_description_then_every_request_can_end_in_a_problem(app: Litestar) -> None:
    described = describe(app)
    assert described["openapi"].startswith("3.1")
    for path, item in described["paths"].items():
        for method, operation in item.items():
            assert "default" in operation["responses"], (method, path)
            assert operation.get("summary"), (method, path)
            assert operation.get("tags"), (method, path)
    assert {"code", "request_id"} <= set(described["components"]["schemas"]["Problem"]["required"])


def test_description_then_its_references_lead_somewhere(app: Litestar) -> None:
    text = document(app).decode()
    described = json.loads(text)
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in described["components"]["schemas"], name


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset"):
                self.links.append(value or "")
            if name == "id":
                self.ids.add(value or "")


def test_page_then_loads_nothing_and_its_links_lead_somewhere(app: Litestar) -> None:
    page = render(describe(app))
    sources = _Sources()
    sources.feed(page)
    assert not sources.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert "url(" not in page
    assert "@import" not in page
    assert {link for link in sources.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in sources.links if link.startswith("#")} <= sources.ids
    for path in describe(app)["paths"]:
        assert path in page
    assert "`" not in page


def test_page_when_a_description_holds_code_then_it_is_shown_as_code() -> None:
    operation = {"summary": "a `b<c` d", "description": "`x` and ` alone", "responses": {}}
    page = render({"info": {"title": "t", "version": "1"}, "paths": {"/p": {"get": operation}}})
    assert "a <code>b&lt;c</code> d" in page
    assert "<code>x</code> and ` alone" in page


def test_description_then_every_route_that_is_served_stands_in_it(app: Litestar) -> None:
    served = {
        (route.path_format, method.lower())
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    described = {(path, method) for path, item in describe(app)["paths"].items() for method in item}
    assert served - described == {("/docs", "get"), ("/openapi.json", "get")}
    assert described <= served


def test_description_then_it_is_openapi_and_its_schemas_are_json_schema(app: Litestar) -> None:
    described = describe(app)
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    ids = [operation["operationId"] for item in described["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    schemes = described["components"]["securitySchemes"]
    for path, item in described["paths"].items():
        for method, operation in item.items():
            named = re.findall(r"{(\w+)}", path)
            given = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
            assert sorted(named) == sorted(given), (method, path)
            assert all(name in schemes for one in operation.get("security", ()) for name in one), (
                method,
                path,
            )


def test_description_then_the_standard_s_operations_have_its_names_and_errors(app: Litestar) -> None:
    described = {
        path: item for path, item in describe(app)["paths"].items() if path.startswith("/sptsm/1.0.4/")
    }
    assert (
        described["/sptsm/1.0.4/services/{serviceId}/flavors/{flavorId}"]["get"]["operationId"] == "getFlavor"
    )
    error = "#/components/schemas/Sptsm_GeneralError"
    for path, item in described.items():
        for operation in item.values():
            for status in ("400", "401", "500"):
                content = operation["responses"][status]["content"]
                assert content["application/json"]["schema"]["$ref"] == error, path


def test_description_then_keys_and_headers_stand_where_the_server_has_them(app: Litestar) -> None:
    keyed, replayed, located = set(), set(), set()
    for path, item in describe(app)["paths"].items():
        for method, operation in item.items():
            if "Idempotency-Key" in [p["name"] for p in operation.get("parameters", [])]:
                keyed.add((path, method))
            headers = {
                name for answer in operation["responses"].values() for name in answer.get("headers", ())
            }
            replayed |= {(path, method)} if "Idempotency-Replayed" in headers else set()
            located |= {(path, method)} if "Location" in headers else set()
    assert keyed == replayed
    posts = {path for path, method in keyed if method == "post"}
    assert len(posts) == len(keyed)
    # each of these carries its own proof, or is read as it comes
    assert not posts & {"/v1/devices", "/v1/device-tokens", "/v1/secure-elements/import"}
    assert {"/v1/parties", "/v1/instances", "/v1/device-enrolments", "/v1/device-sessions"} <= posts
    assert located == {
        ("/v1/applet-submissions", "post"),
        ("/v1/approvals", "post"),
        ("/v1/arrangements", "post"),
        ("/v1/secure-elements", "post"),
        ("/v1/secure-elements/{se_id}/audits", "post"),
        ("/v1/secure-elements/{se_id}/configurations", "post"),
        ("/v1/secure-elements/{se_id}/card-locks", "post"),
        ("/v1/secure-elements/{se_id}/clean-ups", "post"),
        ("/v1/network-operators", "post"),
        ("/v1/subscriptions", "post"),
        ("/v1/imports", "post"),
        ("/v1/space-quotas", "post"),
        ("/v1/secure-elements/{se_id}/space-readings", "post"),
        ("/v1/instances", "post"),
        ("/v1/instances/{instance_id}/top-ups", "post"),
        ("/v1/instances/{instance_id}/updates", "post"),
        ("/v1/instances/{instance_id}/personalizations", "post"),
        ("/v1/instances/{instance_id}/{change}", "post"),
        ("/v1/operations/{operation_id}/cancellations", "post"),
        ("/v1/device-api/processes/{process_id}/cancellations", "post"),
        *(
            (f"/v1/device-api/service-instances/{{service_instance_id}}/{call}", "post")
            for call in ("deployments", "updates", "suspension", "terminations")
        ),
    }


def test_page_when_a_description_holds_markup_then_it_is_text() -> None:
    page = render(
        {
            "info": {"title": "<script>", "version": "1"},
            "paths": {"/<b>": {"get": {"summary": "<i>", "responses": {}}}},
        }
    )
    assert not re.search(r"<script|<i>|/<b>", page)


async def test_server_then_serves_both_with_a_strict_policy(app: Litestar) -> None:
    transport = httpx.ASGITransport(app=_with_ids(app))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://tsm") as client:
        page = await client.get("/docs")
        described = await client.get("/openapi.json")
        olds = [
            await client.get(path)
            for path in ("/schema", "/schema/openapi.json", "/.openapi", "/.openapi/openapi.json")
        ]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")
    assert described.content == REFERENCE.read_bytes()
    assert [old.status_code for old in olds] == [404] * 4


def _with_ids(app: Litestar) -> Litestar:
    """Give the application the one thing that it takes of a container without a use case."""
    from opentsm.api.metrics import Metrics
    from opentsm.api.observation import Observation
    from opentsm.tsm.adapters.world import SystemWorld

    inner = app.asgi_handler
    if isinstance(inner, Observation):
        app.asgi_handler = Observation(inner._app, world=SystemWorld(), metrics=Metrics())
    return app
