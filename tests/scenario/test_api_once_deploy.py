"""An instance is deployed once under its idempotency key, whichever process crashes or answers first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem
from tests.scenario.sptsm_bench import configure, release

from opentsm.tsm.adapters.storage.postgres import PostgresUnitOfWork

Commit = Callable[[PostgresUnitOfWork], Awaitable[None]]


class CrashError(BaseException):
    """The process is gone: nothing of it runs any more, nothing answers."""


@pytest.fixture
async def twin(api: ApiBench, scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a second application over the same database and keystores, as another process would be."""
    async with ApiBench.open(scenario_dsn, tmp_path) as other:
        other.tokens, other.ids = api.tokens, api.ids
        yield other


async def _request(api: ApiBench) -> tuple[Json, dict[str, str]]:
    """Publish a service for the card of an issuer; return a deployment's body and headers."""
    se = await api.element()
    token = (await api.post("provider", "/sptsm/1.0.4/auth")).json()
    transport = httpx.ASGITransport(app=api.app)  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://tsm/sptsm/1.0.4", headers=headers
    ) as shelf:
        made = await configure(shelf)
        await release(shelf, made)
    return {"service_id": made.service["id"], "se_id": se["id"], "data": {}}, {
        "Idempotency-Key": api.world.new_id()
    }


async def _made(api: ApiBench, se_id: object) -> tuple[list[Json], list[Json]]:
    """Return instances and operations of a secure element, as the provider sees them."""
    found = [
        (await api.get("provider", f"/v1/{kind}", params={"se_id": se_id})).json()["items"]
        for kind in ("instances", "operations")
    ]
    return found[0], found[1]


def _crash(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    real: Commit = PostgresUnitOfWork.commit

    async def commit(self: PostgresUnitOfWork) -> None:
        monkeypatch.setattr(PostgresUnitOfWork, "commit", real)
        if after:
            await real(self)
        raise CrashError

    monkeypatch.setattr(PostgresUnitOfWork, "commit", commit)


async def _only(api: ApiBench, body: Json, answer: httpx.Response) -> None:
    """Check that the answer tells of the only instance and the only operation."""
    assert answer.status_code == 202, answer.text
    told = answer.json()
    instances, operations = await _made(api, body["se_id"])
    assert [entry["id"] for entry in instances] == [told["instance"]["id"]]
    assert [entry["id"] for entry in operations] == [told["operation"]["id"]]
    assert answer.headers["location"] == f"/v1/operations/{told['operation']['id']}"


@pytest.mark.parametrize("after", [False, True])
async def test_deployment_when_the_server_crashed_at_its_commit_then_the_repeat_makes_it_one(
    api: ApiBench, twin: ApiBench, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    body, headers = await _request(api)
    _crash(monkeypatch, after=after)
    with pytest.raises(CrashError):
        await api.post("provider", "/v1/instances", body, headers=headers)
    stored = await _made(api, body["se_id"])
    assert [len(kind) for kind in stored] == [int(after)] * 2
    repeated = await twin.post("provider", "/v1/instances", body, headers=headers)
    assert (repeated.headers.get("idempotency-replayed") == "true") is after
    await _only(api, body, repeated)
    again = await api.post("provider", "/v1/instances", body, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    await _only(api, body, again)
    other = await api.post("provider", "/v1/instances", {**body, "data": {"x": "1"}}, headers=headers)
    problem(other, 409, "idempotency_key_reused")


async def test_deployment_when_its_answer_was_not_stored_then_the_repeat_is_answered_anew(
    api: ApiBench, twin: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit is the deed, the second stores the answer."""
    body, headers = await _request(api)
    real: Commit = PostgresUnitOfWork.commit
    commits = 0

    async def commit(self: PostgresUnitOfWork) -> None:
        nonlocal commits
        commits += 1
        if commits == 2:
            raise CrashError
        await real(self)

    monkeypatch.setattr(PostgresUnitOfWork, "commit", commit)
    with pytest.raises(CrashError):
        await api.post("provider", "/v1/instances", body, headers=headers)
    monkeypatch.setattr(PostgresUnitOfWork, "commit", real)
    repeated = await twin.post("provider", "/v1/instances", body, headers=headers)
    assert repeated.headers["idempotency-replayed"] == "true"
    await _only(api, body, repeated)


async def test_deployment_when_twins_go_to_two_processes_then_one_and_the_same_answer(
    api: ApiBench, twin: ApiBench
) -> None:
    body, headers = await _request(api)
    answers = await asyncio.gather(
        *(bench.post("provider", "/v1/instances", body, headers=headers) for bench in (api, twin) * 3)
    )
    for answer in answers:
        await _only(api, body, answer)
