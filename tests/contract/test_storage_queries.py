"""The SQL itself: every query is answered from an index, and nothing of it takes an advisory lock."""

import re
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from opentsm.tsm.adapters.storage.sql import load_queries

REPOSITORIES = sorted(
    Path(str(entry)).stem for entry in files("opentsm.tsm.adapters.storage").joinpath("queries").iterdir()
)
QUERIES = [(repository, name) for repository in REPOSITORIES for name in load_queries(repository)]


# what a row found by its key may still be tested for; an optional filter never has to pick the index
ALLOWED_FILTERS = re.compile(
    r"version = |expires_at [<>] |jti <> |state <> ALL"
    r"|^(NOT )?claimed$|^(NOT )?leased$|state = ANY|state = 'CONSUMED'"
    r"|expires_at IS NOT NULL|instance_id IS NULL|IS NULL\) OR ",
)
PLANNER = (
    "enable_seqscan = off",
    "enable_sort = off",
    "enable_bitmapscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "plan_cache_mode = force_generic_plan",
)


async def plan_of(dsn: str, query: str) -> str:
    """Return how a query is planned for any values, with what an index should spare made dear."""
    count = max(map(int, re.findall(r"\$(\d+)", query)))
    connection = await asyncpg.connect(dsn)
    for setting in PLANNER:
        await connection.execute(f"SET {setting}")
    await connection.execute(f"PREPARE q AS {query}")
    plan = await connection.fetch(f"EXPLAIN EXECUTE q ({', '.join(['NULL'] * count)})")
    await connection.close()
    return "\n".join(row[0] for row in plan)


@pytest.mark.parametrize(("repository", "name"), QUERIES)
async def test_query_when_planned_for_any_value_then_an_index_finds_and_orders_its_rows(
    untouched_dsn: str, repository: str, name: str
) -> None:
    plan = await plan_of(untouched_dsn, load_queries(repository)[name])
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan
    for scan in re.findall(r"Index (?:Only )?Scan[^\n]*\n(?:[^\n]*\n?)", plan):
        assert "Index Cond" in scan, plan
    for condition in re.findall(r"^ *Filter: (.*)$", plan, re.MULTILINE):
        for part in condition.split(" AND "):
            assert ALLOWED_FILTERS.search(part.strip("()")), plan


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_queries_then_take_no_advisory_lock(repository: str) -> None:
    assert not any("advisory" in query for query in load_queries(repository).values())
