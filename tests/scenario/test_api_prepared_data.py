"""Bulk import of personalisation data: checked by line, sealed at once, used once, seen by nobody else."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from tests.scenario import sptsm_bench as b
from tests.scenario.api_bench import ApiBench, Json, problem

from opentsm.api.sptsm.routes import PATH as SPTSM
from opentsm.tsm.bootstrap import policy_of
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.ids import InstanceId, TenantId
from opentsm.tsm.ports.repositories import Expendable
from opentsm.tsm.roles.hub.retention import prune

PAN = "4000123412341234"
DATA = {"pan": PAN, "psn": "00", "expiry": "3012", "label": "A HOLDER"}
IMPORT = "/v1/prepared-data/import"


@dataclass(slots=True)
class Shop:
    """A provider with a published service that is personalised."""

    api: ApiBench
    service_id: str

    def line(self, **changes: Any) -> Json:
        return {"service_id": self.service_id, "reference": "customer 1", "data": DATA, **changes}

    async def send(self, *lines: Json | bytes, who: str = "provider") -> Json:
        """Import lines and return the report."""
        answer = await self.raw(*lines, who=who)
        assert answer.status_code == 200, answer.text
        assert PAN not in answer.text
        return dict(answer.json())

    async def raw(self, *lines: Json | bytes, who: str = "provider") -> httpx.Response:
        body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        headers = {"Authorization": f"Bearer {await self.api.party(who)}"}
        return await self.api.client.post(IMPORT, content=body, headers=headers)

    async def refusal(self, line: Json | bytes) -> Json:
        report = await self.send(line)
        assert (report["kept"], report["unchanged"], report["deployed"]) == (0, 0, [])
        (refused,) = report["refused"]
        return dict(refused)

    async def listed(self, who: str = "provider", **query: str) -> list[Json]:
        answer = await self.api.get(who, "/v1/prepared-data", params=query)
        assert PAN not in answer.text
        return list(answer.json()["items"])

    async def data_of(self, instance_id: str) -> Json:
        """Return the data that are sealed for an instance, as its personalisation will find them."""
        async with self.api.storage.transaction() as tx:
            instance = await tx.instances.get(InstanceId(instance_id))
        assert instance is not None
        opened = await self.api.keystore("provider").open(
            instance.sealed_data, context=f"instance:{instance.id}"
        )
        return from_json(dict[str, str], opened)


@pytest.fixture
async def shop(api: ApiBench) -> AsyncIterator[Shop]:
    token = await api.party("provider")
    transport = httpx.ASGITransport(app=api.app)  # type: ignore[arg-type]  # another spelling of ASGI
    base = f"http://tsm{SPTSM}"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        short = (await client.post("/auth", headers={"Authorization": f"Bearer {token}"})).json()
        client.headers["Authorization"] = f"Bearer {short}"
        recipe = (b.SOURCE / "demo/recipes/bank.json").read_bytes()
        script = await b.good(await b.upload_script(client, recipe))
        made = await b.configure(client, script_id=str(script["id"]))
        await b.release(client, made)
        yield Shop(api, str(made.service["id"]))


async def test_import_when_good_then_kept_sealed_and_listed_without_values(
    api: ApiBench, shop: Shop, scenario_dsn: str
) -> None:
    se = await api.element()
    future = {"type": "CIN", "value": api.world.new_id()}
    report = await shop.send(
        shop.line(),
        b"",
        shop.line(reference=None, se_id=se["id"], version="1.0.0"),
        shop.line(reference=None, identifier=future, profile="scp03-i70"),
    )
    assert report == {"lines": 4, "kept": 3, "unchanged": 0, "deployed": [], "refused": []}
    one, two, three = await shop.listed()
    assert (one["reference"], one["se_id"], one["identifier"]) == ("customer 1", None, None)
    assert (two["se_id"], two["version"], two["instance_id"]) == (se["id"], "1.0.0", None)
    assert (three["identifier"], three["service_id"]) == (future, shop.service_id)
    assert await shop.listed(service_id="another") == []
    connection = await asyncpg.connect(scenario_dsn)
    rows = await connection.fetch("SELECT * FROM prepared_data")
    await connection.close()
    assert not any(PAN.encode() in str(dict(row)).encode() or PAN.encode() in row["sealed"] for row in rows)


async def test_import_when_a_line_is_wrong_then_it_alone_is_refused_with_its_reason(
    api: ApiBench, shop: Shop
) -> None:
    bad: list[tuple[Json | bytes, str, str | None]] = [
        (shop.line(data={**DATA, "pan": "12"}), "invalid_input", "/data/pan"),
        (shop.line(data={k: v for k, v in DATA.items() if k != "expiry"}), "invalid_input", "/data/expiry"),
        (shop.line(data={**DATA, "shoe": "44"}), "invalid_input", "/data/shoe"),
        (shop.line(data={**DATA, "pan": 4}), "invalid_input", "/data"),
        (shop.line(service_id="nothing"), "not_found", None),
        (shop.line(version="9.9.9"), "not_found", None),
        (shop.line(profile="wood"), "not_found", None),
        (shop.line(profile="scp02-i55"), "invalid_input", None),
        (shop.line(reference=None), "invalid_input", None),
        (shop.line(se_id="x"), "invalid_input", None),
        (shop.line(reference=None, se_id="x"), "not_found", "/se_id"),
        (shop.line(deploy=True), "invalid_input", "/deploy"),
        (shop.line(colour="red"), "invalid_input", "/colour"),
        (b'{"service_id": ', "malformed_json", None),
        (b'{"reference":"a","reference":"b","service_id":"s","data":{}}', "invalid_input", "/reference"),
        (b'{"service_id": "\xff"}', "malformed_json", None),
        (b" " * 70_000, "too_large", None),
    ]
    report = await shop.send(*(line for line, _, _ in bad), shop.line())
    assert (report["lines"], report["kept"]) == (len(bad) + 1, 1)
    found = [(one["line"], one["code"], one["field"]) for one in report["refused"]]
    assert found == [(number, code, field) for number, (_, code, field) in enumerate(bad, 1)]
    assert len(await shop.listed()) == 1


async def test_import_when_repeated_then_nothing_changes_and_other_data_are_refused(
    api: ApiBench, shop: Shop
) -> None:
    await shop.send(shop.line())
    before = await shop.listed()
    again = await shop.send(shop.line())
    assert (again["kept"], again["unchanged"], again["refused"]) == (0, 1, [])
    assert (await shop.refusal(shop.line(data={**DATA, "label": "ANOTHER"})))["code"] == "conflict"
    assert (await shop.refusal(shop.line(version="1.0.0")))["code"] == "conflict"
    assert await shop.listed() == before
    path = f"/v1/prepared-data/{before[0]['id']}"
    headers = {"Authorization": f"Bearer {await api.party('provider')}"}
    assert (await api.client.delete(path, headers=headers)).status_code == 204
    problem(await api.client.delete(path, headers=headers), 404, "not_found")
    assert (await shop.send(shop.line(data={**DATA, "label": "ANOTHER"})))["kept"] == 1


async def test_deploy_when_asked_for_in_a_line_then_one_operation_however_often_it_comes(
    api: ApiBench, shop: Shop
) -> None:
    cin = api.world.new_id()
    await api.element(cin)
    line = shop.line(reference=None, identifier={"type": "CIN", "value": cin}, deploy=True)
    report = await shop.send(line)
    (deployed,) = report["deployed"]
    operation = (await api.get("provider", f"/v1/operations/{deployed['operation_id']}")).json()
    assert (operation["type"], deployed["line"]) == ("DEPLOY", 1)
    again = await shop.send(line)
    assert (again["kept"], again["unchanged"], again["deployed"]) == (0, 1, [deployed])
    other = {**line, "data": {**DATA, "psn": "01"}}
    assert (await shop.refusal(other))["code"] == "conflict"
    (listed,) = await shop.listed()
    assert (listed["instance_id"], listed["operation_id"]) == (operation["instance_id"], operation["id"])
    assert await shop.data_of(operation["instance_id"]) == DATA
    assert len((await api.get("provider", "/v1/instances")).json()["items"]) == 1


async def test_deploy_when_refused_then_the_line_leaves_nothing(api: ApiBench, shop: Shop) -> None:
    se = await api.element()
    await shop.send(shop.line(reference=None, se_id=se["id"], deploy=True))
    elsewhere = {"type": "CIN", "value": se["identifiers"][0]["value"]}
    line = shop.line(reference=None, identifier=elsewhere, deploy=True)
    assert (await shop.refusal(line))["code"] == "conflict"
    assert len(await shop.listed()) == 1


@pytest.mark.parametrize("by", ["reference", "identifier", "se_id"])
async def test_instance_when_data_were_prepared_then_it_gets_them_and_they_are_gone(
    api: ApiBench, shop: Shop, by: str
) -> None:
    cin = api.world.new_id()
    targets: Json = {"reference": "customer 1", "identifier": {"type": "CIN", "value": cin}}
    if by != "se_id":
        await shop.send(shop.line(**{"reference": None, by: targets[by]}))
    se = await api.element(cin)
    if by == "se_id":
        await shop.send(shop.line(reference=None, se_id=se["id"]))
    body = {"service_id": shop.service_id, "se_id": se["id"]}
    more = {"reference": "customer 1"} if by == "reference" else {}
    made = await api.post("provider", "/v1/instances", {**body, **more})
    assert made.status_code == 202, made.text
    instance = made.json()["instance"]
    assert await shop.data_of(instance["id"]) == DATA
    (listed,) = await shop.listed()
    assert listed["instance_id"] == instance["id"]
    keystore = api.keystore("provider")
    async with api.storage.transaction() as tx:
        kept = await tx.prepared_data.get(TenantId(api.ids["provider"]), listed["id"])
    assert kept is not None
    assert PAN.encode() not in await keystore.open(kept.sealed, context=f"prepared:{kept.id}")


async def test_instance_when_no_data_wait_then_refused_as_without_data(api: ApiBench, shop: Shop) -> None:
    se = await api.element()
    body = {"service_id": shop.service_id, "se_id": se["id"]}
    missing = problem(await api.post("provider", "/v1/instances", body), 400, "invalid_input")
    assert missing["field"].startswith("/data/")
    by_name = await api.post("provider", "/v1/instances", {**body, "reference": "nobody"})
    assert problem(by_name, 404, "not_found")["field"] == "/reference"
    both = await api.post("provider", "/v1/instances", {**body, "reference": "a", "data": DATA})
    assert problem(both, 400, "invalid_input")["field"] == "/reference"


async def test_instance_when_it_is_not_clear_whose_data_wait_then_conflict(api: ApiBench, shop: Shop) -> None:
    cin = api.world.new_id()
    name = {"type": "CIN", "value": cin}
    se = await api.element(cin)
    await shop.send(shop.line(reference=None, identifier=name))
    body = {"service_id": shop.service_id, "se_id": se["id"]}
    await api.element(cin, issuer="other-issuer")  # another issuer's card of the same name
    problem(await api.post("provider", "/v1/instances", body), 409, "conflict")
    assert (await shop.refusal(shop.line(reference=None, identifier=name, deploy=True)))["code"] == "conflict"
    await shop.send(shop.line(reference=None, se_id=se["id"]))
    problem(await api.post("provider", "/v1/instances", body), 409, "conflict")


async def test_data_when_expired_then_not_used_and_removed(api: ApiBench, shop: Shop) -> None:
    se = await api.element()
    await shop.send(shop.line(reference=None, se_id=se["id"]))
    retention = api.container.settings.retention
    api.world.shift = timedelta(days=retention.prepared_days, seconds=1)
    body = {"service_id": shop.service_id, "se_id": se["id"]}
    problem(await api.post("provider", "/v1/instances", body), 400, "invalid_input")
    removed = await prune(api.storage, policy_of(retention), api.world.now())
    assert removed[Expendable.PREPARED_DATA] >= 1
    assert await shop.listed() == []


async def test_data_when_another_tenant_asks_then_there_are_none(api: ApiBench, shop: Shop) -> None:
    await shop.send(shop.line())
    (mine,) = await shop.listed()
    assert await shop.listed("other-provider") == []
    assert await shop.listed("other-provider", service_id=shop.service_id) == []
    headers = {"Authorization": f"Bearer {await api.party('other-provider')}"}
    answer = await api.client.delete(f"/v1/prepared-data/{mine['id']}", headers=headers)
    problem(answer, 404, "not_found")
    report = await shop.send(shop.line(), who="other-provider")
    assert [one["code"] for one in report["refused"]] == ["not_found"]
    for who in ("issuer", "operator"):
        problem(await shop.raw(shop.line(), who=who), 403, "forbidden")
        problem(await api.get(who, "/v1/prepared-data"), 403, "forbidden")
    assert await shop.listed() == [mine]
