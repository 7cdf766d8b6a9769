"""Which schemas a release says it runs on: those that it then serves, and no others."""

import pytest

from opentsm.tsm.adapters.storage.migrate import Migration, SchemaStatus, fits


def migration(number: int, runs: int) -> Migration:
    return Migration(number, "some_change", "", "00" * 32, runs)


OURS = (migration(1, 1), migration(2, 2))


@pytest.mark.parametrize(
    ("status", "fit"),
    [
        (SchemaStatus(OURS, (), (), ()), True),
        (SchemaStatus(OURS, (), (migration(3, 2),), ()), True),
        (SchemaStatus(OURS, (), (migration(3, 3),), ()), False),
        (SchemaStatus(OURS[:1], OURS[1:], (), ()), False),
        (SchemaStatus(OURS, (), (), OURS[:1]), False),
    ],
    ids=["as known", "newer that bears us", "newer that does not", "pending", "changed"],
)
def test_schema_when_newer_changed_or_pending_fits_only_if_served(status: SchemaStatus, fit: bool) -> None:
    assert fits(status) is fit
