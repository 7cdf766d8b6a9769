"""Quotas and free memory at the API: amount, yes or no, and what each party may know."""

import pytest
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.space import Reservation, SpaceNeeds
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId

QUOTAS = "/v1/space-quotas"


@pytest.fixture(autouse=True)
async def parties(api: ApiBench) -> None:
    for name in ("issuer", "provider", "other-provider"):
        await api.party(name)


async def read_element(api: ApiBench, free: int) -> str:
    """Return a secure element that showed so many free bytes."""
    se_id = str((await api.element(f"space-{api.world.new_id()}"))["id"])
    async with api.storage.transaction() as tx:
        seen = ObservedContent(fresh=True, free_memory=free, read_at=api.world.now())
        await tx.secure_elements.save_content(SeId(se_id), seen)
        await tx.commit()
    return se_id


async def reserve(api: ApiBench, se_id: str, party: str, size: int) -> None:
    async with api.storage.transaction() as tx:
        await tx.space.reserve(
            Reservation(
                operation_id=OperationId(api.world.new_id()),
                se_id=SeId(se_id),
                provider_id=TenantId(api.ids[party]),
                instance_id=InstanceId(api.world.new_id()),
                needs=SpaceNeeds(nonvolatile=size),
            )
        )
        await tx.commit()


def quota(api: ApiBench, **members: object) -> Json:
    return {"provider_id": api.ids["provider"], "profile": "scp03-i70", **members}


async def test_quota_when_set_changed_and_lifted_is_shown_and_audited(api: ApiBench) -> None:
    made = await api.post("issuer", QUOTAS, quota(api, nonvolatile_bytes=5000))
    assert made.status_code == 201, made.text
    path = made.headers["Location"]
    assert (await api.get("provider", path)).json()["nonvolatile_bytes"] == 5000
    assert (await api.get("other-provider", path)).status_code == 404
    headers = {"Authorization": f"Bearer {api.tokens['issuer']}"}
    changed = await api.client.put(path, json={"volatile_bytes": 7}, headers=headers)
    assert (changed.json()["nonvolatile_bytes"], changed.json()["volatile_bytes"]) == (None, 7)
    again = await api.post("issuer", QUOTAS, quota(api, nonvolatile_bytes=1))
    problem(again, 409, "conflict")
    assert (await api.client.delete(path, headers=headers)).status_code == 204
    assert (await api.get("issuer", path)).status_code == 404
    audit = (await api.get("issuer", "/v1/audit?limit=200")).json()["items"]
    actions = {entry["action"] for entry in audit}
    assert {"space-quota.set", "space-quota.changed", "space-quota.lifted"} <= actions


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="no limit"),
        pytest.param({"nonvolatile_bytes": 5, "arrangement_id": "x"}, id="profile and arrangement"),
        pytest.param({"nonvolatile_bytes": 5, "profile": None}, id="neither"),
        pytest.param({"nonvolatile_bytes": 5, "profile": "nonsense"}, id="unknown profile"),
        pytest.param({"nonvolatile_bytes": 5, "provider_id": "nobody"}, id="unknown provider"),
        pytest.param({"nonvolatile_bytes": 5, "domain_nonvolatile_bytes": 6}, id="domain above all"),
        pytest.param({"nonvolatile_bytes": -1}, id="negative"),
    ],
)
async def test_quota_when_it_is_impossible_is_refused(api: ApiBench, members: dict[str, object]) -> None:
    assert (await api.post("issuer", QUOTAS, quota(api, **members))).status_code == 400


async def test_quota_when_a_provider_sets_it_is_forbidden(api: ApiBench) -> None:
    assert (await api.post("provider", QUOTAS, quota(api, nonvolatile_bytes=5))).status_code == 403


async def test_space_when_asked_by_its_manager_is_what_nobody_reserved(api: ApiBench) -> None:
    se_id = await read_element(api, 10_000)
    await reserve(api, se_id, "provider", 1000)
    shown = (await api.get("issuer", f"/v1/secure-elements/{se_id}/space")).json()
    assert (shown["free_bytes"], shown["reserved_bytes"], shown["available"]) == (9000, 1000, None)
    assert shown["fresh"]
    assert shown["age_s"] >= 0
    assert (await api.get("other-issuer", f"/v1/secure-elements/{se_id}/space")).status_code == 404


async def test_space_when_asked_by_a_provider_is_what_is_left_for_it(api: ApiBench) -> None:
    se_id = await read_element(api, 10_000)
    await reserve(api, se_id, "other-provider", 1000)
    await reserve(api, se_id, "provider", 500)
    path = f"/v1/secure-elements/{se_id}/space"
    shown = (await api.get("provider", path)).json()
    assert (shown["free_bytes"], shown["reserved_bytes"], shown["quota_bytes"]) == (8500, 500, None)
    made = await api.post("issuer", QUOTAS, quota(api, nonvolatile_bytes=3000))
    assert made.status_code == 201, made.text
    found = [(await api.get("provider", f"{path}?amount={n}")).json()["available"] for n in (2500, 2501)]
    assert found == [True, False]
    # the other's quota is none of its business, and the other way round
    assert (await api.get("other-provider", path)).json()["free_bytes"] == 8500


async def test_space_when_the_card_was_never_read_is_not_known(api: ApiBench) -> None:
    se_id = str((await api.element(f"space-{api.world.new_id()}"))["id"])
    shown = (await api.get("issuer", f"/v1/secure-elements/{se_id}/space?amount=1")).json()
    assert (shown["free_bytes"], shown["available"], shown["read_at"]) == (None, None, None)


async def test_reading_when_a_provider_has_a_service_there_is_asked_for_once(api: ApiBench) -> None:
    se_id = await read_element(api, 10_000)
    path = f"/v1/secure-elements/{se_id}/space-readings"
    assert (await api.post("provider", path, {})).status_code == 404
    await api.instance(se_id)
    first, second = [await api.post("provider", path, {}) for _ in range(2)]
    assert (first.status_code, first.json()["type"]) == (202, "AUDIT")
    assert second.json()["id"] == first.json()["id"]
