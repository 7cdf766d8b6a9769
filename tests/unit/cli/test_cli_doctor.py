"""What `opentsm doctor` says of a database: missing is not broken."""

import pytest

from opentsm.cli.doctor import Verdict, schema_finding
from opentsm.tsm.adapters.storage.migrate import (
    ChangedMigrationError,
    Migration,
    NewerSchemaError,
    SchemaStatus,
)

FIRST = Migration(1, "first", "", "00", 1)
SECOND = Migration(2, "second", "", "11", 2)


def test_schema_when_it_fits_then_ok() -> None:
    finding = schema_finding(SchemaStatus((FIRST, SECOND), (), (), ()), embedded=True)
    assert (finding.verdict, finding.detail) == (Verdict.OK, "reached, 2 migrations")


@pytest.mark.parametrize(("embedded", "advised"), [(True, True), (False, False)])
def test_schema_when_migrations_are_pending_then_a_warning_that_names_the_command(
    embedded: bool, advised: bool
) -> None:
    finding = schema_finding(SchemaStatus((FIRST,), (SECOND,), (), ()), embedded=embedded)
    assert (finding.verdict, finding.detail) == (Verdict.WARNING, "reached, lacks 1 of 2 migrations")
    assert "`opentsm db migrate`" in finding.advice
    assert ("`opentsm serve`" in finding.advice) == advised


def test_schema_when_empty_then_a_warning() -> None:
    finding = schema_finding(SchemaStatus((), (FIRST, SECOND), (), ()), embedded=False)
    assert (finding.verdict, finding.detail) == (Verdict.WARNING, "reached, and empty")


def test_schema_when_newer_or_changed_then_broken_whatever_else_is_pending() -> None:
    with pytest.raises(NewerSchemaError):
        schema_finding(SchemaStatus((FIRST,), (), (SECOND,), ()), embedded=True)
    with pytest.raises(ChangedMigrationError):
        schema_finding(SchemaStatus((FIRST,), (SECOND,), (), (FIRST,)), embedded=True)
