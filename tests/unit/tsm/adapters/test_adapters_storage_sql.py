"""The query files: every block has a name, every name is used by its repository."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from opentsm.tsm.adapters.storage.session import _only_reads
from opentsm.tsm.adapters.storage.sql import DESCENDING, load_queries
from opentsm.tsm.ports.belongings import Belonging
from opentsm.tsm.ports.repositories import Expendable

PACKAGE = files("opentsm.tsm.adapters.storage")
REPOSITORIES = sorted(Path(str(entry)).stem for entry in PACKAGE.joinpath("queries").iterdir())
MODULES = [entry for entry in PACKAGE.iterdir() if entry.name.endswith(".py")]
# the runner of migrations keeps the statements of its one table
SOURCE = "\n".join(module.read_text() for module in MODULES if module.name != "migrate.py")

# named by what they are about: `_SQL[f"prune_{what.value}"]`
EXPENDABLE = {f"{verb}_{what.value}" for verb in ("due", "prune") for what in Expendable}
BELONGINGS = {f"remove_{what.value}" for what in Belonging}


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_queries_when_loaded_then_each_has_a_body_and_is_used(repository: str) -> None:
    queries = load_queries(repository)
    assert queries
    for name, body in queries.items():
        assert re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", body), name
        forwards = name.removesuffix(DESCENDING)
        assert forwards == name or forwards in queries, name
        assert f'"{forwards}"' in SOURCE or name in EXPENDABLE | BELONGINGS, name


def test_sql_then_stands_in_query_files_only() -> None:
    assert not re.search(r"\b(SELECT|INSERT INTO|DELETE FROM)\b", SOURCE)


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_query_when_it_changes_or_locks_then_a_transaction_begins(repository: str) -> None:
    for name, query in load_queries(repository).items():
        statement = "\n".join(line for line in query.splitlines() if not line.startswith("--"))
        changes = re.search(r"\b(INSERT|UPDATE|DELETE|SHARE|nextval|pg_\w+)\b", statement) is not None
        assert _only_reads(query) is (not changes and statement.startswith("SELECT")), name


@pytest.mark.parametrize("repository", ["instances", "operations"])
def test_lists_when_loaded_then_the_part_of_their_file_stands_in_each(repository: str) -> None:
    lists = {name: body for name, body in load_queries(repository).items() if name.startswith("list")}
    assert lists
    for name, body in lists.items():
        assert "-- filters" not in body, name
        assert body.count("created_at < $") == 1, name
