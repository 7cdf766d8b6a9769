"""From an empty account to a description of what a card gets, through the TR-03165 API."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.scenario import sptsm_bench as b

from opentsm.card.codec.aid import Aid
from opentsm.card.gp.cap import read_load_file
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from opentsm.tsm.ports.repositories import Page


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


async def test_service_when_uploaded_configured_and_published_then_described_for_a_card(
    bench: b.Bench,
) -> None:
    provider, client = await bench.provider()
    made = await b.configure(
        client,
        "bank.cap",
        config={
            "installConfig": {
                "applicationSpecificInstallParameter": "0f 09 e6 ea e9 06 8d 89 19 a4 8a",
                "privileges": ["ContactlessSelfActivation", "CVMManagement"],
            },
            "activationConfig": {"makeSelectable": False},
        },
        features={"genericOptions": {"extradite": True}},
    )
    await b.release(client, made)
    description = await bench.catalogue.describe(provider, str(made.service["id"]), None, "scp03-i70")
    assert description.provider_id == provider
    assert description.version_tag == "1.0.0"
    assert description.flavor_id == made.flavor["id"]
    assert str(description.sd_aid) == made.service["sdAid"]
    assert description.sd_aid.startswith(bytes.fromhex("F04F54534DF0"))
    assert description.extradite
    assert description.dedicated_sd
    (application,) = description.applications
    assert application.instance_aid == Aid.from_hex("F04F54534D0101AA")
    assert application.load_file == Aid.from_hex("F04F54534D01")
    assert application.module == Aid.from_hex("F04F54534D0101")
    assert Privilege(application.privileges) == (
        Privilege.CVM_MANAGEMENT | Privilege.CONTACTLESS_SELF_ACTIVATION
    )
    assert application.install_parameters.hex() == "0f09e6eae9068d8919a48a"
    assert not application.make_selectable
    assert application.personalization is None
    (load_file,) = description.load_files
    block = read_load_file((b.CAPS / "bank.cap").read_bytes()).load_file_data_block()
    assert load_file.sha256 == hashlib.sha256(block).hexdigest()
    assert load_file.size == len(block)
    async with bench.storage.transaction() as tx:
        assert await tx.load_files.block(load_file.sha256) == block


async def test_texts_when_empty_then_taken_as_the_published_document_has_it(bench: b.Bench) -> None:
    _, client = await bench.provider()
    body = {"name": "", "spParameters": {"": ""}}
    made = await b.good(await client.post("/services", json=body))
    assert (await client.get(f"/services/{made['id']}")).json() == made
    assert {name: made[name] for name in body} == body


async def test_load_files_when_zipped_or_raw_then_say_the_same_about_themselves(bench: b.Bench) -> None:
    _, client = await bench.provider()
    zipped, raw = await b.upload(client, "bank.cap"), await b.upload(client, "transit.ijc")
    assert zipped.status_code == raw.status_code == 200
    assert zipped.json()["packageName"] == "org.opentsm.demo.bank"
    document = raw.json()
    assert document["aid"] == "F04F54534D02"
    assert document["type"] == "CAP"
    assert document["fileName"] == "transit.ijc"
    assert document["packageVersion"] == "1.0"
    assert document["importedPackages"][0] == "A0000000620101"
    assert document["technicalRequirements"] == {"javaCardVersion": "2.2.2"}
    assert not [name for name in document if name.startswith("_")]
    assert (await client.get(f"/executable-load-files/{document['id']}")).json() == document
    modules = (await client.get(f"/executable-load-files/{document['id']}/executable-modules")).json()
    assert [module["aid"] for module in modules] == ["F04F54534D0201"]
    path = f"/executable-load-files/{document['id']}/executable-modules/{modules[0]['id']}"
    assert (await client.get(path)).json() == modules[0]
    binary = await client.get(f"/executable-load-files/{document['id']}/binary")
    assert binary.content == (b.CAPS / "transit.ijc").read_bytes()
    assert binary.headers["content-type"] == "application/octet-stream"
    assert binary.headers["content-disposition"] == 'attachment; filename="transit.ijc"'


async def test_version_when_none_is_named_then_the_newest_by_number_for_the_profile(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    made = await b.configure(client)
    service_id = str(made.service["id"])
    for tag in ("1.9.0", "1.10.0", "1.2.999"):
        await b.release(client, made, tag=tag)
    await b.release(client, made, "scp02-i55", "2.0.0")
    newest = await bench.catalogue.describe(provider, service_id, None, "scp03-i70")
    assert newest.version_tag == "1.10.0"
    other = await bench.catalogue.describe(provider, service_id, None, "scp02-i55")
    assert other.version_tag == "2.0.0"
    named = await bench.catalogue.describe(provider, service_id, "1.9.0", "scp03-i70")
    assert named.version_tag == "1.9.0"


async def test_description_when_it_cannot_be_made_then_says_why(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    stranger, _ = await bench.provider()
    made = await b.configure(client)
    service_id = str(made.service["id"])
    describe = bench.catalogue.describe
    with pytest.raises(NotFoundError, match="no version yet"):
        await describe(provider, service_id, None, "scp03-i70")
    profiles = (await client.get("/secure-component-profiles")).json()
    profile_id = next(one["id"] for one in profiles if one["name"] == "scp03-i70")
    body = {"tag": "1.0.0", "allowedDeployments": {made.flavor["id"]: [profile_id]}}
    await b.good(await client.post(f"{made.path}/versions", json=body))
    with pytest.raises(ConflictError, match="not published"):
        await describe(provider, service_id, None, "scp03-i70")
    await b.good(await client.post(f"{made.flavor_path}/publish"))
    with pytest.raises(InvalidInputError, match="scp02-i55"):
        await describe(provider, service_id, "1.0.0", "scp02-i55")
    with pytest.raises(NotFoundError, match=r"no version 3\.0\.0"):
        await describe(provider, service_id, "3.0.0", "scp03-i70")
    with pytest.raises(NotFoundError, match="no such service"):
        await describe(stranger, service_id, None, "scp03-i70")
    with pytest.raises(NotFoundError, match="card profile"):
        await describe(provider, service_id, None, "unheard-of")


async def test_changes_when_made_then_each_is_in_the_audit_trail(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    made = await b.configure(client)
    await b.release(client, made)
    async with bench.storage.transaction() as tx:
        entries = await tx.audit.list(provider, Page(limit=50))
    assert [entry.action for entry in entries] == [
        "token.issued",
        "executable-load-file.uploaded",
        "application-config.created",
        "service.created",
        "flavor.created",
        "flavor.published",
        "version.created",
    ]


@pytest.mark.parametrize("gone", ["", "/flavors/{flavor}"], ids=["service", "flavor"])
async def test_description_when_its_service_or_flavor_is_deleted_then_not_held(
    bench: b.Bench, gone: str
) -> None:
    provider, client = await bench.provider()
    made = await b.configure(client)
    await b.release(client, made)
    service_id, flavor_id = str(made.service["id"]), str(made.flavor["id"])
    description = await bench.catalogue.describe(provider, service_id, None, "scp03-i70")
    assert await bench.catalogue.holds(description)
    if "flavor" in gone:
        freed = await client.delete(f"/services/{service_id}/versions/1.0.0")
        assert freed.is_success, freed.text
        # TR-03165 §3.2.3: only a flavor that is gone orphans its instances
        assert await bench.catalogue.holds(description)
    answer = await client.delete(f"/services/{service_id}" + gone.format(flavor=flavor_id))
    assert answer.is_success, answer.text
    assert not await bench.catalogue.holds(description)
