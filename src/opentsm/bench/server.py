"""A server of its own for a measurement: a process with a database of its own, which end with it."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_START_S: Final = 60.0


class ServerBenchError(RuntimeError):
    """The server did not start, or refused what the measurement needs."""


@dataclass(frozen=True, slots=True)
class BenchServer:
    """Where a server is, its operator's token, its process and its data."""

    base_url: str
    operator: str
    pid: int
    data: Path


@asynccontextmanager
async def server() -> AsyncIterator[BenchServer]:
    """Give a running server.

    Raises:
        ServerBenchError: it did not start.
    """
    directory = Path(tempfile.mkdtemp(prefix="opentsm-bench-"))
    directory.chmod(0o711)  # noqa: ASYNC240  # under root the database runs as another user, who must pass through
    command = [sys.executable, "-m", "opentsm.cli", "serve", "--port", "0", "--attached", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENTSM_")}
    with (directory / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--data-dir",
            str(directory / "data"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=directory,
            env=environment,
        )
    try:
        ready = await _first_line(process, directory / "server.log")
        token = await asyncio.to_thread(Path(ready["operator_token_file"]).read_text, "ascii")
        yield BenchServer(str(ready["base_url"]), token.strip(), process.pid, directory / "data")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def _first_line(process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    if process.stdout is None:
        raise ServerBenchError("the server has no output")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        return dict(json.loads(line))
    except (TimeoutError, ValueError) as error:
        words = (await asyncio.to_thread(log.read_text, "utf-8", "replace"))[-500:]
        raise ServerBenchError(f"the server did not start: {words}") from error
