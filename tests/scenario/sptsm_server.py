"""A whole TSM behind a socket, in a thread with a loop of its own; its clock and its numbers repeat."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from opentsm.api.server import run, serve
from opentsm.tsm.adapters.notifier import LocalNotifier
from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.adapters.world import uuid7
from opentsm.tsm.bootstrap import Container, assemble
from opentsm.tsm.config import load_settings
from opentsm.tsm.ports.world import World

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENCE_S = 60
# Whole suites of refusals come from one address; nobody waits for a long poll.
_SETTINGS = {"limits.failed_proofs": "1000000000", "device.poll_timeout_s": "0.05"}


class RepeatableWorld:
    """A clock that moves a little each time somebody looks, and random numbers of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._looks = 0

    def now(self) -> datetime:
        """Return a later time than before."""
        self._looks += 1
        return START + timedelta(microseconds=self._looks)

    def random(self, length_bytes: int) -> bytes:
        """Return the next bytes of the seed's sequence."""
        return self._random.randbytes(length_bytes)

    def new_id(self) -> str:
        """Return the next id."""
        return str(uuid7(self.now(), self.random(8)))


@dataclass(slots=True)
class Served:
    """Where the TSM listens, and its use cases for the loop that it runs on."""

    url: str
    container: Container
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


@contextmanager
def serving(dsn: str, directory: Path, world: World | None = None) -> Iterator[Served]:
    """Serve a TSM over a migrated database until the context ends; its world repeats unless one is given."""
    ready = threading.Event()
    found: list[Served] = []

    def tell(served: Served) -> None:
        found.append(served)
        ready.set()

    thread = threading.Thread(
        target=lambda: run(_serve(dsn, directory, world or RepeatableWorld(0), tell)), daemon=True
    )
    thread.start()
    if not ready.wait(PATIENCE_S):
        raise RuntimeError("The server did not start.")
    try:
        yield found[0]
    finally:
        found[0].loop.call_soon_threadsafe(found[0].stop.set)
        thread.join(PATIENCE_S)


async def _serve(dsn: str, directory: Path, world: World, tell: Callable[[Served], None]) -> None:
    settings = load_settings({"data_dir": str(directory), **_SETTINGS}, environment={})
    notifier = LocalNotifier()
    storage = PostgresStorage(dsn, world=world, notifier=notifier, max_connections=4)
    await storage.open()
    try:
        container = assemble(settings, storage, world, notifier)
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def on_ready(port: int) -> None:
            tell(Served(f"http://127.0.0.1:{port}", container, loop, stop))

        await serve(container, "127.0.0.1", 0, on_ready=on_ready, stop=stop)
    finally:
        await storage.close()
