"""Deliveries as they are shown."""

from datetime import datetime
from typing import Any

from opentsm.api.v1 import messages as m
from opentsm.tsm.domain.delivery import Delivery


class AttemptAnswer(m.Answer, frozen=True, kw_only=True):
    """An attempt: the status that came back, or why there is none."""

    at: datetime
    status: int | None
    error: str
    took_ms: int


class DeliveryAnswer(m.Answer, frozen=True, kw_only=True):
    """A delivery: PENDING (sent at `next_at`), SENT or FAILED; the newest attempts stand last."""

    id: str
    kind: str
    target_id: str
    event: str
    subject: str
    instance_id: str | None
    state: str
    tries: int
    attempts: list[AttemptAnswer]
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None


class DeliveryWithBody(DeliveryAnswer, frozen=True, kw_only=True):
    """A delivery with what is sent."""

    body: dict[str, Any]


def delivery_view(delivery: Delivery) -> DeliveryAnswer:
    """Return a delivery as it is shown."""
    return DeliveryAnswer(
        id=delivery.id,
        kind=delivery.kind.value,
        target_id=delivery.target_id,
        event=delivery.event,
        subject=delivery.subject,
        instance_id=delivery.instance_id,
        state=delivery.state.value,
        tries=delivery.tries,
        attempts=[
            AttemptAnswer(at=one.at, status=one.status, error=one.error, took_ms=one.took_ms)
            for one in delivery.attempts
        ],
        created_at=delivery.created_at,
        next_at=delivery.next_at,
        ended_at=delivery.ended_at,
    )
