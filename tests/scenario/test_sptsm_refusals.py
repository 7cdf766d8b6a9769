"""What the TR-03165 API refuses, with the guideline's category and words; and who may not see what."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.scenario import sptsm_bench as b

from opentsm.card.gp.cap_builder import CapSpec, build_cap
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.domain.tenant import TenantKind

UNKNOWN = "00000000-0000-7000-8000-000000000000"
RECIPE = json.loads((b.SOURCE / "demo/recipes/badge.json").read_text())


class LaterWorld(SystemWorld):
    """A clock that can be put forward."""

    ahead = timedelta()

    def now(self) -> datetime:
        """Return the present time, put forward."""
        return super().now() + self.ahead


@pytest.fixture
def world() -> LaterWorld:
    return LaterWorld()


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path, world: LaterWorld) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path, world) as bench:
        yield bench


def refused(answer: httpx.Response, category: int, words: str = "") -> None:
    """Check a GeneralError."""
    assert answer.status_code == (401 if category in (1000, 1001) else 400), answer.text
    document = answer.json()
    assert set(document) == {"errorCategory", "errorMessage"}
    assert document["errorCategory"] == category, document
    assert words in document["errorMessage"], document
    assert len(document["errorMessage"]) <= 255


# --- tokens ------------------------------------------------------------------------------------


async def test_auth_when_the_long_term_token_is_bare_or_bearer_then_a_short_term_token(
    bench: b.Bench,
) -> None:
    id_, token = await bench.tenant()
    for header in (token, f"Bearer {token}", f"bearer {token}"):
        answer = await bench.client().post("/auth", headers={"Authorization": header})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        client = bench.client(answer.json())
        for path in ("/service-providers/current", "/serviceproviders/current"):
            assert (await client.get(path)).json() == {"id": id_, "name": f"party {id_}"}


async def test_auth_when_the_token_is_wrong_then_1001(bench: b.Bench) -> None:
    _, token = await bench.tenant()
    _, issuer = await bench.tenant(TenantKind.SE_ISSUER)
    short = (await bench.client(token).post("/auth")).json()
    for wrong in ("", "x", token + "x", issuer, short):
        refused(await bench.client(wrong).post("/auth"), 1001, "Authentication failed.")
    refused(await bench.client().post("/auth"), 1001)


async def test_other_calls_when_the_token_is_not_a_short_term_one_then_1000(bench: b.Bench) -> None:
    _, token = await bench.tenant()
    for client in (bench.client(), bench.client(token), bench.client("x")):
        for method, path in (("GET", "/services"), ("POST", "/services"), ("DELETE", f"/services/{UNKNOWN}")):
            answer = await client.request(method, path)
            refused(answer, 1000, "Not authenticated.")
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_short_term_token_when_an_hour_old_then_1000(bench: b.Bench, world: LaterWorld) -> None:
    _, client = await bench.provider()
    world.ahead = timedelta(minutes=59)
    assert (await client.get("/services")).status_code == 200
    world.ahead = timedelta(minutes=60)
    refused(await client.get("/services"), 1000)


# --- tenants -----------------------------------------------------------------------------------


async def test_objects_when_they_are_somebody_elses_then_they_look_as_if_they_were_not_there(
    bench: b.Bench,
) -> None:
    _, client = await bench.provider()
    _, stranger = await bench.provider()
    script = await b.good(await b.upload_script(client, RECIPE))
    made = await b.configure(client, "badge.cap", script_id=str(script["id"]))
    await b.release(client, made)
    elf = f"/executable-load-files/{made.elf['id']}"
    one_each = [
        ("GET DELETE", made.path),
        ("GET DELETE", made.flavor_path),
        ("POST", f"{made.flavor_path}/publish"),
        ("GET", f"{made.flavor_path}/executable-load-files"),
        ("GET", f"{made.path}/flavors"),
        ("GET", f"{made.path}/versions"),
        ("GET DELETE", f"{made.path}/versions/1.0.0"),
        ("GET DELETE", elf),
        ("GET", f"{elf}/binary"),
        ("GET", f"{elf}/executable-modules"),
        ("GET", f"{elf}/executable-modules/{made.module['id']}"),
        ("GET DELETE", f"/application-configs/{made.config['id']}"),
        ("GET DELETE", f"/personalization-scripts/{script['id']}"),
        ("GET", f"/personalization-scripts/{script['id']}/binary"),
    ]
    ids = [str(one["id"]) for one in (made.service, made.flavor, made.elf, made.config, script)]
    ids.append(str(made.module["id"]))
    for methods, path in one_each:
        unknown = path
        for id_ in ids:
            unknown = unknown.replace(id_, UNKNOWN)
        for method in methods.split():
            foreign = await stranger.request(method, path)
            missing = await stranger.request(method, unknown)
            refused(foreign, 1009)
            refused(missing, 1009)
            told = foreign.json()["errorMessage"]
            for id_ in ids:
                told = told.replace(id_, UNKNOWN)
            assert told == missing.json()["errorMessage"]
    for path in ("/services", "/executable-load-files", "/application-configs", "/personalization-scripts"):
        assert (await stranger.get(path)).json() == []
        assert len((await client.get(path)).json()) == 1


async def test_references_when_to_somebody_elses_objects_then_1009(bench: b.Bench) -> None:
    _, client = await bench.provider()
    _, stranger = await bench.provider()
    script = await b.good(await b.upload_script(client, RECIPE))
    made = await b.configure(client, "badge.cap")
    service = await b.good(await stranger.post("/services", json={"name": "mine"}))
    flavors = f"/services/{service['id']}/flavors"
    link = {"executableModuleId": made.module["id"], "applicationConfigId": made.config["id"]}
    bodies: list[tuple[str, dict[str, Any]]] = [
        (flavors, {"executableLoadFileIds": [made.elf["id"]]}),
        (flavors, {"applicationInstantiationConfigs": [link]}),
        (
            "/application-configs",
            {
                "instanceAid": "F04F54534D0301",
                "personalizationConfig": {"personalizationScriptId": script["id"]},
            },
        ),
        (
            f"/services/{service['id']}/versions",
            {"tag": "1.0.0", "allowedDeployments": {made.flavor["id"]: []}},
        ),
        ("/services", {"name": "s", "sposConfigId": UNKNOWN}),
    ]
    for path, body in bodies:
        refused(await stranger.post(path, json=body), 1009, "does not exist.")


# --- bodies ------------------------------------------------------------------------------------

CONFIG = {"instanceAid": "F04F54534D0301"}
BODIES: list[tuple[str, Any, int, str]] = [
    ("/services", {}, 1004, "attribute name is missing, but it is mandatory for Service."),
    ("/services", {"name": 7}, 1008, "for name"),
    ("/services", {"name": "x" * 256}, 1008, "at most 255 characters"),
    ("/services", {"name": "a\x00"}, 1008, "for name"),
    ("/services", {"name": "n", "id": UNKNOWN}, 1003, "attribute id not allowed for POST"),
    ("/services", {"name": "n", "sdAid": "A000000151"}, 1003, "attribute sdAid not allowed"),
    ("/services", {"name": "n", "colour": "red"}, 1007, "‘colour’ is not a valid attribute"),
    ("/services", {"name": "n", "spParameters": {"a": 1}}, 1008, "for spParameters.a"),
    ("/services", {"name": "n", "accessAuthorizedDeviceApps": ["A0"]}, 1008, "accessAuthorizedDeviceApps[0]"),
    ("/services", [], 1002, "must be a JSON object"),
    ("/application-configs", {}, 1004, "instanceAid"),
    ("/application-configs", {"instanceAid": "A00000"}, 1008, "an AID of 5 to 16 bytes in hex"),
    (
        "/application-configs",
        {**CONFIG, "installConfig": 1},
        1008,
        "installConfig. Supported format is an object",
    ),
    ("/application-configs", {**CONFIG, "installConfig": {"x": 1}}, 1007, "‘installConfig.x’"),
    (
        "/application-configs",
        {**CONFIG, "installConfig": {"applicationSpecificInstallParameter": "8105"}},
        1008,
        "TLV structures in hex",
    ),
    (
        "/application-configs",
        {**CONFIG, "installConfig": {"privileges": ["CardLock"]}},
        1008,
        "installConfig.privileges[0]",
    ),
    (
        "/application-configs",
        {**CONFIG, "activationConfig": {"makeSelectable": False, "accessibleViaNfc": True}},
        1008,
        "activationConfig.accessibleViaNfc",
    ),
    (
        "/application-configs",
        {**CONFIG, "personalizationConfig": {"includeSecurityDomainDiversificationData": True}},
        1008,
        "personalizationConfig.includeSecurityDomainDiversificationData",
    ),
]


@pytest.mark.parametrize(("path", "body", "category", "words"), BODIES)
async def test_body_when_it_has_a_fault_then_its_category(
    bench: b.Bench, path: str, body: Any, category: int, words: str
) -> None:
    _, client = await bench.provider()
    refused(await client.post(path, json=body), category, words)


FLAVORS: list[tuple[dict[str, Any], int, str]] = [
    ({"published": True}, 1003, "published"),
    ({"featureConfig": {"genericOptions": {"fly": True}}}, 1007, "‘featureConfig.genericOptions.fly’"),
    ({"featureConfig": {"genericOptions": {"extradite": 1}}}, 1008, "featureConfig.genericOptions.extradite"),
    ({"featureConfig": {"keyProvisioningMode": 4}}, 1008, "featureConfig.keyProvisioningMode"),
    ({"featureConfig": {"keyProvisioningMode": 1}}, 1004, "featureConfig.keyIndex"),
    ({"featureConfig": {"keyProvisioningMode": 3, "keyIndex": UNKNOWN}}, 1009, "transport key"),
    (
        {"applicationInstantiationConfigs": [{}]},
        1004,
        "applicationInstantiationConfigs[0].executableModuleId",
    ),
    (
        {
            "applicationInstantiationConfigs": [
                {"executableModuleId": UNKNOWN, "applicationConfigId": UNKNOWN, "priority": 0}
            ]
        },
        1008,
        "an integer from 1 to 255",
    ),
    ({"executableLoadFileIds": [UNKNOWN]}, 1009, f"ExecutableLoadFile with id ‘{UNKNOWN}’"),
    ({"executableLoadFileIds": [UNKNOWN, UNKNOWN]}, 1008, "an item that occurs once"),
]


@pytest.mark.parametrize(("body", "category", "words"), FLAVORS)
async def test_flavor_when_it_has_a_fault_then_its_category(
    bench: b.Bench, body: dict[str, Any], category: int, words: str
) -> None:
    _, client = await bench.provider()
    service = await b.good(await client.post("/services", json={"name": "s"}))
    refused(await client.post(f"/services/{service['id']}/flavors", json=body), category, words)


async def test_request_when_body_or_content_type_are_wrong_then_1002(bench: b.Bench) -> None:
    _, client = await bench.provider()
    json_type = {"Content-Type": "application/json"}
    refused(await client.post("/services", headers=json_type), 1002, "request body missing")
    refused(await client.post("/services", content=b"{", headers=json_type), 1002, "not JSON")
    refused(await client.post("/services", content=b"\xff", headers=json_type), 1002, "not JSON")
    half_a_pair = b'{"name": "\\ud800"}'
    refused(await client.post("/services", content=half_a_pair, headers=json_type), 1002, "not JSON")
    refused(
        await client.post("/services", content=b"{}", headers={"Content-Type": "text/plain"}),
        1002,
        "unsupported content type",
    )
    refused(await client.request("GET", "/services", json={}), 1002, "request body not allowed")
    refused(await client.post("/executable-load-files", json={}), 1002, "unsupported content type")
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    refused(await client.post("/executable-load-files", content=b"--x", headers=broken), 1002)


async def test_service_when_modified_then_fixed_attributes_stay(bench: b.Bench) -> None:
    _, client = await bench.provider()
    service = await b.good(await client.post("/services", json={"name": "old", "spParameters": {"a": "b"}}))
    path = f"/services/{service['id']}"
    changed = await b.good(await client.put(path, json={**service, "name": "new"}))
    assert changed == {**service, "name": "new"}
    assert await b.good(await client.get(path)) == changed
    refused(await client.put(path, json={"name": "new", "sdAid": "F000000001"}), 1005, "attribute sdAid")
    refused(await client.put(path, json={"spParameters": {}}), 1006, "attribute name is missing")
    refused(await client.put(path, json={"name": "new", "x": 1}), 1007)


# --- versions and flavors ----------------------------------------------------------------------


async def test_version_when_it_has_a_fault_then_its_category(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    await b.release(client, made)
    profile = (await client.get("/secure-component-profiles")).json()[0]
    assert (await client.get(f"/secure-component-profiles/{profile['id']}")).json() == profile
    refused(await client.get(f"/secure-component-profiles/{UNKNOWN}"), 1009, "SecureComponentProfile")
    second = await b.good(await client.post(f"{made.path}/flavors", json={"name": "second"}))
    twice = {made.flavor["id"]: [profile["id"]], second["id"]: [profile["id"]]}
    faults: list[tuple[dict[str, Any], int, str]] = [
        ({"tag": "1.0.0"}, 1004, "allowedDeployments"),
        ({"tag": "1.0", "allowedDeployments": {}}, 1008, "<Major>.<Minor>.<Revision>"),
        ({"tag": "1a2b3", "allowedDeployments": {}}, 1008, "tag"),
        ({"tag": "1.0.0", "allowedDeployments": {}}, 1008, "does not have yet"),
        ({"tag": "1.0.1", "allowedDeployments": []}, 1008, "allowedDeployments"),
        ({"tag": "1.0.1", "allowedDeployments": {UNKNOWN: []}}, 1009, "Flavor"),
        ({"tag": "1.0.1", "allowedDeployments": {second["id"]: [UNKNOWN]}}, 1009, "SecureComponentProfile"),
        ({"tag": "1.0.1", "allowedDeployments": twice}, 1008, "occur once in a Version"),
    ]
    for body, category, words in faults:
        refused(await client.post(f"{made.path}/versions", json=body), category, words)


async def test_flavor_when_published_then_what_it_loads_is_fixed(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    other = await b.good(await b.upload(client, "badge.cap"))
    links = f"{made.flavor_path}/executable-load-files"
    linked = await b.good(await client.post(links, json=[other["id"], made.elf["id"]]))
    assert linked["executableLoadFileIds"] == [made.elf["id"], other["id"]]
    assert [one["id"] for one in (await client.get(links)).json()] == [made.elf["id"], other["id"]]
    refused(await client.post(links, json={"x": 1}), 1008)
    refused(await client.post(links, json=[UNKNOWN]), 1009)
    unlinked = await b.good(await client.put(links, json=[other["id"]]))
    assert unlinked["executableLoadFileIds"] == [made.elf["id"]]
    published = await b.good(await client.post(f"{made.flavor_path}/publish"))
    assert published["published"] is True
    assert await b.good(await client.post(f"{made.flavor_path}/publish")) == published
    refused(await client.post(links, json=[other["id"]]), 1015, str(made.flavor["id"]))
    refused(await client.put(links, json=[made.elf["id"]]), 1015)


async def test_flavor_when_it_installs_what_it_does_not_load_then_not_published(bench: b.Bench) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    await b.good(await client.put(f"{made.flavor_path}/executable-load-files", json=[made.elf["id"]]))
    refused(await client.post(f"{made.flavor_path}/publish"), 1009, "linked ExecutableLoadFile")


async def test_option_when_personalised_without_own_domain_then_not_published(bench: b.Bench) -> None:
    _, client = await bench.provider()
    script = await b.good(await b.upload_script(client, RECIPE))
    options: dict[str, object] = {"genericOptions": {"underIssuerDomain": True}}
    made = await b.configure(client, "badge.cap", script_id=str(script["id"]), features=options)
    refused(await client.post(f"{made.flavor_path}/publish"), 1008, "underIssuerDomain")


@pytest.mark.parametrize(
    ("framework", "needs"),
    [
        ("1.7", {"javaCardVersion": "3.1.0"}),
        ("1.8", {"javaCardVersion": "3.1.0"}),
        ("1.99", {}),
        ("7.0", {}),
    ],
)
async def test_load_file_when_a_profile_cannot_run_it_then_1016(
    bench: b.Bench, framework: str, needs: dict[str, str]
) -> None:
    """A framework that no known platform has is met by no profile either."""
    _, client = await bench.provider()
    spec = json.loads((b.CAPS / "badge.json").read_text())
    spec["imports"][0]["version"] = framework
    files = {"elfFile": ("new.cap", build_cap(CapSpec.from_dict(spec)))}
    elf = await b.good(await client.post("/executable-load-files", files=files))
    assert elf["technicalRequirements"] == needs
    assert elf["fileName"] == "new.cap"
    service = await b.good(await client.post("/services", json={"name": "s"}))
    draft = {"executableLoadFileIds": [elf["id"]]}
    flavor = await b.good(await client.post(f"/services/{service['id']}/flavors", json=draft))
    profile = (await client.get("/secure-component-profiles")).json()[0]
    body = {"tag": "1.0.0", "allowedDeployments": {flavor["id"]: [profile["id"]]}}
    refused(
        await client.post(f"/services/{service['id']}/versions", json=body),
        1016,
        "minimal javaCardVersion version not supported",
    )


async def test_objects_when_in_use_then_not_deleted_until_they_are_free(bench: b.Bench) -> None:
    _, client = await bench.provider()
    script = await b.good(await b.upload_script(client, RECIPE))
    made = await b.configure(client, "badge.cap", script_id=str(script["id"]))
    await b.release(client, made)
    script_path = f"/personalization-scripts/{script['id']}"
    config_path = f"/application-configs/{made.config['id']}"
    elf_path = f"/executable-load-files/{made.elf['id']}"
    refused(await client.delete(made.flavor_path), 1010, "Flavor is referenced in Version.")
    refused(await client.delete(elf_path), 1010, "ExecutableLoadFile is referenced in Flavor.")
    refused(await client.delete(config_path), 1010, "ApplicationConfig is referenced in Flavor.")
    refused(
        await client.delete(script_path), 1010, "PersonalizationScript is referenced in ApplicationConfig."
    )
    for path in (
        f"{made.path}/versions/1.0.0",
        made.flavor_path,
        elf_path,
        config_path,
        script_path,
        made.path,
    ):
        answer = await client.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        refused(await client.get(path), 1009)


async def test_service_when_deleted_then_its_flavors_and_versions_go_and_the_rest_stays(
    bench: b.Bench,
) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    await b.release(client, made)
    assert (await client.delete(made.path)).status_code == 204
    refused(await client.get(made.flavor_path), 1009, "Service")
    for path in (f"/executable-load-files/{made.elf['id']}", f"/application-configs/{made.config['id']}"):
        assert (await client.get(path)).status_code == 200
        assert (await client.delete(path)).status_code == 204


# --- uploads -----------------------------------------------------------------------------------


async def send(
    client: httpx.AsyncClient, parts: list[tuple[str, tuple[str | None, bytes]]]
) -> httpx.Response:
    return await client.post("/executable-load-files", files=parts)


async def test_upload_when_the_form_is_wrong_then_its_category(bench: b.Bench) -> None:
    _, client = await bench.provider()
    name: tuple[str, tuple[str | None, bytes]] = ("elfFilename", (None, b"a.cap"))
    file: tuple[str, tuple[str | None, bytes]] = ("elfFile", ("a.cap", (b.CAPS / "bank.cap").read_bytes()))
    refused(await send(client, [name]), 1011, "missing file")
    refused(await send(client, [name, ("elfFile", ("a.cap", b""))]), 1011)
    refused(await send(client, [name, file, file]), 1012, "too many files")
    refused(await send(client, [name, file, ("other", (None, b"x"))]), 1007, "‘other’")
    refused(await send(client, [name, ("elfFile", ("a.cap", bytes(9 * 2**20)))]), 1014, "exceeds maximum")
    refused(await send(client, [name, ("elfFile", ("a.cap", bytes(8 * 2**20 + 1)))]), 1014, "8.0MB")
    refused(await send(client, [("elfFilename", (None, b"x" * 256)), file]), 1008, "elfFilename")


async def test_load_file_when_damaged_then_1013_says_how(bench: b.Bench) -> None:
    _, client = await bench.provider()
    good = (b.CAPS / "transit.ijc").read_bytes()
    for data, words in (
        (b"hello", "neither a zip nor a raw load file"),
        (b"PK\x03\x04", "the zip is damaged"),
        (good[:-1], "cut off at the end of the file"),
        ((b.CAPS / "bank.cap").read_bytes()[:700], "the zip is damaged"),
    ):
        answer = await send(client, [("elfFilename", (None, b"a.cap")), ("elfFile", ("a.cap", data))])
        refused(answer, 1013, words)
    assert (await client.get("/executable-load-files")).json() == []


async def test_script_when_faulty_then_1013_says_where(bench: b.Bench) -> None:
    _, client = await bench.provider()
    refused(await b.upload_script(client, b"{"), 1013, "opentsm-personalization/1 (JSON)")
    faulty = {**RECIPE, "groupings": [{"dgi": "xyz", "value": []}]}
    refused(await b.upload_script(client, faulty), 1013, "groupings[0].dgi: must be")
    refused(await b.upload_script(client, b" " * 70_000), 1014)
    stored = await b.good(await b.upload_script(client, RECIPE))
    binary = await client.get(f"/personalization-scripts/{stored['id']}/binary")
    assert binary.json() == RECIPE
