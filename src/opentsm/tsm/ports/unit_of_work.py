"""One transaction: load, decide, save, audit, publish, commit. Leaving without `commit` changes nothing."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

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
from opentsm.tsm.ports.peering_repositories import Peerings


class UnitOfWork(Protocol):
    """The repositories inside one transaction."""

    tenants: r.Tenants
    secure_elements: r.SecureElements
    arrangements: g.Arrangements
    card_authorities: CardAuthorityRepository
    credits: r.Credits
    key_sets: r.KeySets
    devices: r.Devices
    turns: r.Turns
    instances: r.Instances
    operations: r.Operations
    orders: r.Orders
    segments: r.Segments
    load_files: r.LoadFiles
    catalogue: r.Catalogue
    outbox: r.Outbox
    audit: a.AuditLog
    audit_record: a.AuditRecord
    idempotency: r.IdempotencyKeys
    prepared_data: r.PreparedDataRecords
    conversations: c.Conversations
    service_references: c.ServiceReferences
    retention: r.Retention
    belongings: Belongings
    webhooks: d.Webhooks
    deliveries: d.Deliveries
    subscriptions: rg.Subscriptions
    network_operators: rg.NetworkOperators
    se_registry: rg.SeRegistry
    tokens: Tokens
    imports: i.Imports
    campaigns: cp.Campaigns
    peerings: Peerings
    approvals: ap.Approvals
    space: sp.Space
    releases: rl.Releases

    async def commit(self) -> None:
        """Make everything durable, at once."""
        ...


class Storage(Protocol):
    """Where transactions come from."""

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a transaction; lost connections and serialisation failures raise StaleVersionError."""
        ...
