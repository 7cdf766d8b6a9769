"""Turns and trials of devices with secure elements that are bound to none."""

from collections.abc import Sequence
from datetime import datetime

from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.device import Trial, Turn
from opentsm.tsm.kernel.ids import DeviceId, SeId

_SQL = load_queries("turns")
_MAX_SESSIONS = 200


class PostgresTurns:
    """Who has the turn, and who had it in vain."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def turn(self, se_id: SeId) -> Turn | None:
        """Return who has the turn, or None."""
        row = await self._session.row(_SQL["turn"], se_id)
        return None if row is None else Turn(**row)

    async def put_turn(self, turn: Turn) -> None:
        """Give the turn to a device."""
        await self._session.change(_SQL["put_turn"], turn.se_id, turn.sequence, turn.device_id, turn.since)

    async def trials(self, se_id: SeId) -> Sequence[Trial]:
        """Return who had a turn in vain."""
        return [Trial(**row) for row in await self._session.rows(_SQL["trials"], se_id)]

    async def fail(self, se_id: SeId, device_id: DeviceId, now: datetime, *, barred: bool) -> None:
        """Count a turn in which the device did not prove the card."""
        await self._session.change(_SQL["fail"], se_id, device_id, now, barred)

    async def rivals(self, se_id: SeId, now: datetime) -> Sequence[DeviceId]:
        """Return the devices that have a session with the secure element."""
        rows = await self._session.rows(_SQL["rivals"], se_id, now, _MAX_SESSIONS)
        return sorted({row["device_id"] for row in rows})

    async def clear(self, se_id: SeId) -> None:
        """Forget turns and trials."""
        await self._session.change(_SQL["clear_turn"], se_id)
        await self._session.change(_SQL["clear_trials"], se_id)
