"""One database for all runs; every run has tenants, cards and instances of its own."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.machine.campaigns import Counted

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations

FAULTS = "faults"


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


@pytest.fixture(autouse=True)
def nothing_waits(request: pytest.FixtureRequest) -> None:
    """Clear away the messages that an earlier test left, which failed: its keystore went with it."""
    if "dsn" in request.fixturenames:
        asyncio.run(_clear(request.getfixturevalue("dsn")))


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Iterator[Counted]:
    """Give a counter of faults; the sum of all tests is told at the end."""
    made = Counted()
    yield made
    record_property(FAULTS, made.faults)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many faults there were."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("")
    told = [value for report in reports for name, value in report.user_properties if name == FAULTS]
    if told:
        terminalreporter.write_line(f"{sum(told)} faults in {len(told)} tests")


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    # This server never dies (tests/contract/test_storage_killed.py kills one): no test waits for its disk.
    await connection.execute("ALTER DATABASE opentsm SET synchronous_commit = off")
    await apply_migrations(connection)
    await connection.close()


async def _clear(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM outbox; DELETE FROM deliveries; DELETE FROM delivery_lanes")
    await connection.close()
