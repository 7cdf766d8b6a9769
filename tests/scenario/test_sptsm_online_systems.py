"""Certificates and SPOS configurations of the TR-03165 API."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.scenario import sptsm_bench as b
from tests.scenario.test_sptsm_refusals import UNKNOWN, refused

from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page

URL = "https://sp.example/spos"


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


async def audited(bench: b.Bench, owner: TenantId, subject: str) -> list[tuple[str, dict[str, object]]]:
    """Return the audit entries of a subject."""
    async with bench.storage.transaction() as tx:
        found = await tx.audit.list(owner, Page(limit=50), subject=subject)
    return sorted((one.action, dict(one.details)) for one in found)


async def replace(
    client: httpx.AsyncClient, path: str, data: bytes, name: str | None = None
) -> httpx.Response:
    """Replace a certificate's file."""
    fields = {} if name is None else {"certFilename": name}
    return await client.put(path, data=fields, files={"certFile": ("other.pem", data)})


async def test_certificate_when_uploaded_and_replaced_then_the_file_is_the_new_one(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    first, second = b.certificate("a.example"), b.certificate("b.example")
    stored = await b.good(await b.upload_certificate(client, first.public_bytes(Encoding.PEM)))
    path = f"/certificates/{stored['id']}"
    assert set(stored) == {"id", "spId", "fileName", "creationDate", "uploadDate"}
    assert (stored["spId"], stored["fileName"]) == (provider, "spos.pem")
    assert (await client.get(path)).json() == stored
    assert (await client.get("/certificates")).json() == [stored]
    der = second.public_bytes(Encoding.DER)
    changed = await b.good(await replace(client, path, der))
    assert changed == stored | {"fileName": "other.pem", "uploadDate": changed["uploadDate"]}
    renamed = await b.good(await replace(client, path, der, "third.der"))
    assert renamed["fileName"] == "third.der"
    binary = await client.get(f"{path}/binary")
    assert binary.content == der
    assert 'filename="third.der"' in binary.headers["content-disposition"]
    assert await audited(bench, provider, str(stored["id"])) == [
        ("certificate.replaced", {"sha256": second.fingerprint(SHA256()).hex()}),
        ("certificate.replaced", {"sha256": second.fingerprint(SHA256()).hex()}),
        ("certificate.uploaded", {"sha256": first.fingerprint(SHA256()).hex()}),
    ]
    assert (await client.delete(path)).status_code == 204
    refused(await client.get(path), 1009, "Certificate")
    refused(await client.get(f"{path}/binary"), 1009)


async def test_certificate_when_the_file_is_something_else_then_1013_and_nothing_is_stored(
    bench: b.Bench,
) -> None:
    _, client = await bench.provider()
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    good = b.certificate()
    for data, words in (
        (b"hello", "not a certificate"),
        (private, "something beside a certificate"),
        (b.pem() + private, "something beside a certificate"),
        (b.pem() + b.pem(), "more than one certificate"),
        (good.public_bytes(Encoding.DER)[:-1], "not a certificate"),
        (good.public_bytes(Encoding.DER) + b"\x00", "not a certificate"),
        (b.pem().replace(b"M", b"!", 1), "not a certificate"),
    ):
        refused(await b.upload_certificate(client, data), 1013, words)
    refused(await b.upload_certificate(client, bytes(64 * 1024 + 1)), 1014)
    assert (await client.get("/certificates")).json() == []
    stored = await b.good(await b.upload_certificate(client))
    path = f"/certificates/{stored['id']}"
    refused(await replace(client, path, private), 1013)
    refused(await replace(client, path, b.pem(), "x" * 256), 1008, "certFilename")
    refused(await client.put(path, files={"other": (None, b"x")}), 1007)
    refused(await client.put(path, data={"certFilename": "a"}, files={"certFile": ("", b"")}), 1011)
    assert (await client.get(path)).json() == stored


async def test_spos_config_when_created_and_modified_then_shown(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    certificate = (await b.good(await b.upload_certificate(client)))["id"]
    other = (await b.good(await b.upload_certificate(client)))["id"]
    body = {"url": URL, "certificateId": certificate}
    stored = await b.good(await client.post("/spos-configs", json=body))
    assert stored == {"id": stored["id"], "spId": provider, **body}
    path = f"/spos-configs/{stored['id']}"
    assert (await client.get(path)).json() == stored
    assert (await client.get("/spos-configs")).json() == [stored]
    wanted = {**stored, "url": "https://[2001:db8::1]:8443/a?b=c", "certificateId": other}
    assert await b.good(await client.put(path, json=wanted)) == wanted
    assert (await client.get(path)).json() == wanted
    actions = [action for action, _ in await audited(bench, provider, str(stored["id"]))]
    assert actions == ["spos-config.created", "spos-config.modified"]


async def test_spos_config_when_it_has_a_fault_then_its_category(bench: b.Bench) -> None:
    _, client = await bench.provider()
    _, stranger = await bench.provider()
    certificate = (await b.good(await b.upload_certificate(client)))["id"]
    foreign = (await b.good(await b.upload_certificate(stranger)))["id"]
    good = {"url": URL, "certificateId": certificate}
    for body, category, words in (
        ({"url": URL}, 1004, "certificateId is missing, but it is mandatory for SposConfig"),
        ({"certificateId": certificate}, 1004, "url"),
        ({**good, "spId": "x"}, 1003, "spId"),
        ({**good, "password": "x"}, 1007, "password"),
        ({**good, "certificateId": foreign}, 1009, "Certificate"),
        ({**good, "certificateId": UNKNOWN}, 1009, "Certificate"),
        ({**good, "certificateId": None}, 1008, "certificateId"),
        *(
            ({**good, "url": url}, 1008, "absolute https URL")
            for url in (
                "http://sp.example/",
                "/relative/uri/to/resource",
                "https://",
                "https:///path",
                "https://user:secret@sp.example/",
                "https://sp.example/#part",
                "https://sp.example:99999/",
                "https://sp.example/a b",
                "https://sp.example/\n",
                "https://[::1/",
                "https://sp.example/" + "x" * 500,
                7,
                None,
            )
        ),
    ):
        refused(await client.post("/spos-configs", json=body), category, words)
    assert (await client.get("/spos-configs")).json() == []
    stored = await b.good(await client.post("/spos-configs", json=good))
    path = f"/spos-configs/{stored['id']}"
    refused(await client.put(path, json={"url": URL}), 1006, "certificateId")
    refused(await client.put(path, json={**good, "id": UNKNOWN}), 1005, "attribute id")
    refused(await client.put(path, json={**good, "colour": 1}), 1007)
    refused(await client.put(path, json={**good, "certificateId": foreign}), 1009)
    assert (await client.get(path)).json() == stored


async def test_online_system_when_in_use_then_not_deleted_until_free(bench: b.Bench) -> None:
    _, client = await bench.provider()
    certificate = (await b.good(await b.upload_certificate(client)))["id"]
    cert_path = f"/certificates/{certificate}"
    body = {"url": URL, "certificateId": certificate}
    spos = (await b.good(await client.post("/spos-configs", json=body)))["id"]
    spos_path = f"/spos-configs/{spos}"
    service = await b.good(await client.post("/services", json={"name": "s", "sposConfigId": spos}))
    named = {"instanceAid": "F04F54534D0909", "personalizationConfig": {"certificateId": certificate}}
    config = await b.good(await client.post("/application-configs", json=named))
    refused(await client.delete(spos_path), 1010, "SposConfig is referenced in Service.")
    refused(await client.delete(cert_path), 1010, "Certificate is referenced in ApplicationConfig.")
    assert (await client.delete(f"/application-configs/{config['id']}")).status_code == 204
    refused(await client.delete(cert_path), 1010, "Certificate is referenced in SposConfig.")
    await b.good(await client.put(f"/services/{service['id']}", json={"name": "s"}))
    for path in (spos_path, cert_path):
        assert (await client.delete(path)).status_code == 204
        refused(await client.get(path), 1009)
