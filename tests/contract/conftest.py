"""Servers and storages for the contract suites: the embedded PostgreSQL and Debian's PostgreSQL 15."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")
SERVERS = {"embedded": None} | ({"debian-15": DEBIAN_BINARIES} if DEBIAN_BINARIES.is_dir() else {})


def pytest_report_header() -> list[str]:
    """Say which servers the storage suites run on."""
    missing = "" if "debian-15" in SERVERS else "; not on PostgreSQL 15: apt-get install postgresql-15"
    return [f"storage contract: {', '.join(SERVERS)}{missing}"]


@pytest.fixture(scope="session", params=SERVERS)
def dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a migrated database on each server."""
    directory = Path(tempfile.mkdtemp(prefix="opentsm-storage-"))
    directory.chmod(0o755)  # under root the server runs as nobody
    server = EmbeddedPostgres(directory, binaries=SERVERS[request.param])
    url = server.start_blocking()
    try:
        asyncio.run(_migrate(url))
        yield url
    finally:
        server.stop_blocking()
        shutil.rmtree(directory)


@pytest.fixture
async def storage(dsn: str) -> AsyncIterator[PostgresStorage]:
    """Give an open storage; tests use ids of their own, so nothing is emptied between them."""
    storage = PostgresStorage(dsn, world=SystemWorld(), max_connections=4, acquire_timeout_s=10)
    await storage.open()
    yield storage
    await storage.close()


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    await apply_migrations(connection)
    await connection.close()
