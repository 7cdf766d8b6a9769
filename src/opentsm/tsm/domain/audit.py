"""Audit entries: who did what to which object, chained by hash so that a missing or changed one shows."""

import hashlib
from datetime import datetime

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


def shard_of(subject: str) -> int:
    """Return the chain (0 … SHARDS-1) that holds the entries about one subject."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:2], "big") % SHARDS
