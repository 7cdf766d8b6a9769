"""Who goes first of two operations that wait for one secure element: docs/reference/states.md."""

from datetime import UTC, datetime, timedelta

import pytest

from opentsm.tsm.domain.operation import (
    BULK_PRIORITY,
    LOSS_PRIORITY,
    NORMAL_PRIORITY,
    Operation,
    OperationType,
    turn_of,
)
from opentsm.tsm.kernel.ids import OperationId, SeId, TenantId

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOSS, NORMAL, BULK = LOSS_PRIORITY, NORMAL_PRIORITY, BULK_PRIORITY

PAIRS = [
    # (priority, minutes it has waited) of the one that goes first, and of the other
    ((LOSS, 0), (NORMAL, 0)),
    ((LOSS, 0), (NORMAL, 60 * 24 * 365)),
    ((LOSS, 0), (BULK, 60 * 24 * 365)),
    ((NORMAL, 1), (NORMAL, 0)),
    ((BULK, 1), (BULK, 0)),
    ((NORMAL, 0), (BULK, 0)),
    ((NORMAL, 0), (BULK, 59)),
    ((BULK, 61), (NORMAL, 0)),
    ((NORMAL, 10), (BULK, 69)),
    ((BULK, 71), (NORMAL, 10)),
]


def waiting(priority: int, minutes: float) -> Operation:
    return Operation(
        id=OperationId("an id"),
        tenant_id=TenantId("a tenant"),
        se_id=SeId("a card"),
        type=OperationType.AUDIT,
        priority=priority,
        created_at=NOW - timedelta(minutes=minutes),
    )


@pytest.mark.parametrize(("first", "other"), PAIRS, ids=lambda one: f"{one[0]}-{one[1]}min")
def test_turn_when_two_wait_then_priority_and_age_say_who_goes_first(
    first: tuple[int, float], other: tuple[int, float]
) -> None:
    assert turn_of(waiting(*first)) < turn_of(waiting(*other))


def test_turn_when_both_report_a_loss_then_only_their_age_is_left_to_tell() -> None:
    assert turn_of(waiting(LOSS, 5)) == turn_of(waiting(LOSS, 0)) == 0
