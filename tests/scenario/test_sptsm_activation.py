"""Install and activation configuration: what a description gets of it, and which profiles cannot do it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.scenario import sptsm_bench as b
from tests.scenario.test_sptsm_refusals import refused

from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.card_content import MemoryNeeds

NFC, PLAIN = "scp03-nfc-i70", "scp03-i70"
HASH, OLD_HASH, IDENTIFIER = "A1" * 32, "b2" * 20, "A00000021784013C0110"
REACHABLE: dict[str, Any] = {"activationConfig": {"accessibleViaNfc": True, "accessibleViaApdu": True}}


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


async def allow(client: httpx.AsyncClient, made: b.Published, *profiles: str) -> httpx.Response:
    """Give the flavor to card profiles, published or not."""
    known = {one["name"]: one["id"] for one in (await client.get("/secure-component-profiles")).json()}
    body = {"tag": "1.0.0", "allowedDeployments": {made.flavor["id"]: [known[one] for one in profiles]}}
    return await client.post(f"{made.path}/versions", json=body)


async def test_description_when_everything_is_configured_then_all_of_it_is_there(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    install = {
        "applicationSpecificInstallParameter": "8101 01",
        "privileges": ["CVMManagement", "ContactlessSelfActivation", "GlobalService", "PrivacyTrusted"],
    }
    made = await b.configure(client, config={**REACHABLE, "installConfig": install})
    settings = {
        "memory.nonvolatileQuota": "4096",
        "memory.nonvolatileReserved@F04F54534D0101AA": "1024",
        "memory.volatileReserved@F04F54534D010199": "99",
        "contactless.typeA": "A003800108",
        "patch": "7",
    }
    await b.good(
        await client.put(made.flavor_path, json={**draft(made), "contextSpecificAttributes": settings})
    )
    apps = {"name": "n", "accessAuthorizedDeviceApps": [HASH, OLD_HASH, IDENTIFIER]}
    await b.good(await client.put(made.path, json=apps))
    await b.release(client, made, NFC)
    description = await bench.catalogue.describe(provider, str(made.service["id"]), None, NFC)
    (app,) = description.applications
    assert app.contactless and app.accessible and app.make_selectable
    assert app.privileges == Privilege.CVM_MANAGEMENT | 0x000118
    assert app.install_parameters == bytes.fromhex("810101")
    assert app.memory == MemoryNeeds(nonvolatile_quota=4096, nonvolatile_reserved=1024)
    assert app.protocols == bytes.fromhex("8605A003800108")
    identifier = bytes.fromhex(IDENTIFIER + 10 * "FF")
    assert description.device_apps == (bytes.fromhex(HASH), bytes.fromhex(OLD_HASH), identifier)


async def test_description_when_nothing_is_configured_then_nobody_reaches_the_application(
    bench: b.Bench,
) -> None:
    provider, client = await bench.provider()
    made = await b.configure(client)
    await b.release(client, made, NFC)
    description = await bench.catalogue.describe(provider, str(made.service["id"]), None, NFC)
    (app,) = description.applications
    assert not app.contactless and not app.accessible
    assert (app.privileges, app.protocols, app.memory) == (0, b"", MemoryNeeds())


def draft(made: b.Published) -> dict[str, Any]:
    """Return the part of a flavor that a PUT must repeat."""
    names = ("executableLoadFileIds", "applicationInstantiationConfigs")
    return {name: made.flavor[name] for name in names}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"activationConfig": {"accessibleViaNfc": True}}, "contactlessServices"),
        ({"activationConfig": {"accessibleViaApdu": True}}, "secureElementAccessControl"),
        ({"installConfig": {"privileges": ["PrivacyTrusted"]}}, "Privacy Trusted"),
    ],
)
async def test_profile_when_it_cannot_do_what_is_configured_then_1016(
    bench: b.Bench, config: dict[str, Any], words: str
) -> None:
    _, client = await bench.provider()
    made = await b.configure(client, config=config)
    await b.good(await client.put(made.path, json={"name": "n", "accessAuthorizedDeviceApps": [HASH]}))
    refused(await allow(client, made, PLAIN), 1016, words)
    refused(await allow(client, made, NFC, PLAIN), 1016, PLAIN)
    await b.good(await allow(client, made, NFC))


async def test_configuration_when_its_profile_cannot_do_it_any_more_then_1016(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client, config={"activationConfig": {"accessibleViaApdu": True}})
    await b.good(await allow(client, made, PLAIN))
    config = {"instanceAid": made.config["instanceAid"], **REACHABLE}
    path = f"/application-configs/{made.config['id']}"
    refused(await client.put(path, json=config), 1016, "contactlessServices")
    apps = {"name": "n", "accessAuthorizedDeviceApps": [HASH]}
    refused(await client.put(made.path, json=apps), 1016, "secureElementAccessControl")
    settings = {"contextSpecificAttributes": {"contactless.typeB": "A000"}}
    refused(await client.put(made.flavor_path, json={**draft(made), **settings}), 1016, "contactlessServices")
    assert "accessAuthorizedDeviceApps" not in (await client.get(made.path)).json()
    assert (await client.get(path)).json() == made.config


@pytest.mark.parametrize("profile", ["se-500", "se-600"])
async def test_privileges_when_a_kind_of_card_does_not_give_them_then_1016(
    bench: b.Bench, profile: str
) -> None:
    _, client = await bench.provider()
    made = await b.configure(client, config={"installConfig": {"privileges": ["GlobalService"]}})
    refused(await allow(client, made, profile), 1016, "Global Service")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory.nonvolatileQuota", "-1"),
        ("memory.nonvolatileQuota", "4k"),
        ("memory.quota", "1"),
        ("memory.", "1"),
        ("contactless.typeC", "A000"),
        ("contactless.typeA", "8001"),
        ("contactless.typeA", "A103800108"),
        ("contactless.typeA", "A0028001"),
        ("contactless.typeA@F04F54534D0101AA", "zz"),
    ],
)
async def test_attributes_when_ours_are_malformed_then_1008(bench: b.Bench, name: str, value: str) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    body = {**draft(made), "contextSpecificAttributes": {name: value}}
    refused(await client.put(made.flavor_path, json=body), 1008, "contextSpecificAttributes")


async def test_attributes_when_more_is_reserved_than_allowed_then_1008(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    sizes = {"memory.volatileQuota": "10", "memory.volatileReserved@F04F54534D0101AA": "11"}
    body = {**draft(made), "contextSpecificAttributes": sizes}
    refused(await client.put(made.flavor_path, json=body), 1008, "volatileReserved")


@pytest.mark.parametrize("app", ["", "A0", "A1" * 17, "A1" * 21, "A1" * 33, "g" * 40, 7])
async def test_device_app_when_it_is_neither_hash_nor_identifier_then_1008(
    bench: b.Bench, app: object
) -> None:
    _, client = await bench.provider()
    body = {"name": "n", "accessAuthorizedDeviceApps": [app]}
    refused(await client.post("/services", json=body), 1008, "accessAuthorizedDeviceApps[0]")


async def test_profiles_when_shown_then_tell_contactless_services_and_access_rules(bench: b.Bench) -> None:
    _, client = await bench.provider()
    shown = {one["name"]: one for one in (await client.get("/secure-component-profiles")).json()}
    assert shown[NFC]["gpSpecVersions"] == shown[PLAIN]["gpSpecVersions"] | {
        "contactlessServices": "1.3",
        "secureElementAccessControl": "1.1",
    }
    assert shown[NFC]["gpApiVersions"].keys() == {"card", "contactless"}
    assert shown[PLAIN]["gpApiVersions"].keys() == {"card"}
