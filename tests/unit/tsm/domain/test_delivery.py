"""Deliveries: which endpoint wants what, lanes, and how long is waited between attempts."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from opentsm.tsm.domain.delivery import (
    EVENT_GROUPS,
    EVENT_TYPES,
    LANES,
    PING,
    Delivery,
    SealedSecret,
    TargetKind,
    Webhook,
    lane_pause,
    pause_after,
)
from opentsm.tsm.kernel.ids import DeliveryId, TenantId, WebhookId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHORTEST, MIDDLE, LONGEST = b"\x00\x00", b"\x80\x00", b"\xff\xff"
WEBHOOK = Webhook(
    id=WebhookId("hook"),
    tenant_id=TenantId("sp"),
    url="https://sp.example/",
    events=("instance.suspended", "operation.*"),
    secrets=(SealedSecret(sealed=b"sealed"),),
    created_at=NOW,
)


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        ("operation.failed", True),
        ("instance.suspended", True),
        ("instance.operational", False),
        ("secure-element.verified", False),
        (PING, True),
    ],
)
def test_endpoint_when_events_are_chosen_then_it_wants_these_and_pings(event: str, wanted: bool) -> None:
    assert WEBHOOK.wants(event) is wanted
    assert not replace(WEBHOOK, enabled=False).wants(event)


def test_event_types_then_each_is_of_one_group() -> None:
    assert {f"{event.partition('.')[0]}.*" for event in EVENT_TYPES} == set(EVENT_GROUPS)
    assert "operation.succeeded" in EVENT_TYPES
    assert "instance.in_error" in EVENT_TYPES
    assert "secure-element.quarantined" in EVENT_TYPES


@pytest.mark.parametrize(
    ("tries", "seconds"), [(1, 5), (2, 20), (3, 80), (4, 320), (7, 20480), (8, 21600), (1000, 21600)]
)
def test_pause_when_tries_grow_then_four_times_as_long_up_to_six_hours(tries: int, seconds: int) -> None:
    assert pause_after(tries, SHORTEST) == timedelta(seconds=0.8 * seconds)
    assert pause_after(tries, LONGEST) == timedelta(seconds=1.2 * seconds)
    assert abs(pause_after(tries, MIDDLE) / timedelta(seconds=seconds) - 1) < 0.001


def test_lane_when_failures_follow_each_other_then_it_rests_longer_up_to_a_minute() -> None:
    rests = [lane_pause(failures).total_seconds() for failures in (0, 1, 2, 5, 6, 1000)]
    assert rests == [0, 2, 4, 32, 60, 60]


def test_lane_when_subjects_differ_then_all_are_used_and_one_subject_stays_in_one() -> None:
    def lane(subject: str, id_: str = "1") -> int:
        return Delivery(
            id=DeliveryId(id_),
            tenant_id=TenantId("sp"),
            kind=TargetKind.WEBHOOK,
            target_id="hook",
            event=PING,
            subject=subject,
            body=b"{}",
            created_at=NOW,
            since=NOW,
            next_at=NOW,
        ).lane

    assert {lane(f"instance {number}") for number in range(100)} == set(range(LANES))
    assert lane("instance 7", "1") == lane("instance 7", "2")
