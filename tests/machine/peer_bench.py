"""Two TSMs with a database and keystores of their own: the hub's, and that of a service provider.

They meet over HTTP only; what goes between them can be lost, seen and changed by a test.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
from tests.machine.provider_bench import ProviderBench

from opentsm.api.app import create_app
from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.peers.local import LocalPeers
from opentsm.tsm.adapters.peers.remote import RemotePeers
from opentsm.tsm.adapters.peers.routing import PeerDirectory, RoutedPeers
from opentsm.tsm.adapters.storage.migrate import apply_migrations, connected
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.bootstrap import Container, assemble
from opentsm.tsm.config import load_settings
from opentsm.tsm.domain.peering import Peering
from opentsm.tsm.domain.tenant import Principal, TenantKind
from opentsm.tsm.kernel.ids import OperationId, TenantId
from opentsm.tsm.roles.hub.conductor import Conductor
from opentsm.tsm.roles.hub.device_link import DeviceLink
from opentsm.tsm.roles.hub.peers.identity import PeerIdentity
from opentsm.tsm.roles.hub.requests import Requests
from opentsm.tsm.roles.hub.services import ADVANCE, HubServices
from opentsm.workers.outbox import OutboxWorker

URL = "http://elsewhere"
Change = Callable[[httpx.Response], httpx.Response]


@dataclass
class Line(httpx.AsyncBaseTransport):
    """The way to the other TSM: every call is noted; from the `lose_from`-th on every third one is lost.

    Lost is the call, or, `after` it was carried out, its answer.
    """

    inner: httpx.AsyncBaseTransport
    seen: list[httpx.Request] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    lose_from: int = 0
    after: bool = False
    losses: int = 0
    change: Change | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one call."""
        await request.aread()
        self.seen.append(request)
        number = len(self.seen)
        hit = 0 < self.lose_from <= number and (number - self.lose_from) % 3 == 0
        self.losses += hit
        if hit and not self.after:
            raise httpx.ConnectError("lost", request=request)
        answer = await self.inner.handle_async_request(request)
        await answer.aread()
        self.answers.append(answer.content)
        if hit:
            raise httpx.ReadError("lost", request=request)
        return answer if self.change is None else self.change(answer)

    @property
    def calls(self) -> list[str]:
        """Return the calls by name."""
        return ["/".join(request.url.path.split("/")[-2:]) for request in self.seen]


class PeerBench(ProviderBench):
    """The hub's TSM with an issuer and one card; its provider lives in another TSM."""

    elsewhere: Container
    pause = timedelta()  # how much time goes by before each turn of the hub

    async def open(self) -> None:
        await super().open()
        self.away_storage = PostgresStorage(
            self.dsn.replace("/opentsm?", "/elsewhere?"), world=self.world, notifier=LocalNotifier()
        )
        await self.away_storage.open()
        settings = load_settings({"data_dir": str(self.directory / "elsewhere")}, environment={})
        self.elsewhere = assemble(settings, self.away_storage, self.world, LocalNotifier())
        self.repository = self.elsewhere.catalogue
        app = create_app(self.elsewhere, sptsm=False)
        self.line = Line(httpx.ASGITransport(app=app))  # type: ignore[arg-type]
        self.identity = PeerIdentity(self.ring.of(self.hub))
        self.client = httpx.AsyncClient(transport=self.line)
        remote = RemotePeers(self.client, self.identity, self.world)
        local = LocalPeers(self._holder, self.repository, self._issuer_of)
        services = HubServices(
            storage=self.storage,
            keystore=self.ring.of(self.hub),
            peers=RoutedPeers(
                local, PeerDirectory(self.storage, self.world), self.storage, remote.ask, self.profiles
            ),
            world=self.world,
            notifier=self.notifier,
            profiles=self.profiles,
        )
        self.services = services
        self.conductor = Conductor(services)
        self.link = DeviceLink(services)
        self.requests = Requests(services)

    async def close(self) -> None:
        await self.client.aclose()
        await self.elsewhere.close()
        await self.away_storage.close()
        await super().close()

    async def work(self) -> None:
        """Let the hub do its turn; what failed for now comes again, as in a server."""
        self.world.shift += self.pause
        worker = OutboxWorker(
            self.storage,
            {ADVANCE: lambda body: self.conductor.advance(OperationId(body["operation"]))},
            self.world,
            self.notifier,
        )
        await worker.drain()

    @property
    def keystore_here(self) -> Path:
        """Return where the provider's keystore would be if it lived here."""
        return self.directory / f"{self.provider}.sealed"

    async def meet(self) -> None:
        """Register the provider at its own TSM, and let the operators of both set the peering."""
        self.ring._open.pop(self.provider)  # the bench gave it one here
        self.keystore_here.unlink()
        operator = await self._operator(self.elsewhere)
        await self.elsewhere.onboarding.register_party(
            operator, TenantKind.SERVICE_PROVIDER, f"provider {self.provider}", known_as=self.provider
        )
        await self.elsewhere.peerings.put(
            operator, self.provider, name="hub", key=await self.identity.point()
        )
        async with self.storage.transaction() as tx:
            await tx.peerings.put(
                Peering(
                    tenant_id=self.provider,
                    name="elsewhere",
                    key=await self.elsewhere.peer_counter.identity.point(),
                    url=URL,
                    created_at=self.world.now(),
                ),
                "key",
            )
            await tx.commit()

    async def _operator(self, container: Container) -> Principal:
        token = await container.onboarding.issue_operator_token(f"operator {self.world.new_id()}")
        return await container.onboarding.authenticate(token)


def make_elsewhere(dsn: str) -> None:
    """Make the database of the other TSM, once a server."""

    async def make() -> None:
        async with connected(dsn) as connection:
            if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'elsewhere'"):
                return
            await connection.execute("CREATE DATABASE elsewhere")
            await connection.execute("ALTER DATABASE elsewhere SET synchronous_commit = off")
        async with connected(dsn.replace("/opentsm?", "/elsewhere?")) as connection:
            await apply_migrations(connection)

    asyncio.run(make())


async def owners_of_keys(dsn: str) -> set[TenantId]:
    """Return whose key sets a database holds."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT DISTINCT owner_id FROM key_sets")
    await connection.close()
    return {TenantId(row["owner_id"]) for row in rows}
