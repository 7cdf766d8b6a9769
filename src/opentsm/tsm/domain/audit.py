"""Audit entries: who did what to which object, chained by hash so that a missing or changed one shows."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from opentsm.tsm.kernel.documents import Record, to_json
from opentsm.tsm.kernel.ids import TenantId

GENESIS = bytes(32)
SHARDS = 64


class AuditEntry(Record, frozen=True, kw_only=True):
    """One fact of a chain. `details` never hold a key, a PIN or personalisation data."""

    tenant_id: TenantId
    shard: int
    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, str | int] = {}
    previous: bytes = GENESIS

    def digest(self) -> bytes:
        """Return the SHA-256 (32 bytes) over the entry's canonical form, the previous digest included."""
        return hashlib.sha256(to_json(self)).digest()


class CheckpointHead(Record, frozen=True, kw_only=True):
    """Where a chain stood: how many entries it had, and the digest of the last."""

    tenant_id: TenantId
    shard: int
    number: int
    digest: bytes


class Checkpoint(Record, frozen=True, kw_only=True):
    """A signed statement about the heads of all chains.

    It names only the chains that grew since the checkpoint before, whose digest it holds; together they
    cover all. `digest` is that of the heads, `key` the handle of the signature (ES256).
    """

    number: int
    at: datetime
    heads: int
    digest: bytes
    previous: bytes = GENESIS
    key: str
    signature: bytes = b""

    def signed(self) -> bytes:
        """Return what is signed: everything but the signature, in canonical form."""
        return to_json(replace(self, signature=b""))

    def own_digest(self) -> bytes:
        """Return the SHA-256 (32 bytes) with which the next checkpoint refers to this one."""
        return hashlib.sha256(to_json(self)).digest()


def digest_of_heads(heads: Sequence[CheckpointHead]) -> bytes:
    """Return the SHA-256 (32 bytes) over heads in the order of tenant and shard."""
    return hashlib.sha256(to_json(tuple(heads))).digest()


class AuditBreak(Record, frozen=True, kw_only=True):
    """The first thing that does not hold: in a checkpoint, or in an entry of a tenant's chain."""

    reason: str
    checkpoint: int | None = None
    tenant_id: TenantId | None = None
    shard: int | None = None
    number: int | None = None


def shard_of(subject: str) -> int:
    """Return the chain (0 … SHARDS-1) that holds the entries about one subject."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:2], "big") % SHARDS
