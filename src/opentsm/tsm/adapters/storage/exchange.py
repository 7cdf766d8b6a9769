"""Device orders and segments: plain columns, because nearly all of them is sealed bytes."""

import asyncpg
from msgspec.structs import replace

from opentsm.card.codec.aid import Aid
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.exchange import DeviceOrder, OrderState, Segment, SegmentState
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import SegmentId, SeId, TenantId

_ORDERS = load_queries("orders")
_SEGMENTS = load_queries("segments")


class PostgresOrders:
    """What was, or is to be, handed to a device."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, order: DeviceOrder) -> None:
        """Add an order; raise ConflictError when the sequence number is taken."""
        if not await self._session.change(_ORDERS["add"], *_order_columns(order)):
            raise self._session.spoiled(
                ConflictError(f"Order {order.sequence} of secure element {order.se_id} exists already.")
            )

    async def current(self, se_id: SeId) -> DeviceOrder | None:
        """Return the newest order of the secure element that is not CONSUMED."""
        return _order(await self._session.row(_ORDERS["current"], se_id))

    async def get(self, se_id: SeId, sequence: int) -> DeviceOrder | None:
        """Return one order, or None."""
        return _order(await self._session.row(_ORDERS["get"], se_id, sequence))

    async def save(self, order: DeviceOrder) -> DeviceOrder:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_ORDERS["save"], *_order_columns(order))
        return replace(order, version=order.version + 1)


class PostgresSegments:
    """Sessions as their owners recorded them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, segment: Segment) -> None:
        """Add a segment; raise ConflictError when its id is taken."""
        if not await self._session.change(_SEGMENTS["add"], *_segment_columns(segment)):
            raise self._session.spoiled(ConflictError(f"A segment with the id {segment.id} exists already."))

    async def get(self, owner_id: TenantId, segment_id: SegmentId) -> Segment | None:
        """Return the owner's segment, or None."""
        return _segment(await self._session.row(_SEGMENTS["get"], owner_id, segment_id))

    async def save(self, segment: Segment) -> Segment:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SEGMENTS["save"], *_segment_columns(segment))
        return replace(segment, version=segment.version + 1)


def _order_columns(order: DeviceOrder) -> tuple[object, ...]:
    return (
        order.se_id,
        order.sequence,
        order.version,
        order.operation_id,
        order.state.value,
        order.sealed_commands,
        order.body,
        order.sealed_answer,
        order.delivered,
        order.device_id,
    )


def _order(row: asyncpg.Record | None) -> DeviceOrder | None:
    return None if row is None else DeviceOrder(**{**row, "state": OrderState(row["state"])})


def _segment_columns(segment: Segment) -> tuple[object, ...]:
    return (
        segment.owner_id,
        segment.id,
        segment.version,
        segment.se_id,
        segment.operation_id,
        str(segment.sd_aid),
        segment.state.value,
        segment.sealed,
    )


def _segment(row: asyncpg.Record | None) -> Segment | None:
    if row is None:
        return None
    return Segment(**{**row, "state": SegmentState(row["state"]), "sd_aid": Aid.from_hex(row["sd_aid"])})
