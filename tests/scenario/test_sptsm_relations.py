"""The related lists of the TR-03165 API: who uses what; and that nobody learns of others' objects by them."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.scenario import sptsm_bench as b

from opentsm.api.sptsm.operations import OPERATIONS
from opentsm.api.sptsm.related import RELATED
from opentsm.api.sptsm.routes import parameters

UNKNOWN = "00000000-0000-7000-8000-000000000000"
RECIPE = json.loads((b.SOURCE / "demo/recipes/badge.json").read_text())


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


@dataclass(slots=True)
class Shop:
    """One object of every kind that use each other, and one of every kind that nothing uses."""

    made: b.Published
    script: str
    certificate: str
    spos: str
    profile: str
    idle_service: str
    idle_flavor: str

    @property
    def ids(self) -> dict[str, str]:
        """The path parameters of what is used."""
        return {
            "scpId": self.profile,
            "serviceId": str(self.made.service["id"]),
            "flavorId": str(self.made.flavor["id"]),
            "tag": "1.0.0",
            "elfId": str(self.made.elf["id"]),
            "emId": str(self.made.module["id"]),
            "applicationConfigId": str(self.made.config["id"]),
            "personalizationScriptId": self.script,
            "certificateId": self.certificate,
            "sposConfigId": self.spos,
        }

    def path(self, path: str) -> str:
        """Return a path with the ids of what is used."""
        return path.format(**self.ids)


async def furnish(client: httpx.AsyncClient) -> Shop:
    script = await b.good(await b.upload_script(client, RECIPE))
    certificate = await b.good(await b.upload_certificate(client))
    personalization = {"personalizationScriptId": script["id"], "certificateId": certificate["id"]}
    made = await b.configure(client, "badge.cap", config={"personalizationConfig": personalization})
    version = await b.release(client, made)
    deployments = version["allowedDeployments"]
    assert isinstance(deployments, dict)
    body = {"url": "https://sp.example/spos", "certificateId": certificate["id"]}
    spos = await b.good(await client.post("/spos-configs", json=body))
    body = {"name": "A service", "sposConfigId": spos["id"]}
    made.service = await b.good(await client.put(made.path, json=body))
    idle = await b.good(await client.post("/services", json={"name": "idle"}))
    flavor = await b.good(await client.post(f"{made.path}/flavors", json={"name": "idle"}))
    await b.good(await client.post(f"{made.path}/versions", json={"tag": "0.0.1", "allowedDeployments": {}}))
    made.flavor = await b.good(await client.get(made.flavor_path))
    return Shop(
        made,
        str(script["id"]),
        str(certificate["id"]),
        str(spos["id"]),
        deployments[made.flavor["id"]][0],
        str(idle["id"]),
        str(flavor["id"]),
    )


async def test_related_lists_when_something_is_used_then_its_users_and_nothing_else(
    bench: b.Bench,
) -> None:
    _, client = await bench.provider()
    shop = await furnish(client)
    await b.upload(client, "bank.cap")  # loaded by nothing
    await b.good(await client.post("/application-configs", json={"instanceAid": "F04F54534D0909"}))
    ids = shop.ids
    answered = {
        "ExecutableLoadFile": ids["elfId"],
        "Service": ids["serviceId"],
        "Flavor": ids["flavorId"],
        "Version": ids["tag"],
        "ApplicationConfig": ids["applicationConfigId"],
        "ExecutableModule": ids["emId"],
        "SecureComponentProfile": ids["scpId"],
        "SposConfig": ids["sposConfigId"],
    }
    for operation in RELATED:
        answer = await client.get(shop.path(operation.path))
        assert answer.status_code == 200, (operation.id, answer.text)
        name = "tag" if operation.schema == "Version" else "id"
        assert [one[name] for one in answer.json()] == [answered[operation.schema]], operation.id


async def test_related_documents_when_listed_then_are_the_ones_that_get_shows(bench: b.Bench) -> None:
    _, client = await bench.provider()
    shop = await furnish(client)
    for related, alone in (
        ("/secure-component-profiles/{scpId}/elfs", "/executable-load-files/{elfId}"),
        ("/certificates/{certificateId}/services", "/services/{serviceId}"),
        ("/spos-configs/{sposConfigId}/services", "/services/{serviceId}"),
        ("/personalization-scripts/{personalizationScriptId}/flavors", shop.made.flavor_path),
        ("/certificates/{certificateId}/spos-configs", "/spos-configs/{sposConfigId}"),
    ):
        shown = await b.good(await client.get(shop.path(alone)))
        assert (await client.get(shop.path(related))).json() == [shown]


async def test_related_lists_when_nothing_uses_it_then_empty(bench: b.Bench) -> None:
    _, client = await bench.provider()
    shop = await furnish(client)
    elf = (await b.good(await b.upload(client, "bank.cap")))["id"]
    config = await b.good(await client.post("/application-configs", json={"instanceAid": "F04F54534D0909"}))
    script = await b.good(await b.upload_script(client, RECIPE))
    certificate = await b.good(await b.upload_certificate(client))
    profile = next(
        one["id"]
        for one in (await client.get("/secure-component-profiles")).json()
        if one["id"] != shop.profile
    )
    for path in (
        f"/secure-component-profiles/{profile}/elfs",
        f"/secure-component-profiles/{profile}/services",
        f"/secure-component-profiles/{profile}/services/{shop.ids['serviceId']}/flavors",
        f"/secure-component-profiles/{profile}/services/{shop.ids['serviceId']}/versions",
        f"/secure-component-profiles/{shop.profile}/services/{shop.idle_service}/flavors",
        f"{shop.made.path}/flavors/{shop.idle_flavor}/application-configs",
        f"{shop.made.path}/flavors/{shop.idle_flavor}/versions",
        f"/executable-load-files/{elf}/services",
        f"/executable-load-files/{elf}/services/{shop.ids['serviceId']}/flavors",
        f"/executable-load-files/{shop.ids['elfId']}/services/{shop.idle_service}/flavors",
        f"/executable-load-files/{shop.ids['elfId']}/services/{shop.idle_service}/versions",
        f"/executable-load-files/{shop.ids['elfId']}/services/{shop.idle_service}/secure-component-profiles",
        *(
            f"/application-configs/{config['id']}/{one}"
            for one in ("executable-modules", "flavors", "services")
        ),
        *(
            f"/personalization-scripts/{script['id']}/{one}"
            for one in ("application-configs", "flavors", "services")
        ),
        *(
            f"/certificates/{certificate['id']}/{one}"
            for one in ("application-configs", "flavors", "services", "spos-configs")
        ),
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (200, []), path


async def test_related_lists_when_a_module_is_installed_but_its_file_not_linked_then_used_all_the_same(
    bench: b.Bench,
) -> None:
    _, client = await bench.provider()
    made = await b.configure(client)
    links = f"{made.flavor_path}/executable-load-files"
    await b.good(await client.put(links, json=[made.elf["id"]]))
    profile = (await client.get("/secure-component-profiles")).json()[0]["id"]
    body = {"tag": "1.0.0", "allowedDeployments": {made.flavor["id"]: [profile]}}
    await b.good(await client.post(f"{made.path}/versions", json=body))
    for path in (
        f"/executable-load-files/{made.elf['id']}/services/{made.service['id']}/flavors",
        f"/secure-component-profiles/{profile}/elfs",
    ):
        assert len((await client.get(path)).json()) == 1


async def test_every_operation_when_the_object_is_foreign_or_unknown_then_the_answers_are_the_same(
    bench: b.Bench,
) -> None:
    """For every operation with an id in its path, each id in turn foreign and unknown."""
    _, client = await bench.provider()
    _, stranger = await bench.provider()
    shop, own = await furnish(client), await furnish(stranger)
    asked = 0
    for operation in OPERATIONS:
        names = [name for name in parameters(operation) if name not in ("scpId", "tag")]
        for name in names:
            foreign_id = shop.ids[name]
            answers = []
            for id_ in (foreign_id, UNKNOWN):
                path = operation.path.format(**(own.ids | {name: id_}))
                answer = await stranger.request(operation.method, path, **body_of(operation.id, own))
                assert answer.status_code == 400, (operation.id, name, answer.text)
                told = answer.json()
                assert told["errorCategory"] == 1009, (operation.id, name, told)
                answers.append(told["errorMessage"].replace(id_, UNKNOWN))
            assert answers[0] == answers[1]
            asked += 1
    assert asked > 70
    for operation in RELATED:
        assert len((await client.get(shop.path(operation.path))).json()) == 1, operation.id


def body_of(operation: str, own: Shop) -> dict[str, Any]:
    """Return a body (as httpx takes it) with which the operation succeeds for its owner."""
    flavor, profile = own.ids["flavorId"], own.profile
    bodies: dict[str, object] = {
        "modifyService": {"name": "n"},
        "createFlavor": {},
        "modifyFlavor": {},
        "linkElfs": [],
        "unlinkElfs": [],
        "createVersion": {"tag": "3.0.0", "allowedDeployments": {}},
        "modifyVersion": {"allowedDeployments": {}},
        "linkFlavors": {flavor: [profile]},
        "unlinkFlavors": [flavor],
        "linkSecureComponentProfiles": {profile: flavor},
        "unlinkSecureComponentProfiles": [profile],
        "modifyAppConfig": {"instanceAid": "F04F54534D0909"},
        "modifySposConfig": {"url": "https://a.example", "certificateId": own.certificate},
    }
    uploads = {
        "modifyElfAndOverwriteBinary": ("elfFile", (b.CAPS / "badge.cap").read_bytes()),
        "modifyPersoScriptAndOverwriteBinary": ("scriptFile", json.dumps(RECIPE).encode()),
        "modifyCertAndOverwriteBinary": ("certFile", b.pem()),
    }
    if operation in uploads:
        part, data = uploads[operation]
        return {"files": {part: ("a", data)}}
    return {"json": bodies[operation]} if operation in bodies else {}


async def test_paths_when_they_end_in_a_slash_as_in_the_guideline_then_answered_too(bench: b.Bench) -> None:
    _, client = await bench.provider()
    shop = await furnish(client)
    for path in (
        "/executable-load-files/{elfId}/executable-modules/",
        "/services/{serviceId}/versions/{tag}/flavors/{flavorId}/secure-component-profiles/",
    ):
        answer = await client.get(shop.path(path))
        assert answer.status_code == 200
        assert answer.json() == (await client.get(shop.path(path.rstrip("/")))).json() != []


def test_operations_then_are_the_82_of_the_guideline_and_two_other_spellings() -> None:
    spelled_otherwise = {"getAccountInformationAsInDocument", "listAppConfigRelatedEmsAsInOverview"}
    ids = [one.id for one in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert spelled_otherwise < set(ids)
    assert len(ids) - len(spelled_otherwise) + 1 == 82  # POST /auth has a handler of its own


async def test_options_when_asked_of_any_path_then_allow_names_all_its_methods(bench: b.Bench) -> None:
    client = bench.client()
    client.event_hooks = {}  # OPTIONS is not described
    methods: dict[str, set[str]] = {}
    for operation in OPERATIONS:
        path = operation.path.format(**dict.fromkeys(parameters(operation), UNKNOWN))
        methods.setdefault(path, {"OPTIONS"}).add(operation.method)
    for path, expected in methods.items():
        answer = await client.options(path)
        assert answer.status_code == 204
        assert set(answer.headers["allow"].split(", ")) == expected, path
