"""The TR-03165 API inside the whole application: tokens of registered parties, application keys, races."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.scenario import sptsm_bench as b
from tests.scenario.api_bench import ApiBench

KEY = "0123456789ABCDEFFEDCBA9876543210"
OTHER = "00112233445566778899AABBCCDDEEFF"


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


async def put_key(api: ApiBench, who: str, name: str, key: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {await api.party(who)}"}
    return await api.client.put(f"/v1/application-keys/{name}", json={"key": key}, headers=headers)


async def test_provider_when_registered_then_its_long_term_token_opens_the_door(api: ApiBench) -> None:
    base = "/sptsm/1.0.4"
    answer = await api.post("provider", f"{base}/auth")
    headers = {"Authorization": f"Bearer {answer.json()}"}
    account = await api.client.get(f"{base}/service-providers/current", headers=headers)
    assert account.json()["id"] == api.ids["provider"]
    assert (await api.post("issuer", f"{base}/auth")).json()["errorCategory"] == 1001
    assert (await api.get("provider", f"{base}/services")).json()["errorCategory"] == 1000


async def test_application_key_when_imported_then_kept_and_never_replaced(api: ApiBench) -> None:
    assert (await put_key(api, "provider", "purse-load", KEY)).status_code == 204
    assert (await put_key(api, "provider", "purse-load", KEY)).status_code == 204
    other = await put_key(api, "provider", "purse-load", OTHER)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert KEY not in other.text
    assert OTHER not in other.text
    assert (await put_key(api, "other-provider", "purse-load", OTHER)).status_code == 204
    trail = (await api.get("provider", "/v1/audit?subject=purse-load")).json()["items"]
    assert {entry["action"] for entry in trail} == {"application-key.imported"}


async def test_application_key_when_wrong_or_not_a_providers_then_refused_without_echo(api: ApiBench) -> None:
    for key in (KEY[:-2], KEY[:-1], KEY + "zz", 7, None):
        answer = await put_key(api, "provider", "k", key)
        assert answer.status_code == 400, answer.text
        assert KEY[:8] not in answer.text
    assert (await put_key(api, "provider", "No", KEY)).status_code == 400
    assert (await put_key(api, "issuer", "k", KEY)).status_code == 403
    assert (await put_key(api, "operator", "k", KEY)).status_code == 403


async def test_flavor_when_published_and_relinked_at_once_then_one_after_the_other(bench: b.Bench) -> None:
    _, client = await bench.provider()
    for _ in range(5):
        made = await b.configure(client)
        other = await b.good(await b.upload(client, "badge.cap"))
        links = f"{made.flavor_path}/executable-load-files"
        published, linked = await asyncio.gather(
            client.post(f"{made.flavor_path}/publish"), client.post(links, json=[other["id"]])
        )
        assert published.status_code == 200
        now = await b.good(await client.get(made.flavor_path))
        assert now["published"] is True
        assert linked.status_code in (200, 400)
        assert (str(other["id"]) in str(now["executableLoadFileIds"])) == (linked.status_code == 200)


async def test_elf_when_deleted_and_linked_at_once_then_no_reference_breaks(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    links = f"{made.flavor_path}/executable-load-files"
    for _ in range(5):
        other = await b.good(await b.upload(client, "badge.cap"))
        await asyncio.gather(
            client.delete(f"/executable-load-files/{other['id']}"), client.post(links, json=[other["id"]])
        )
        assert (await client.get(links)).status_code == 200
        await client.put(links, json=[other["id"]])
