"""What is removed when its time is over: each kind by one index, in batches, past rows that others hold.

The time of orders and segments is that of their operation, with which its id begins (UUID version 7,
RFC 9562 §5.7: 48 bits of milliseconds).
"""

from datetime import datetime

from opentsm.tsm.adapters.storage.records import first_id_at
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.ports.repositories import Expendable

_SQL = load_queries("retention")
_OF_OPERATIONS = frozenset({Expendable.ORDERS, Expendable.SEGMENTS})


class PostgresRetention:
    """Removes what is expendable."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def due(self, what: Expendable, before: datetime) -> int:
        """Return how many rows there are to remove."""
        row = await self._session.row(_SQL[f"due_{what.value}"], _limit(what, before))
        return 0 if row is None else int(row["found"])

    async def prune(self, what: Expendable, before: datetime, limit: int) -> int:
        """Remove at most `limit` rows, and return how many that were."""
        return await self._session.change(_SQL[f"prune_{what.value}"], _limit(what, before), limit)


def _limit(what: Expendable, before: datetime) -> datetime | str:
    return first_id_at(before) if what in _OF_OPERATIONS else before
