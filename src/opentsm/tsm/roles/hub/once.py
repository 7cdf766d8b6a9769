"""Requests that are carried out once: the transaction that carries one out also writes its idempotency key.

Whoever repeats the request finds the key and what was done under it; whoever makes it at the same time waits
at the key's row, finds it taken, and nothing of the second one stays.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opentsm.tsm.domain.audit import AuditEntry
from opentsm.tsm.kernel.documents import Record, to_json
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.audit_repositories import AuditLog
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork


class RepeatedRequestError(ConflictError):
    """The same request was carried out a moment ago."""

    code = "request_repeated"


class Deed(Record, frozen=True, kw_only=True):
    """What a request did, in the words of its last audit entry."""

    action: str = ""
    subject: str = ""


@dataclass(slots=True)
class Claim:
    """An idempotency key for one attempt at a request; `made` is set when the key was written."""

    tenant_id: TenantId
    key: str
    digest: bytes
    made: bool = False


class ClaimingStorage:
    """A storage whose first commit also writes the key of a claim."""

    def __init__(self, storage: Storage, claim: Claim) -> None:
        self._storage = storage
        self._claim = claim

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """Open a transaction."""
        async with self._storage.transaction() as tx:
            yield _ClaimingWork(tx, self._claim)


class _NotedAudit:
    """An audit log that remembers its last entry of this transaction."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self.deed = Deed()

    async def append(
        self,
        tenant_id: TenantId,
        *,
        actor: str,
        action: str,
        subject: str,
        details: dict[str, str | int] | None = None,
    ) -> None:
        await self._audit.append(tenant_id, actor=actor, action=action, subject=subject, details=details)
        self.deed = Deed(action=action, subject=subject)

    async def list(
        self, tenant_id: TenantId, page: Page, *, subject: str | None = None
    ) -> Sequence[AuditEntry]:
        return await self._audit.list(tenant_id, page, subject=subject)

    async def verify(self, tenant_id: TenantId, shard: int) -> int:
        return await self._audit.verify(tenant_id, shard)


class _ClaimingWork:
    """A unit of work that writes the key just before it commits."""

    def __init__(self, tx: UnitOfWork, claim: Claim) -> None:
        self._tx = tx
        self._claim = claim
        self._noted = _NotedAudit(tx.audit)
        self.audit: AuditLog = self._noted
        self.tenants = tx.tenants
        self.secure_elements = tx.secure_elements
        self.arrangements = tx.arrangements
        self.card_authorities = tx.card_authorities
        self.key_sets = tx.key_sets
        self.devices = tx.devices
        self.instances = tx.instances
        self.operations = tx.operations
        self.orders = tx.orders
        self.credits = tx.credits
        self.retention = tx.retention
        self.segments = tx.segments
        self.load_files = tx.load_files
        self.catalogue = tx.catalogue
        self.outbox = tx.outbox
        self.idempotency = tx.idempotency
        self.audit_record = tx.audit_record
        self.retention = tx.retention
        self.turns = tx.turns
        self.prepared_data = tx.prepared_data
        self.conversations = tx.conversations
        self.service_references = tx.service_references
        self.belongings = tx.belongings
        self.webhooks = tx.webhooks
        self.deliveries = tx.deliveries
        self.subscriptions = tx.subscriptions
        self.network_operators = tx.network_operators
        self.se_registry = tx.se_registry
        self.tokens = tx.tokens
        self.imports = tx.imports
        self.campaigns = tx.campaigns
        self.peerings = tx.peerings
        self.approvals = tx.approvals
        self.space = tx.space
        self.releases = tx.releases

    async def commit(self) -> None:
        """Write the key and make everything durable, at once.

        Raises:
            RepeatedRequestError: the key is taken; nothing was made durable.
        """
        claim = self._claim
        if not claim.made:
            deed = to_json(self._noted.deed)
            if not await self.idempotency.claim(claim.tenant_id, claim.key, claim.digest, deed):
                raise RepeatedRequestError()
        await self._tx.commit()
        claim.made = True
