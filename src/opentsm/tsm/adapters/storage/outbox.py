"""The message bus: a table from which workers claim messages that are due, at least once each."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.exchange import OutboxMessage
from opentsm.tsm.kernel.documents import from_json, to_json
from opentsm.tsm.kernel.errors import ConflictError, StaleVersionError
from opentsm.tsm.ports.world import World

_SQL = load_queries("outbox")


class PostgresOutbox:
    """Messages that wait or are leased; one that is done is gone."""

    def __init__(self, session: Session, world: World) -> None:
        self._session = session
        self._world = world
        self.published = False

    async def publish(
        self, kind: str, key: str, body: dict[str, str], *, not_before: datetime | None = None
    ) -> None:
        """Add a message; one of the same kind and key that waits is kept, due at the earlier time."""
        self.published = True
        now = self._world.now()
        text = to_json(body).decode()
        await self._session.change(_SQL["publish"], self._world.new_id(), kind, key, text, not_before or now)

    async def claim(self, now: datetime, *, lease_s: float, limit: int) -> Sequence[OutboxMessage]:
        """Take messages that are due, and lease them: after the lease they are due again."""
        lease_ends = now + timedelta(seconds=lease_s)
        rows = await self._session.rows(_SQL["claim"], now, lease_ends, limit)
        return [
            OutboxMessage(
                id=row["id"],
                kind=row["kind"],
                key=row["key"],
                body=from_json(dict[str, str], row["body"]),
                attempts=row["attempts"],
            )
            for row in sorted(rows, key=lambda row: str(row["id"]))
        ]

    async def release(self, now: datetime) -> int:
        """End all leases: for a worker that knows itself to be the only one."""
        return await self._session.change(_SQL["release"], now)

    async def done(self, message_id: str) -> None:
        """Remove a message."""
        await self._session.change(_SQL["done"], message_id)

    async def withdraw(self, kind: str, key: str) -> None:
        """Remove a message that waits unclaimed, if there is one."""
        await self._session.change(_SQL["withdraw"], kind, key)

    async def retry(self, message_id: str, not_before: datetime, error: str) -> None:
        """Let a message wait again, unless a newer one of the same kind and key already does."""
        if await self._session.change(_SQL["replaced"], message_id):
            return
        try:
            await self._session.change(_SQL["retry"], message_id, not_before, error)
        except ConflictError as conflict:
            raise StaleVersionError("A newer message of the same key began to wait meanwhile.") from conflict

    async def oldest_due(self, now: datetime) -> datetime | None:
        """Return since when the oldest message that is due has waited, or None when none is due."""
        row = await self._session.row(_SQL["oldest_due"], now)
        return None if row is None else row["due_at"]
