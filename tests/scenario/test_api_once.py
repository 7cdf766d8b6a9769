"""Idempotency keys against twins in two processes, and against a crash between the deed and the answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx
import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.api import idempotency
from opentsm.tsm.adapters.storage.postgres import PostgresUnitOfWork

Commit = Callable[[PostgresUnitOfWork], Awaitable[None]]


@pytest.fixture
async def twin(api: ApiBench, scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a second application over the same database and keystores, as another process would be."""
    async with ApiBench.open(scenario_dsn, tmp_path) as other:
        other.tokens, other.ids = api.tokens, api.ids
        yield other


async def _at_once(dsn: str, *requests: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """Send requests that all have looked for their key before any of them can write it."""
    gate, watch = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    try:
        transaction = gate.transaction()
        await transaction.start()
        await gate.execute("LOCK TABLE idempotency_keys IN SHARE ROW EXCLUSIVE MODE")
        tasks = [asyncio.ensure_future(request()) for request in requests]
        async with asyncio.timeout(120):
            while await watch.fetchval(waiting) < len(tasks):
                pass  # the query itself lets the requests go on
        await transaction.rollback()
        return await asyncio.gather(*tasks)
    finally:
        await gate.close()
        await watch.close()


async def _operations(api: ApiBench, who: str, se_id: str) -> list[Json]:
    return list((await api.get(who, "/v1/operations", params={"se_id": se_id})).json()["items"])


async def test_twins_when_two_processes_get_them_at_once_then_one_operation_and_one_answer(
    api: ApiBench, twin: ApiBench, scenario_dsn: str
) -> None:
    se = await api.element()
    path, headers = f"/v1/secure-elements/{se['id']}/audits", {"Idempotency-Key": api.world.new_id()}
    answers = await _at_once(
        scenario_dsn,
        lambda: api.post("issuer", path, headers=headers),
        lambda: twin.post("issuer", path, headers=headers),
    )
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [entry["id"] for entry in await _operations(api, "issuer", se["id"])] == [answers[0].json()["id"]]
    assert answers[0].headers["location"] == answers[1].headers["location"]


async def test_twins_when_their_bodies_differ_then_one_is_carried_out(
    api: ApiBench, twin: ApiBench, scenario_dsn: str
) -> None:
    instance = await api.instance((await api.element())["id"])
    path, headers = f"/v1/instances/{instance.id}/suspensions", {"Idempotency-Key": api.world.new_id()}
    answers = await _at_once(
        scenario_dsn,
        lambda: api.post("provider", path, {"reason": "LOSS"}, headers=headers),
        lambda: twin.post("provider", path, {}, headers=headers),
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    problem(refused, 409, "idempotency_key_reused")
    assert len(await _operations(api, "provider", instance.se_id)) == 1


async def test_twins_when_what_they_make_has_a_name_then_both_get_the_one(
    api: ApiBench, twin: ApiBench
) -> None:
    await api.party("issuer")
    body, headers = api.new_element(), {"Idempotency-Key": api.world.new_id()}
    answers = await asyncio.gather(
        *(bench.post("issuer", "/v1/secure-elements", body, headers=headers) for bench in (api, twin) * 3)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await api.get("issuer", "/v1/secure-elements")).json()["items"]) == 1


class CrashError(BaseException):
    """The process is gone: nothing of it runs any more, nothing answers."""


def _crashing(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let the next commit end the process, before or after it has happened."""
    real: Commit = PostgresUnitOfWork.commit

    async def commit(self: PostgresUnitOfWork) -> None:
        monkeypatch.setattr(PostgresUnitOfWork, "commit", real)
        if after:
            await real(self)
        raise CrashError

    monkeypatch.setattr(PostgresUnitOfWork, "commit", commit)


@pytest.mark.parametrize("after", [False, True])
async def test_repeat_when_the_first_crashed_at_its_commit_then_one_operation(
    api: ApiBench, twin: ApiBench, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    instance = await api.instance((await api.element())["id"])
    path, headers = f"/v1/instances/{instance.id}/suspensions", {"Idempotency-Key": api.world.new_id()}
    _crashing(monkeypatch, after=after)
    with pytest.raises(CrashError):
        await api.post("provider", path, headers=headers)
    stored = await _operations(api, "provider", instance.se_id)
    assert len(stored) == int(after)
    repeated = await twin.post("provider", path, headers=headers)
    assert repeated.status_code == 202
    assert (repeated.headers.get("idempotency-replayed") == "true") is after
    assert [entry["id"] for entry in await _operations(api, "provider", instance.se_id)] == [
        repeated.json()["id"]
    ]
    third = await api.post("provider", path, headers=headers)
    assert third.json()["id"] == repeated.json()["id"]
    reused = await api.post("provider", path, {"reason": "LOSS"}, headers=headers)
    problem(reused, 409, "idempotency_key_reused")


async def test_repeat_when_the_lost_answer_showed_an_element_then_it_is_made_anew(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.party("issuer")
    body, headers = api.new_element(), {"Idempotency-Key": api.world.new_id()}
    _crashing(monkeypatch, after=True)
    with pytest.raises(CrashError):
        await api.post("issuer", "/v1/secure-elements", body, headers=headers)
    repeated = await api.post("issuer", "/v1/secure-elements", body, headers=headers)
    assert repeated.status_code == 201
    shown = await api.get("issuer", repeated.headers["location"])
    assert shown.json() == repeated.json()


async def test_repeat_when_the_lost_answer_held_a_secret_then_told_and_not_done_again(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"kind": "SE_ISSUER", "name": api.world.new_id()}
    headers = {"Idempotency-Key": api.world.new_id()}
    await api.party("operator")
    _crashing(monkeypatch, after=True)
    with pytest.raises(CrashError):
        await api.post("operator", "/v1/parties", body, headers=headers)
    monkeypatch.setattr(idempotency, "_LOOK_AGAIN_S", 0)
    repeated = await api.post("operator", "/v1/parties", body, headers=headers)
    assert problem(repeated, 409, "answer_lost")["field"] == "Idempotency-Key"
