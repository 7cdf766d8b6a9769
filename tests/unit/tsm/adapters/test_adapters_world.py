"""The system's world: UUIDs of version 7 (RFC 9562 §5.7), time with its zone, random bytes."""

import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from opentsm.tsm.adapters.world import SystemWorld, uuid7

LATEST = datetime(9999, 1, 1)
MOMENTS = st.datetimes(datetime(1970, 1, 1), LATEST, timezones=st.just(UTC))


def test_uuid7_when_made_from_the_rfcs_example_then_its_fields() -> None:
    """RFC 9562 A.6: 2022-02-22 14:22:22.00 -05:00, rand_b 18C4DC0C0C07398F; rand_a is our fraction, 0."""
    at = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    made = uuid7(at, bytes.fromhex("18C4DC0C0C07398F"))
    assert str(made) == "017f22e2-79b0-7000-98c4-dc0c0c07398f"


@given(MOMENTS, st.binary(min_size=8, max_size=8))
def test_uuid7_then_version_variant_and_time(at: datetime, entropy: bytes) -> None:
    made = uuid7(at, entropy)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    milliseconds = made.int >> 80
    start = datetime(1970, 1, 1, tzinfo=UTC)
    assert abs(start + timedelta(milliseconds=milliseconds) - at) < timedelta(milliseconds=1.1)


@given(MOMENTS, st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_uuid7_when_made_later_then_sorts_later(at: datetime, one: bytes, other: bytes) -> None:
    assert str(uuid7(at, one)) < str(uuid7(at + timedelta(milliseconds=1), other))
    assert str(uuid7(at, one))[:18] <= str(uuid7(at + timedelta(microseconds=1), other))[:18]


def test_world_then_time_is_aware_ids_differ_and_bytes_are_as_many_as_asked() -> None:
    world = SystemWorld()
    assert world.now().utcoffset() == timedelta(0)
    assert len({world.new_id() for _ in range(1000)}) == 1000
    assert [len(world.random(length)) for length in (0, 8, 16)] == [0, 8, 16]
