"""What belongs to a party, removed in batches: each kind by an index, with what depends on it."""

from collections.abc import Sequence

from opentsm.tsm.adapters.storage.records import versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.operation import ENDED, Operation, OperationState
from opentsm.tsm.kernel.ids import InstanceId, OperationId, SeId, TenantId
from opentsm.tsm.ports.belongings import Belonging

_SQL = load_queries("belongings")
_OPEN = [state.value for state in OperationState if state not in ENDED]


class PostgresBelongings:
    """Removes what a party owns."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def remove(self, what: Belonging, owner_id: TenantId, limit: int) -> int:
        """Remove at most `limit` rows of an owner, with what depends on them; return how many that were."""
        return await self._session.change(_SQL[f"remove_{what.value}"], owner_id, limit)

    async def remove_blocks(self, owner_id: TenantId, limit: int) -> int:
        """Remove load-file data blocks that nobody else has put there; return how many were the owner's."""
        rows = await self._session.rows(_SQL["blocks"], owner_id, limit)
        digests = [row["sha256"] for row in rows]
        if digests:
            await self._session.rows(_SQL["hold_blocks"], digests)
            await self._session.change(_SQL["disown_blocks"], digests, owner_id)
            kept = {row["sha256"] for row in await self._session.rows(_SQL["still_owned"], digests)}
            await self._session.change(_SQL["remove_blocks"], [one for one in digests if one not in kept])
        return len(digests)

    async def remove_operations(self, ids: Sequence[OperationId]) -> int:
        """Remove operations with their consumed orders and segments."""
        chosen = list(ids)
        await self._session.change(_SQL["remove_orders_of_operations"], chosen)
        await self._session.change(_SQL["remove_segments_of_operations"], chosen)
        await self._session.change(_SQL["remove_reservations_of_operations"], chosen)
        return await self._session.change(_SQL["remove_operations"], chosen)

    async def remove_instances(self, ids: Sequence[InstanceId]) -> int:
        """Remove service instances with the records of their top-ups."""
        return await self._session.change(_SQL["remove_instances"], list(ids))

    async def remove_elements(self, ids: Sequence[SeId]) -> int:
        """Remove secure elements with their orders and sessions, and all that is known of their cards."""
        chosen = list(ids)
        await self._session.change(_SQL["remove_orders_of_elements"], chosen)
        await self._session.change(_SQL["remove_tokens_of_elements"], chosen)
        await self._session.change(_SQL["remove_sessions_of_elements"], chosen)
        await self._session.change(_SQL["remove_history_of_elements"], chosen)
        return await self._session.change(_SQL["remove_elements"], chosen)

    async def open_on(self, se_id: SeId) -> Sequence[Operation]:
        """Return the operations on a secure element that have not ended."""
        rows = await self._session.rows(_SQL["open_on"], se_id, _OPEN)
        return [versioned(Operation, row, "plan_document") for row in rows]
