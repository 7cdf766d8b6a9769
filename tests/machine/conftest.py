"""One database for all runs; every run has tenants, cards and instances of its own."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """Give the URL of a migrated database."""
    directory = Path(tempfile.mkdtemp(prefix="opentsm-machine-"))
    directory.chmod(0o755)
    server = EmbeddedPostgres(directory)
    url = server.start_blocking()
    try:
        asyncio.run(_migrate(url))
        yield url
    finally:
        server.stop_blocking()
        shutil.rmtree(directory)


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    # This server never dies (tests/contract/test_storage_killed.py kills one): no test waits for its disk.
    await connection.execute("ALTER DATABASE opentsm SET synchronous_commit = off")
    await apply_migrations(connection)
    await connection.close()
