"""Updates and re-personalisations over HTTP: who may ask for them, and when."""

from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.service import InstanceState, ServiceInstance
from opentsm.tsm.roles.sp.catalogue import SpCatalogue

UPDATE: Json = {"version": "2.0.0", "data": {"name": "ADA"}}
PERSONALIZE: Json = {"data": {"name": "ADA"}}
BODIES = [("updates", UPDATE), ("personalizations", PERSONALIZE)]


def offered(instance: ServiceInstance) -> ServiceDescription:
    """Return a second version in which every application is personalised."""
    description = instance.description
    apps = tuple(replace(app, personalization="v1", recipe_id="recipe") for app in description.applications)
    return replace(description, version_tag="2.0.0", applications=apps)


async def personalized(api: ApiBench) -> ServiceInstance:
    instance = await api.instance((await api.element())["id"])
    second = replace(offered(instance), version_tag="1.0.0")
    async with api.storage.transaction() as tx:
        saved = await tx.instances.save(replace(instance, description=second))
        await tx.commit()
    return saved


@pytest.mark.parametrize(("change", "body"), BODIES)
async def test_renewal_when_asked_for_then_accepted_and_its_data_never_shown(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch, change: str, body: Json
) -> None:
    instance = await personalized(api)
    monkeypatch.setattr(SpCatalogue, "describe", AsyncMock(return_value=offered(instance)))
    monkeypatch.setattr(SpCatalogue, "seal_personalization_data", AsyncMock(return_value=b"sealed"))
    answer = await api.post("provider", f"/v1/instances/{instance.id}/{change}", body)
    assert answer.status_code == 202, answer.text
    operation = answer.json()
    assert operation["type"] == {"updates": "UPDATE", "personalizations": "PERSONALIZE"}[change]
    shown = await api.get("provider", answer.headers["location"])
    assert "ADA" not in shown.text + answer.text
    async with api.storage.transaction() as tx:
        stored = await tx.instances.get(instance.id)
    assert stored is not None
    assert stored.renewal is not None
    assert (stored.renewal.operation_id, stored.renewal.sealed_data) == (operation["id"], b"sealed")
    assert stored.description == instance.description
    again = await api.post("provider", f"/v1/instances/{instance.id}/{change}", body)
    assert operation["id"] in problem(again, 409, "conflict")["detail"]


@pytest.mark.parametrize(("change", "body"), BODIES)
async def test_renewal_when_the_state_or_the_caller_is_wrong_then_a_problem(
    api: ApiBench, change: str, body: Json
) -> None:
    instance = await api.instance((await api.element())["id"], InstanceState.IN_ERROR)
    path = f"/v1/instances/{instance.id}/{change}"
    problem(await api.post("provider", path, body), 409, "conflict")
    problem(await api.post("issuer", path, body), 403, "forbidden")
    problem(await api.post("provider", f"/v1/instances/unknown/{change}", body), 404, "not_found")
    found = problem(await api.post("provider", path, {**body, "wish": 1}), 400, "invalid_input")
    assert "ADA" not in str(found)


async def test_renewal_when_version_or_recipe_are_missing_then_a_problem(api: ApiBench) -> None:
    instance = await api.instance((await api.element())["id"])
    path = f"/v1/instances/{instance.id}"
    problem(await api.post("provider", f"{path}/updates", UPDATE), 404, "not_found")
    problem(await api.post("provider", f"{path}/personalizations", PERSONALIZE), 400, "invalid_input")
    problem(await api.post("provider", f"{path}/personalizations", {}), 400, "invalid_input")
