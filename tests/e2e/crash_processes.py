"""Server, agent and database as real processes, and their sudden end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from opentsm.tsm.adapters.postgres import EmbeddedPostgres
from opentsm.tsm.adapters.postgres.processes import processes_in, wait_for_exit

T = TypeVar("T")
START_S: Final = 120.0
STOP_S: Final = 120.0
LOOK_AGAIN_S: Final = 0.05
_RUN: Final = "from opentsm.cli.main import main; main()"
_LOG_TAIL_BYTES: Final = 4000


class Process:
    """One command of `opentsm`, which the test can start again after it killed it.

    Args:
        name: what people call it.
        log: where its standard error goes.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *words: str) -> None:
        """Start the command with these words."""
        settings = {name: value for name, value in os.environ.items() if not name.startswith("OPENTSM_")}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _RUN,
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self._log.parent,
                env=settings | {"NO_COLOR": "1"},
                start_new_session=True,
            )

    async def first_line(self) -> dict[str, Any]:
        """Return the JSON document of its first line."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), START_S)
        if not line:
            await self._process.communicate()
            raise AssertionError(f"the {self.name} did not start: {self.last_words()}")
        document: dict[str, Any] = json.loads(line)
        return document

    async def kill(self) -> None:
        """End it with SIGKILL; nothing of it runs when this returns."""
        assert self._process is not None
        self._process.kill()
        await asyncio.wait_for(self._process.communicate(), STOP_S)
        assert self._process.returncode == -signal.SIGKILL, self.last_words()

    async def stop(self) -> None:
        """End it with SIGTERM, and expect an end in order."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        await asyncio.wait_for(self._process.communicate(), STOP_S)
        code = self._process.returncode
        assert code == 0, f"the {self.name} ended with {code}: {self.last_words()}"

    async def has_ended(self, within_s: float) -> bool:
        """Wait for its end, at most so long."""
        assert self._process is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), within_s)
        return self._process.returncode is not None

    async def meanwhile(self, work: Awaitable[T]) -> T:
        """Do something while the process must live."""
        assert self._process is not None
        task, end = asyncio.ensure_future(work), asyncio.ensure_future(self._process.wait())
        await asyncio.wait([task, end], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise AssertionError(f"the {self.name} ended with {end.result()}: {self.last_words()}")
        end.cancel()
        return task.result()

    def last_words(self) -> str:
        """Return the end of its log."""
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


class Server(Process):
    """`opentsm serve` with its embedded database.

    Args:
        directory: its data directory; every user can enter it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__("server", directory / "server.log")
        self._directory = directory
        self._port = "0"
        self._token_file = directory
        self.base_url = ""

    @property
    def token(self) -> str:
        """The operator's token."""
        return self._token_file.read_text("ascii").strip()

    async def serve(self) -> None:
        """Start it, on a free port the first time and on the same one later; return when it is ready."""
        await self.start("serve", "--port", self._port, "--data-dir", str(self._directory), "--json")
        document = await self.first_line()
        self.base_url = document["base_url"]
        self._port = self.base_url.rpartition(":")[2]
        self._token_file = Path(document["operator_token_file"])

    async def kill_database(self, go_on: Callable[[], None]) -> None:
        """Kill the first process of PostgreSQL; return when it runs again and the server uses it.

        Args:
            go_on: called as soon as it is dead.
        """
        pid = self._postmaster()
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.to_thread(wait_for_exit, pid, STOP_S)
        go_on()
        await self._until_ready()
        assert self._postmaster() != pid

    async def kill_backends(self, go_on: Callable[[], None]) -> None:
        """Kill all other processes of PostgreSQL; return when it runs again and the server uses it.

        Args:
            go_on: called as soon as they are dead.
        """
        first = self._postmaster()
        others = [pid for pid in processes_in(self._database.pid_file.parent) if pid != first]
        assert others
        for pid in others:
            with suppress(ProcessLookupError):  # the first process ends the others when one was killed
                os.kill(pid, signal.SIGKILL)
        for pid in others:
            assert await asyncio.to_thread(wait_for_exit, pid, STOP_S)
        go_on()
        await self._until_ready()
        assert self._postmaster() == first

    @property
    def _database(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self._directory / "postgres")

    def _postmaster(self) -> int:
        return int(self._database.pid_file.read_text().partition("\n")[0])

    async def _until_ready(self) -> None:
        async with asyncio.timeout(START_S), httpx.AsyncClient(trust_env=False, timeout=START_S) as client:
            while (await client.get(f"{self.base_url}/readyz")).status_code != httpx.codes.OK:
                assert not await self.has_ended(LOOK_AGAIN_S), self.last_words()


class Agent(Process):
    """`opentsm agent run` for several cards.

    Args:
        directory: its state directory.
        words: the command line.
    """

    def __init__(self, directory: Path, words: Sequence[str]) -> None:
        directory.mkdir()
        super().__init__("agent", directory / "agent.log")
        self._words = ("agent", "run", "--state", str(directory / "state"), "--forever", *words)

    async def run(self) -> None:
        """Start it, the first time or again."""
        await self.start(*self._words)


def processes_of(directory: Path) -> list[str]:
    """Return the command lines of processes that work in a directory or name it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue  # it ended meanwhile
        if str(directory) in command or place.startswith(str(directory)):
            found.append(f"{entry.name}: {command}")
    return found
