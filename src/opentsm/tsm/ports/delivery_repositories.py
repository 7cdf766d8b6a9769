"""Where endpoints and deliveries are stored, and how workers share what is to be sent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from opentsm.tsm.domain.delivery import Delivery, Lane, Webhook
from opentsm.tsm.kernel.ids import DeliveryId, InstanceId, TenantId, WebhookId
from opentsm.tsm.ports.repositories import Page


class Webhooks(Protocol):
    """Endpoints of parties."""

    async def add(self, webhook: Webhook) -> None: ...
    async def get(self, webhook_id: WebhookId) -> Webhook | None: ...
    async def save(self, webhook: Webhook) -> Webhook:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        ...

    async def remove(self, webhook_id: WebhookId) -> None: ...
    async def list(self, tenant_id: TenantId, page: Page) -> Sequence[Webhook]: ...
    async def of_tenants(self, tenants: Sequence[TenantId]) -> Sequence[Webhook]: ...
    async def mark_failing(self, webhook_id: WebhookId, since: datetime) -> None:
        """Note the first failure after a success; later ones change nothing."""
        ...

    async def mark_working(self, webhook_id: WebhookId) -> None: ...


class Deliveries(Protocol):
    """Deliveries and lanes. One that is PENDING has its lane told in the commit that writes it."""

    async def add(self, delivery: Delivery) -> None: ...
    async def save(self, delivery: Delivery) -> Delivery:
        """Store and return it with its new version; raise StaleVersionError when it moved."""
        ...

    async def get(self, delivery_id: DeliveryId) -> Delivery | None: ...
    async def list(
        self,
        tenant_id: TenantId,
        page: Page,
        *,
        target_id: str | None = None,
        instance_id: InstanceId | None = None,
    ) -> Sequence[Delivery]:
        """Return a page by id, without bodies, of a target, an instance, or all of a party."""
        ...

    async def claim(self, now: datetime, *, lease_s: float, limit: int) -> Sequence[Lane]:
        """Lease lanes that are ready (FOR UPDATE SKIP LOCKED)."""
        ...

    async def first_due(self, lane: Lane, now: datetime) -> Delivery | None:
        """Return the delivery of a lane that is due longest."""
        ...

    async def let_go(self, lane: Lane, *, failures: int, rest_until: datetime) -> bool:
        """End a lease, and say when the lane is looked at again; False when the lease was over."""
        ...

    async def release(self, now: datetime) -> int:
        """End all leases, and say how many: whoever held them is known to be dead."""
        ...

    async def count_pending(self) -> int: ...
    async def oldest_ready(self, now: datetime) -> datetime | None:
        """Return since when the lane that is ready longest has waited, or None when none is ready."""
        ...
