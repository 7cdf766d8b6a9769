"""Answers that were given before, by idempotency key."""

from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.kernel.errors import StaleVersionError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.world import World

_SQL = load_queries("idempotency")


class PostgresIdempotencyKeys:
    """One answer for each (tenant, key)."""

    def __init__(self, session: Session, world: World) -> None:
        self._session = session
        self._world = world

    async def find(self, tenant_id: TenantId, key: str) -> tuple[bytes, int, bytes] | None:
        """Return (request digest, status, answer) of an earlier request; status 0: (…, 0, what it did)."""
        row = await self._session.row(_SQL["find"], tenant_id, key)
        return None if row is None else (row["digest"], row["status"], row["response"])

    async def claim(self, tenant_id: TenantId, key: str, digest: bytes, deed: bytes) -> bool:
        """Write what a request does, in the transaction that does it; False when the key is taken."""
        now = self._world.now()
        return await self._session.change(_SQL["claim"], tenant_id, key, digest, deed, now) == 1

    async def put(self, tenant_id: TenantId, key: str, digest: bytes, status: int, response: bytes) -> None:
        """Keep an answer; raise StaleVersionError when a twin was faster: its answer is found now."""
        added = await self._session.change(
            _SQL["put"], tenant_id, key, digest, status, response, self._world.now()
        )
        if not added:
            raise self._session.spoiled(StaleVersionError())
