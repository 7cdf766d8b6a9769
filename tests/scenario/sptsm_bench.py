"""The TR-03165 API over a real database, with two service providers and a client for each."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from litestar import Litestar
from litestar.datastructures import State
from tests.scenario import sptsm_answers

from opentsm.api.attempts import FailedProofs
from opentsm.api.sptsm.routes import PATH, router
from opentsm.card.crypto.secret import Secret
from opentsm.card.profiles import SeProfile
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.config import load_settings
from opentsm.tsm.config.attestation import TSM_IDENTIFIER
from opentsm.tsm.domain.tenant import AccessToken, Tenant, TenantKind, TokenKind
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.sp.catalogue import SpCatalogue

SOURCE = Path(__file__).parents[2] / "src/opentsm"
CAPS = SOURCE / "demo/caps"
PROFILES = {
    name: SeProfile.from_dict(json.loads((SOURCE / f"card/profiles_data/{name}.json").read_text()))
    for name in ("scp03-i70", "scp03-i60", "scp02-i55", "scp03-nfc-i70", "se-500", "se-600")
}


@dataclass(slots=True)
class Bench:
    """Everything that a test of the API needs."""

    storage: PostgresStorage
    world: World
    catalogue: SpCatalogue
    keystores: dict[TenantId, SoftwareKeystore]
    directory: Path
    app: Litestar

    async def tenant(self, kind: TenantKind = TenantKind.SERVICE_PROVIDER) -> tuple[TenantId, str]:
        """Register a party; return its id and its long-term token."""
        id_ = TenantId(self.world.new_id())
        token = f"long-{id_}"
        async with self.storage.transaction() as tx:
            await tx.tenants.add(Tenant(id=id_, kind=kind, name=f"party {id_}", created_at=self.world.now()))
            digest = hashlib.sha256(token.encode()).digest()
            await tx.tenants.add_token(AccessToken(digest=digest, tenant_id=id_, kind=TokenKind.LONG_TERM))
            await tx.commit()
        unlock = KeyFile(Secret(bytes(32)))
        path = self.directory / f"{id_}.keys"
        self.keystores[id_] = await SoftwareKeystore.create(path, id_, unlock)
        return id_, token

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """Return a client that sends this token, and compares every answer with the description."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]  # another spelling of ASGI
        return httpx.AsyncClient(
            transport=transport,
            base_url=f"http://tsm{PATH}",
            headers=headers,
            event_hooks={"response": [sptsm_answers.check]},
        )

    async def provider(self) -> tuple[TenantId, httpx.AsyncClient]:
        """Register a provider and return a client with its short-term token."""
        id_, long_term = await self.tenant()
        answer = await self.client(long_term).post("/auth")
        return id_, self.client(answer.json())


@asynccontextmanager
async def opened(dsn: str, directory: Path, world: World | None = None) -> AsyncIterator[Bench]:
    """Open the API over a database."""
    world = world or SystemWorld()
    storage = PostgresStorage(dsn, world=world, max_connections=4)
    await storage.open()
    keystores: dict[TenantId, SoftwareKeystore] = {}
    catalogue = SpCatalogue(storage, world, PROFILES, keystores.__getitem__, TSM_IDENTIFIER)
    bench = Bench(storage, world, catalogue, keystores, directory, Litestar())
    container = SimpleNamespace(
        settings=load_settings(
            {"data_dir": str(directory), "limits.failed_proofs": "1000000"}, environment={}
        )
    )
    state = State({"container": container, "proofs": FailedProofs()}, deep_copy=False)
    bench.app = Litestar([router(bench)], state=state)
    yield bench
    await storage.close()


async def upload(client: httpx.AsyncClient, cap: str) -> httpx.Response:
    """Upload a load file of the demo."""
    files = {"elfFile": (cap, (CAPS / cap).read_bytes(), "application/octet-stream")}
    return await client.post("/executable-load-files", data={"elfFilename": cap}, files=files)


async def upload_script(client: httpx.AsyncClient, recipe: object) -> httpx.Response:
    """Upload a personalisation script."""
    content = recipe if isinstance(recipe, bytes) else json.dumps(recipe).encode()
    files = {"scriptFile": ("a.json", content, "application/octet-stream")}
    return await client.post("/personalization-scripts", data={"scriptFilename": "a.json"}, files=files)


def certificate(name: str = "spos.example") -> x509.Certificate:
    """Return a certificate that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    return builder.sign(key, SHA256())


def pem(name: str = "spos.example") -> bytes:
    """Return a certificate as PEM."""
    return certificate(name).public_bytes(Encoding.PEM)


async def upload_certificate(client: httpx.AsyncClient, data: bytes | None = None) -> httpx.Response:
    """Upload a certificate."""
    files = {"certFile": ("spos.pem", data or pem(), "application/octet-stream")}
    return await client.post("/certificates", data={"certFilename": "spos.pem"}, files=files)


@dataclass(slots=True)
class Published:
    """A service with one published flavor in version 1.0.0."""

    service: dict[str, object]
    elf: dict[str, object]
    module: dict[str, object]
    config: dict[str, object]
    flavor: dict[str, object]

    @property
    def path(self) -> str:
        """The service's path."""
        return f"/services/{self.service['id']}"

    @property
    def flavor_path(self) -> str:
        """The flavor's path."""
        return f"{self.path}/flavors/{self.flavor['id']}"


async def good(answer: httpx.Response) -> dict[str, object]:
    """Return the document of an answer that must be good."""
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert isinstance(document, dict)
    return document


async def configure(
    client: httpx.AsyncClient,
    cap: str = "bank.cap",
    *,
    instance: str = "F04F54534D0101AA",
    script_id: str | None = None,
    config: dict[str, object] | None = None,
    features: dict[str, object] | None = None,
) -> Published:
    """Upload a load file and make a service with a flavor of it, not published yet."""
    elf = await good(await upload(client, cap))
    modules = (await client.get(f"/executable-load-files/{elf['id']}/executable-modules")).json()
    body: dict[str, object] = {"instanceAid": instance, **(config or {})}
    if script_id is not None:
        body["personalizationConfig"] = {"personalizationScriptId": script_id}
    settings = await good(await client.post("/application-configs", json=body))
    service = await good(await client.post("/services", json={"name": "A service"}))
    link = {"executableModuleId": modules[0]["id"], "applicationConfigId": settings["id"]}
    draft: dict[str, object] = {
        "executableLoadFileIds": [elf["id"]],
        "applicationInstantiationConfigs": [link],
    }
    if features is not None:
        draft["featureConfig"] = features
    flavor = await good(await client.post(f"/services/{service['id']}/flavors", json=draft))
    return Published(service, elf, modules[0], settings, flavor)


async def release(
    client: httpx.AsyncClient, made: Published, profile: str = "scp03-i70", tag: str = "1.0.0"
) -> dict[str, object]:
    """Publish the flavor and allow it for a card profile."""
    await good(await client.post(f"{made.flavor_path}/publish"))
    profiles = (await client.get("/secure-component-profiles")).json()
    profile_id = next(one["id"] for one in profiles if one["name"] == profile)
    body = {"tag": tag, "allowedDeployments": {made.flavor["id"]: [profile_id]}}
    return await good(await client.post(f"{made.path}/versions", json=body))
