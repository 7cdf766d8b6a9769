"""What a PUT of the TR-03165 API changes and what it must not: flavors, versions, configurations, files."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.scenario import sptsm_bench as b
from tests.scenario.test_sptsm_refusals import RECIPE, UNKNOWN, refused

from opentsm.card.gp.cap import read_load_file
from opentsm.card.gp.cap_builder import CapSpec, build_cap


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


async def profile_ids(client: httpx.AsyncClient) -> list[str]:
    return [one["id"] for one in (await client.get("/secure-component-profiles")).json()]


# --- flavors -------------------------------------------------------------------------------------


async def test_flavor_when_modified_then_what_is_left_out_is_gone(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    named = await b.good(await client.put(made.flavor_path, json={**made.flavor, "name": "new"}))
    assert named == made.flavor | {"name": "new"}
    bare = await b.good(await client.put(made.flavor_path, json={"description": "d"}))
    assert bare["executableLoadFileIds"] == bare["applicationInstantiationConfigs"] == []
    assert "name" not in bare
    assert (bare["id"], bare["creationDate"]) == (made.flavor["id"], made.flavor["creationDate"])
    assert await b.good(await client.get(made.flavor_path)) == bare


async def test_flavor_when_modified_with_a_fault_then_its_category(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    link = {"executableModuleId": made.module["id"], "applicationConfigId": made.config["id"]}
    for body, category, words in (
        ({"published": True}, 1005, "attribute published"),
        ({"serviceId": UNKNOWN}, 1005, "attribute serviceId"),
        (
            {"applicationInstantiationConfigs": [{"executableModuleId": made.module["id"]}]},
            1006,
            "applicationInstantiationConfigs[0].applicationConfigId is missing",
        ),
        ({"colour": 1}, 1007, "colour"),
        ({"name": 1}, 1008, "for name"),
        ({"executableLoadFileIds": [UNKNOWN]}, 1009, "ExecutableLoadFile"),
        ({"applicationInstantiationConfigs": [{**link, "priority": 1}, link]}, 1008, "different instance"),
        ([], 1002, "must be a JSON object"),
    ):
        refused(await client.put(made.flavor_path, json=body), category, words)
    assert await b.good(await client.get(made.flavor_path)) == made.flavor


async def test_flavor_when_published_then_its_texts_change_and_its_content_does_not(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client, "badge.cap")
    await b.release(client, made)
    emptied: list[dict[str, Any]] = [
        {"executableLoadFileIds": []},
        {"applicationInstantiationConfigs": []},
        {"name": "new", "executableLoadFileIds": []},
    ]
    for body in emptied:
        refused(await client.put(made.flavor_path, json=body), 1015, str(made.flavor["id"]))
    shown = await b.good(await client.get(made.flavor_path))
    changed = await b.good(await client.put(made.flavor_path, json={"spParameters": {"a": "b"}}))
    assert changed == shown | {"spParameters": {"a": "b"}}
    refused(
        await client.put(made.flavor_path, json={"featureConfig": {"useCspFull": True}}),
        1016,
        "csp.apiVersion",
    )


async def test_flavor_when_published_and_personalised_then_keeps_a_domain_of_its_own(bench: b.Bench) -> None:
    _, client = await bench.provider()
    script = await b.good(await b.upload_script(client, RECIPE))
    made = await b.configure(client, "badge.cap", script_id=str(script["id"]))
    await b.release(client, made)
    body = {"featureConfig": {"genericOptions": {"underIssuerDomain": True}}}
    refused(await client.put(made.flavor_path, json=body), 1008, "underIssuerDomain")


# --- versions ------------------------------------------------------------------------------------


async def test_version_when_modified_then_its_deployments_are_replaced(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    version = await b.release(client, made)
    path = f"{made.path}/versions/1.0.0"
    profile = (await profile_ids(client))[0]
    flavor = str(made.flavor["id"])
    changed = await b.good(
        await client.put(path, json={**version, "allowedDeployments": {flavor: [profile]}})
    )
    assert changed == version | {"allowedDeployments": {flavor: [profile]}}
    assert await b.good(await client.get(path)) == changed
    for body, category, words in (
        ({"tag": "1.0.1", "allowedDeployments": {}}, 1005, "attribute tag"),
        ({"tag": "1.0.0"}, 1006, "allowedDeployments"),
        ({"allowedDeployments": {}, "x": 1}, 1007, "‘x’"),
        ({"allowedDeployments": {flavor: "all"}}, 1008, "a list"),
        ({"allowedDeployments": {UNKNOWN: []}}, 1009, "Flavor"),
        ({"allowedDeployments": {flavor: [UNKNOWN]}}, 1009, "SecureComponentProfile"),
    ):
        refused(await client.put(path, json=body), category, words)
    refused(await client.put(f"{made.path}/versions/9.9.9", json=version), 1009, "Version")
    assert await b.good(await client.get(path)) == changed


async def test_version_when_flavors_and_profiles_are_linked_and_unlinked_then_each_profile_has_one(
    bench: b.Bench,
) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    second = str((await b.good(await client.post(f"{made.path}/flavors", json={"name": "2"})))["id"])
    first = str(made.flavor["id"])
    one, two, three = (await profile_ids(client))[:3]
    await b.good(await client.post(f"{made.path}/versions", json={"tag": "1.0.0", "allowedDeployments": {}}))
    version = f"{made.path}/versions/1.0.0"
    flavors, profiles = f"{version}/flavors", f"{version}/secure-component-profiles"

    async def allowed(answer: httpx.Response) -> object:
        document = await b.good(answer)
        assert await b.good(await client.get(version)) == document
        return document["allowedDeployments"]

    assert await allowed(await client.post(flavors, json={first: [one]})) == {first: [one]}
    assert await allowed(await client.post(flavors, json={first: [one, two]})) == {first: [one, two]}
    refused(await client.post(flavors, json={second: [two]}), 1008, "occur once in a Version")
    moved = {first: [one], second: [two, three]}
    assert await allowed(await client.post(profiles, json={two: second, three: second})) == moved
    assert {found["id"] for found in (await client.get(profiles)).json()} == {one, two, three}
    assert {found["id"] for found in (await client.get(flavors)).json()} == {first, second}
    per_flavor = await client.get(f"{flavors}/{second}/secure-component-profiles")
    assert {found["id"] for found in per_flavor.json()} == {two, three}
    assert await allowed(await client.put(profiles, json=[one, two])) == {
        first: [],
        second: [three],
    }
    assert (await client.get(f"{flavors}/{first}/secure-component-profiles")).json() == []
    assert await allowed(await client.put(flavors, json=[second])) == {first: []}
    assert await allowed(await client.put(flavors, json=[second])) == {first: []}
    for answer, category in (
        (await client.post(flavors, json=[first]), 1008),
        (await client.post(flavors, json={first: one}), 1008),
        (await client.post(flavors, json={UNKNOWN: []}), 1009),
        (await client.post(flavors, json={first: [UNKNOWN]}), 1009),
        (await client.put(flavors, json={first: []}), 1008),
        (await client.put(flavors, json=[UNKNOWN]), 1009),
        (await client.post(profiles, json={one: [first]}), 1008),
        (await client.post(profiles, json={UNKNOWN: first}), 1009),
        (await client.post(profiles, json={one: UNKNOWN}), 1009),
        (await client.put(profiles, json=[UNKNOWN]), 1009),
        (await client.put(profiles, json=[one, one]), 1008),
        (await client.get(f"{flavors}/{UNKNOWN}/secure-component-profiles"), 1009),
    ):
        refused(answer, category)


async def test_version_when_a_profile_cannot_run_what_is_linked_then_1016(bench: b.Bench) -> None:
    _, client = await bench.provider()
    elf = await b.good(await client.post("/executable-load-files", files=demanding()))
    service = await b.good(await client.post("/services", json={"name": "s"}))
    path = f"/services/{service['id']}"
    flavor = await b.good(await client.post(f"{path}/flavors", json={"executableLoadFileIds": [elf["id"]]}))
    empty = await b.good(await client.post(f"{path}/flavors", json={"name": "empty"}))
    profile = (await profile_ids(client))[0]
    body = {"tag": "1.0.0", "allowedDeployments": {empty["id"]: [profile]}}
    before = await b.good(await client.post(f"{path}/versions", json=body))
    version = f"{path}/versions/1.0.0"
    load = {"executableLoadFileIds": [elf["id"]]}
    for answer in (
        await client.put(version, json={"allowedDeployments": {flavor["id"]: [profile]}}),
        await client.post(f"{version}/secure-component-profiles", json={profile: flavor["id"]}),
        await client.put(f"{path}/flavors/{empty['id']}", json=load),
    ):
        refused(answer, 1016, "javaCardVersion")
    assert await b.good(await client.get(version)) == before


def demanding() -> dict[str, tuple[str, bytes]]:
    """Return the form of a badge that needs Java Card 3.1, which no profile has."""
    return {"elfFile": ("badge.cap", badge(javacard="1.8"))}


def badge(javacard: str | None = None, version: str = "1.0", **changed: object) -> bytes:
    """Return the badge's CAP file with changes."""
    spec = json.loads((b.CAPS / "badge.json").read_text()) | changed
    spec["package"]["version"] = version
    if javacard is not None:
        spec["imports"][0]["version"] = javacard
    return build_cap(CapSpec.from_dict(spec))


# --- application configurations --------------------------------------------------------------------


async def test_configuration_when_modified_then_replaced(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client, config={"name": "old", "activationConfig": {"makeSelectable": False}})
    path = f"/application-configs/{made.config['id']}"
    changed = await b.good(await client.put(path, json={"instanceAid": "f04f54534d0102"}))
    assert changed == {
        "id": made.config["id"],
        "spId": made.config["spId"],
        "instanceAid": "F04F54534D0102",
    }
    assert await b.good(await client.get(path)) == changed
    for body, category, words in (
        ({"name": "n"}, 1006, "instanceAid"),
        ({"instanceAid": "F04F54534D0102", "id": UNKNOWN}, 1005, "attribute id"),
        ({"instanceAid": "F04F54534D0102", "x": 1}, 1007, "‘x’"),
        ({"instanceAid": "F0"}, 1008, "AID"),
        (
            {
                "instanceAid": "F04F54534D0102",
                "activationConfig": {"makeSelectable": False, "accessibleViaApdu": True},
            },
            1008,
            "accessibleViaApdu",
        ),
        (
            {"instanceAid": "F04F54534D0102", "personalizationConfig": {"certificateId": UNKNOWN}},
            1009,
            "Certificate",
        ),
    ):
        refused(await client.put(path, json=body), category, words)
    assert await b.good(await client.get(path)) == changed


async def test_configuration_when_its_aid_would_occur_twice_in_a_flavor_then_1008(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    other = await b.good(await client.post("/application-configs", json={"instanceAid": "F04F54534D0909"}))
    links = [
        {"executableModuleId": made.module["id"], "applicationConfigId": one["id"]}
        for one in (made.config, other)
    ]
    body = {"executableLoadFileIds": [made.elf["id"]], "applicationInstantiationConfigs": links}
    await b.good(await client.put(made.flavor_path, json=body))
    twin = {"instanceAid": made.config["instanceAid"]}
    refused(await client.put(f"/application-configs/{other['id']}", json=twin), 1008, "different instance")
    assert await b.good(await client.get(f"/application-configs/{other['id']}")) == other


async def test_configuration_when_published_then_only_texts_and_certificate_change(bench: b.Bench) -> None:
    _, client = await bench.provider()
    script = str((await b.good(await b.upload_script(client, RECIPE)))["id"])
    other = str((await b.good(await b.upload_script(client, RECIPE)))["id"])
    made = await b.configure(
        client, "badge.cap", script_id=script, config={"activationConfig": {"accessibleViaApdu": True}}
    )
    await b.release(client, made)
    path = f"/application-configs/{made.config['id']}"
    same: dict[str, Any] = {"instanceAid": made.config["instanceAid"]}
    for body, attribute in (
        ({"instanceAid": "F04F54534D0909"}, "instanceAid"),
        ({**same, "installConfig": {"privileges": []}}, "installConfig"),
        ({**same, "activationConfig": {}}, "activationConfig"),
        (
            {**same, "personalizationConfig": {"personalizationScriptId": other}},
            "personalizationConfig.personalizationScriptId",
        ),
    ):
        refused(await client.put(path, json=body), 1005, f"attribute {attribute} not allowed for PUT")
    certificate = str((await b.good(await b.upload_certificate(client)))["id"])
    wanted = {**same, "name": "new", "personalizationConfig": {"certificateId": certificate}}
    changed = await b.good(await client.put(path, json=wanted))
    personalization = {"personalizationScriptId": script, "certificateId": certificate}
    assert changed == made.config | {"name": "new", "personalizationConfig": personalization}
    bare = await b.good(await client.put(path, json=same))
    assert bare == made.config


# --- files ---------------------------------------------------------------------------------------


async def put_load_file(
    client: httpx.AsyncClient, id_: object, data: bytes, name: str = ""
) -> httpx.Response:
    return await client.put(f"/executable-load-files/{id_}", files={"elfFile": (name or "new.cap", data)})


async def test_load_file_when_replaced_then_modules_keep_their_ids_and_cards_get_the_new_block(
    bench: b.Bench,
) -> None:
    provider, client = await bench.provider()
    made = await b.configure(client, "badge.cap")
    path = f"/executable-load-files/{made.elf['id']}"
    data = badge(version="1.1")
    changed = await b.good(await put_load_file(client, made.elf["id"], data))
    assert changed["packageVersion"] == "1.1"
    for name in ("id", "spId", "aid", "creationDate"):
        assert changed[name] == made.elf[name]
    assert changed["fileName"] == "new.cap"
    assert await b.good(await client.get(path)) == changed
    assert (await client.get(f"{path}/binary")).content == data
    assert (await client.get(f"{path}/executable-modules")).json() == [made.module]
    await b.release(client, made)
    description = await bench.catalogue.describe(provider, str(made.service["id"]), None, "scp03-i70")
    block = read_load_file(data).load_file_data_block()
    assert description.load_files[0].sha256 == hashlib.sha256(block).hexdigest()
    refused(await put_load_file(client, made.elf["id"], data), 1015, str(made.flavor["id"]))


async def test_load_file_when_replaced_by_what_does_not_fit_then_its_category(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client, "badge.cap")
    path = f"/executable-load-files/{made.elf['id']}"
    version = f"{made.path}/versions"
    body = {"tag": "1.0.0", "allowedDeployments": {made.flavor["id"]: await profile_ids(client)}}
    await b.good(await client.post(version, json=body))
    renamed = json.loads((b.CAPS / "badge.json").read_text())["applets"]
    renamed[0]["aid"] = renamed[0]["aid"][:-2] + "7F"
    for data, category, words in (
        ((b.CAPS / "bank.cap").read_bytes(), 1005, "attribute aid"),
        (badge(applets=renamed), 1009, f"ExecutableModule with id ‘{made.module['aid']}’"),
        (b"hello", 1013, "neither a zip"),
        (bytes(8 * 2**20 + 1), 1014, "exceeds"),
        (badge(javacard="1.8"), 1016, "javaCardVersion"),
    ):
        refused(await put_load_file(client, made.elf["id"], data), category, words)
    refused(await put_load_file(client, made.elf["id"], badge(), "x" * 256), 1008, "elfFilename")
    refused(await client.put(path, files={"elfFilename": (None, b"a")}), 1011)
    refused(await put_load_file(client, UNKNOWN, badge()), 1009)
    assert await b.good(await client.get(path)) == made.elf
    assert (await client.get(f"{path}/binary")).content == (b.CAPS / "badge.cap").read_bytes()


async def test_load_file_when_an_idle_module_goes_then_its_id_is_gone(bench: b.Bench) -> None:
    _, client = await bench.provider()
    elf = await b.good(await b.upload(client, "badge.cap"))
    modules = f"/executable-load-files/{elf['id']}/executable-modules"
    (before,) = (await client.get(modules)).json()
    applets = json.loads((b.CAPS / "badge.json").read_text())["applets"]
    applets[0]["aid"] = applets[0]["aid"][:-2] + "7F"
    await b.good(await put_load_file(client, elf["id"], badge(applets=applets)))
    (after,) = (await client.get(modules)).json()
    assert (after["aid"], after["elfId"]) == (applets[0]["aid"], elf["id"])
    refused(await client.get(f"{modules}/{before['id']}"), 1009, "ExecutableModule")


async def test_script_when_replaced_then_new_instances_get_the_new_recipe(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    script = await b.good(await b.upload_script(client, RECIPE))
    path = f"/personalization-scripts/{script['id']}"
    made = await b.configure(client, "badge.cap", script_id=str(script["id"]))
    await b.release(client, made)
    service = str(made.service["id"])
    before = await bench.catalogue.describe(provider, service, None, "scp03-i70")
    content = json.dumps({**RECIPE, "version": "2.7"}).encode()
    changed = await b.good(await client.put(path, files={"scriptFile": ("b.json", content)}))
    assert changed == script | {"fileName": "b.json", "uploadDate": changed["uploadDate"]}
    assert (await client.get(f"{path}/binary")).content == content
    after = await bench.catalogue.describe(provider, service, None, "scp03-i70")
    assert after.applications[0].recipe_id == hashlib.sha256(content).hexdigest()
    assert before.applications[0].recipe_id == hashlib.sha256(json.dumps(RECIPE).encode()).hexdigest()
    for data, category in ((b"{", 1013), (b" " * 70_000, 1014)):
        refused(await client.put(path, files={"scriptFile": ("b.json", data)}), category)
    refused(await client.put(path, files={"scriptFilename": (None, b"a")}), 1011)
    assert await b.good(await client.get(path)) == changed
