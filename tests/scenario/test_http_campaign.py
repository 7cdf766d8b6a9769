"""A short campaign of requests that nobody would send, and proof that a campaign finds what is planted."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import pytest
from tests.scenario.sptsm_server import serving

from opentsm.cli.fuzz_http import uploads
from opentsm.fuzz.http_campaign import HttpCampaign
from opentsm.fuzz.http_requests import Requests, Tokens
from opentsm.tsm.adapters.world import SystemWorld

TOKENS = Tokens(["party"], ["short"], ["device"], ["app"])
DOCUMENT = {
    "paths": {
        "/good": {"get": {}},
        "/planted/{thing_id}": {
            "post": {
                "parameters": [
                    {"name": "thing_id", "in": "path", "schema": {"type": "string", "format": "uuid"}}
                ],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}
                },
            }
        },
    },
    "components": {
        "schemas": {
            "A": {
                "type": "object",
                "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 9}},
                "required": ["number"],
            }
        }
    },
}


class Planted(BaseHTTPRequestHandler):
    """Answers 500 below /planted, and good things to all else."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = DOCUMENT if self.path == "/openapi.json" else {"token": "t", "code": "c", "id": "d"}
        body = json.dumps(found).encode()
        self.send_response(500 if self.path.startswith("/planted") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


for _method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
    setattr(Planted, f"do_{_method}", Planted.answer)


@pytest.fixture
def planted() -> Iterator[str]:
    """Give the URL of a server with a fault."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Planted)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_campaign_when_the_server_is_ours_finds_no_answer_of_its_fault(
    scenario_dsn: str, tmp_path: Path
) -> None:
    with serving(scenario_dsn, tmp_path, SystemWorld()) as served:
        issued = served.container.onboarding.issue_operator_token("campaign")
        operator = asyncio.run_coroutine_threadsafe(issued, served.loop).result()
        result = HttpCampaign(served.url, operator, uploads()).run(requests=1200, seed=7, connections=2)
    assert result.findings == {}
    assert result.requests == 1200
    assert len(result.reached) == result.operations > 100
    assert len(result.accepted) > 20


def test_campaign_when_a_500_is_planted_finds_it_once_with_its_request(planted: str) -> None:
    result = HttpCampaign(planted, "operator", (b"",)).run(requests=60, seed=1, connections=2)
    assert result.findings
    assert all(what.startswith("500: POST /planted/{thing_id}") for what in result.findings)
    assert all(" /planted/" in request for request in result.findings.values())
    assert result.statuses[500] > len(result.findings)
    assert result.document()["findings"]


def test_requests_when_drawn_with_the_same_seed_are_the_same() -> None:
    drawn = [
        [Requests(DOCUMENT, (b"file",)).draw(random, TOKENS)[1] for _ in range(50)]
        for random in (Random(5), Random(5))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != [Requests(DOCUMENT, (b"file",)).draw(Random(6), TOKENS)[1] for _ in range(50)]


def test_requests_when_an_answer_had_an_id_then_draw_it_for_paths_and_show_no_token() -> None:
    requests, random = Requests(DOCUMENT, (b"file",)), Random(3)
    good, _ = next(
        found for found in (requests.draw(random, TOKENS) for _ in range(99)) if found[0].path == "/good"
    )
    requests.learn(good, b'{"thing_id": "known-from-an-answer"}')
    drawn = [requests.draw(random, TOKENS)[1] for _ in range(200)]
    assert sum("known-from-an-answer" in one.path for one in drawn) > 40
    assert not any("Bearer party" in str(one) for one in drawn)


def test_requests_to_the_device_api_when_drawn_then_most_carry_both_tokens() -> None:
    document = {"paths": {"/v1/device-api/processes/{id}": {"get": {}}}, "components": {"schemas": {}}}
    random, both = Random(1), 0
    for _ in range(200):
        _, request = Requests(document, ()).draw(random, TOKENS)
        named = dict(request.headers)
        pair = named.get("Authorization", ""), named.get("Device-Authorization", "")
        both += pair[0].endswith(" app") and pair[1].endswith(" device")
        assert "Authorization" not in str(request)
    assert both > 100
