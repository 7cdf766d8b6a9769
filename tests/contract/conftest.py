"""Adapters for the contract suites: storages on the embedded PostgreSQL and on Debian's 15, keystores."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.contract.card_connections import CardThread, Connect, TcpConnection

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.storage.migrate import apply_migrations, connected
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import SystemWorld
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.vse.card import VirtualCard

if TYPE_CHECKING:
    from tests.contract.pcsc_stack import PcscStack

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")
SERVERS = {"embedded": None, "debian-15": DEBIAN_BINARIES}


@pytest.fixture(scope="session", params=SERVERS)
def dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a migrated database on each server."""
    if request.param == "debian-15" and not DEBIAN_BINARIES.is_dir():
        pytest.fail("PostgreSQL 15 is missing: apt-get install postgresql-15", pytrace=False)
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
    storage = PostgresStorage(dsn, world=SystemWorld(), max_connections=4, acquire_timeout_s=60)
    await storage.open()
    yield storage
    await storage.close()


Blocked = Callable[["asyncio.Task[Any]"], Awaitable[None]]


@pytest.fixture
async def blocked(dsn: str) -> AsyncIterator[Blocked]:
    """Give what returns as soon as a transaction of the task waits for a lock of another."""
    watcher = await asyncpg.connect(dsn)

    async def wait(task: "asyncio.Task[Any]") -> None:
        while not await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not task.done(), "it did not wait"

    yield wait
    await watcher.close()


NewKeystore = Callable[[str], Awaitable[Keystore]]


@pytest.fixture(params=["software"])
def new_keystore(tmp_path: Path) -> NewKeystore:
    """Give a maker of keystores, one a party; an HSM's keystore is a further parameter."""

    async def make(party: str) -> Keystore:
        unlock = KeyFile(Secret(bytes(range(32))))
        return await SoftwareKeystore.create(tmp_path / f"{party}.json", TenantId(party), unlock)

    return make


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    await apply_migrations(connection)
    await connection.close()


@pytest.fixture(scope="session")
def pcsc_stack() -> Iterator["PcscStack"]:
    """Give a PC/SC service with virtual cards in its slots."""
    try:
        from tests.contract.pcsc_stack import PcscStack
    except ImportError as missing:
        pytest.fail(f"{missing}: `./tsm test` builds pyscard, also before a single test", pytrace=False)
    with PcscStack() as stack:
        yield stack


InsertCard = Callable[[VirtualCard], Connect]


@pytest.fixture(params=["tcp", "pcsc"])
def insert_card(request: pytest.FixtureRequest) -> Iterator[InsertCard]:
    """Give a way to put a card into a reader for yubikit: over TCP, and behind the real PC/SC service."""
    with contextlib.ExitStack() as after:

        def over_tcp(card: VirtualCard) -> Connect:
            served = CardThread(card)
            after.callback(served.stop)
            return lambda: TcpConnection(served.port)

        def over_pcsc(card: VirtualCard) -> Connect:
            stack: PcscStack = request.getfixturevalue("pcsc_stack")
            after.callback(stack.disconnect)
            stack.slots[0].card = card
            return stack.connect

        yield {"tcp": over_tcp, "pcsc": over_pcsc}[request.param]


@pytest.fixture(scope="session")
def untouched_dsn(dsn: str) -> str:
    """Give a database without rows or statistics: how other tests filled theirs decides no plan."""

    async def make() -> None:
        async with connected(dsn) as connection:
            await connection.execute("CREATE DATABASE untouched")
        async with connected(untouched) as connection:
            await apply_migrations(connection)

    untouched = dsn.replace("/opentsm?", "/untouched?")
    asyncio.run(make())
    return untouched
