"""How `opentsm test` spreads the suite over the cores."""

import pytest

from opentsm.cli.test import surroundings, workers


@pytest.mark.parametrize(("cores", "number"), [(2, "2"), (4, "4"), (8, "8"), (64, "8")])
def test_workers_when_there_are_cores_then_one_each_up_to_a_limit(cores: int, number: str) -> None:
    assert workers(cores)[:2] == ["-n", number]


def test_workers_when_there_is_one_core_then_pytest_runs_alone() -> None:
    assert workers(1) == []


def test_surroundings_when_bytecode_was_switched_off_then_a_directory_of_the_run_holds_it() -> None:
    found = surroundings({"PATH": "p", "PYTHONDONTWRITEBYTECODE": "1"}, "/made", crash_all=False)
    assert found == {"PATH": "p", "PYTHONPYCACHEPREFIX": "/made"}


def test_surroundings_when_every_point_is_wanted_then_the_tests_are_told() -> None:
    assert surroundings({}, "/made", crash_all=True)["OPENTSM_CRASH_ALL"] == "1"
