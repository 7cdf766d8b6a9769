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


@pytest.mark.parametrize(("repository", "name"), QUERIES)
async def test_query_when_planned_for_any_value_then_reads_no_table_from_end_to_end(
    dsn: str, repository: str, name: str
) -> None:
    query = load_queries(repository)[name]
    count = max(map(int, re.findall(r"\$(\d+)", query)))
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
        )
        await connection.execute(f"PREPARE q AS {query}")
        plan = await connection.fetch(f"EXPLAIN EXECUTE q ({', '.join(['NULL'] * count)})")
        await connection.execute("DEALLOCATE q")
    await connection.close()
    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan" not in text, text
    # an index that is walked from end to end helps no more than the table
    for scan in re.findall(r"(?:Index (?:Only )?Scan|Bitmap Index Scan)[^\n]*\n(?:[^\n]*\n?)", text):
        assert "Index Cond" in scan, text


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_queries_then_take_no_advisory_lock(repository: str) -> None:
    assert not any("advisory" in query for query in load_queries(repository).values())
