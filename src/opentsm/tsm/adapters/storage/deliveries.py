"""Webhooks, deliveries, and the lanes from which workers claim what is to be sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
from msgspec.structs import replace

from opentsm.tsm.adapters.storage.records import document, page_arguments, versioned
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.delivery import Delivery, DeliveryState, Lane, TargetKind, Webhook
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.ids import DeliveryId, InstanceId, TenantId, WebhookId
from opentsm.tsm.ports.repositories import Page

_SQL = load_queries("deliveries")
_WEBHOOKS = load_queries("webhooks")
MAX_COUNTED = 100_000


class PostgresWebhooks:
    """Endpoints of parties."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, webhook: Webhook) -> None:
        """Add an endpoint."""
        await self._session.change(_WEBHOOKS["add"], *_webhook_columns(webhook))

    async def get(self, webhook_id: WebhookId) -> Webhook | None:
        """Return the endpoint, or None."""
        row = await self._session.row(_WEBHOOKS["get"], webhook_id)
        return None if row is None else _webhook(row)

    async def save(self, webhook: Webhook) -> Webhook:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_WEBHOOKS["save"], *_webhook_columns(webhook))
        return replace(webhook, version=webhook.version + 1)

    async def remove(self, webhook_id: WebhookId) -> None:
        """Remove an endpoint."""
        await self._session.change(_WEBHOOKS["remove"], webhook_id)

    async def list(self, tenant_id: TenantId, page: Page) -> Sequence[Webhook]:
        """Return a page of a party's endpoints by id."""
        rows = await self._session.rows(_WEBHOOKS["list"], *page_arguments(page), tenant_id)
        return [_webhook(row) for row in rows]

    async def of_tenants(self, tenants: Sequence[TenantId]) -> Sequence[Webhook]:
        """Return all endpoints of some parties, in the order of their ids."""
        rows = await self._session.rows(_WEBHOOKS["of_tenants"], list(tenants))
        return sorted((_webhook(row) for row in rows), key=lambda webhook: webhook.id)

    async def mark_failing(self, webhook_id: WebhookId, since: datetime) -> None:
        """Note the first failure after a success."""
        await self._session.change(_WEBHOOKS["failing"], webhook_id, since)

    async def mark_working(self, webhook_id: WebhookId) -> None:
        """Note that it took a message."""
        await self._session.change(_WEBHOOKS["works"], webhook_id)


class PostgresDeliveries:
    """What is told to others, sent or not."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._woken: dict[tuple[str, int], tuple[TargetKind, datetime]] = {}

    async def add(self, delivery: Delivery) -> None:
        """Add a delivery; its lane is told when this transaction commits."""
        await self._session.change(_SQL["add"], *_columns(delivery))
        self._wake(delivery)

    async def save(self, delivery: Delivery) -> Delivery:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        await self._session.change_one(_SQL["save"], *_columns(delivery))
        self._wake(delivery)
        return replace(delivery, version=delivery.version + 1)

    async def get(self, delivery_id: DeliveryId) -> Delivery | None:
        """Return the delivery, or None."""
        row = await self._session.row(_SQL["get"], delivery_id)
        return None if row is None else versioned(Delivery, row, "body")

    async def list(
        self,
        tenant_id: TenantId,
        page: Page,
        *,
        target_id: str | None = None,
        instance_id: InstanceId | None = None,
    ) -> Sequence[Delivery]:
        """Return a page of a party's deliveries by id, without their bodies."""
        start = (*page_arguments(page), tenant_id)
        if target_id is not None:
            rows = await self._session.rows(_SQL["list_of_target"], *start, target_id)
        elif instance_id is not None:
            rows = await self._session.rows(_SQL["list_of_instance"], *start, instance_id)
        else:
            rows = await self._session.rows(_SQL["list_of_tenant"], *start)
        return [versioned(Delivery, row, "body") for row in rows]

    async def claim(self, now: datetime, *, lease_s: float, limit: int) -> Sequence[Lane]:
        """Lease lanes that are ready: nobody else gets them before the lease is over."""
        lease_ends = now + timedelta(seconds=lease_s)
        rows = await self._session.rows(_SQL["claim"], now, lease_ends, limit)
        return [
            Lane(
                kind=TargetKind(row["kind"]),
                target_id=row["target_id"],
                number=row["lane"],
                failures=row["failures"],
                lease_ends=row["held_until"],
            )
            for row in rows
        ]

    async def first_due(self, lane: Lane, now: datetime) -> Delivery | None:
        """Return the delivery of a lane that is due longest, or None when none is due."""
        row = await self._session.row(_SQL["first"], lane.target_id, lane.number)
        if row is None or row["next_at"] > now:
            return None
        return versioned(Delivery, row, "body")

    async def let_go(self, lane: Lane, *, failures: int, rest_until: datetime) -> bool:
        """End a lease; False when it was over and the lane is another's by now.

        Args:
            lane: as it was claimed.
            failures: how many calls of it failed in a row.
            rest_until: nothing of it is sent before.
        """
        held = await self._session.row(_SQL["hold"], lane.target_id, lane.number)
        if held is None or not held["leased"] or held["held_until"] != lane.lease_ends:
            return False
        # a statement of its own, after the lock: what was committed while that was waited for is seen
        row = await self._session.row(_SQL["first"], lane.target_id, lane.number)
        if row is None:
            await self._session.change(_SQL["close_lane"], lane.target_id, lane.number)
        else:
            await self._session.change(
                _SQL["rest"], lane.target_id, lane.number, row["next_at"], rest_until, failures
            )
        self._woken.pop((lane.target_id, lane.number), None)
        return True

    async def release(self, now: datetime) -> int:
        """End all leases: for a worker that knows itself to be the only one."""
        return await self._session.change(_SQL["release"], now)

    async def count_pending(self) -> int:
        """Return how many deliveries wait; from 100,000 on it is not counted further."""
        row = await self._session.row(_SQL["count_pending"], MAX_COUNTED)
        return 0 if row is None else int(row["found"])

    async def oldest_ready(self, now: datetime) -> datetime | None:
        """Return since when the lane that is ready longest has waited, or None when none is ready."""
        row = await self._session.row(_SQL["oldest_ready"], now)
        return None if row is None else row["ready_at"]

    async def wake(self) -> bool:
        """Tell the lanes of what this transaction wrote, last of all and in one order: locks are short."""
        for (target_id, lane), (kind, due_at) in sorted(self._woken.items(), key=lambda item: item[0]):
            await self._session.change(_SQL["wake"], target_id, lane, kind.value, due_at)
        return bool(self._woken)

    def _wake(self, delivery: Delivery) -> None:
        if delivery.state is not DeliveryState.PENDING or delivery.next_at is None:
            return
        lane = (delivery.target_id, delivery.lane)
        _, earlier = self._woken.get(lane, (delivery.kind, delivery.next_at))
        self._woken[lane] = (delivery.kind, min(earlier, delivery.next_at))


def _webhook_columns(webhook: Webhook) -> tuple[object, ...]:
    return (
        webhook.id,
        webhook.version,
        webhook.tenant_id,
        webhook.enabled,
        webhook.failing_since,
        document(webhook),
    )


def _webhook(row: asyncpg.Record) -> Webhook:
    columns = {name: row[name] for name in ("version", "enabled", "failing_since")}
    return replace(from_json(Webhook, row["document"]), **columns)


def _columns(delivery: Delivery) -> tuple[object, ...]:
    return (
        delivery.id,
        delivery.version,
        delivery.tenant_id,
        delivery.target_id,
        delivery.lane,
        delivery.instance_id,
        delivery.state is DeliveryState.PENDING,
        delivery.next_at,
        delivery.ended_at,
        delivery.body,
        document(delivery, "body"),
    )
