"""Results of processes (TR-03165 §4.3), sent to real TLS servers that demand the TSM's certificate."""

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from tests.scenario.api_bench import ApiBench, Json
from tests.scenario.receivers import Receiver, receiving

from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.ids import TenantId
from opentsm.workers.deliveries import DeliveryWorker


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write certificate and key as files."""
        paths = directory / f"{name}.pem", directory / f"{name}.key"
        paths[0].write_bytes(self.pem)
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths[1].write_bytes(self.key.private_bytes(*form))
        return paths


def certify(
    name: str, host: str | None = None, *, by: Certified | None = None, ca: bool = False, valid: bool = True
) -> Certified:
    """Make a certificate, which certifies itself unless somebody else does."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = subject if by is None else by.certificate.subject
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=30 if valid else -1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return Certified(builder.sign(key if by is None else by.key, SHA256()), key)


CLIENT = certify("the TSM")
SERVER = certify("online system")  # without a name: it is known by itself
AUTHORITY = certify("provider's authority", ca=True)


def server_context(directory: Path, server: Certified, client: Certified = CLIENT) -> ssl.SSLContext:
    """Return the TLS settings of an online system that demands a client's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server.write(directory, "server"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=client.pem.decode())
    return context


@pytest.fixture
async def api(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a TSM that may call this machine, and has a certificate of its own."""
    certificate, key = CLIENT.write(tmp_path, "client")
    flags = {
        "deliveries__allowed_networks": "127.0.0.0/8",
        "deliveries__client_certificate": str(certificate),
        "deliveries__client_key": str(key),
        "deliveries__timeout_s": "1",
    }
    async with ApiBench.open(scenario_dsn, tmp_path / "data", **flags) as bench:
        yield bench


@pytest.fixture
async def online(tmp_path: Path) -> AsyncIterator[Receiver]:
    """Give an online system with the certificate SERVER."""
    async with receiving(server_context(tmp_path, SERVER)) as found:
        yield found


async def configured(api: ApiBench, url: str, certificate: bytes = SERVER.pem) -> str:
    """Return an operational instance of a service whose results go to a URL."""
    instance = await api.instance((await api.element())["id"])
    owner = instance.provider_id
    # an id of its own, as the repository gives one: tests share the database
    service_id = api.ids["service"] = api.world.new_id()
    description = replace(instance.description, service_id=service_id)
    async with api.storage.transaction() as tx:
        config = {"id": "spos", "url": url, "certificateId": "certificate"}
        document: dict[str, object] = {"id": "certificate"}
        await tx.catalogue.put(owner, "certificate", "certificate", document, file=certificate)
        await tx.catalogue.put(owner, "spos-config", "spos", dict(config))
        await tx.catalogue.put(owner, "service", service_id, {"id": service_id, "sposConfigId": "spos"})
        for entity, id_ in (("version", f"{service_id}/1.0.0"), ("flavor", "flavor")):
            await tx.catalogue.put(owner, entity, id_, {"id": id_})
        await tx.instances.save(replace(instance, description=description))
        await tx.commit()
    return instance.id


async def cancelled(api: ApiBench, instance_id: str) -> Json:
    """Ask for a suspension and cancel it: a process that ended."""
    asked = (await api.post("provider", f"/v1/instances/{instance_id}/suspensions")).json()
    await api.post("provider", f"/v1/operations/{asked['id']}/cancellations")
    return dict(asked)


async def send(api: ApiBench) -> None:
    await DeliveryWorker(api.container.dispatch, api.notifier).drain()


async def results(api: ApiBench) -> list[Json]:
    """Return the deliveries of the service, as its provider sees them."""
    found = await api.get("provider", f"/v1/deliveries?service_id={api.ids.get('service', 'none')}")
    assert found.status_code == 200, found.text
    return list(found.json()["items"])


async def only_attempt(api: ApiBench) -> Any:
    (one,) = await results(api)
    assert one["state"] == "PENDING"
    (attempt,) = one["attempts"]
    return attempt


async def test_process_when_cancelled_then_its_result_is_posted_over_mutual_tls(
    api: ApiBench, online: Receiver
) -> None:
    instance_id = await configured(api, f"https://localhost:{online.port}/spos/")
    operation = await cancelled(api, instance_id)
    await send(api)
    (received,) = online.received
    assert received.path == "/spos/process-results"
    assert received.headers["content-type"] == "application/json"
    assert received.client_certificate == CLIENT.certificate.public_bytes(Encoding.DER)
    result = json.loads(received.body)
    assert set(result) == {
        "processId",
        "executionStatus",
        "executionMessage",
        "startDate",
        "endDate",
        "serviceId",
        "versionTag",
        "serviceInstanceId",
        "requestedOperations",
        "serviceStartState",
        "serviceEndState",
    }
    assert result["processId"] == operation["id"]
    assert (result["executionStatus"], result["requestedOperations"]) == (6, [30])
    assert (result["serviceId"], result["versionTag"]) == (api.ids["service"], "1.0.0")
    assert result["serviceInstanceId"] == instance_id
    assert (result["serviceStartState"], result["serviceEndState"]) == (21, 21)
    assert datetime.fromisoformat(result["startDate"]) <= datetime.fromisoformat(result["endDate"])
    assert result["startDate"].endswith("Z")
    (told,) = await results(api)
    assert (told["kind"], told["event"], told["state"]) == ("SPOS", "process-result", "SENT")
    of_instance = await api.get("provider", f"/v1/deliveries?instance_id={instance_id}")
    assert of_instance.json()["items"] == [told]
    assert (await api.get("issuer", f"/v1/deliveries?instance_id={instance_id}")).json()["items"] == []


async def test_process_when_it_expires_then_its_result_is_posted_too(api: ApiBench, online: Receiver) -> None:
    instance_id = await configured(api, f"https://localhost:{online.port}/spos")
    until = (api.world.now() + timedelta(seconds=60)).isoformat()
    asked = await api.post("provider", f"/v1/instances/{instance_id}/terminations", {"valid_until": until})
    assert asked.status_code == 202, asked.text
    api.world.shift += timedelta(seconds=61)
    await api.work()
    await send(api)
    result = json.loads(online.received[0].body)
    assert (result["executionStatus"], result["requestedOperations"]) == (6, [40])
    assert result["executionMessage"]
    assert result["serviceEndState"] == InstanceState.OPERATIONAL.value


async def test_result_when_the_server_fails_first_then_the_same_comes_again(
    api: ApiBench, online: Receiver
) -> None:
    online.answers[:] = [500]
    await cancelled(api, await configured(api, f"https://localhost:{online.port}/spos"))
    await send(api)
    assert (await only_attempt(api))["status"] == 500
    api.world.shift += timedelta(minutes=1)
    await send(api)
    first, second = online.received
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert (await results(api))[0]["state"] == "SENT"


async def test_result_when_the_server_hangs_then_given_up_in_time_and_tried_later(
    api: ApiBench, online: Receiver
) -> None:
    online.open.clear()
    await cancelled(api, await configured(api, f"https://localhost:{online.port}/spos"))
    await send(api)
    assert (await only_attempt(api))["error"] == "no answer within 1 s"
    online.open.set()
    api.world.shift += timedelta(minutes=1)
    await send(api)
    assert (await results(api))[0]["state"] == "SENT"


async def test_server_when_it_shows_another_certificate_then_nothing_is_sent(
    api: ApiBench, tmp_path: Path
) -> None:
    wrong = certify("online system", "localhost")  # same name, another key
    async with receiving(server_context(tmp_path, wrong)) as server:
        await cancelled(api, await configured(api, f"https://localhost:{server.port}/spos"))
        await send(api)
        assert server.received == []
    assert (await only_attempt(api))["error"].startswith("the server's certificate is refused")


async def test_server_when_it_does_not_know_the_tsm_then_refused_by_it(api: ApiBench, tmp_path: Path) -> None:
    async with receiving(server_context(tmp_path, SERVER, certify("another TSM"))) as server:
        await cancelled(api, await configured(api, f"https://localhost:{server.port}/spos"))
        await send(api)
        assert server.received == []
    assert (await only_attempt(api))["status"] is None


@pytest.mark.parametrize(
    ("server", "taken"),
    [
        (certify("online", "localhost", by=AUTHORITY), True),
        (certify("online", "other.example", by=AUTHORITY), False),
        (certify("online", None, by=AUTHORITY), False),
        (certify("online", "localhost", by=AUTHORITY, valid=False), False),
        (certify("online", "localhost", by=certify("provider's authority", ca=True)), False),
    ],
    ids=["its name", "another name", "no name", "expired", "not of the authority"],
)
async def test_server_when_an_authority_was_uploaded_then_name_and_time_count(
    api: ApiBench, tmp_path: Path, server: Certified, taken: bool
) -> None:
    async with receiving(server_context(tmp_path, server)) as online:
        url = f"https://localhost:{online.port}/spos"
        await cancelled(api, await configured(api, url, AUTHORITY.pem))
        await send(api)
        assert len(online.received) == taken


async def test_server_when_the_uploaded_certificate_is_no_authority_then_it_vouches_for_nobody(
    api: ApiBench, tmp_path: Path
) -> None:
    forged = certify("online", "localhost", by=SERVER)
    async with receiving(server_context(tmp_path, forged)) as online:
        await cancelled(api, await configured(api, f"https://localhost:{online.port}/spos"))
        await send(api)
        assert online.received == []


async def test_result_when_the_tsm_has_no_certificate_then_nothing_is_sent(
    scenario_dsn: str, tmp_path: Path, online: Receiver
) -> None:
    flags = {"deliveries__allowed_networks": "127.0.0.0/8"}
    async with ApiBench.open(scenario_dsn, tmp_path / "data", **flags) as api:
        await cancelled(api, await configured(api, f"https://localhost:{online.port}/spos"))
        await send(api)
        assert "no client certificate" in (await only_attempt(api))["error"]
    assert online.received == []


async def test_result_when_its_address_is_the_operators_then_not_called(
    scenario_dsn: str, tmp_path: Path, online: Receiver
) -> None:
    async with ApiBench.open(scenario_dsn, tmp_path / "data") as api:
        await cancelled(api, await configured(api, f"https://localhost:{online.port}/spos"))
        await send(api)
        assert (await only_attempt(api))["error"] != ""
    assert online.received == []


async def test_result_when_the_configuration_is_gone_then_failed(api: ApiBench, online: Receiver) -> None:
    await cancelled(api, await configured(api, f"https://localhost:{online.port}/spos"))
    async with api.storage.transaction() as tx:
        owner = TenantId(api.ids["provider"])
        await tx.catalogue.put(owner, "service", api.ids["service"], {"id": api.ids["service"]})
        await tx.commit()
    await send(api)
    (one,) = await results(api)
    assert one["state"] == "FAILED"
    assert online.received == []


async def test_process_when_the_service_names_no_online_system_then_nothing_is_written(api: ApiBench) -> None:
    instance = await api.instance((await api.element())["id"])
    await cancelled(api, instance.id)
    assert await results(api) == []
