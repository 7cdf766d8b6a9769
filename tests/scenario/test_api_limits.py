"""What one request or one address may ask: long bodies get 413, failed proofs 429, members stand once."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, problem

from opentsm.agent.device_key import DeviceKey
from opentsm.api.bodies import ANONYMOUS_BYTES, DEVICE_BYTES, PARTY_BYTES

IMPORT = "/v1/secure-elements/import"
JSON = {"Content-Type": "application/json"}
IMPORT_BYTES = 20_000


@pytest.fixture
async def strict(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a TSM that bears little."""
    flags = {
        "limits__import_bytes": str(IMPORT_BYTES),
        "limits__failed_proofs": "3",
        "limits__failed_proofs_window_s": "3600",
    }
    async with ApiBench.open(scenario_dsn, tmp_path, **flags) as bench:
        yield bench


async def _send(
    api: ApiBench, who: str, path: str, content: bytes | AsyncIterable[bytes], **headers: str
) -> httpx.Response:
    authorization = {} if who == "nobody" else {"Authorization": f"Bearer {await api.party(who)}"}
    return await api.client.post(path, content=content, headers={**JSON, **authorization, **headers})


async def _in_chunks(body: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


def _lines(api: ApiBench, length: int) -> bytes:
    """Write at least so many bytes of good lines."""
    text = ""
    while len(text) < length:
        text += json.dumps(api.new_element()) + "\n"
    return text.encode()


# --- bodies ---------------------------------------------------------------------------------------------


async def test_import_when_announced_too_long_then_nothing_of_it_is_read(strict: ApiBench) -> None:
    answer = await _send(strict, "issuer", IMPORT, _lines(strict, IMPORT_BYTES + 1))
    assert str(IMPORT_BYTES) in problem(answer, 413, "too_large")["detail"]
    assert (await strict.get("issuer", "/v1/secure-elements")).json()["items"] == []


async def test_import_when_it_goes_on_beyond_the_limit_then_told_how_far_it_was_read(
    strict: ApiBench,
) -> None:
    body = _lines(strict, IMPORT_BYTES + 3000)
    answer = await _send(strict, "issuer", IMPORT, _in_chunks(body))
    listed = (await strict.get("issuer", "/v1/secure-elements", params={"limit": 200})).json()["items"]
    assert 0 < len(listed) < body.count(b"\n")
    detail = problem(answer, 413, "too_large")["detail"]
    assert f"Its first {len(listed)} lines were read, and what they registered stays." in detail


async def test_import_when_as_long_as_the_limit_then_taken(strict: ApiBench) -> None:
    body = _lines(strict, IMPORT_BYTES // 2)
    body += b" " * (IMPORT_BYTES - len(body) - 1) + b"\n"
    for content in (_in_chunks(body), body):
        answer = await _send(strict, "issuer", IMPORT, content)
        assert answer.status_code == 200, answer.text


class _Endless:
    """A body that never ends; it counts what was taken of it."""

    taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += 1
            yield b"x" * 10_000


LIMITS = (
    ("nobody", "/v1/devices", ANONYMOUS_BYTES),
    ("nobody", "/v1/device-tokens", ANONYMOUS_BYTES),
    ("operator", "/v1/parties", PARTY_BYTES),
    ("issuer", "/v1/device-enrolments", PARTY_BYTES),
    ("device", "/v1/device-sessions", PARTY_BYTES),
    ("device", "/gp/seram/handshake?sessionId=x", DEVICE_BYTES),
)


@pytest.mark.parametrize(("who", "path", "limit"), LIMITS)
async def test_body_when_too_long_then_413_and_no_more_of_it_is_read(
    api: ApiBench, who: str, path: str, limit: int
) -> None:
    if who == "device":
        await api.device()
    for headers in ({}, {"Idempotency-Key": api.world.new_id()}):
        endless = _Endless()
        told = await _send(api, who, path, b" " * (limit + 1), **headers)
        assert f"{limit} bytes" in problem(told, 413, "too_large")["detail"]
        grown = await _send(api, who, path, endless, **headers)
        problem(grown, 413, "too_large")
        assert endless.taken <= limit // 10_000 + 2


# --- failed proofs --------------------------------------------------------------------------------------


def _wait(answer: httpx.Response) -> int:
    problem(answer, 429, "too_many_attempts")
    return int(answer.headers["retry-after"])


async def test_tokens_when_bad_ones_go_on_then_429_and_a_proved_one_still_works(strict: ApiBench) -> None:
    await strict.element()  # the issuer's token has worked from here
    strict.tokens["bad"] = "otsm_" + "A" * 43
    for _ in range(3):
        problem(await strict.get("bad", "/v1/operations"), 401, "unauthenticated")
    assert 3000 < _wait(await strict.get("bad", "/v1/operations")) <= 3600
    assert (await strict.get("issuer", "/v1/operations")).status_code == 200
    await strict.device()  # another door: enrolment and assertion


async def test_codes_when_bad_ones_go_on_then_429_even_for_a_good_one(strict: ApiBench) -> None:
    offer = (await strict.post("issuer", "/v1/device-enrolments", {})).json()
    bodies: Iterator[dict[str, object]] = (
        {"code": code, "public_key": DeviceKey.generate().public_jwk(), "name": "phone"}
        for code in ("A" * 32, "B" * 32, "C" * 32, offer["code"])
    )
    answers = [await strict.post(None, "/v1/devices", body) for body in bodies]
    assert [answer.status_code for answer in answers] == [403, 403, 403, 429]
    assert _wait(answers[-1]) > 3000


async def test_codes_when_the_body_is_malformed_then_they_do_not_count(strict: ApiBench) -> None:
    answers = [await strict.post(None, "/v1/devices", {"code": "A"}) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {400}


async def test_assertions_when_bad_ones_go_on_then_429_and_a_proved_device_still_gets_its_token(
    strict: ApiBench,
) -> None:
    device_id, key = await strict.device()
    bad = {"assertion": strict.assertion(strict.world.new_id(), DeviceKey.generate())}
    found = [(await strict.post(None, "/v1/device-tokens", bad)).status_code for _ in range(4)]
    assert found == [401, 401, 401, 429]
    good = await strict.post(None, "/v1/device-tokens", {"assertion": strict.assertion(device_id, key)})
    assert good.status_code == 200, good.text


async def test_tokens_when_expired_then_they_do_not_count(strict: ApiBench) -> None:
    await strict.device()
    strict.world.shift += timedelta(seconds=2 * strict.container.settings.device.token_lifetime_s)
    answers = await asyncio.gather(
        *(strict.post("device", "/v1/device-sessions", {"se": {"type": "eSE", "id": "x"}}) for _ in range(6))
    )
    assert [answer.status_code for answer in answers] == [401] * 6


@pytest.mark.parametrize(("method", "path"), [("POST", "/auth"), ("GET", "/services")])
async def test_sptsm_tokens_when_bad_ones_go_on_then_429(strict: ApiBench, method: str, path: str) -> None:
    headers = {"Authorization": "otsm_" + "B" * 43}
    answers = [await strict.client.request(method, f"/sptsm/1.0.4{path}", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert answers[-1].json()["errorCategory"] == 1001
    assert int(answers[-1].headers["retry-after"]) > 3000


# --- members --------------------------------------------------------------------------------------------


async def test_member_when_given_twice_then_refused_and_named(api: ApiBench) -> None:
    cin = api.world.new_id()
    await api.element(cin)
    await api.device()
    session = await api.session(cin)
    status = '"localAgentStatus": {"localAgentStatusEnum": "POLLING", "localAgentStatusEnum": "POLLING"}'
    for who, path, body, field in (
        ("operator", "/v1/parties", '{"kind": "SE_ISSUER", "name": "a", "name": "b"}', "/name"),
        ("nobody", "/v1/device-tokens", '{"assertion": "a", "assertion": "b"}', "/assertion"),
        (
            "device",
            f"/gp/seram/remoteManagement?sessionId={session}",
            f"{{{status}}}",
            "/localAgentStatus/localAgentStatusEnum",
        ),
        (
            "device",
            f"/gp/seram/handshake?sessionId={session}",
            '{"secureElements": [], "more": 1, "more": 2}',
            "/more",
        ),
    ):
        answer = await _send(api, who, path, body.encode())
        assert problem(answer, 400, "invalid_input")["field"] == field


async def test_member_when_given_twice_in_a_line_of_an_import_then_that_line_is_refused(
    api: ApiBench,
) -> None:
    good = json.dumps(api.new_element())
    twice = good[:-1] + ', "profile": "scp03-i70"}'
    report = (await _send(api, "issuer", IMPORT, f"{twice}\n{good}\n".encode())).json()
    assert [(entry["line"], entry["code"], entry["field"]) for entry in report["refused"]] == [
        (1, "invalid_input", "/profile")
    ]
    assert [entry["line"] for entry in report["registered"]] == [2]


async def test_member_when_given_twice_to_the_standard_s_api_then_1002(api: ApiBench) -> None:
    token = await api.party("provider")
    issued = await api.client.post("/sptsm/1.0.4/auth", headers={"Authorization": token})
    headers = {"Authorization": issued.json(), **JSON}
    body = b'{"name": "one", "name": "two"}'
    answer = await api.client.post("/sptsm/1.0.4/services", content=body, headers=headers)
    assert (answer.status_code, answer.json()["errorCategory"]) == (400, 1002)
    assert "/name" in answer.json()["errorMessage"]
