"""PostgreSQL as the storage port: a pool of connections and units of work over it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from opentsm.tsm.adapters.storage.approvals import PostgresApprovals
from opentsm.tsm.adapters.storage.arrangements import PostgresArrangements
from opentsm.tsm.adapters.storage.audit import PostgresAuditLog
from opentsm.tsm.adapters.storage.audit_record import PostgresAuditRecord
from opentsm.tsm.adapters.storage.belongings import PostgresBelongings
from opentsm.tsm.adapters.storage.campaigns import PostgresCampaigns
from opentsm.tsm.adapters.storage.card_authorities import PostgresCardAuthorities
from opentsm.tsm.adapters.storage.catalogue import PostgresCatalogue, PostgresLoadFiles
from opentsm.tsm.adapters.storage.conversations import PostgresConversations, PostgresServiceReferences
from opentsm.tsm.adapters.storage.credits import PostgresCredits
from opentsm.tsm.adapters.storage.deliveries import PostgresDeliveries, PostgresWebhooks
from opentsm.tsm.adapters.storage.devices import PostgresDevices
from opentsm.tsm.adapters.storage.exchange import PostgresOrders, PostgresSegments
from opentsm.tsm.adapters.storage.idempotency import PostgresIdempotencyKeys
from opentsm.tsm.adapters.storage.imports import PostgresImports
from opentsm.tsm.adapters.storage.instances import PostgresInstances
from opentsm.tsm.adapters.storage.key_sets import PostgresKeySets
from opentsm.tsm.adapters.storage.network_operators import PostgresNetworkOperators
from opentsm.tsm.adapters.storage.operations import PostgresOperations
from opentsm.tsm.adapters.storage.outbox import PostgresOutbox
from opentsm.tsm.adapters.storage.peerings import PostgresPeerings
from opentsm.tsm.adapters.storage.prepared_data import PostgresPreparedData
from opentsm.tsm.adapters.storage.releases import PostgresReleases
from opentsm.tsm.adapters.storage.retention import PostgresRetention
from opentsm.tsm.adapters.storage.se_registry import PostgresSeRegistry
from opentsm.tsm.adapters.storage.secure_elements import PostgresSecureElements
from opentsm.tsm.adapters.storage.session import Pool, Session
from opentsm.tsm.adapters.storage.space import PostgresSpace
from opentsm.tsm.adapters.storage.subscriptions import PostgresSubscriptions
from opentsm.tsm.adapters.storage.tenants import PostgresTenants
from opentsm.tsm.adapters.storage.tokens import PostgresTokens
from opentsm.tsm.adapters.storage.turns import PostgresTurns
from opentsm.tsm.kernel.errors import InvariantError
from opentsm.tsm.ports import approval_repositories as ap
from opentsm.tsm.ports import arrangement_repositories as g
from opentsm.tsm.ports import audit_repositories as a
from opentsm.tsm.ports import campaign_repositories as cp
from opentsm.tsm.ports import conversation_repositories as c
from opentsm.tsm.ports import delivery_repositories as d
from opentsm.tsm.ports import import_repositories as i
from opentsm.tsm.ports import registry_repositories as rg
from opentsm.tsm.ports import release_repositories as rl
from opentsm.tsm.ports import repositories as r
from opentsm.tsm.ports import space_repositories as sp
from opentsm.tsm.ports.belongings import Belongings
from opentsm.tsm.ports.card_authorities import CardAuthorityRepository
from opentsm.tsm.ports.delegation import Tokens
from opentsm.tsm.ports.notifier import OUTBOX_TOPIC, Notifier
from opentsm.tsm.ports.peering_repositories import Peerings
from opentsm.tsm.ports.sender import DELIVERY_TOPIC
from opentsm.tsm.ports.unit_of_work import UnitOfWork
from opentsm.tsm.ports.world import World


class PostgresUnitOfWork:
    """The repositories over one session."""

    def __init__(self, session: Session, world: World, notifier: Notifier | None) -> None:
        self._session = session
        self._notifier = notifier
        self._audit = PostgresAuditLog(session, world)
        self.tenants: r.Tenants = PostgresTenants(session, world)
        self.secure_elements: r.SecureElements = PostgresSecureElements(session)
        self.card_authorities: CardAuthorityRepository = PostgresCardAuthorities(session)
        self.arrangements: g.Arrangements = PostgresArrangements(session)
        self.credits: r.Credits = PostgresCredits(session)
        self.key_sets: r.KeySets = PostgresKeySets(session)
        self.devices: r.Devices = PostgresDevices(session, world)
        self.turns: r.Turns = PostgresTurns(session)
        self.instances: r.Instances = PostgresInstances(session)
        self.operations: r.Operations = PostgresOperations(session)
        self.orders: r.Orders = PostgresOrders(session)
        self.segments: r.Segments = PostgresSegments(session)
        self.load_files: r.LoadFiles = PostgresLoadFiles(session)
        self.catalogue: r.Catalogue = PostgresCatalogue(session)
        self._outbox = PostgresOutbox(session, world)
        self.outbox: r.Outbox = self._outbox
        self.audit: a.AuditLog = self._audit
        self.audit_record: a.AuditRecord = PostgresAuditRecord(session)
        self.idempotency: r.IdempotencyKeys = PostgresIdempotencyKeys(session, world)
        self.prepared_data: r.PreparedDataRecords = PostgresPreparedData(session)
        self.conversations: c.Conversations = PostgresConversations(session)
        self.service_references: c.ServiceReferences = PostgresServiceReferences(session)
        self.retention: r.Retention = PostgresRetention(session)
        self.belongings: Belongings = PostgresBelongings(session)
        self.webhooks: d.Webhooks = PostgresWebhooks(session)
        self._deliveries = PostgresDeliveries(session)
        self.deliveries: d.Deliveries = self._deliveries
        self.subscriptions: rg.Subscriptions = PostgresSubscriptions(session)
        self.network_operators: rg.NetworkOperators = PostgresNetworkOperators(session)
        self.se_registry: rg.SeRegistry = PostgresSeRegistry(session)
        self.tokens: Tokens = PostgresTokens(session)
        self.imports: i.Imports = PostgresImports(session)
        self.campaigns: cp.Campaigns = PostgresCampaigns(session)
        self.peerings: Peerings = PostgresPeerings(session)
        self.approvals: ap.Approvals = PostgresApprovals(session)
        self.space: sp.Space = PostgresSpace(session)
        self.releases: rl.Releases = PostgresReleases(session)

    async def commit(self) -> None:
        """Write the audit entries and make everything durable, at once."""
        await self._audit.write()
        woken = await self._deliveries.wake()
        await self._session.commit()
        if self._notifier is None:
            return
        if self._outbox.published:
            self._notifier.notify(OUTBOX_TOPIC)
        if woken:
            self._notifier.notify(DELIVERY_TOPIC)


class PostgresStorage:
    """A database; opened when the server starts, never at import."""

    def __init__(
        self,
        dsn: str,
        *,
        world: World,
        notifier: Notifier | None = None,
        min_connections: int = 1,
        max_connections: int = 10,
        statement_timeout_s: float = 30.0,
        acquire_timeout_s: float = 30.0,
    ) -> None:
        """Describe the database.

        Args:
            dsn: a libpq connection URI.
            world: clock and ids for audit entries and messages.
            notifier: is told when a commit published messages.
            min_connections: connections that are kept open.
            max_connections: connections at most; further transactions wait.
            statement_timeout_s: after this time a statement counts as lost, and its connection is dropped.
            acquire_timeout_s: after this time without a free connection a transaction counts as lost.
        """
        self._dsn = dsn
        self._world = world
        self._notifier = notifier
        self._min_connections = min_connections
        self._max_connections = max_connections
        self._statement_timeout_s = statement_timeout_s
        self._acquire_timeout_s = acquire_timeout_s
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            OSError, asyncpg.PostgresError: the database cannot be reached or refuses the credentials.
        """
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=self._min_connections,
            max_size=self._max_connections,
            command_timeout=self._statement_timeout_s,
            # a unit of work leaves nothing behind in its connection: no round trip to reset it
            reset=_keep,
            server_settings={
                "application_name": "opentsm",
                "timezone": "UTC",
                # a writer that went silent must not hold its row locks for ever
                "idle_in_transaction_session_timeout": str(int(2 * self._statement_timeout_s * 1000)),
            },
        )

    async def close(self) -> None:
        """Close all connections, after the transactions that are open now."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """Open a transaction; lost connections and serialisation failures raise StaleVersionError."""
        if self._pool is None:
            raise InvariantError("The storage is not open.")
        session = Session(self._pool, self._acquire_timeout_s)
        try:
            yield PostgresUnitOfWork(session, self._world, self._notifier)
        finally:
            await session.close()


async def _keep(_connection: object) -> None:
    """Leave a returned connection as it is."""
