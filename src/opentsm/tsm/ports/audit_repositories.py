"""Where the audit is written, read and verified. Its entries are added and never changed."""

from collections.abc import Sequence
from typing import Protocol

from opentsm.tsm.domain.audit import AuditEntry, Checkpoint, CheckpointHead
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.repositories import Page


class AuditLog(Protocol):
    async def append(
        self,
        tenant_id: TenantId,
        *,
        actor: str,
        action: str,
        subject: str,
        details: dict[str, str | int] | None = None,
    ) -> None:
        """Add an entry to the chain of the subject's shard, in this transaction."""
        ...

    async def list(
        self, tenant_id: TenantId, page: Page, *, subject: str | None = None
    ) -> Sequence[AuditEntry]: ...
    async def verify(self, tenant_id: TenantId, shard: int) -> int:
        """Check a chain from its beginning and return its length; raise InvariantError on a break."""
        ...


class AuditRecord(Protocol):
    """The audit as a whole, for whoever verifies it or vouches for it. Nothing here can be changed."""

    async def heads(self, after: tuple[str, int], limit: int) -> Sequence[tuple[CheckpointHead, int]]:
        """Return heads in the order of tenant and shard, each with the number at its last checkpoint."""
        ...

    async def next_chain(self, after: tuple[str, int]) -> tuple[TenantId, int] | None:
        """Return the next chain of which there is an entry, a head or a checkpoint."""
        ...

    async def head(self, tenant_id: TenantId, shard: int) -> CheckpointHead | None: ...
    async def entries(
        self, tenant_id: TenantId, shard: int, after: int, limit: int
    ) -> Sequence[AuditEntry]: ...
    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]: ...
    async def last_checkpoint(self) -> Checkpoint | None: ...
    async def heads_of(self, checkpoint: int) -> Sequence[CheckpointHead]:
        """Return what a checkpoint says, in the order of tenant and shard."""
        ...

    async def checkpoints_of(self, tenant_id: TenantId, shard: int) -> Sequence[tuple[int, CheckpointHead]]:
        """Return what the checkpoints say about one chain, oldest first."""
        ...

    async def add_checkpoint(self, checkpoint: Checkpoint, heads: Sequence[CheckpointHead]) -> None:
        """Raise ConflictError when there is a checkpoint of this number: another node was faster."""
        ...
