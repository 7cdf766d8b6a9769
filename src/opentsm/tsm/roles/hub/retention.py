"""How long things are kept that have served their purpose, and their removal.

Kept without limit are what history is made of: operations, instances, key sets, credits and the audit.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from opentsm.tsm.ports.repositories import Expendable
from opentsm.tsm.ports.unit_of_work import Storage

BATCH = 500


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Days: of exchanges since their operation was requested, of answers to idempotency keys since they
    were given, of codes, sessions and tokens since they expired, of deliveries since they ended, of
    imports since anything happened to them."""

    exchange_days: float
    idempotency_days: float
    credential_days: float
    delivery_days: float = 30.0
    import_days: float = 30.0

    def before(self, now: datetime) -> dict[Expendable, datetime]:
        """Return before when each kind is removed."""
        exchange, answers, credentials, deliveries = (
            now - timedelta(days=days)
            for days in (
                self.exchange_days,
                self.idempotency_days,
                self.credential_days,
                self.delivery_days,
            )
        )
        return {
            Expendable.ORDERS: exchange,
            Expendable.SEGMENTS: exchange,
            Expendable.IDEMPOTENCY_KEYS: answers,
            Expendable.ENROLMENT_CODES: credentials,
            Expendable.DEVICE_SESSIONS: credentials,
            Expendable.DEVICE_ASSERTIONS: credentials,
            Expendable.ACCESS_TOKENS: credentials,
            Expendable.PREPARED_DATA: now,  # they carry their own time
            Expendable.DELIVERIES: deliveries,
            Expendable.IMPORTS: now - timedelta(days=self.import_days),
            Expendable.CONVERSATION_SCRIPTS: now,
        }


async def count_due(storage: Storage, policy: RetentionPolicy, now: datetime) -> dict[Expendable, int]:
    """Return how much would be removed; nothing is."""
    async with storage.transaction() as tx:
        return {what: await tx.retention.due(what, before) for what, before in policy.before(now).items()}


async def prune(
    storage: Storage, policy: RetentionPolicy, now: datetime, *, batch: int = BATCH
) -> dict[Expendable, int]:
    """Remove what is due, one batch a transaction; return how much of each kind that was.

    Any number of nodes may do this at once: each takes what the others do not hold.
    """
    removed = {}
    for what, before in policy.before(now).items():
        removed[what] = 0
        while True:
            async with storage.transaction() as tx:
                found = await tx.retention.prune(what, before, batch)
                await tx.commit()
            removed[what] += found
            if found < batch:
                break
    return removed
