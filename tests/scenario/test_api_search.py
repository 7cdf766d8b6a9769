"""Lists of operations and instances over HTTP: filters, both orders, pages, and nothing of other tenants."""

import httpx
import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import APPLET, ApiBench, Json, problem

from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.domain.tenant import TenantKind
from opentsm.tsm.kernel.ids import TenantId


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [found["id"] for found in answer.json()["items"]]


async def every_page(api: ApiBench, who: str, path: str, **query: object) -> list[str]:
    """Follow `next` to the end with pages of two."""
    found: list[str] = []
    after: str | None = None
    while True:
        more = {} if after is None else {"after": after}
        answer = await api.get(who, path, params={**query, **more, "limit": 2})
        found += ids(answer)
        after = answer.json()["next"]
        if after is None:
            return found


@pytest.mark.parametrize("count", [4, 5])
async def test_pages_when_followed_in_either_order_then_each_entry_comes_once(
    api: ApiBench, count: int
) -> None:
    se = str((await api.element())["id"])
    operations = [(await api.operation(se)).id for _ in range(count)]
    instances = [(await api.instance(se)).id for _ in range(count)]
    for path, made in (("/v1/operations", operations), ("/v1/instances", instances)):
        assert await every_page(api, "provider", path) == made
        assert await every_page(api, "provider", path, order="desc", se_id=se) == list(reversed(made))


async def test_operations_when_filtered_then_only_those(api: ApiBench) -> None:
    se, other = str((await api.element())["id"]), str((await api.element())["id"])
    queued, rotated = await api.operation(se), await api.operation(other)
    async with api.storage.transaction() as tx:
        changed = replace(rotated, state=OperationState.FAILED, type=OperationType.ROTATE_KEYS)
        await tx.operations.save(changed)
        await tx.commit()

    async def found(**query: str) -> list[str]:
        return ids(await api.get("provider", "/v1/operations", params=query))

    assert await found(state="FAILED") == [rotated.id]
    assert await found(state="REQUESTED") == [queued.id]
    assert await found(type="ROTATE_KEYS") == [rotated.id]
    assert await found(type="ROTATE_KEYS", se_id=se) == []
    assert await found(created_after=rotated.created_at.isoformat()) == [rotated.id]
    assert await found(created_before=rotated.created_at.isoformat()) == [queued.id]


async def test_instances_when_searched_then_found_by_service_card_and_application(api: ApiBench) -> None:
    cin = api.world.new_id()
    se, other = str((await api.element(cin))["id"]), str((await api.element())["id"])
    one, two = await api.instance(se), await api.instance(other, InstanceState.SUSPENDED)

    async def found(**query: str) -> list[str]:
        return ids(await api.get("provider", "/v1/instances", params=query))

    assert await found(service_id="transit") == [one.id, two.id]
    assert await found(service_id="transit", version="1.0.0", flavor_id="flavor") == [one.id, two.id]
    assert await found(service_id="tram") == []
    assert await found(version="1.0.1") == []
    assert await found(flavor_id="taste") == []
    assert await found(state="SUSPENDED") == [two.id]
    assert await found(se_identifier=cin) == [one.id]
    assert await found(se_identifier=cin, se_id=other) == []
    assert await found(se_identifier="nobody's name") == []
    assert await found(application=str(APPLET).lower()) == [one.id, two.id]
    assert await found(application="A000000003") == []
    assert await found(created_before=one.created_at.isoformat()) == []


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/operations", {"state": "LOST"}, "state"),
        ("/v1/operations", {"type": "DANCE"}, "type"),
        ("/v1/operations", {"order": "up"}, "order"),
        ("/v1/operations", {"created_after": "yesterday"}, "created_after"),
        ("/v1/operations", {"created_before": "2026-01-01T00:00:00"}, "created_before"),
        ("/v1/instances", {"state": "QUEUED"}, "state"),
        ("/v1/instances", {"state": "UNKNOWN"}, "state"),
        ("/v1/instances", {"application": "F0"}, "application"),
        ("/v1/instances", {"created_after": "2026-01-01"}, "created_after"),
        ("/v1/instances", {"order": ""}, "order"),
    ],
)
async def test_search_when_a_value_is_malformed_then_refused_with_its_name(
    api: ApiBench, path: str, query: Json, field: str
) -> None:
    answer = await api.get("provider", path, params=query)
    assert problem(answer, 400, "invalid_input")["field"] == field


async def test_search_when_another_tenant_asks_then_nothing_is_found_by_any_filter(api: ApiBench) -> None:
    cin = api.world.new_id()
    se = str((await api.element(cin))["id"])
    instance, operation = await api.instance(se), await api.operation(se)
    for query in (
        {"se_id": se},
        {"state": "REQUESTED"},
        {"state": "REQUESTED", "order": "desc"},
        {"type": "DEPLOY"},
        {"se_id": se, "type": "DEPLOY"},
        {"after": "0"},
        {"after": operation.id, "order": "asc"},
        {"created_after": "2001-01-01T00:00:00Z"},
    ):
        for who in ("other-provider", "other-issuer"):
            assert ids(await api.get(who, "/v1/operations", params=query)) == []
    for query in (
        {"se_id": se},
        {"se_identifier": cin},
        {"service_id": "transit"},
        {"flavor_id": "flavor"},
        {"state": "OPERATIONAL"},
        {"application": str(APPLET)},
        {"after": "f", "order": "desc"},
    ):
        assert ids(await api.get("other-provider", "/v1/instances", params=query)) == []
        assert ids(await api.get("provider", "/v1/instances", params=query)) == [instance.id]


async def test_search_when_no_party_asks_for_which_it_is_then_forbidden(api: ApiBench) -> None:
    se = str((await api.element())["id"])
    await api.device(se)
    problem(await api.get("device", "/v1/operations"), 403, "forbidden")
    for who in ("device", "issuer", "operator"):
        problem(await api.get(who, "/v1/instances"), 403, "forbidden")


async def test_lists_when_asked_inside_for_another_s_then_the_caller_s_own_come(api: ApiBench) -> None:
    """What the filter says about whose they are is never believed."""
    from opentsm.tsm.domain.tenant import Principal
    from opentsm.tsm.ports.repositories import InstanceFilter, OperationFilter, Page

    se = str((await api.element())["id"])
    await api.instance(se)
    await api.operation(se)
    await api.party("other-provider")
    victim, caller = TenantId(api.ids["provider"]), TenantId(api.ids["other-provider"])
    principal = Principal(tenant_id=caller, kind=TenantKind.SERVICE_PROVIDER)
    requests = api.container.requests
    assert await requests.operations(principal, Page(), OperationFilter(tenant_id=victim)) == []
    assert await requests.instances(principal, Page(), InstanceFilter(provider_id=victim)) == []
