"""Nothing that a request says is passed over: unknown query parameters, stale ETags."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, problem

from opentsm.tsm.domain.operation import OperationState
from opentsm.tsm.roles.hub.requests import Requests


@pytest.mark.parametrize(
    ("who", "path", "name"),
    [
        ("provider", "/v1/operations?statee=FAILED", "statee"),
        ("provider", "/v1/instances?limit=5&se=1", "se"),
        ("issuer", "/v1/secure-elements?identifer=1", "identifer"),
        ("issuer", "/v1/tokens?x=", "x"),
    ],
)
async def test_query_when_a_parameter_is_unknown_then_refused_by_its_name(
    api: ApiBench, who: str, path: str, name: str
) -> None:
    refused = problem(await api.get(who, path), 400, "invalid_input")
    assert (refused["field"], name in refused["detail"]) == (name, True)
    assert "limit" in refused["advice"]


async def test_query_of_a_post_when_it_has_parameters_then_nothing_is_done(api: ApiBench) -> None:
    se = await api.element()
    problem(await api.post("issuer", f"/v1/secure-elements/{se['id']}/audits?force=1"), 400, "invalid_input")
    assert (await api.get("issuer", f"/v1/operations?se_id={se['id']}")).json()["items"] == []


async def test_query_when_the_caller_is_nobody_then_unauthenticated_comes_first(api: ApiBench) -> None:
    problem(await api.get(None, "/v1/operations?statee=FAILED"), 401, "unauthenticated")


async def test_change_when_if_match_is_stale_then_precondition_failed_and_nothing_is_done(
    api: ApiBench,
) -> None:
    se = await api.element()
    instance = await api.instance(str(se["id"]))
    path = f"/v1/instances/{instance.id}"
    tag = (await api.get("provider", path)).headers["etag"]
    stale = await api.post("provider", f"{path}/suspensions", headers={"If-Match": '"999"'})
    assert problem(stale, 412, "precondition_failed")["field"] == "If-Match"
    assert (await api.get("provider", f"/v1/operations?se_id={se['id']}")).json()["items"] == []
    for good in (tag, f'"999", {tag}', "*"):
        answer = await api.post("provider", f"{path}/suspensions", headers={"If-Match": good})
        assert answer.status_code == 202, answer.text


async def test_cancellation_when_if_match_is_stale_then_precondition_failed(api: ApiBench) -> None:
    se = await api.element()
    operation = await api.operation(str(se["id"]))
    path = f"/v1/operations/{operation.id}"
    tag = (await api.get("provider", path)).headers["etag"]
    stale = await api.post("provider", f"{path}/cancellations", headers={"If-Match": 'W/"0"'})
    problem(stale, 412, "precondition_failed")
    assert (await api.post("provider", f"{path}/cancellations", headers={"If-Match": tag})).status_code == 202


@pytest.mark.parametrize("key", [None, "once"], ids=["bare", "with a key"])
async def test_change_when_another_is_faster_than_its_transaction_then_no_update_is_lost(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    se = await api.element()
    instance = await api.instance(str(se["id"]))
    path = f"/v1/instances/{instance.id}"
    tag = (await api.get("provider", path)).headers["etag"]
    change = Requests.change

    async def overtaken(self: Requests, *given: Any, **named: Any) -> Any:
        """Somebody saves the instance after If-Match was compared, and before the request's transaction."""
        async with api.storage.transaction() as tx:
            found = await tx.instances.get(instance.id)
            assert found is not None
            await tx.instances.save(found)
            await tx.commit()
        return await change(self, *given, **named)

    monkeypatch.setattr(Requests, "change", overtaken)
    headers = {"If-Match": tag} | ({} if key is None else {"Idempotency-Key": key})
    late = problem(
        await api.post("provider", f"{path}/suspensions", headers=headers), 412, "precondition_failed"
    )
    assert late["field"] == "If-Match"
    assert '"1"' in late["detail"]
    assert (await api.get("provider", f"/v1/operations?se_id={se['id']}")).json()["items"] == []


async def test_cancellation_when_the_operation_moves_meanwhile_then_it_goes_on(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = await api.operation(str((await api.element())["id"]))
    path = f"/v1/operations/{operation.id}"
    tag = (await api.get("provider", path)).headers["etag"]
    cancel = Requests.cancel

    async def overtaken(self: Requests, *given: Any) -> Any:
        async with api.storage.transaction() as tx:
            await tx.operations.save(replace(operation, state=OperationState.QUEUED))
            await tx.commit()
        return await cancel(self, *given)

    monkeypatch.setattr(Requests, "cancel", overtaken)
    late = await api.post("provider", f"{path}/cancellations", headers={"If-Match": tag})
    problem(late, 412, "precondition_failed")
    assert (await api.get("provider", path)).json()["state"] == "QUEUED"


async def test_if_match_when_there_is_no_etag_then_refused(api: ApiBench) -> None:
    se = await api.element()
    path = f"/v1/secure-elements/{se['id']}/audits"
    refused = problem(await api.post("issuer", path, headers={"If-Match": '"1"'}), 400, "invalid_input")
    assert refused["field"] == "If-Match"


async def test_change_when_replayed_with_the_etag_of_then_then_the_stored_answer(api: ApiBench) -> None:
    se = await api.element()
    operation = await api.operation(str(se["id"]))
    path = f"/v1/operations/{operation.id}"
    headers = {"If-Match": (await api.get("provider", path)).headers["etag"], "Idempotency-Key": "one"}
    first = await api.post("provider", f"{path}/cancellations", headers=dict(headers))
    again = await api.post("provider", f"{path}/cancellations", headers=dict(headers))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotency-replayed"] == "true"


async def test_healthz_when_only_the_head_is_asked_for_then_alive(api: ApiBench) -> None:
    answer = await api.client.head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")
