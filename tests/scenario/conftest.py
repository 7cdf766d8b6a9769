"""A whole TSM in one process over the embedded PostgreSQL, spoken to through its HTTP API."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.scenario.api_bench import ApiBench

from opentsm.tsm.adapters.postgres import EmbeddedPostgres

MIGRATIONS = Path(__file__).parents[2] / "src/opentsm/tsm/adapters/storage/migrations"


@pytest.fixture(scope="session")
def scenario_dsn() -> Iterator[str]:
    """Give the URL of a migrated database."""
    directory = Path(tempfile.mkdtemp(prefix="opentsm-scenario-"))
    directory.chmod(0o755)  # under root the server runs as nobody
    server = EmbeddedPostgres(directory)
    url = server.start_blocking()
    try:
        asyncio.run(_migrate(url))
        yield url
    finally:
        server.stop_blocking()
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def nothing_waits(request: pytest.FixtureRequest) -> None:
    """Clear away the messages that an earlier TSM over the same database left: its keystore went with it."""
    if "scenario_dsn" in request.fixturenames:
        asyncio.run(_clear(request.getfixturevalue("scenario_dsn")))


@pytest.fixture
async def api(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[ApiBench]:
    """Give a TSM with parties of its own."""
    async with ApiBench.open(scenario_dsn, tmp_path) as bench:
        yield bench


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    # This server never dies (tests/contract/test_storage_killed.py kills one): no test waits for its disk.
    await connection.execute("ALTER DATABASE opentsm SET synchronous_commit = off")
    for script in sorted(MIGRATIONS.glob("*.sql")):
        await connection.execute(script.read_text())
    await connection.close()


async def _clear(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM outbox; DELETE FROM deliveries; DELETE FROM delivery_lanes")
    await connection.close()
