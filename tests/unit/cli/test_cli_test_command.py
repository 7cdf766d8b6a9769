"""How `opentsm test` spreads the suite over the cores."""

import pytest

from opentsm.cli.test import workers


@pytest.mark.parametrize(("cores", "number"), [(2, "2"), (4, "4"), (8, "8"), (64, "8")])
def test_workers_when_there_are_cores_then_one_each_up_to_a_limit(cores: int, number: str) -> None:
    assert workers(cores)[:2] == ["-n", number]


def test_workers_when_there_is_one_core_then_pytest_runs_alone() -> None:
    assert workers(1) == []
